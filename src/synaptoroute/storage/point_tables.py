"""The operating point that somebody set, in SQLite: statements that run inside a transaction of the store."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from synaptoroute.storage.base import ChosenPoint
from synaptoroute.storage.checksums import checksum
from synaptoroute.storage.route_tables import require_sound


def read(connection: sqlite3.Connection, where: str) -> ChosenPoint | None:
    """The one that is stored; None if none is. Raises StorageCorruptError, naming the store as ``where``."""
    row = connection.execute("SELECT min_confidence, actor, at, crc32 FROM chosen_point").fetchone()
    if row is None:
        return None
    require_sound(where, row[3], *row[:3])
    return ChosenPoint(min_confidence=row[0], actor=row[1], at=datetime.fromisoformat(row[2]))


def save(connection: sqlite3.Connection, point: ChosenPoint | None) -> None:
    """Put this one in the place of any other."""
    connection.execute("DELETE FROM chosen_point")
    if point is not None:
        said = float(point.min_confidence), point.actor, point.at.astimezone(UTC).isoformat()
        insert = "INSERT INTO chosen_point (only, min_confidence, actor, at, crc32) VALUES (1, ?, ?, ?, ?)"
        connection.execute(insert, (*said, checksum(*said)))
