"""What was done to a store: entries that each say how to undo their change, and named snapshots of all routes.

Undoing is what is kept, not what came of a change: adding 50,000 routes then takes a short row each, adding one
utterance to a route of 10,000 does not copy the others, and the routes of an earlier revision follow from those of now
and the entries since, however much older history was forgotten.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from synaptoroute.errors import InvalidInputError, StorageCorruptError
from synaptoroute.models import Route

Operation = Literal["add", "update", "delete", "migrate"]
_FIELDS = ("threshold", "description", "metadata")
#: Routes in one part of a snapshot: 5,000 utterances of 40 characters are 250 KB before compression.
_ROUTES_IN_PART = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One change of one route. All entries of a commit have its revision.

    Attributes:
        revision: The change led to it.
        operation: What was done to the route; "migrate" is another encoder for all routes, which keeps their content.
        route: Its name; None for "migrate".
        actor: Who did it, as they said; None if they did not.
        at: When, in UTC, by the clock of who did it. Revisions tell the order, clocks may not.
        cause: What the change was part of, such as "rollback to 12"; None for a change on its own.
        undo: How to get the former route from the one after, for ``undone``.
    """

    revision: int
    operation: Operation
    route: str | None
    actor: str | None
    at: datetime
    cause: str | None = None
    undo: str | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields but ``undo``."""
        return {
            "revision": self.revision,
            "operation": self.operation,
            "route": self.route,
            "actor": self.actor,
            "at": self.at.isoformat(timespec="milliseconds"),
            "cause": self.cause,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHistory:
    """A part of a store's history.

    Attributes:
        begins: The earliest revision that can be gone back to; what led to it is forgotten.
        entries: Newest first.
    """

    begins: int
    entries: tuple[HistoryEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All routes of one revision under a name, kept until it is deleted.

    Attributes:
        name: Its name.
        revision: Whose routes they are.
        routes: How many.
        actor: Who saved it.
        at: When, in UTC.
    """

    name: str
    revision: int
    routes: int
    actor: str | None
    at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        return {
            "name": self.name,
            "revision": self.revision,
            "routes": self.routes,
            "actor": self.actor,
            "at": self.at.isoformat(timespec="milliseconds"),
        }


# ------------------------------------------------------------------------------------------------------- undoing
def undo_of_update(
    before: Mapping[str, Any], after: Route, *, added: int, removed: Sequence[str], utterances: Sequence[str]
) -> str:
    """How to undo an update, in size proportional to what it changed.

    Args:
        before: The former threshold, description and metadata.
        after: The route as it is now.
        added: How many of its last utterances are new.
        removed: Utterances that went.
        utterances: The former ones, in order; only needed if any went.
    """
    now = {"threshold": after.threshold, "description": after.description, "metadata": _plain(after.metadata)}
    undo: dict[str, Any] = {name: before[name] for name in _FIELDS if _plain(before[name]) != now[name]}
    if added:
        undo["added"] = added
    if removed:
        gone = set(removed)
        undo["removed"] = [[place, text] for place, text in enumerate(utterances) if text in gone]
    return json.dumps(undo)


def undo_of_delete(before: Route) -> str:
    """How to undo a deletion: the whole route."""
    return route_as_json(before)


def undone(entry: HistoryEntry, after: Route | None) -> Route | None:
    """The route as it was before the change; None if there was none.

    Args:
        entry: One about a route.
        after: The route after the change; None if there was none.

    Raises:
        StorageCorruptError: The entry makes no sense, or none with that route.
    """
    try:
        if entry.operation == "add":
            return None
        if entry.operation == "delete":
            return route_from_json(entry.undo or "")
        assert after is not None  # noqa: S101 - told apart below, like any other damage
        undo = json.loads(entry.undo or "")
        utterances = list(after.utterances)
        del utterances[len(utterances) - undo.pop("added", 0) :]
        for place, text in undo.pop("removed", ()):
            utterances.insert(place, text)
        return after.replaced(utterances=utterances, **undo)
    except (AssertionError, ValueError, TypeError, InvalidInputError) as exc:
        raise StorageCorruptError(
            f"the history entry of route {entry.route!r} at revision {entry.revision} is damaged: {exc}"
        ) from exc


def _plain(value: Any) -> Any:
    """As it is after a trip through JSON: tuples are lists there."""
    return json.loads(json.dumps(value))


# ------------------------------------------------------------------------------------------------------ snapshots
def route_as_json(route: Route) -> str:
    """All of a route in one line."""
    return json.dumps(dict(route), ensure_ascii=False)


def route_from_json(text: str) -> Route:
    """What ``route_as_json`` wrote. Raises ValueError if it is not that."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("a route is a JSON object")  # noqa: TRY004 - the one error of text that is not a route
    return Route(**fields)


def packed(routes: Iterable[Route]) -> Iterator[bytes]:
    """Routes as compressed parts, a thousand in each; zlib carries a checksum."""
    left = iter(routes)
    while part := list(islice(left, _ROUTES_IN_PART)):
        yield zlib.compress("\n".join(map(route_as_json, part)).encode(), 1)


def unpacked(parts: Iterable[bytes], name: str) -> Iterator[Route]:
    """What was ``packed``, in the same order. Raises StorageCorruptError, which names the snapshot."""
    try:
        for part in parts:
            for line in zlib.decompress(part).decode().split("\n"):
                yield route_from_json(line)
    except (zlib.error, ValueError, TypeError) as exc:
        raise StorageCorruptError(
            f"the snapshot {name!r} is damaged ({exc}); delete it, or restore the store from a backup"
        ) from exc
