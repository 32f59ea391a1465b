"""Routes as rows in SQLite, put and dropped: statements that run inside a transaction of the store.

Changes are written together, not route by route: the driver gives the interpreter away at every statement, so that
each costs a change that is made beside busy threads up to the 5 ms after which those give it back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from synaptoroute.storage import history_tables, route_tables
from synaptoroute.storage.base import Change, DropRoute, PutRoute, Vectors
from synaptoroute.storage.checksums import checksum
from synaptoroute.storage.history import undo_of_delete, undo_of_update
from synaptoroute.storage.history_tables import Recorder

#: Names in one query, far below the 32,766 parameters that SQLite takes.
_NAMES_AT_ONCE = 500

#: Id, threshold, description and metadata of a route as they are stored.
_Stored = tuple[int, float | None, str | None, str]


def write(
    connection: sqlite3.Connection,
    path: str,
    changes: Sequence[Change],
    *,
    encoder_id: int,
    revision: int,
    history: int,
    recorder: Recorder,
) -> int:
    """Make these changes one after another.

    Args:
        connection: In a transaction that writes.
        path: Of the store, for messages.
        changes: In their order; a route may be changed several times.
        encoder_id: Whose vectors they bring.
        revision: What they lead to.
        history: For how many revisions what was dropped is remembered.
        recorder: Told of each.

    Returns:
        How many routes there are more.

    Raises:
        StorageCorruptError: A stored route that is dropped is damaged.
    """
    more, dropped = 0, False
    for run in _runs(changes):
        if isinstance(run, DropRoute):
            more -= _drop(connection, path, run.name, revision, recorder)
            dropped = True
        else:
            more += _put(connection, run, encoder_id, revision, recorder)
    if dropped:
        connection.execute("DELETE FROM dropped WHERE revision <= ?", (revision - history,))
    return more


def _runs(changes: Iterable[Change]) -> Iterator[DropRoute | dict[str, PutRoute]]:
    """Drops, and between them puts of different routes by name: what may be written together."""
    puts: dict[str, PutRoute] = {}
    for change in changes:
        if puts and (isinstance(change, DropRoute) or change.route.name in puts):
            yield puts
            puts = {}
        if isinstance(change, DropRoute):
            yield change
        else:
            puts[change.route.name] = change
    if puts:
        yield puts


def _put(
    connection: sqlite3.Connection,
    puts: Mapping[str, PutRoute],
    encoder_id: int,
    revision: int,
    recorder: Recorder,
) -> int:
    stored = _stored(connection, list(puts))
    # As SQLite itself would number them.
    last_id = int(connection.execute("SELECT coalesce(max(id), 0) FROM routes").fetchone()[0])
    ids: dict[str, int] = {}
    new: list[tuple[object, ...]] = []
    changed: list[tuple[object, ...]] = []
    for name, change in puts.items():
        before = stored.get(name)
        if before is None:
            last_id += 1
            ids[name] = last_id
            recorder.add("add", name)
        else:
            ids[name] = before[0]
            recorder.add("update", name, _undo(connection, change, before))
        route = change.route
        fields = (name, route.threshold, route.description, json.dumps(route.metadata), revision)
        crc32 = checksum(ids[name], *fields, len(route.utterances))
        (new if before is None else changed).append((*fields, crc32, ids[name]))
    insert = (
        "INSERT INTO routes (name, threshold, description, metadata, revision, crc32, id) VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    update = (
        "UPDATE routes SET name = ?, threshold = ?, description = ?, metadata = ?, revision = ?, crc32 = ? WHERE id = ?"
    )
    removed = [(ids[name], text) for name, change in puts.items() for text in change.removed]
    _many(connection, insert, new)
    _many(connection, update, changed)
    _many(connection, "DELETE FROM utterances WHERE route_id = ? AND text = ?", removed)
    connection.executemany(
        "INSERT INTO utterances (route_id, text, encoder_id, vector, crc32) VALUES (?, ?, ?, ?, ?)",
        _utterances(puts, ids, encoder_id),
    )
    return len(new)


def _undo(connection: sqlite3.Connection, change: PutRoute, before: _Stored) -> str:
    return undo_of_update(
        history_tables.fields_of(*before[1:]),
        change.route,
        added=len(change.added),
        removed=change.removed,
        utterances=history_tables.utterances_of(connection, before[0]) if change.removed else (),
    )


def _utterances(
    puts: Mapping[str, PutRoute], ids: Mapping[str, int], encoder_id: int
) -> Iterator[tuple[int, str, int, memoryview, int]]:
    for name, change in puts.items():
        route_id, content = ids[name], memoryview(blob(change.vectors))
        size = 4 * change.vectors.shape[1]
        for place, text in enumerate(change.added):
            vector = content[place * size : (place + 1) * size]
            yield route_id, text, encoder_id, vector, checksum(route_id, text, vector=vector)


def _drop(connection: sqlite3.Connection, path: str, name: str, revision: int, recorder: Recorder) -> int:
    """Drop a route. Returns how many there are fewer."""
    row = _stored(connection, [name]).get(name)
    gone = 0
    if row is not None:
        before = route_tables.route(path, history_tables.utterances_of(connection, row[0]), name, *row[1:])
        recorder.add("delete", name, undo_of_delete(before))
        gone = connection.execute("DELETE FROM routes WHERE id = ?", (row[0],)).rowcount
    connection.execute("INSERT OR IGNORE INTO dropped (revision, name) VALUES (?, ?)", (revision, name))
    return gone


def _stored(connection: sqlite3.Connection, names: Sequence[str]) -> dict[str, _Stored]:
    """Those of these routes that there are, by name."""
    found: dict[str, _Stored] = {}
    for start in range(0, len(names), _NAMES_AT_ONCE):
        part = names[start : start + _NAMES_AT_ONCE]
        places = ", ".join("?" * len(part))
        query = f"SELECT name, id, threshold, description, metadata FROM routes WHERE name IN ({places})"  # noqa: S608 - question marks
        found.update((row[0], row[1:]) for row in connection.execute(query, part))
    return found


def _many(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        connection.executemany(statement, rows)


def blob(vectors: Vectors) -> bytes:
    """As they are stored."""
    return vectors.astype("<f4", copy=False).tobytes()
