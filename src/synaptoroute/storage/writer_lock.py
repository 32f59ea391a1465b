"""The right to write to a database file: one process has it at a time, and loses it with its life.

SQLite before 3.51.3 can damage a database when two connections write and checkpoint at the same moment (the WAL-reset
bug, sqlite.org/wal.html). So a process takes a lock beside the file before its first change, and within the process
one connection writes at a time.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from synaptoroute.errors import StorageError, StorageInUseError

#: Versions before this may corrupt a WAL database when two connections write and checkpoint at once.
WAL_RESET_FIXED_IN = (3, 51, 3)
_POLL_S = 0.01
_MOST_SAID_BYTES = 300

logger = logging.getLogger(__name__)


class _Held:
    """The lock of one file, shared by all stores of this process that write to it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.holders = 0
        self.serial = threading.RLock()


class _Process:
    """What this process holds."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.held: dict[str, _Held] = {}
        self.warned = False


_here = _Process()


def _forget_in_child() -> None:
    """A forked child has a copy of the descriptors, and would keep the lock after its parent's death."""
    global _here
    inherited, _here = _here, _Process()
    for held in inherited.held.values():
        with suppress(OSError):
            # This takes nothing from the parent: the kernel unlocks when the last copy is closed.
            os.close(held.descriptor)


os.register_at_fork(after_in_child=_forget_in_child)


class WriterLock:
    """One store's share of the right to write to one database file.

    The lock is ``flock`` on ``<file>-lock``, which stays there and names the process that holds it; that it is not
    empty tells that there has been something in the database. Several stores of one process share it; other processes,
    forked children among them, are refused.

    Args:
        path: The database.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._file = Path(f"{os.path.realpath(self._path)}-lock")
        self._mine: _Held | None = None

    @property
    def held(self) -> bool:
        """Whether this store may write."""
        return self._mine is not None and _here.held.get(str(self._file)) is self._mine

    @property
    def was_used(self) -> bool:
        """Whether anybody has ever written to the database, as far as the lock file knows."""
        try:
            return self._file.stat().st_size > 0
        except OSError:
            return False

    def acquire(self, wait_s: float = 0.0, *, making: bool = False) -> None:
        """Take the right to write; nothing happens if this store has it.

        Args:
            wait_s: How long to wait for another process.
            making: The database is only being made, and holds nothing yet.

        Raises:
            StorageInUseError: Another process has it.
            StorageError: The lock file cannot be made.
        """
        deadline = time.monotonic() + wait_s
        while not self.held:
            try:
                self._try_acquire()
                if not making:
                    self._say(f"{os.getpid()} {socket.gethostname()}\n")
            except StorageInUseError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_S)

    def _try_acquire(self) -> None:
        with _here.guard:
            held = _here.held.get(str(self._file))
            if held is None:
                held = _here.held[str(self._file)] = _Held(self._locked())
            held.holders += 1
            self._mine = held
        _warn_once()

    def _locked(self) -> int:
        descriptor = -1
        try:
            descriptor = self._opened()
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno == errno.EWOULDBLOCK:
                raise self._in_use(descriptor) from None
            raise StorageError(f"cannot write {self._path}: its lock {self._file}: {exc.strerror}") from exc
        else:
            locked, descriptor = descriptor, -1
            return locked
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _say(self, what: str) -> None:
        """For people, and for ``was_used``: a full disk must not forbid what would make room."""
        assert self._mine is not None  # noqa: S101 - the callers have acquired it
        with suppress(OSError):
            os.pwrite(self._mine.descriptor, what.encode(), 0)
            os.ftruncate(self._mine.descriptor, len(what.encode()))

    def _opened(self) -> int:
        try:
            return os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except PermissionError:
            # Another user's lock can be held without being written.
            return os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)

    def _in_use(self, descriptor: int) -> StorageInUseError:
        said = os.pread(descriptor, _MOST_SAID_BYTES, 0).decode(errors="replace").split()
        pid = int(said[0]) if said and said[0].isascii() and said[0].isdecimal() else None
        holder = "another process" if pid is None else f"process {pid}"
        if pid is not None and said[1:] and said[1] != socket.gethostname():
            holder += f" on {said[1]}"
        return StorageInUseError(
            f"{self._path} is being written by {holder}, and only one process at a time may write to it; make the "
            "change there, or stop it first",
            pid,
        )

    def release(self) -> None:
        """Give the right back; nothing happens without it."""
        with _here.guard:
            held = self._mine
            if held is not None and _here.held.get(str(self._file)) is held:
                held.holders -= 1
                if not held.holders:
                    if self.was_used:
                        self._say("nobody\n")
                    del _here.held[str(self._file)]
                    os.close(held.descriptor)
            self._mine = None

    @contextmanager
    def serialised(self) -> Iterator[None]:
        """Hold off the other writing connections of this process, checkpoints included. Needs the right to write."""
        assert self._mine is not None  # noqa: S101 - the callers have acquired it
        with self._mine.serial:
            yield


def _warn_once() -> None:
    if _here.warned or sqlite3.sqlite_version_info >= WAL_RESET_FIXED_IN:
        return
    _here.warned = True
    logger.warning(
        "SQLite %s has the WAL-reset bug (sqlite.org/wal.html): do not let other programs write to the databases of "
        "SynaptoRoute, which lets one process at a time write; a Python built with SQLite %s or later has it fixed",
        sqlite3.sqlite_version,
        ".".join(map(str, WAL_RESET_FIXED_IN)),
    )
