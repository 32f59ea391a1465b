"""A file of routes that is followed: when it has changed for good, and what makes a router's routes those of the file.

Files are looked at again and again instead of being watched by the system: it works on every file system, mounted
ones of containers among them, and sees a file that was replaced as well as one that was written to.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from synaptoroute.errors import InvalidInputError, SynaptoRouteError
from synaptoroute.models import Route
from synaptoroute.route_files import FileFormat, read_routes
from synaptoroute.router import AdaptiveRouter

Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a file did to the routes of a router.

    Attributes:
        before: The revision before.
        after: The revision after; the same if nothing was to be done.
        deleted: Names of the routes that were not in the file.
    """

    before: int
    after: int
    deleted: tuple[str, ...]


def apply(router: AdaptiveRouter, routes: list[Route], *, prune: bool) -> Applied:
    """Put these routes; with ``prune`` also delete all others. What is there just so is left alone.

    Raises:
        SynaptoRouteError: What ``put_routes`` and ``delete_route`` raise.
    """
    before = router.revision
    router.put_routes(routes)
    names = {route.name for route in routes}
    gone = tuple(route.name for route in router.routes if route.name not in names) if prune else ()
    for name in gone:
        router.delete_route(name)
    return Applied(before=before, after=router.revision, deleted=gone)


class Followed:
    """A file that may change at any time.

    Args:
        path: It need not be there yet.
        file_format: By its extension unless given.
        interval_s: Between two looks. A change counts once two looks in a row have seen the same, so that a file is
            not read while it is being written.
    """

    def __init__(self, path: Path, *, file_format: FileFormat | None = None, interval_s: float = 0.25) -> None:
        self.path = path
        self._format: FileFormat | None = file_format
        self._interval_s = interval_s

    def changes(self, stopping: threading.Event) -> Iterator[list[Route] | SynaptoRouteError]:
        """The routes of the file, now and after every change, until the event is set.

        An error instead says why the file cannot be taken as it is: it is not there, or its format or a route is
        wrong, with the line. It comes once for every state of the file.
        """
        taken: Signature | None = None
        seen = self._signature()
        first = True
        while True:
            if first or seen != taken:
                first, taken = False, seen
                try:
                    yield read_routes(self.path, self._format)
                except SynaptoRouteError as exc:
                    yield exc
            while True:
                if stopping.wait(self._interval_s):
                    return
                before, seen = seen, self._signature()
                if seen == before and seen != taken:
                    break

    def _signature(self) -> Signature | None:
        """Another one after every change; None while there is no file."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 - follows the links by which mounted files are replaced
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def follow(
    followed: Followed,
    take: Callable[[list[Route]], None],
    *,
    failed: Callable[[SynaptoRouteError], None],
    stopping: threading.Event,
) -> None:
    """Take every good state of a file until the event is set; a bad one leaves things as they are and is told.

    Args:
        followed: The file.
        take: Given the routes of the file. What it raises of ours is told like a bad file, and the next state is
            waited for.
        failed: Told what is wrong.
        stopping: Ends it.
    """
    for change in followed.changes(stopping):
        if isinstance(change, SynaptoRouteError):
            failed(change)
            continue
        try:
            if not change:
                # An editor that truncates before it writes shows this; a file of no routes would delete them all.
                raise InvalidInputError(f"{followed.path}: there is no route in it")
            take(change)
        except SynaptoRouteError as exc:
            failed(exc)
