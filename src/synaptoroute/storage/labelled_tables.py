"""Labelled queries and the operating point in SQLite: statements that run inside a transaction of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from synaptoroute.storage.base import LabelledQueries
from synaptoroute.storage.checksums import checksum
from synaptoroute.storage.route_tables import require_sound, sound, vectors_of


def read(connection: sqlite3.Connection, where: str, dim: int) -> LabelledQueries | None:
    """Those that are stored; None if none are. Raises StorageCorruptError, naming the store as ``where``."""
    rows = connection.execute("SELECT text, label, vector, crc32 FROM labelled_queries ORDER BY id").fetchall()
    if not rows:
        return None
    chosen = connection.execute("SELECT min_confidence, crc32 FROM operating_point").fetchone()
    if chosen:
        require_sound(where, chosen[1], chosen[0], len(rows))
    return LabelledQueries(
        texts=tuple(row[0] for row in rows),
        labels=tuple(row[1] for row in rows),
        vectors=vectors_of(b"".join(sound(where, vector, crc32, dim, *said) for *said, vector, crc32 in rows), dim),
        min_confidence=chosen[0] if chosen else None,
    )


def delete(connection: sqlite3.Connection) -> None:
    """Forget them all."""
    connection.execute("DELETE FROM labelled_queries")
    connection.execute("DELETE FROM operating_point")


def save(connection: sqlite3.Connection, encoder_id: int, labelled: LabelledQueries, blobs: Iterable[bytes]) -> None:
    """Store them where none are, with the bytes of their vectors."""
    insert = "INSERT INTO labelled_queries (text, label, encoder_id, vector, crc32) VALUES (?, ?, ?, ?, ?)"
    rows = zip(labelled.texts, labelled.labels, blobs, strict=True)
    connection.executemany(
        insert,
        ((text, label, encoder_id, blob, checksum(text, label, vector=blob)) for text, label, blob in rows),
    )
    point = None if labelled.min_confidence is None else float(labelled.min_confidence)
    connection.execute(
        "INSERT INTO operating_point (only, min_confidence, crc32) VALUES (1, ?, ?)",
        (point, checksum(point, len(labelled.texts))),
    )
