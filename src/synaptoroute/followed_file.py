"""A file of routes that is followed: when it has changed for good, and what makes a router's routes those of the file.

Files are looked at again and again instead of being watched by the system: it works on every file system, mounted
ones of containers among them, and sees a file that was replaced as well as one that was written to.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synaptoroute.errors import InvalidInputError, SynaptoRouteError
from synaptoroute.models import Route
from synaptoroute.route_files import FileFormat, read_routes
from synaptoroute.router import AdaptiveRouter

Signature = tuple[int, int, int]
#: Before the first look.
_NOTHING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a file did to the routes of a router.

    Attributes:
        before: The revision before.
        after: The revision after; the same if nothing was to be done.
    """

    before: int
    after: int


def apply(router: AdaptiveRouter, routes: list[Route], *, prune: bool) -> Applied:
    """Put these routes, with ``prune`` make them the only ones; all or none. What is there just so is left alone.

    Raises:
        SynaptoRouteError: What ``put_routes`` and ``replace_routes`` raise.
    """
    before = router.revision
    after = router.replace_routes(routes) if prune else router.put_routes(routes)
    return Applied(before=before, after=after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A file that may change at any time.

    Attributes:
        path: It need not be there yet.
        file_format: By its extension unless given.
        interval_s: Between two looks. A state of the file counts once two looks in a row have seen the same, so that
            it is not read while it is being written.
        retry_s: Between two attempts to take a good state that could not be taken for a reason that may pass.
    """

    path: Path
    file_format: FileFormat | None = None
    interval_s: float = 0.25
    retry_s: float = 2.0

    def routes(self) -> list[Route]:
        """The routes of the file.

        Raises:
            InvalidInputError: It is not there, is not of its format, has a route that cannot be accepted, or none at
                all; the message names the line.
        """
        routes = read_routes(self.path, self.file_format)
        if not routes:
            # An editor that truncates before it writes shows this; a file of no routes would delete them all.
            raise InvalidInputError(f"{self.path}: there is no route in it")
        return routes

    def signature(self) -> Signature | None:
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
    """Take the file as it is and after every change, until the event is set; a bad state changes nothing.

    Args:
        followed: The file.
        take: Given its routes. What it raises of ours is told like a bad file; unless it lies with the routes, taking
            is tried again until it works or the file changes.
        failed: Told what is wrong, once for every state of the file and reason.
        stopping: Ends it.
    """
    last: Signature | object | None = _NOTHING
    settled: Signature | object | None = _NOTHING
    told, retry_at = "", math.inf
    while True:
        seen = followed.signature()
        if seen == last and (seen != settled or time.monotonic() >= retry_at):
            if seen != settled:
                told = ""
            settled, retry_at = seen, math.inf
            try:
                take(followed.routes())
            except SynaptoRouteError as exc:
                if not isinstance(exc, InvalidInputError):
                    retry_at = time.monotonic() + followed.retry_s
                if str(exc) != told:
                    told = str(exc)
                    failed(exc)
        last = seen
        if stopping.wait(followed.interval_s):
            return
