"""The order that decides, without a server: whatever is changed, published and read when, all end up the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute import Route
from synaptoroute.storage import SQLiteStorage
from synaptoroute.storage.base import DropRoute, PutRoute, Vectors
from synaptoroute.sync.ledger import MOST_DROPPED, MOST_WAITING, Agreed, Cursor, Ledger, Own, Step, Version
from synaptoroute.sync.plans import Entry, GapError, changes, of_entries
from synaptoroute.sync.records import PoisonError, Record, digest_of
from tests.seeded import route, vectors_of


@dataclass
class Holding:
    """Contents of a replica that is nothing but a dict."""

    held: dict[str, tuple[Route, Vectors]] = field(default_factory=dict)
    revision: int = 0

    def __contains__(self, name: object) -> bool:
        return name in self.held

    def __len__(self) -> int:
        return len(self.held)

    def names(self) -> Iterator[str]:
        return iter(self.held)

    def of(self, names: Sequence[str]) -> list[tuple[Route, Vectors]]:
        return [self.held[name] for name in names]

    def apply(self, found: Sequence[PutRoute | DropRoute]) -> None:
        for change in found:
            if isinstance(change, DropRoute):
                del self.held[change.name]
                continue
            stored, rows = self.held.get(change.route.name, (None, np.empty((0, 32), np.float32)))
            kept = [text not in change.removed for text in stored.utterances] if stored else []
            assert not stored or len(change.removed) == kept.count(False)
            self.held[change.route.name] = change.route, np.concatenate([rows[np.array(kept, bool)], change.vectors])
        self.revision += bool(found)


class Member:
    """A replica that publishes into a list and reads from it."""

    def __init__(self, order: list[tuple[Entry, list[tuple[Record, Version]]]]) -> None:
        self.holding = Holding()
        self.storage = SQLiteStorage(":memory:")
        self.ledger = Ledger(self.storage, "test")
        self.ledger.done(Step(cursor=Cursor(0, "begin", 0)), 0)
        self.order = order
        self.unpublished: list[Own] = []

    def change(self, names: Sequence[str], content: int | None) -> None:
        for name in names:
            if content is None:
                self.holding.held.pop(name, None)
            else:
                wanted = route(name, content)
                self.holding.held[name] = wanted, vectors_of(wanted.utterances)
        step = Step(waiting=self.ledger.own(names, {}))
        self.ledger.done(step, 0)
        self.unpublished += step.waiting

    def publish(self) -> None:
        if not self.unpublished:
            return
        own = self.unpublished.pop(0)
        seq, previous = (self.order[-1][0].seq + 1, self.order[-1][0].uid) if self.order else (1, "begin")
        records = []
        for name in own.names:
            held = self.holding.held.get(name)
            record = (
                Record(name=name, route=held[0], vectors=held[1], digest=digest_of(*held))
                if held
                else Record.dropped(name)
            )
            records.append((record, Version(seq, own.uid)))
        self.order.append((Entry(seq, own.uid, previous, seq, ()), records))

    def read(self, count: int) -> None:
        assert self.ledger.cursor is not None
        after = [entry for entry in self.order if entry[0].seq > self.ledger.cursor.seq][:count]
        plan = of_entries(self.ledger, after)
        self.holding.apply(changes(self.holding, plan.wins.values()))
        self.ledger.done(plan.step, 0)


names = st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True)
actions = st.one_of(
    st.tuples(st.just("change"), st.integers(0, 2), names, st.one_of(st.none(), st.integers(0, 5))),
    st.tuples(st.just("publish"), st.integers(0, 2)),
    st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 4)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(actions, max_size=30))
def test_all_end_up_as_the_last_change_in_the_order_says(done: list[tuple[str, int, object, object]]) -> None:
    order: list[tuple[Entry, list[tuple[Record, Version]]]] = []
    members = [Member(order) for _ in range(3)]
    for action, member, *more in done:
        match action:
            case "change":
                members[member].change(*more)  # type: ignore[arg-type]
            case "publish":
                members[member].publish()
            case "read":
                members[member].read(*more)  # type: ignore[arg-type]
    for member_ in members:
        while member_.unpublished:
            member_.publish()
    for member_ in members:
        member_.read(1_000)
        assert not member_.ledger.waiting
    last = {record.name: record for _, records in order for record, _ in records}
    expected = {name: record.digest for name, record in last.items() if record.route is not None}
    for member_ in members:
        assert {name: digest_of(*held) for name, held in member_.holding.held.items()} == expected
        assert member_.ledger.routes == len(expected)
    assert len({member_.ledger.digest for member_ in members}) == 1


def test_reading_an_entry_again_does_nothing() -> None:
    order: list[tuple[Entry, list[tuple[Record, Version]]]] = []
    one, other = Member(order), Member(order)
    one.change(["a"], 1)
    one.publish()
    one.change(["a"], 2)
    one.publish()
    other.read(10)
    other.ledger.cursor = Cursor(0, "begin", 0)
    plan = of_entries(other.ledger, order)
    assert not plan.wins
    assert not plan.step.agreed


def test_a_missing_entry_is_a_gap() -> None:
    order: list[tuple[Entry, list[tuple[Record, Version]]]] = []
    one, other = Member(order), Member(order)
    for content in range(3):
        one.change(["a"], content)
        one.publish()
    with pytest.raises(GapError):
        of_entries(other.ledger, order[1:])
    with pytest.raises(GapError):
        of_entries(other.ledger, [order[0], order[2]])


def test_kept_utterances_stay_and_the_rest_is_sent_to_the_store() -> None:
    held = route("a", 1, 2, 3, 4)
    holding = Holding({"a": (held, vectors_of(held.utterances))})
    shall = route("a", 2, 4, 3, 5)
    record = Record(name="a", route=shall, vectors=vectors_of(shall.utterances), digest="")
    (put,) = changes(holding, [record])
    assert isinstance(put, PutRoute)
    assert put.added == ("a 3", "a 5")
    assert put.removed == ("a 1", "a 3")
    holding.apply([put])
    assert holding.held["a"][0] == shall
    assert holding.held["a"][1].tobytes() == record.vectors.tobytes()
    assert changes(holding, [record]) == []


def test_other_vectors_of_the_same_text_replace_it() -> None:
    held = route("a", 1, 2)
    holding = Holding({"a": (held, vectors_of(held.utterances))})
    rows = vectors_of(held.utterances)[::-1].copy()
    (put,) = changes(holding, [Record(name="a", route=held, vectors=rows, digest="")])
    holding.apply([put])
    assert holding.held["a"][1].tobytes() == rows.tobytes()


@pytest.mark.parametrize(
    ("entry_id", "fields"),
    [
        (b"1-1", {b"u": b"a:1", b"p": b"b", b"n": b"1", b"r1": b""}),
        (b"1-0", {b"u": b"a:1", b"p": b"b", b"n": b"1"}),
        (b"1-0", {b"u": b"a 1", b"p": b"b", b"n": b"1", b"r1": b""}),
        (b"1-0", {b"u": b"a" * 101, b"p": b"b", b"n": b"1", b"r1": b""}),
        (b"1-0", {b"u": b"\xff", b"p": b"b", b"n": b"1", b"r1": b""}),
        (b"1-0", {b"u": b"a:1", b"p": b"b", b"n": b"-", b"r1": b""}),
        (b"1-0", {b"u": b"a:1", b"p": b"b", b"n": b"1", b"r1": b"", b"v1": b"1"}),
    ],
)
def test_what_is_no_entry_is_poison(entry_id: bytes, fields: dict[bytes, bytes]) -> None:
    with pytest.raises(PoisonError):
        Entry.parsed(entry_id, fields)


# ------------------------------------------------------------------------------------------------------ the ledger
def test_the_ledger_is_read_again_as_it_was_written() -> None:
    storage = SQLiteStorage(":memory:")
    ledger = Ledger(storage, "test")
    step = Step(
        cursor=Cursor(7, "me:3", 5, 2),
        agreed={
            "a": Agreed(Version(3, "x:1"), "0" * 31 + "1"),
            "b/ü": Agreed(Version(7, "me:3"), "f" * 32),
            "gone": Agreed(Version(6, "y:9"), "-"),
        },
        waiting=ledger.own(["a", "ß"], {}),
        dead=[("bad", b"\x00" * 10_000)],
    )
    storage.save_notes(ledger.notes(step, 12))
    ledger.done(step, 12)
    again = Ledger(storage, "test")
    for field_ in ("cursor", "agreed", "waiting", "revision", "digest", "routes"):
        assert getattr(again, field_) == getattr(ledger, field_)
    assert again.digest == "f" * 31 + "e"
    assert again.routes == 2
    assert again.is_waiting("ß")
    assert not again.is_waiting("gone")
    assert Ledger(storage, "another").cursor is None
    # Numbers go on; a uid is never used twice, though the writer is another now.
    (own,) = again.own(["c"], {})
    assert own.number == 2
    assert own.uid not in {waiting.uid for waiting in again.waiting.values()}


def test_dropped_routes_and_waiting_changes_are_bounded() -> None:
    ledger = Ledger(SQLiteStorage(":memory:"), "test")
    for start in range(0, MOST_DROPPED + 100, 50):
        dropped = {f"r{number}": Agreed(Version(number, "u"), "-") for number in range(start, start + 50)}
        step = Step(agreed=dict(dropped))
        ledger.forget_oldest(step)
        ledger.done(step, 0)
    assert len(ledger.agreed) == MOST_DROPPED
    assert "r0" not in ledger.agreed
    for number in range(MOST_WAITING + 1):
        assert not ledger.drawn_together(set())
        ledger.done(Step(waiting=ledger.own([f"r{number % 7}"], {})), 0)
    assert len(ledger.drawn_together(set())) == MOST_WAITING + 1
    assert len(ledger.drawn_together({1, 2})) == MOST_WAITING - 1


def test_a_large_change_is_divided_by_names_and_bytes() -> None:
    ledger = Ledger(SQLiteStorage(":memory:"), "test")
    names_ = [f"r{number}" for number in range(1_200)]
    assert [len(own.names) for own in ledger.own(names_, {})] == [500, 500, 200]
    assert [len(own.names) for own in ledger.own(names_[:4], dict.fromkeys(names_, 3 << 20))] == [1, 1, 1, 1]


def test_what_may_be_written_later_is_written_with_the_next_step() -> None:
    storage = SQLiteStorage(":memory:")
    ledger = Ledger(storage, "test")
    ledger.done(Step(cursor=Cursor(0, "begin", 0), waiting=ledger.own(["a"], {})), 1)
    storage.save_notes(ledger.notes(Step(), 1) | {"sync/test/out/0000000000000001": b'["w:1", ["a"]]'})
    agreed = Agreed(Version(1, "w:1"), "0" * 32)
    seen = Step(cursor=Cursor(1, "w:1", 1), agreed={"a": agreed}, seen={1})
    assert ledger.may_wait(seen)
    ledger.done_for_now(seen)
    assert ledger.has_unwritten
    assert (ledger.cursor, ledger.agreed, ledger.waiting) == (seen.cursor, {"a": agreed}, {})

    # A crash now: it is read again.
    before = Ledger(storage, "test")
    assert before.waiting.keys() == {1}
    assert before.agreed == {}

    # A transaction that fails loses nothing: its notes were asked for, and never done.
    newer = Agreed(Version(2, "x:1"), "1" * 32)
    step = Step(cursor=Cursor(2, "x:1", 2), agreed={"a": newer})
    assert ledger.notes(step, 2) == ledger.notes(step, 2)
    storage.save_notes(ledger.notes(step, 2))
    ledger.done(step, 2)
    assert not ledger.has_unwritten
    after = Ledger(storage, "test")
    assert (after.cursor, after.agreed, after.waiting, after.revision) == (step.cursor, {"a": newer}, {}, 2)


def test_what_would_be_lost_by_waiting_does_not_wait() -> None:
    ledger = Ledger(SQLiteStorage(":memory:"), "test")
    assert not ledger.may_wait(Step(waiting=ledger.own(["a"], {})))
    assert not ledger.may_wait(Step(dead=[("why", b"what")]))
    agreed = Agreed(Version(1, "x:1"), "0" * 32)
    many = Step(agreed={f"route {number}": agreed for number in range(900)})
    assert ledger.may_wait(many)
    ledger.done_for_now(many)
    assert not ledger.may_wait(many)
