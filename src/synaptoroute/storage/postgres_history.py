"""History and snapshots in PostgreSQL: statements that run inside a transaction of the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from synaptoroute.errors import InvalidInputError, SnapshotNotFoundError
from synaptoroute.models import Route
from synaptoroute.postgres.database import PatientConnection
from synaptoroute.storage.base import Change, DropRoute, PutRoute, require_revision
from synaptoroute.storage.history import (
    HistoryEntry,
    Snapshot,
    StoredHistory,
    packed,
    undo_of_delete,
    undo_of_update,
)
from synaptoroute.storage.history_tables import ENTRIES
from synaptoroute.storage.postgres_rows import given, route

_BEFORE = "SELECT name, revision, threshold, description, metadata FROM routes WHERE name = ANY(%s)"
_UTTERANCES = (
    "SELECT name, text FROM routes JOIN utterances ON route_id = routes.id WHERE name = ANY(%s) ORDER BY utterances.id"
)
_INSERT = (
    "INSERT INTO history (revision, operation, route, actor, at, cause, undo) "
    "SELECT %(revision)s, operation, route, %(actor)s, now(), %(cause)s, undo "
    "FROM unnest(%(operations)s::text[], %(routes)s::text[], %(undos)s::text[]) AS new (operation, route, undo)"
)
_FORGET = (
    "WITH old AS (SELECT least(greatest(%(revision)s - %(revisions)s, coalesce((SELECT revision FROM history "
    "WHERE id <= (SELECT max(id) FROM history) - %(entries)s ORDER BY id DESC LIMIT 1), 0)), %(revision)s - 1) "
    "AS begins), gone AS (DELETE FROM history USING old WHERE revision <= begins AND begins > 0) "
    "UPDATE history_begins SET revision = greatest(revision, begins) FROM old WHERE begins > 0"
)


class Before:
    """The routes that a commit is about, as they were: asked for at once, read when the answers are there.

    Args:
        connection: Inside the transaction, and behind its lock.
        changes: What shall change.
        expected: Whose revisions are needed too.
    """

    def __init__(self, connection: PatientConnection, changes: Sequence[Change], expected: Mapping[str, int]) -> None:
        names = {_name(change) for change in changes}
        # Only what goes must be known in full, to be put back.
        whole = {_name(change) for change in changes if isinstance(change, DropRoute) or change.removed}
        self._fields = connection.execute(_BEFORE, ([*names, *expected],))
        self._texts = connection.execute(_UTTERANCES, (list(whole),)) if whole else None
        self._whole = whole

    def read(self) -> None:
        """Wait for the answers."""
        self.revisions: dict[str, int] = {}
        self.fields: dict[str, tuple[Any, ...]] = {}
        for name, revision, threshold, description, metadata in self._fields.fetchall():
            self.revisions[name] = revision
            self.fields[name] = threshold, None if description is None else given(description), metadata
        self.texts: dict[str, list[str]] = {name: [] for name in self._whole}
        for name, text in self._texts.fetchall() if self._texts else ():
            self.texts[name].append(given(text))

    def require(self, expected: Mapping[str, int]) -> None:
        """Raise RevisionConflictError unless these routes changed last at these revisions."""
        for name, revision in expected.items():
            require_revision(name, seen=self.revisions.get(name, 0), expected=revision)

    def entries(self, changes: Sequence[Change], where: str) -> list[tuple[str, str, str | None]]:
        """Operation, route and undo of each change, in order; each is based on the one before."""
        found: list[tuple[str, str, str | None]] = []
        for change in changes:
            name = _name(change)
            fields = self.fields.get(name)
            if isinstance(change, PutRoute):
                found.append(("add", name, None) if fields is None else ("update", name, self._undo(change, fields)))
                after = change.route
                self.fields[name] = after.threshold, after.description, json.dumps(after.metadata)
                self.texts[name] = list(after.utterances)
            elif fields is not None:
                before = route(self.texts[name], (name, *fields), where, plain=True)
                found.append(("delete", name, undo_of_delete(before)))
                del self.fields[name]
        return found

    def _undo(self, change: PutRoute, fields: tuple[Any, ...]) -> str:
        threshold, description, metadata = fields
        return undo_of_update(
            {"threshold": threshold, "description": description, "metadata": json.loads(metadata)},
            change.route,
            added=len(change.added),
            removed=change.removed,
            utterances=self.texts[change.route.name] if change.removed else (),
        )


def _name(change: Change) -> str:
    return change.route.name if isinstance(change, PutRoute) else change.name


def write(
    connection: PatientConnection,
    entries: Sequence[tuple[str, str | None, str | None]],
    *,
    revision: int,
    actor: str | None,
    cause: str | None,
    revisions: int,
) -> None:
    """Write the entries of a commit, and forget what is more than so many revisions, or ``ENTRIES`` entries, old."""
    operations, routes, undos = ([entry[part] for entry in entries] for part in range(3))
    said = {"revision": revision, "actor": actor, "cause": cause}
    connection.execute(_INSERT, {**said, "operations": operations, "routes": routes, "undos": undos})
    connection.execute(_FORGET, {"revision": revision, "revisions": revisions, "entries": ENTRIES})


def read(connection: PatientConnection, *, since: int, name: str | None, limit: int | None) -> StoredHistory:
    """See ``BaseStorage.history``."""
    row = connection.execute("SELECT revision FROM history_begins").fetchone()
    query = (
        "SELECT revision, operation, route, actor, at, cause, undo FROM history WHERE revision > %s "
        "AND (%s::text IS NULL OR route = %s) ORDER BY id DESC LIMIT %s"
    )
    rows = connection.execute(query, (since, name, name, limit)).fetchall()
    entries = tuple(
        HistoryEntry(
            revision=revision,
            operation=operation,
            route=of,
            actor=actor,
            at=at.astimezone(UTC),
            cause=cause,
            undo=undo,
        )
        for revision, operation, of, actor, at, cause, undo in rows
    )
    return StoredHistory(begins=0 if row is None else int(row[0]), entries=entries)


# ------------------------------------------------------------------------------------------------------ snapshots
def save_snapshot(
    connection: PatientConnection, name: str, routes: Iterable[Route], *, revision: int, actor: str | None
) -> Snapshot:
    """See ``BaseStorage.save_snapshot``."""
    routes = tuple(routes)
    at = datetime.now(UTC)
    at = at.replace(microsecond=at.microsecond // 1_000 * 1_000)
    insert = (
        "INSERT INTO snapshots (name, revision, routes, actor, at) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT DO NOTHING RETURNING id"
    )
    row = connection.execute(insert, (name, revision, len(routes), actor, at)).fetchone()
    if row is None:
        raise InvalidInputError(f"there is already a snapshot {name!r}; delete it first, or choose another name")
    with connection.cursor() as cursor:
        parts = [(row[0], number, part) for number, part in enumerate(packed(routes))]
        cursor.executemany("INSERT INTO snapshot_parts VALUES (%s, %s, %s)", parts)
    return Snapshot(name=name, revision=revision, routes=len(routes), actor=actor, at=at)


def snapshots(connection: PatientConnection) -> tuple[Snapshot, ...]:
    """See ``BaseStorage.snapshots``."""
    rows = connection.execute("SELECT name, revision, routes, actor, at FROM snapshots ORDER BY id").fetchall()
    return tuple(
        Snapshot(name=name, revision=revision, routes=count, actor=actor, at=at.astimezone(UTC))
        for name, revision, count, actor, at in rows
    )


def snapshot_parts(connection: PatientConnection, name: str) -> list[bytes]:
    """What ``packed`` made of a snapshot's routes. Raises SnapshotNotFoundError."""
    query = (
        "SELECT snapshots.id, content FROM snapshots LEFT JOIN snapshot_parts ON snapshot_id = snapshots.id "
        "WHERE name = %s ORDER BY part"
    )
    rows = connection.cursor(binary=True).execute(query, (name,)).fetchall()
    if not rows:
        raise _no_snapshot(name)
    return [bytes(content) for _, content in rows if content is not None]


def delete_snapshot(connection: PatientConnection, name: str) -> None:
    """See ``BaseStorage.delete_snapshot``."""
    if connection.execute("DELETE FROM snapshots WHERE name = %s RETURNING id", (name,)).fetchone() is None:
        raise _no_snapshot(name)


def _no_snapshot(name: str) -> SnapshotNotFoundError:
    return SnapshotNotFoundError(f"there is no snapshot {name!r}; 'routes snapshot list' names those there are")
