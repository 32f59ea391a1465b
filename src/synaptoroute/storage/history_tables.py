"""History and snapshots in SQLite: statements that run inside a transaction of the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime

from synaptoroute.errors import InvalidInputError, SnapshotNotFoundError
from synaptoroute.models import Route
from synaptoroute.storage.history import HistoryEntry, Snapshot, StoredHistory, packed

#: Entries that are kept, beside the bound on revisions; the newest commit keeps all of its own. An entry of an added
#: route takes about 100 bytes.
ENTRIES = 100_000


class Recorder:
    """Collects the entries of one commit and writes them at its end.

    Args:
        revision: What the commit leads to.
        actor: Who commits.
        cause: What it is part of.
    """

    def __init__(self, revision: int, actor: str | None, cause: str | None) -> None:
        self._revision = revision
        self._said = actor, datetime.now(UTC).isoformat(timespec="milliseconds"), cause
        self._rows: list[tuple[int, str, str | None, str | None, str, str | None, str | None]] = []

    def add(self, operation: str, route: str | None, undo: str | None = None) -> None:
        """One entry; see ``HistoryEntry``."""
        self._rows.append((self._revision, operation, route, *self._said, undo))

    def write(self, connection: sqlite3.Connection, *, revisions: int) -> None:
        """Write the entries and forget what is more than so many revisions, or ``ENTRIES`` entries, old."""
        insert = "INSERT INTO history (revision, operation, route, actor, at, cause, undo) VALUES (?, ?, ?, ?, ?, ?, ?)"
        connection.executemany(insert, self._rows)
        query = "SELECT coalesce(max(revision), 0) FROM history WHERE id = (SELECT max(id) FROM history) - ?"
        crowded_out = int(connection.execute(query, (ENTRIES,)).fetchone()[0])
        begins = min(max(self._revision - revisions, crowded_out), self._revision - 1)
        if begins > 0:
            connection.execute("DELETE FROM history WHERE revision <= ?", (begins,))
            connection.execute("UPDATE history_begins SET revision = max(revision, ?)", (begins,))


def read(connection: sqlite3.Connection, *, since: int, route: str | None, limit: int | None) -> StoredHistory:
    """See ``BaseStorage.history``."""
    begins = int(connection.execute("SELECT revision FROM history_begins").fetchone()[0])
    query = (
        "SELECT revision, operation, route, actor, at, cause, undo FROM history WHERE revision > ?1 "
        "AND (?2 IS NULL OR route = ?2) ORDER BY id DESC LIMIT ?3"
    )
    rows = connection.execute(query, (since, route, -1 if limit is None else limit))
    entries = tuple(
        HistoryEntry(
            revision=revision,
            operation=operation,
            route=name,
            actor=actor,
            at=datetime.fromisoformat(at),
            cause=cause,
            undo=undo,
        )
        for revision, operation, name, actor, at, cause, undo in rows
    )
    return StoredHistory(begins=begins, entries=entries)


def utterances_of(connection: sqlite3.Connection, route_id: int) -> list[str]:
    """The texts of a route, in order."""
    query = "SELECT text FROM utterances WHERE route_id = ? ORDER BY id"
    return [text for (text,) in connection.execute(query, (route_id,))]


def fields_of(threshold: float | None, description: str | None, metadata: str) -> dict[str, object]:
    """What ``undo_of_update`` wants, from a row of the table."""
    return {"threshold": threshold, "description": description, "metadata": json.loads(metadata)}


# ------------------------------------------------------------------------------------------------------ snapshots
def save_snapshot(
    connection: sqlite3.Connection, name: str, routes: Iterable[Route], *, revision: int, actor: str | None
) -> Snapshot:
    """See ``BaseStorage.save_snapshot``."""
    if connection.execute("SELECT 1 FROM snapshots WHERE name = ?", (name,)).fetchone():
        raise InvalidInputError(f"there is already a snapshot {name!r}; delete it first, or choose another name")
    routes = tuple(routes)
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    insert = "INSERT INTO snapshots (name, revision, routes, actor, at) VALUES (?, ?, ?, ?, ?) RETURNING id"
    snapshot_id = connection.execute(insert, (name, revision, len(routes), actor, at)).fetchone()[0]
    parts = ((snapshot_id, number, part) for number, part in enumerate(packed(routes)))
    connection.executemany("INSERT INTO snapshot_parts (snapshot_id, part, content) VALUES (?, ?, ?)", parts)
    return Snapshot(name=name, revision=revision, routes=len(routes), actor=actor, at=datetime.fromisoformat(at))


def snapshots(connection: sqlite3.Connection) -> tuple[Snapshot, ...]:
    """See ``BaseStorage.snapshots``."""
    rows = connection.execute("SELECT name, revision, routes, actor, at FROM snapshots ORDER BY id")
    return tuple(
        Snapshot(name=name, revision=revision, routes=count, actor=actor, at=datetime.fromisoformat(at))
        for name, revision, count, actor, at in rows
    )


def snapshot_parts(connection: sqlite3.Connection, name: str) -> list[bytes]:
    """What ``packed`` made of a snapshot's routes. Raises SnapshotNotFoundError."""
    query = "SELECT content FROM snapshot_parts WHERE snapshot_id = ? ORDER BY part"
    return [bytes(content) for (content,) in connection.execute(query, (_snapshot_id(connection, name),))]


def delete_snapshot(connection: sqlite3.Connection, name: str) -> None:
    """See ``BaseStorage.delete_snapshot``."""
    connection.execute("DELETE FROM snapshots WHERE id = ?", (_snapshot_id(connection, name),))


def _snapshot_id(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT id FROM snapshots WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise SnapshotNotFoundError(f"there is no snapshot {name!r}; 'routes snapshot list' names those there are")
    return int(row[0])
