"""Reading routes and their utterances in SQLite: statements that run inside a transaction of the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

import numpy as np

from synaptoroute.errors import InvalidInputError, StorageCorruptError
from synaptoroute.models import Route
from synaptoroute.storage import state_tables
from synaptoroute.storage.base import Vectors
from synaptoroute.storage.checksums import Field, is_sound


def read(
    connection: sqlite3.Connection, where: str, dim: int, since: int | None = None
) -> Iterator[tuple[Route, bytes]]:
    """Routes, in the order they were added, each with the vectors of its utterances.

    Args:
        connection: In a transaction, so that all are of one revision.
        where: The store, for messages.
        dim: Numbers in each vector.
        since: Only routes that were changed after this revision.

    Raises:
        StorageCorruptError: A row is not what was written, or a route is missing.
    """
    query = (
        "SELECT routes.id, name, threshold, description, metadata, routes.revision, routes.crc32, "
        "text, vector, utterances.crc32 FROM routes "
        "LEFT JOIN utterances ON route_id = routes.id {} ORDER BY routes.id, utterances.id"
    )
    if since is None:
        rows = connection.execute(query.format(""))
    else:
        changed = "WHERE routes.id IN (SELECT id FROM routes WHERE revision > ?)"
        rows = connection.execute(query.format(changed), (since,))
    count = 0
    for (route_id, *fields, revision, crc32), group in groupby(rows, itemgetter(*range(7))):
        utterances = [row[7:] for row in group]
        require_sound(where, crc32, route_id, *fields, revision, len(utterances))
        vectors = b"".join(sound(where, vector, crc32, dim, route_id, text) for text, vector, crc32 in utterances)
        yield route(where, [text for text, _, _ in utterances], *fields), vectors
        count += 1
    if since is None and count != (state_tables.route_count(connection) or count):
        raise StorageCorruptError(f"{where} has lost routes; restore a backup")


def batches(
    connection: sqlite3.Connection, where: str, dim: int, rows: int
) -> Iterator[tuple[tuple[Route, ...], Vectors]]:
    """All routes, in batches of at least so many utterances, but the last. See ``read``."""
    routes: list[Route] = []
    content = bytearray()
    for its_route, vectors in read(connection, where, dim):
        routes.append(its_route)
        content += vectors
        if len(content) >= 4 * dim * rows:
            yield tuple(routes), vectors_of(content, dim)
            routes, content = [], bytearray()
    if routes:
        yield tuple(routes), vectors_of(content, dim)


def without_vectors(connection: sqlite3.Connection, where: str) -> tuple[Route, ...]:
    """All routes, whichever encoder they were stored with."""
    texts: dict[int, list[str]] = {}
    for route_id, text in connection.execute("SELECT route_id, text FROM utterances ORDER BY route_id, id"):
        texts.setdefault(route_id, []).append(text)
    query = "SELECT id, name, threshold, description, metadata FROM routes ORDER BY id"
    return tuple(route(where, texts.get(row[0], []), *row[1:]) for row in connection.execute(query))


def revision_of(connection: sqlite3.Connection, name: str) -> int:
    """The revision that changed the route last; 0 if there is none of that name."""
    row = connection.execute("SELECT revision FROM routes WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def route(
    where: str, utterances: list[str], name: str, threshold: float | None, description: str | None, metadata: str
) -> Route:
    """A route from what its rows say. Raises StorageCorruptError if that is none."""
    try:
        return Route(
            name=name,
            utterances=utterances,
            threshold=threshold,
            description=description,
            metadata=json.loads(metadata),
        )
    except (ValueError, InvalidInputError) as exc:
        raise StorageCorruptError(f"{where}: route {name!r} is damaged ({exc}); restore a backup") from exc


def sound(where: str, vector: bytes | None, crc32: int, dim: int, *fields: Field) -> bytes:
    """The vector, if it and the other fields of its row are what was written. Raises StorageCorruptError."""
    if vector is None or len(vector) != 4 * dim:
        raise StorageCorruptError(f"{where}: a stored vector is damaged; restore a backup")
    require_sound(where, crc32, *fields, vector=vector)
    return vector


def require_sound(where: str, crc32: int | None, *fields: Field, vector: bytes = b"") -> None:
    """Raises StorageCorruptError unless a row is what was written."""
    if not is_sound(crc32, *fields, vector=vector):
        what = "vector" if vector else "value"
        raise StorageCorruptError(f"{where}: a stored {what} is damaged; restore a backup")


def vectors_of(content: bytes | bytearray, dim: int) -> Vectors:
    """The vectors whose bytes these are: (count, dim)."""
    return np.frombuffer(content, "<f4").reshape(-1, dim).astype(np.float32, copy=False)
