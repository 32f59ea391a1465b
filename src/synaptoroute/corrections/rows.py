"""Feedback as rows of a table: the statements, which both databases take alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from synaptoroute.corrections.records import Feedback, FeedbackState
from synaptoroute.errors import FeedbackFullError, FeedbackNotFoundError, RevisionConflictError, StorageCorruptError

#: The content is JSON in ASCII, so that every text goes into it; beside it is what is looked for.
SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS feedback (
        id      BIGINT PRIMARY KEY,
        digest  TEXT NOT NULL,
        state   TEXT NOT NULL,
        last_at TEXT NOT NULL,
        content TEXT NOT NULL
    )
    """,
    "CREATE TABLE IF NOT EXISTS feedback_numbers (last BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS feedback_by_digest ON feedback (digest)",
    "CREATE INDEX IF NOT EXISTS feedback_by_state ON feedback (state, id)",
)
#: Texts and proposals of all feedback together, in bytes.
MAX_BYTES = 64 << 20
_UNDECIDED = (FeedbackState.OPEN.value, FeedbackState.PROPOSED.value)

#: Runs a statement with ``?`` for its values; returns the rows.
Execute = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


def digest_of(text: str) -> str:
    """The same for texts that differ in case and spaces alone, which the encoder can hardly tell apart."""
    plain = " ".join(text.casefold().split())
    return hashlib.blake2b(plain.encode(), digest_size=16).hexdigest()


def add(execute: Execute, new: Feedback, *, most: int, keep_days: float | None) -> Feedback:
    """See ``FeedbackStorage.add``; in a transaction in which nobody else writes."""
    if keep_days is not None:
        oldest = new.last_at - timedelta(days=keep_days)
        execute("DELETE FROM feedback WHERE last_at < ?", [_time(oldest)])
    digest = digest_of(new.text)
    for same in _about(execute, digest):
        if same.expected == new.expected and not same.closed:
            again = replace(
                same,
                count=same.count + 1,
                last_at=max(same.last_at, new.last_at),
                decided=new.decided,
                note=new.note or same.note,
                version=same.version + 1,
            )
            _write(execute, again)
            return _told(execute, again)
    _make_room(execute, most)
    # Numbers of forgotten feedback must not come again: people have written them down.
    last = execute("SELECT last FROM feedback_numbers", [])
    number = last[0][0] + 1 if last else 1
    execute("DELETE FROM feedback_numbers", [])
    execute("INSERT INTO feedback_numbers (last) VALUES (?)", [number])
    added = replace(new, id=number)
    execute(
        "INSERT INTO feedback (id, digest, state, last_at, content) VALUES (?, ?, ?, ?, ?)",
        [number, digest, added.state.value, _time(added.last_at), added.to_json()],
    )
    return _told(execute, added)


def get(execute: Execute, number: int) -> Feedback:
    """See ``FeedbackStorage.get``."""
    rows = execute("SELECT content FROM feedback WHERE id = ?", [number])
    if not rows:
        raise FeedbackNotFoundError(f"there is no feedback {number}, or it was forgotten")
    return _told(execute, _read(rows[0][0]))


def newest(execute: Execute, *, state: FeedbackState | None, before: int | None, limit: int) -> tuple[Feedback, ...]:
    """See ``FeedbackStorage.newest``."""
    where, values = ["1 = 1"], list[Any]()
    if state is not None:
        where.append("state = ?")
        values.append(state.value)
    if before is not None:
        where.append("id < ?")
        values.append(before)
    query = f"SELECT content FROM feedback WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"  # noqa: S608 - our own
    return tuple(_told(execute, _read(content)) for (content,) in execute(query, [*values, limit]))


def save(execute: Execute, feedback: Feedback) -> Feedback:
    """See ``FeedbackStorage.save``; in a transaction in which nobody else writes."""
    stored = get(execute, feedback.id)
    if stored.version != feedback.version:
        raise RevisionConflictError(f"feedback {feedback.id} was changed meanwhile; look at it again")
    saved = replace(feedback, version=feedback.version + 1)
    _write(execute, saved)
    return _told(execute, saved)


def forget(execute: Execute, number: int) -> None:
    """See ``FeedbackStorage.forget``."""
    get(execute, number)
    execute("DELETE FROM feedback WHERE id = ?", [number])


def _make_room(execute: Execute, most: int) -> None:
    """Forget the oldest of what is decided, if it takes that. Raises FeedbackFullError."""
    while True:
        count, size = execute("SELECT count(*), coalesce(sum(length(content)), 0) FROM feedback", [])[0]
        if count < most and size < MAX_BYTES:
            return
        query = "SELECT id FROM feedback WHERE state NOT IN (?, ?) ORDER BY id LIMIT 100"
        closed = [number for (number,) in execute(query, _UNDECIDED)]
        if not closed:
            raise FeedbackFullError(
                f"{count:,} pieces of feedback wait for a decision, which is all there is room for: accept or dismiss "
                "some of them"
            )
        for number in closed[: max(1, count - most + 1)]:
            execute("DELETE FROM feedback WHERE id = ?", [number])


def _about(execute: Execute, digest: str) -> list[Feedback]:
    return [_read(content) for (content,) in execute("SELECT content FROM feedback WHERE digest = ?", [digest])]


def _told(execute: Execute, feedback: Feedback) -> Feedback:
    """With what contradicts it now."""
    others = [
        other.id
        for other in _about(execute, digest_of(feedback.text))
        if other.expected != feedback.expected and other.state is not FeedbackState.DISMISSED
    ]
    return replace(feedback, contradicts=tuple(sorted(others)))


def _write(execute: Execute, feedback: Feedback) -> None:
    execute(
        "UPDATE feedback SET state = ?, last_at = ?, content = ? WHERE id = ?",
        [feedback.state.value, _time(feedback.last_at), feedback.to_json(), feedback.id],
    )


def _read(content: str) -> Feedback:
    try:
        return Feedback.from_json(content)
    except ValueError as exc:
        raise StorageCorruptError("a stored piece of feedback is damaged; remove it or restore a backup") from exc


def _time(at: datetime) -> str:
    """Texts that sort as the times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
