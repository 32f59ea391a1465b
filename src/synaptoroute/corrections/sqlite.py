"""Feedback in an SQLite file of its own."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from synaptoroute.corrections import rows
from synaptoroute.corrections.records import Feedback, FeedbackState
from synaptoroute.errors import StorageForeignError
from synaptoroute.storage.opening import transaction, translated

#: "SRfb", so that the file of something else is never written to.
APPLICATION_ID = 0x53526662
#: How long one process waits while another writes.
_WAIT_S = 10.0


class SQLiteFeedback:
    """See ``FeedbackStorage``. Several processes may write, one after another.

    Every call opens the file and closes it again, so nothing is held across a fork. There is no write-ahead log, which
    before SQLite 3.51.3 must not be written by several processes.

    Args:
        path: The file; made with the first feedback. ":memory:" keeps everything in this process.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._lock = threading.Lock()
        self._memory = (
            sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            if self._path == ":memory:"
            else None
        )

    @property
    def path(self) -> str:
        """Where the file is; ":memory:" for none."""
        return self._path

    def __repr__(self) -> str:
        return f"SQLiteFeedback({self._path!r})"

    def add(self, new: Feedback, *, most: int, keep_days: float | None) -> Feedback:
        """See ``FeedbackStorage.add``."""
        with self._writing() as execute:
            return rows.add(execute, new, most=most, keep_days=keep_days)

    def get(self, number: int) -> Feedback:
        """See ``FeedbackStorage.get``."""
        with self._reading() as execute:
            return rows.get(execute, number)

    def newest(
        self, *, state: FeedbackState | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[Feedback, ...]:
        """See ``FeedbackStorage.newest``."""
        with self._reading() as execute:
            return rows.newest(execute, state=state, before=before, limit=limit)

    def save(self, feedback: Feedback) -> Feedback:
        """See ``FeedbackStorage.save``."""
        with self._writing() as execute:
            return rows.save(execute, feedback)

    def forget(self, number: int) -> None:
        """See ``FeedbackStorage.forget``."""
        with self._writing() as execute:
            rows.forget(execute, number)

    @contextmanager
    def _reading(self) -> Iterator[rows.Execute]:
        if self._memory is None and not Path(self._path).exists():
            yield _nothing
            return
        with self._transaction("read", "DEFERRED") as execute:
            yield execute

    @contextmanager
    def _writing(self) -> Iterator[rows.Execute]:
        with self._transaction("write", "IMMEDIATE") as execute:
            yield execute

    @contextmanager
    def _transaction(self, doing: str, mode: str) -> Iterator[rows.Execute]:
        with self._lock, translated(self._path, doing), self._connected() as connection:
            self._prepare(connection)
            with transaction(connection, mode):
                yield lambda query, values: connection.execute(query, tuple(values)).fetchall()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        if self._memory is not None:
            yield self._memory
            return
        with closing(sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            # What is deleted shall not be read from free pages: these are texts of people.
            connection.execute("PRAGMA secure_delete = ON")
            yield connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if _is_ours(connection):
            return
        with transaction(connection):
            # Once more, now that nobody else can be making it.
            if _is_ours(connection):
                return
            if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
                raise StorageForeignError(f"{self._path} is a database of something else; move it away")
            for statement in rows.SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _is_ours(connection: sqlite3.Connection) -> bool:
    found: int = connection.execute("PRAGMA application_id").fetchone()[0]
    return found == APPLICATION_ID


def _nothing(_query: str, _values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What every question to a file that is not there yet gets."""
    return []
