"""What stands in an SQLite store under which name, read without NumPy, for shells that complete words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from synaptoroute.errors import StorageError
from synaptoroute.storage.opening import connect_to_read, require_ours, translated


def route_names(path: Path, *, beginning: str = "", limit: int = 1_000) -> list[str]:
    """The first names of routes that begin so, in alphabetical order.

    Raises:
        StorageError: There is no such file, or it cannot be read.
    """
    with _reading(path) as connection:
        rows = connection.execute(
            "SELECT name FROM routes WHERE substr(name, 1, ?) = ? ORDER BY name LIMIT ?",
            (len(beginning), beginning, limit),
        )
        return [name for (name,) in rows]


def snapshot_names(path: Path) -> list[str]:
    """The names of the snapshots in the order they were saved. Raises StorageError."""
    with _reading(path) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM snapshots ORDER BY id")]


def latest_changes(path: Path, *, limit: int = 50) -> list[tuple[int, str]]:
    """The latest revisions, newest first, each with what was done at which time. Raises StorageError."""
    with _reading(path) as connection:
        rows = connection.execute(
            "SELECT revision, min(at), operation, count(route), max(route) FROM history GROUP BY revision "
            "ORDER BY revision DESC LIMIT ?",
            (limit,),
        )
        return [
            (revision, f"{at[:19]} {operation} {route if count == 1 else f'{count} routes'}")
            for revision, at, operation, count, route in rows
        ]


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise StorageError(f"there is no store {path}")
    with translated(str(path), "read"), closing(connect_to_read(str(path))) as connection:
        require_ours(connection, str(path))
        yield connection
