"""Feedback is kept, counted, bounded and deleted alike by every store, whoever writes at the same time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from synaptoroute.corrections import (
    Decided,
    Feedback,
    FeedbackState,
    FeedbackStorage,
    Outcome,
    feedback_storage_of,
    rows,
)
from synaptoroute.corrections.postgres import PostgresFeedback
from synaptoroute.corrections.sqlite import SQLiteFeedback
from synaptoroute.errors import (
    FeedbackFullError,
    FeedbackNotFoundError,
    RevisionConflictError,
    StorageCorruptError,
    StorageForeignError,
)
from synaptoroute.storage import PostgresStorage, SQLiteStorage
from tests.postgres_server import PostgresServer

NOW = datetime(2026, 1, 2, tzinfo=UTC)
Opening = Callable[[], FeedbackStorage]


def said(text: str, expected: str | None = "r1", **fields: Any) -> Feedback:
    decided = Decided(name="r2", confidence=0.75, revision=3)
    return replace(Feedback(id=0, text=text, expected=expected, decided=decided, at=NOW, last_at=NOW), **fields)


def add(storage: FeedbackStorage, feedback: Feedback, *, most: int = 100, keep_days: float | None = None) -> Feedback:
    return storage.add(feedback, most=most, keep_days=keep_days)


@pytest.fixture(params=["file", "postgres"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opening]:
    if request.param == "file":
        yield lambda: SQLiteFeedback(tmp_path / "feedback")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    store = PostgresStorage(server.dsn(), schema=server.schema())
    yield lambda: PostgresFeedback(store.database)
    store.close()


@pytest.mark.parametrize("text", ["plain", "a\0b \\0 %s ? ';--", "é\u0301 👩‍👩‍👧‍👦\u202e", "x" * 30_000])
def test_what_was_said_comes_back_whole(opening: Opening, text: str) -> None:
    added = add(
        opening(), said(text, note="why\0", actor="ann", decided=Decided(name=None, confidence=0.1, revision=9))
    )
    assert opening().get(added.id) == added
    assert opening().newest() == (added,)
    assert (added.text, added.note, added.actor, added.count, added.state) == (text, "why\0", "ann", 1, "open")


def test_the_same_said_again_is_counted_until_somebody_has_decided(opening: Opening) -> None:
    storage = opening()
    first = add(storage, said("Show  my bill"))
    again = add(opening(), said("show my BILL ", last_at=NOW + timedelta(days=1), note="still"))
    assert (again.id, again.count, again.text, again.note) == (first.id, 2, "Show  my bill", "still")
    assert (again.at, again.last_at) == (NOW, NOW + timedelta(days=1))
    storage.save(replace(again, state=FeedbackState.DISMISSED))
    assert add(storage, said("show my bill")).id == first.id + 1


def test_contradictions_are_shown_on_all_sides(opening: Opening) -> None:
    storage = opening()
    one, other = add(storage, said("show my bill")), add(storage, said("Show my bill", None))
    assert one.id != other.id
    assert other.contradicts == (one.id,)
    assert storage.get(one.id).contradicts == (other.id,)
    storage.save(replace(other, state=FeedbackState.DISMISSED))
    assert storage.get(one.id).contradicts == ()


def test_lists_go_on_where_they_ended(opening: Opening) -> None:
    storage = opening()
    numbers = [add(storage, said(f"text {number}")).id for number in range(7)]
    storage.save(replace(storage.get(numbers[2]), state=FeedbackState.PROPOSED))
    first = storage.newest(limit=3)
    rest = storage.newest(before=first[-1].id)
    assert [each.id for each in (*first, *rest)] == numbers[::-1]
    assert [each.id for each in storage.newest(state=FeedbackState.PROPOSED)] == [numbers[2]]


def test_nobody_overwrites_what_another_has_changed(opening: Opening) -> None:
    storage = opening()
    seen = add(storage, said("text"))
    outcome = Outcome(option="add_utterance", revision=4, actor="ann", at=NOW)
    saved = storage.save(replace(seen, state=FeedbackState.ACCEPTED, outcome=outcome))
    assert saved.version == seen.version + 1
    with pytest.raises(RevisionConflictError, match="look at it again"):
        opening().save(replace(seen, state=FeedbackState.DISMISSED))
    assert opening().get(seen.id) == saved


def test_room_is_made_of_what_is_decided_and_never_of_what_waits(opening: Opening) -> None:
    storage = opening()
    decided = [add(storage, said(f"old {number}"), most=3).id for number in range(2)]
    for number in decided:
        storage.save(replace(storage.get(number), state=FeedbackState.DISMISSED))
    waiting = [add(storage, said(f"new {number}"), most=3).id for number in range(3)]
    assert [each.id for each in storage.newest()] == waiting[::-1]
    with pytest.raises(FeedbackFullError, match="3 pieces of feedback wait"):
        add(storage, said("one more"), most=3)
    assert add(storage, said("new 1"), most=3).count == 2
    assert len(storage.newest()) == 3


def test_texts_take_bounded_room(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_BYTES", 10_000)
    storage = opening()
    add(storage, said("x" * 12_000))
    with pytest.raises(FeedbackFullError):
        add(storage, said("y"))


def test_what_is_too_old_is_forgotten_and_its_number_not_given_again(opening: Opening) -> None:
    storage = opening()
    old = add(storage, said("old"))
    later = NOW + timedelta(days=8)
    new = add(storage, said("new", at=later, last_at=later), keep_days=7)
    assert [each.id for each in storage.newest()] == [new.id]
    storage.forget(new.id)
    for asking in (storage.get, storage.forget):
        with pytest.raises(FeedbackNotFoundError):
            asking(new.id)
    assert add(storage, said("next")).id > new.id > old.id


def test_many_who_say_the_same_at_once_are_all_counted(opening: Opening) -> None:
    together = threading.Barrier(8)

    def say(number: int) -> None:
        storage = opening()
        together.wait()
        for _ in range(5):
            add(storage, said("the same"))
            add(storage, said(f"own {number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, range(8)))
    counts = {each.text: each.count for each in opening().newest()}
    assert counts == {"the same": 40, **{f"own {number}": 5 for number in range(8)}}
    assert len({each.id for each in opening().newest()}) == 9


def test_a_file_is_only_made_by_the_first_feedback_and_holds_no_deleted_text(tmp_path: Path) -> None:
    path = tmp_path / "routes.db-feedback"
    storage = SQLiteFeedback(path)
    assert storage.newest() == ()
    with pytest.raises(FeedbackNotFoundError):
        storage.get(1)
    assert not path.exists()
    storage.forget(add(storage, said("a secret nobody shall find")).id)
    assert b"secret" not in path.read_bytes()


def test_a_file_of_something_else_or_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(StorageForeignError, match="something else"):
        add(SQLiteFeedback(foreign), said("text"))
    damaged = tmp_path / "damaged"
    number = add(SQLiteFeedback(damaged), said("text")).id
    with sqlite3.connect(damaged) as connection:
        connection.execute("UPDATE feedback SET content = '{}'")
    connection.close()
    with pytest.raises(StorageCorruptError):
        SQLiteFeedback(damaged).get(number)
    damaged.write_bytes(b"no database at all" * 1_000)
    with pytest.raises(StorageCorruptError):
        SQLiteFeedback(damaged).newest()


def test_feedback_is_kept_with_the_store(tmp_path: Path, postgres: PostgresServer) -> None:
    store = SQLiteStorage(tmp_path / "routes.db")
    kept = feedback_storage_of(store)
    assert isinstance(kept, SQLiteFeedback)
    assert kept.path == f"{tmp_path / 'routes.db'}-feedback"
    store.close()
    memory = SQLiteStorage(":memory:")
    in_memory = feedback_storage_of(memory)
    assert add(in_memory, said("text")) == in_memory.get(1)
    memory.close()
    schema = postgres.schema()
    shared = PostgresStorage(postgres.dsn(), schema=schema)
    number = add(feedback_storage_of(shared), said("text")).id
    shared.close()
    # The tables of feedback do not make the schema a foreign one.
    again = PostgresStorage(postgres.dsn(), schema=schema)
    assert feedback_storage_of(again).get(number).text == "text"
    again.close()
