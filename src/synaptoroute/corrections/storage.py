"""What keeps feedback: a small seam with one implementation for each store of routes."""

from __future__ import annotations

from typing import Protocol

from synaptoroute.corrections.records import Feedback, FeedbackState
from synaptoroute.storage.base import BaseStorage
from synaptoroute.storage.postgres import PostgresStorage
from synaptoroute.storage.sqlite import SQLiteStorage


class FeedbackStorage(Protocol):
    """A bounded set of feedback. May be used from any thread and, unless it is in memory, from several processes."""

    def add(self, new: Feedback, *, most: int, keep_days: float | None) -> Feedback:
        """Keep feedback, durably; the same said again of the same text is counted instead.

        Args:
            new: Its id does not matter.
            most: Where there are so many already, the oldest that are decided are forgotten.
            keep_days: What came last so many days before this is forgotten; None forgets nothing.

        Returns:
            What is stored.

        Raises:
            FeedbackFullError: All that there is waits for a decision.
            StorageError: It could not be written.
        """
        ...

    def get(self, number: int) -> Feedback:
        """The feedback of that number. Raises FeedbackNotFoundError."""
        ...

    def newest(
        self, *, state: FeedbackState | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[Feedback, ...]:
        """The last ones first.

        Args:
            state: Only those.
            before: Only those with a lower number.
            limit: At most so many.
        """
        ...

    def save(self, feedback: Feedback) -> Feedback:
        """Put it in the place of the one it was made of; returns it with its new version.

        Raises:
            FeedbackNotFoundError: It was forgotten meanwhile.
            RevisionConflictError: Somebody else has changed it meanwhile.
            StorageError: It could not be written.
        """
        ...

    def forget(self, number: int) -> None:
        """Delete it, with its text. Raises FeedbackNotFoundError."""
        ...


def feedback_storage_of(storage: BaseStorage) -> FeedbackStorage:
    """Where feedback about the routes of a store is kept.

    Beside an SQLite store, in a file of its own, ``<file>-feedback``: any process may add to it while another writes
    the routes, and it can be deleted without them. In the schema of a PostgreSQL store. For other stores, and for those
    in memory, it is kept in memory.
    """
    if isinstance(storage, PostgresStorage):
        from synaptoroute.corrections.postgres import PostgresFeedback

        return PostgresFeedback(storage.database)
    from synaptoroute.corrections.sqlite import SQLiteFeedback

    if isinstance(storage, SQLiteStorage) and storage.path != ":memory:":
        return SQLiteFeedback(f"{storage.path}-feedback")
    return SQLiteFeedback(":memory:")
