"""Files of lines that cannot grow without end, and a thread that writes them while others go on."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import IO, TypeAlias

from synaptoroute.errors import StorageError
from synaptoroute.forking import close_at_exit

#: Makes the line of a place, with its end.
Lines: TypeAlias = Callable[[int], bytes]

#: Lines are written together, this often: a thread that woke at every query would take turns with it.
_GATHER_S = 0.2
#: Notes whose lines are written before they are counted.
_AT_ONCE = 256
#: A disk that does not take lines is complained about this often.
_COMPLAIN_EVERY_S = 60.0

logger = logging.getLogger(__name__)


class RotatingFile:
    """A file of bounded size, and its predecessors with ``.1``, ``.2`` at their names' end. One thread at a time.

    Args:
        path: Of the file; its folder is made. Read by its owner alone.
        max_bytes: Size at which it is full.
        files: Full files that are kept.

    Raises:
        StorageError: It cannot be written.
    """

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self.path = path
        self._max_bytes, self._files = max_bytes, files
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] | None = self._opened()
        except OSError as exc:
            raise StorageError(f"records of decisions cannot be written to {path}: {exc.strerror}") from exc

    def write(self, line: bytes) -> None:
        """Append a line, to a new file if this one is full. Raises OSError."""
        file = self._file if self._file is not None else self._opened()
        self._file = file
        if self._size and self._size + len(line) > self._max_bytes:
            file.close()
            self._file = None
            self._shift()
            self._file = file = self._opened()
        file.write(line)
        self._size += len(line)

    def flush(self) -> None:
        """Hand what was written to the system. Raises OSError."""
        if self._file is not None:
            self._file.flush()

    def abandon(self) -> None:
        """After an error: what is in the buffer is lost, the file is opened anew."""
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                file.close()

    def close(self) -> None:
        """No more is written."""
        self.abandon()

    def _opened(self) -> IO[bytes]:
        opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        file = os.fdopen(opened, "ab", buffering=1 << 16)
        self._size = os.fstat(opened).st_size
        if self._size and not _ends_a_line(self.path):
            # A process died while it wrote: what it left is a line of its own, which readers skip.
            file.write(b"\n")
            self._size += 1
        return file

    def _shift(self) -> None:
        numbered = [self.path, *(self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self._files + 1))]
        for former, later in reversed(list(pairwise(numbered))):
            if former.exists():
                former.replace(later)
        if not self._files:
            self.path.unlink(missing_ok=True)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


class LineWriter:
    """A thread that writes lines which are made in it; whoever adds some does not wait.

    Args:
        file: Where to.
        room: Lines that wait at most; what comes while so many wait is dropped.

    Attributes:
        written: Lines that were written.
        dropped: Lines that were not, because too many waited or the disk did not take them.
    """

    def __init__(self, file: RotatingFile, room: int) -> None:
        self._file, self._room = file, room
        self._notes: deque[tuple[Lines, int]] = deque()
        self._waiting = 0
        self._noting = threading.Lock()
        self._wanted = threading.Event()
        self._flushed = threading.Condition()
        self._done = self._noted = 0
        self._stopping = False
        self._complained = -_COMPLAIN_EVERY_S
        self.written = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="synaptoroute-records", daemon=True)
        self._thread.start()
        close_at_exit(self, LineWriter.close)

    def add(self, lines: Lines, count: int) -> None:
        """So many lines, which are made when their turn comes: ``lines(0)`` is the first of them."""
        with self._noting:
            if self._waiting + count > self._room or self._stopping:
                self.dropped += count
                return
            self._waiting += count
            self._noted += count
            self._notes.append((lines, count))
            wake = self._waiting * 2 > self._room
        if wake:
            self._wanted.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was added by now is written or dropped; False if that took longer than the timeout."""
        noted = self._noted
        self._wanted.set()
        with self._flushed:
            return self._flushed.wait_for(lambda: self._done >= noted, timeout_s)

    def close(self) -> None:
        """Write what waits, and end. Closing twice is fine."""
        with self._noting:
            self._stopping = True
        self._wanted.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._wanted.wait(_GATHER_S)
            self._wanted.clear()
            stopping = self._stopping
            while self._notes:
                take = self._notes.popleft
                self._write([take() for _ in range(min(len(self._notes), _AT_ONCE))])
            self._flush()
            if stopping and not self._notes:
                self._file.close()
                return

    def _write(self, notes: list[tuple[Lines, int]]) -> None:
        written = added = 0
        for lines, count in notes:
            added += count
            try:
                for place in range(count):
                    self._file.write(lines(place))
                    written += 1
            except OSError as exc:
                self._failed(exc)
        # Once for many: a thread that waits for the lock loses its turn at the interpreter.
        with self._noting:
            self._waiting -= added
            self.written += written
            self.dropped += added - written
        self._done += added

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError as exc:
            self._failed(exc)
        with self._flushed:
            self._flushed.notify_all()

    def _failed(self, exc: OSError) -> None:
        self._file.abandon()
        if time.monotonic() - self._complained >= _COMPLAIN_EVERY_S:
            self._complained = time.monotonic()
            logger.error("records of decisions cannot be written to %s: %s", self._file.path, exc.strerror)
