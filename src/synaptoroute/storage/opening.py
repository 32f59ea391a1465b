"""Opening the SQLite file: what it must be, how carefully it is read, and bringing it to the current schema."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from synaptoroute.errors import StorageCorruptError, StorageError, StorageForeignError
from synaptoroute.storage.migrations import MIGRATIONS
from synaptoroute.storage.writer_lock import WriterLock

#: "SynR" in the file's header says that the database is ours.
APPLICATION_ID = 0x53796E52
BUSY_TIMEOUT_S = 5.0
#: Pages in the write-ahead log from which the writer moves them into the database; SQLite's own default.
CHECKPOINT_PAGES = 1_000
_HEADER = b"SQLite format 3\x00"


def connect(path: str, lock: WriterLock) -> sqlite3.Connection:
    """A connection to the store in that file, which is created or brought to the current schema if need be.

    It does not checkpoint until told otherwise: only who holds the lock may. The lock is taken here only for as long as
    the file is being made or migrated.

    Raises:
        sqlite3.Error: For the caller to translate.
        StorageForeignError: The file is not ours, or a newer version wrote it.
        StorageInUseError: The file has to be migrated and another process is writing to it.
        StorageError: There cannot be a file.
    """
    if path != ":memory:":
        _require_place(Path(path))
        _require_content(Path(path), lock)
    with foreign_refused(path):
        return _prepared(path, lock)


def connect_to_read(path: str, *, still: bool = False) -> sqlite3.Connection:
    """A connection that cannot write, to a file that is there.

    Args:
        path: The file.
        still: Nobody else has it open, and no log belongs to it: it is read without making one.

    Raises:
        sqlite3.Error: For the caller to translate.
    """
    # SQLite makes a log to read, which only a connection that could write takes away again. But that one would also
    # bring a log that is there into the file, which may be damaged.
    connection = _connect(path, "ro" if Path(f"{path}-wal").exists() else "rw", still=still)
    try:
        connection.execute("PRAGMA query_only = ON")
        return careful(connection)
    except BaseException:
        connection.close()
        raise


def _prepared(path: str, lock: WriterLock) -> sqlite3.Connection:
    connection = _connect(path, "rwc")
    try:
        careful(connection)
        require_ours(connection, path)
        if path == ":memory:":
            _migrate(connection)
        elif not _is_current(connection, path):
            had = lock.held
            lock.acquire(BUSY_TIMEOUT_S, making=True)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                _migrate(connection)
            finally:
                if not had:
                    lock.release()
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: str, mode: str, *, still: bool = False) -> sqlite3.Connection:
    if path == ":memory:":
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    options = "immutable=1" if still or _is_read_only_and_still(path) else f"mode={mode}"
    return sqlite3.connect(
        f"{Path(path).absolute().as_uri()}?{options}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def careful(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection, with everything on that keeps it from trusting its file, and without checkpoints."""
    pragmas = ("foreign_keys = ON", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0")
    for pragma in (*pragmas, "wal_autocheckpoint = 0"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _require_place(path: Path) -> None:
    try:
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except PermissionError as exc:
        raise StorageError(f"cannot look into {path.parent}: {exc.strerror}; take a folder that may be read") from exc
    if is_folder:
        raise StorageForeignError(f"{path} is a folder, wanted a file")
    if not has_folder:
        raise StorageError(f"the folder {path.parent} does not exist; create it first")


def _require_content(path: Path, lock: WriterLock) -> None:
    """SQLite takes an empty file for a new database, and would begin anew where a truncated one was."""
    try:
        empty = path.stat().st_size == 0
    except OSError:
        return
    if empty and lock.was_used:
        raise StorageCorruptError(
            f"{path} is empty, but has been written to before; restore a backup, or delete it and {path}-lock to begin "
            "anew"
        )


def _is_read_only_and_still(path: str) -> bool:
    """Whether the file lies where nothing can be written and has no log: SQLite could not make one to read it."""
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 - beside the calls of os below
    if os.access(folder, os.W_OK) or not os.path.exists(path):  # noqa: PTH110
        return False
    return not any(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-shm"))


@contextmanager
def foreign_refused(path: str) -> Iterator[None]:
    """Raise StorageForeignError where SQLite only says 'not a database': it says so of ours with a damaged head too.

    The file is looked at only after SQLite has failed: closing it drops the locks that this process has on it
    (sqlite.org/howtocorrupt.html, 2.2), those of SQLite's own connections among them.
    """
    try:
        yield
    except sqlite3.DatabaseError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
            raise
        try:
            with Path(path).open("rb") as file:
                header = file.read(len(_HEADER))
        except OSError as unreadable:
            raise StorageError(f"cannot read {path}: {unreadable.strerror}") from unreadable
        if header == _HEADER:
            raise
        raise StorageForeignError(
            f"{path} is not a SynaptoRoute database (its first bytes are not SQLite's); name another file"
        ) from exc


def require_ours(connection: sqlite3.Connection, path: str) -> None:
    """Raise StorageForeignError if the database is not ours or is of a newer version, or StorageCorruptError."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    has_tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] > 0
    if has_tables and application_id != APPLICATION_ID:
        raise StorageForeignError(f"{path} is a database of another program; name another file")
    if version > len(MIGRATIONS):
        raise StorageForeignError(
            f"{path} has schema {version}, this version knows up to {len(MIGRATIONS)}; upgrade synaptoroute"
        )
    if application_id == APPLICATION_ID and version > 0 and not has_tables:
        raise StorageCorruptError(f"{path} has lost its tables; restore a backup")


def _is_current(connection: sqlite3.Connection, path: str) -> bool:
    if connection.execute("PRAGMA user_version").fetchone()[0] != len(MIGRATIONS):
        return False
    # A file that is read without a log does not say that it has one when it is written.
    return _is_read_only_and_still(path) or connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def _migrate(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        with transaction(connection):
            # An older version, which takes no lock, may have migrated between our look and our transaction.
            if connection.execute("PRAGMA user_version").fetchone()[0] >= number:
                continue
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            connection.execute("INSERT INTO migrations (version, applied_at) VALUES (?, ?)", (number, now))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")


@contextmanager
def translated(path: str, doing: str) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        raise StorageError(f"cannot {doing} {path}: {exc}") from exc
    except sqlite3.DatabaseError as exc:
        raise StorageCorruptError(
            f"cannot {doing} {path}: {exc}; the file is damaged, see 'synaptoroute verify' and 'repair', or restore it "
            "from a backup"
        ) from exc


@contextmanager
def transaction(connection: sqlite3.Connection, mode: str = "IMMEDIATE") -> Iterator[None]:
    """Commit at the end, roll back on any error. IMMEDIATE takes the write lock first: no upgrade can fail midway."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has already rolled back after some errors, such as a full disk.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
