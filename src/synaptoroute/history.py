"""What the routes were at earlier revisions, how revisions differ, and who changes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from synaptoroute.errors import InvalidInputError, RevisionNotFoundError
from synaptoroute.models import Route
from synaptoroute.storage.base import BaseStorage
from synaptoroute.storage.history import HistoryEntry, Operation, Snapshot, undone
from synaptoroute.table import RouteTable

__all__ = [
    "HistoryEntry",
    "RouteChange",
    "RouteDiff",
    "Snapshot",
    "acting_as",
    "changed_since",
    "checked_actor",
    "current_actor",
    "differences",
]

MAX_ACTOR_CHARS = 200

_actor: ContextVar[str | None] = ContextVar("synaptoroute_actor", default=None)


# ------------------------------------------------------------------------------------------------------ who acts
@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """What is changed inside, in this thread or task, is recorded as done by that actor.

    A context and not an argument of each of the calls that change routes: who acts is known where a request comes in,
    not where it ends in ``add_utterance``. Goes with ``asyncio`` tasks and ``asyncio.to_thread``.

    Raises:
        InvalidInputError: The name is empty, or longer than 200 characters.
    """
    token = _actor.set(checked_actor(actor))
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor() -> str | None:
    """Whoever ``acting_as`` names here; None if nobody."""
    return _actor.get()


def checked_actor(actor: str | None) -> str | None:
    """The actor, or None. Raises InvalidInputError if it is empty, or longer than 200 characters."""
    if actor is not None and not (isinstance(actor, str) and 0 < len(actor) <= MAX_ACTOR_CHARS):
        raise InvalidInputError(f"an actor is named by 1 to {MAX_ACTOR_CHARS} characters")
    return actor


# --------------------------------------------------------------------------------------------- earlier revisions
@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChange:
    """How one route differs between two revisions.

    Attributes:
        name: The route.
        operation: "add", "update" or "delete", to get from the first revision to the second.
        before: At the first; None if it was not there.
        after: At the second; None if it was not there.
    """

    name: str
    operation: Operation
    before: Route | None
    after: Route | None

    @property
    def added(self) -> tuple[str, ...]:
        """Utterances that are only in the second."""
        return _only(self.after, self.before)

    @property
    def removed(self) -> tuple[str, ...]:
        """Utterances that are only in the first."""
        return _only(self.before, self.after)

    @property
    def fields(self) -> dict[str, tuple[Any, Any]]:
        """Threshold, description and metadata where they differ: the first value and the second."""
        if self.before is None or self.after is None:
            return {}
        pairs = {name: (getattr(self.before, name), value) for name, value in self.after if name != "utterances"}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "route": self.name,
            "operation": self.operation,
            "added": list(self.added),
            "removed": list(self.removed),
            "fields": {name: {"before": before, "after": after} for name, (before, after) in self.fields.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDiff:
    """What leads from the routes of one revision to those of another, which may be the earlier one.

    Attributes:
        first: A revision.
        second: Another.
        changes: One for each route that differs, by name.
    """

    first: int
    second: int
    changes: tuple[RouteChange, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"first": self.first, "second": self.second, "changes": [change.to_dict() for change in self.changes]}


def changed_since(table: RouteTable, storage: BaseStorage, revision: int) -> dict[str, Route | None]:
    """The routes of an earlier revision that the table does not have, or perhaps not as they were; None for no route.

    Args:
        table: Of the store.
        storage: It may have gone on since the table.
        revision: At most the table's.

    Raises:
        RevisionNotFoundError: It has not been reached yet, or its history was forgotten.
        StorageCorruptError: The history is damaged.
    """
    stored = storage.history(since=revision) if 0 <= revision <= table.revision else None
    if stored is None or revision < stored.begins:
        begins = storage.history(since=table.revision, limit=0).begins
        raise RevisionNotFoundError(
            f"the routes of revision {revision} are not known; known are those from {begins} to {table.revision}"
            " and the snapshots"
        )
    routes: dict[str, Route | None] = {}
    for entry in stored.entries:
        if entry.route is not None and entry.revision <= table.revision:
            if entry.route not in routes:
                routes[entry.route] = table.get(entry.route) if entry.route in table else None
            routes[entry.route] = undone(entry, routes[entry.route])
    return routes


def differences(table: RouteTable, storage: BaseStorage, first: int, second: int) -> RouteDiff:
    """How the routes of two revisions differ. Raises as ``changed_since`` does."""
    before, after = (changed_since(table, storage, revision) for revision in (first, second))

    def at(state: Mapping[str, Route | None], name: str) -> Route | None:
        return state[name] if name in state else table.get(name) if name in table else None

    pairs = {name: (at(before, name), at(after, name)) for name in sorted({*before, *after})}
    changes = tuple(_change(name, *pair) for name, pair in pairs.items() if pair[0] != pair[1])
    return RouteDiff(first=first, second=second, changes=changes)


def _change(name: str, before: Route | None, after: Route | None) -> RouteChange:
    operation: Operation = "add" if before is None else "delete" if after is None else "update"
    return RouteChange(name=name, operation=operation, before=before, after=after)


def _only(route: Route | None, other: Route | None) -> tuple[str, ...]:
    had = set(other.utterances) if other else set()
    return tuple(text for text in route.utterances if text not in had) if route else ()
