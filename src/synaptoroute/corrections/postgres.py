"""Feedback in the schema of a PostgreSQL store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from synaptoroute.corrections import rows
from synaptoroute.corrections.records import Feedback, FeedbackState

if TYPE_CHECKING:
    from synaptoroute.postgres.database import Database, PatientConnection

R = TypeVar("R")


class PostgresFeedback:
    """See ``FeedbackStorage``. Its tables are made with the first call.

    Args:
        database: Of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._preparing = threading.Lock()
        self._prepared = False

    def __repr__(self) -> str:
        return f"PostgresFeedback({self._database.shown!r})"

    def add(self, new: Feedback, *, most: int, keep_days: float | None) -> Feedback:
        """See ``FeedbackStorage.add``."""
        return self._do("write", lambda execute: rows.add(execute, new, most=most, keep_days=keep_days))

    def get(self, number: int) -> Feedback:
        """See ``FeedbackStorage.get``."""
        return self._do("read", lambda execute: rows.get(execute, number))

    def newest(
        self, *, state: FeedbackState | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[Feedback, ...]:
        """See ``FeedbackStorage.newest``."""
        return self._do("read", lambda execute: rows.newest(execute, state=state, before=before, limit=limit))

    def save(self, feedback: Feedback) -> Feedback:
        """See ``FeedbackStorage.save``."""
        return self._do("write", lambda execute: rows.save(execute, feedback))

    def forget(self, number: int) -> None:
        """See ``FeedbackStorage.forget``."""
        self._do("write", lambda execute: rows.forget(execute, number))

    def _do(self, doing: str, work: Callable[[rows.Execute], R]) -> R:
        self._prepare()
        with self._database.connected(doing) as connection, connection.transaction():
            if doing == "write":
                self._alone(connection)
            return work(_executing(connection))

    def _alone(self, connection: PatientConnection) -> None:
        """Until the transaction ends, others that want to write wait."""
        connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"feedback {self._database.shown}",))

    def _prepare(self) -> None:
        with self._preparing:
            if self._prepared:
                return
            with self._database.connected("write") as connection, connection.transaction():
                self._alone(connection)
                for statement in rows.SCHEMA:
                    connection.execute(statement)
            self._prepared = True


def _executing(connection: PatientConnection) -> rows.Execute:
    def execute(query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        cursor = connection.execute(query.replace("?", "%s"), tuple(values))
        return cursor.fetchall() if cursor.description else []

    return execute
