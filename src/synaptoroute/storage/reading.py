"""A store in an SQLite file, for processes that only read it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from synaptoroute.errors import StorageError, StorageForeignError
from synaptoroute.storage.migrations import MIGRATIONS
from synaptoroute.storage.opening import APPLICATION_ID, connect_to_read, foreign_refused
from synaptoroute.storage.sqlite import SQLiteStorage


class SQLiteReader(SQLiteStorage):
    """Reads what ``SQLiteStorage`` wrote; any number of processes may, beside the one that writes.

    It refuses every change, with StorageError. Changes by others are not followed: a router over it keeps
    the routes as they were when it was opened. What such a router learns is not kept, so let the writer learn first
    (``wait_until_fitted``), and readers find it.

    Args:
        path: The file, on a local disk: SQLite's write-ahead log does not work over a network.

    Raises:
        StorageForeignError: The file is not a SynaptoRoute database, or of another version's schema.
        StorageError: There is no such file, or it cannot be read.
    """

    def _connect(self) -> sqlite3.Connection:
        if not Path(self._path).exists():
            raise StorageError(f"there is no store {self._path}; make it with 'synaptoroute routes import'")
        with foreign_refused(self._path):
            connection = connect_to_read(self._path)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _become_writer(self, connection: sqlite3.Connection) -> None:  # noqa: ARG002 - as SQLiteStorage has it
        raise StorageError(f"{self._path} is open as a readonly store; change it through SQLiteStorage")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StorageForeignError(f"{self._path} is a database of another program; name another file")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != len(MIGRATIONS):
            raise StorageForeignError(
                f"{self._path} has schema {version}, wanted {len(MIGRATIONS)}; open it once for writing with this "
                "version of synaptoroute, or read it with the version that wrote it"
            )

    def save_learned(self, learned: bytes) -> None:
        """Does nothing: what is kept is a cache, and another process's."""
