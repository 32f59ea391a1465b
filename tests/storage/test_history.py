"""What a store remembers of its changes: every one, with all that is needed to undo it, and no more than that."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute.errors import (
    InvalidInputError,
    RevisionConflictError,
    SnapshotNotFoundError,
    StorageCorruptError,
    StorageError,
)
from synaptoroute.models import Route
from synaptoroute.storage import SQLiteStorage, history_tables, opening, reencoding, sqlite
from synaptoroute.storage.base import Change, DropRoute, EncoderIdentity, LabelledQueries, PutRoute
from synaptoroute.storage.history import HistoryEntry, undone
from synaptoroute.storage.migrations import MIGRATIONS
from synaptoroute.storage.verifying import verify
from tests.storage.test_sqlite import ENCODER, put, vectors

OTHER = EncoderIdentity(name="other", dim=6, fingerprint="other-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.db"


def names(store: SQLiteStorage) -> list[str]:
    return [route.name for route in store.routes()]


# -------------------------------------------------------------------------------------------------------- entries
def test_every_change_leaves_an_entry_of_what_when_and_who() -> None:
    before = datetime.now(UTC)
    store = SQLiteStorage(":memory:")
    store.commit([put("a", "x"), put("b", "y")], encoder=ENCODER, expected_revision=0, actor="ann")
    changed = PutRoute(route=Route(name="a", utterances=["x"], threshold=0.5), added=(), vectors=vectors(0))
    store.commit([changed], encoder=ENCODER, expected_revision=1)
    store.commit([DropRoute(name="b"), DropRoute(name="ghost")], encoder=ENCODER, expected_revision=2, cause="tidying")
    history = store.history()
    assert [(e.revision, e.operation, e.route, e.actor, e.cause) for e in history.entries] == [
        (3, "delete", "b", None, "tidying"),
        (2, "update", "a", None, None),
        (1, "add", "b", "ann", None),
        (1, "add", "a", "ann", None),
    ]
    assert all(before - timedelta(seconds=1) <= e.at <= datetime.now(UTC) for e in history.entries)
    assert history.begins == 0
    assert [e.revision for e in store.history(since=1).entries] == [3, 2]
    assert [e.revision for e in store.history(route="a").entries] == [2, 1]
    assert [e.revision for e in store.history(limit=1).entries] == [3]
    store.close()


def test_a_change_that_fails_leaves_no_entry(path: Path) -> None:
    store = SQLiteStorage(path)
    twice = PutRoute(route=Route(name="b", utterances=["y"]), added=("y", "y"), vectors=vectors(2))
    with pytest.raises(StorageError):
        store.commit([put("a", "x"), twice], encoder=ENCODER, expected_revision=0)
    assert store.history().entries == ()
    store.close()


CHANGES = st.lists(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "fields", "drop", "swap"]), st.integers(0, 15)),
        min_size=1,
        max_size=3,
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(CHANGES)
def test_undoing_the_entries_leads_to_every_earlier_revision(steps: list[list[tuple[str, str, int]]]) -> None:
    """Also where one commit changes a route twice, and with utterances removed from anywhere."""
    store = SQLiteStorage(":memory:")
    states = [{route.name: route for route in store.routes()}]
    for step in steps:
        now = dict(states[-1])
        changes: list[Change] = []
        for name, what, number in step:
            stored = now.get(name)
            texts = [f"t{bit}" for bit in range(4) if number >> bit & 1] or ["t9"]
            if what == "drop":
                changes.append(DropRoute(name=name))
                now.pop(name, None)
                continue
            had = stored.utterances if stored else ()
            kept = tuple(text for text in had if text in texts)
            added: tuple[str, ...]
            if what == "fields" and stored:
                route, added = stored.replaced(threshold=number / 20, metadata={"n": [number]}), ()
            elif what == "swap":
                # All utterances go and come again, in another order.
                kept, added = (), tuple(reversed(texts))
                route = Route(name=name, utterances=added)
            else:
                added = tuple(text for text in texts if text not in had)
                route = Route(name=name, utterances=(*kept, *added), description=f"d{number}")
            removed = tuple(text for text in had if text not in route.utterances or what == "swap")
            changes.append(PutRoute(route=route, added=added, vectors=vectors(len(added)), removed=removed))
            now[name] = route
        store.commit(changes, encoder=ENCODER, expected_revision=len(states) - 1)
        states.append(now)
        assert {route.name: route for route in store.routes()} == now
    routes = dict(states[-1])
    for revision in range(len(states) - 2, -1, -1):
        for entry in store.history(since=revision).entries:
            if entry.revision == revision + 1:
                assert entry.route
                before = undone(entry, routes.pop(entry.route, None))
                if before is not None:
                    routes[entry.route] = before
        assert routes == states[revision]
    store.close()


def test_an_entry_is_as_large_as_its_change_not_as_its_route() -> None:
    store = SQLiteStorage(":memory:")
    texts = [f"text {number}" for number in range(500)]
    store.commit([put("a", *texts)], encoder=ENCODER, expected_revision=0)
    more = Route(name="a", utterances=[*texts, "one more"])
    store.commit([PutRoute(route=more, added=("one more",), vectors=vectors(1))], encoder=ENCODER, expected_revision=1)
    assert [len(entry.undo or "") < 20 for entry in store.history().entries] == [True, True]
    store.close()


@pytest.mark.parametrize("undo", [None, "", "{", "[]", '{"threshold": 9}', '{"removed": 3}', '{"added": 1}'])
def test_a_damaged_entry_is_said_to_be_damaged(undo: str | None) -> None:
    entry = HistoryEntry(revision=4, operation="update", route="a", actor=None, at=datetime.now(UTC), undo=undo)
    with pytest.raises(StorageCorruptError, match="entry of route 'a' at revision 4 is damaged"):
        undone(entry, Route(name="a", utterances=["x"]))
    with pytest.raises(StorageCorruptError, match="damaged"):
        undone(entry, None)


def test_history_is_bounded_in_revisions_and_in_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "HISTORY", 4)
    store = SQLiteStorage(":memory:")
    for revision in range(10):
        store.commit([put(f"r{revision}", "x")], encoder=ENCODER, expected_revision=revision)
    history = store.history()
    assert (history.begins, [entry.revision for entry in history.entries]) == (6, [10, 9, 8, 7])

    monkeypatch.setattr(history_tables, "ENTRIES", 3)
    store.commit([put(f"s{number}", "x") for number in range(2)], encoder=ENCODER, expected_revision=10)
    assert [entry.revision for entry in store.history().entries] == [11, 11, 10]
    assert store.history().begins == 9
    store.commit([put(f"t{number}", "x") for number in range(7)], encoder=ENCODER, expected_revision=11)
    history = store.history()
    assert (history.begins, len(history.entries)) == (11, 7), "the newest commit is kept whole"
    store.close()


def test_a_store_from_before_there_was_history_begins_with_the_revision_it_has(path: Path) -> None:
    plain = sqlite3.connect(path)
    for number, script in enumerate(MIGRATIONS[:3], start=1):
        plain.executescript(script)
        plain.execute("INSERT INTO migrations VALUES (?, '2026-01-01')", (number,))
    plain.execute("UPDATE state SET revision = 7")
    plain.execute("PRAGMA user_version = 3")
    plain.execute(f"PRAGMA application_id = {opening.APPLICATION_ID}")
    plain.commit()
    plain.close()
    store = SQLiteStorage(path)
    assert (store.history().begins, store.history().entries) == (7, ())
    store.commit([put("a", "x")], encoder=ENCODER, expected_revision=7)
    assert (store.history().begins, len(store.history().entries)) == (7, 1)
    store.close()


# ----------------------------------------------------------------------------------- expected revisions of routes
def test_a_change_of_a_route_that_has_changed_since_is_refused_and_nothing_happens() -> None:
    store = SQLiteStorage(":memory:")
    store.commit([put("a", "x"), put("b", "y")], encoder=ENCODER, expected_revision=0)
    store.commit([put("c", "z")], encoder=ENCODER, expected_revision=1)
    assert [store.route_revision(name) for name in ("a", "c", "ghost")] == [1, 2, 0]
    for expected, message in (
        ({"a": 2}, r"'a' changed last at revision 1, but was at revision 2 when"),
        ({"b": 1, "a": 0}, r"'a' changed last at revision 1, but was expected to be new"),
        ({"ghost": 1}, r"'ghost' is not there, but was at revision 1 when"),
    ):
        with pytest.raises(RevisionConflictError, match=message):
            store.commit([DropRoute(name="b")], encoder=ENCODER, expected_revision=2, expected=expected)
    assert names(store) == ["a", "b", "c"]
    store.commit([DropRoute(name="b")], encoder=ENCODER, expected_revision=2, expected={"b": 1, "ghost": 0})
    assert names(store) == ["a", "c"]
    store.close()


def test_of_two_writers_that_race_exactly_one_wins_each_round(path: Path) -> None:
    stores = [SQLiteStorage(path), SQLiteStorage(path)]
    won: list[tuple[int, int]] = []
    barrier = threading.Barrier(2)

    def write(writer: int) -> None:
        for revision in range(30):
            barrier.wait(10)
            route = Route(name="a", utterances=[f"by {writer} in {revision}"])
            change = PutRoute(route=route, added=route.utterances, vectors=vectors(1))
            drop = [DropRoute(name="a")] if revision else []
            try:
                stores[writer].commit(
                    [*drop, change], encoder=ENCODER, expected_revision=revision, expected={"a": revision}
                )
                won.append((revision, writer))
            except RevisionConflictError:
                pass

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(revision for revision, _ in won) == list(range(30))
    last = dict(won)[29]
    assert stores[0].routes() == (Route(name="a", utterances=[f"by {last} in 29"]),)
    for store in stores:
        store.close()


# ------------------------------------------------------------------------------------------------------ snapshots
def test_a_snapshot_keeps_routes_whole_and_in_order_whatever_happens_to_them(path: Path) -> None:
    routes = [
        Route(name=f"r{number}", utterances=[f"é\n {number}"], metadata={"k": [number, None]}, threshold=0.0)
        for number in range(2_500)
    ]
    store = SQLiteStorage(path)
    saved = store.save_snapshot("before the sale", routes, revision=0, actor="ann")
    store.close()
    store = SQLiteStorage(path)
    assert store.snapshots() == (saved,)
    assert (saved.routes, saved.revision, saved.actor) == (2_500, 0, "ann")
    assert store.snapshot_routes("before the sale") == tuple(routes)
    store.save_snapshot("empty", [], revision=0)
    assert store.snapshot_routes("empty") == ()
    with pytest.raises(InvalidInputError, match="already a snapshot 'empty'"):
        store.save_snapshot("empty", [], revision=0)
    store.delete_snapshot("before the sale")
    assert [snapshot.name for snapshot in store.snapshots()] == ["empty"]
    with pytest.raises(SnapshotNotFoundError):
        store.snapshot_routes("before the sale")
    with pytest.raises(SnapshotNotFoundError):
        store.delete_snapshot("before the sale")
    store.close()
    plain = sqlite3.connect(path)
    assert plain.execute("SELECT count(*) FROM snapshot_parts").fetchone() == (0,)
    plain.close()


def test_a_damaged_snapshot_is_said_to_be_damaged(path: Path) -> None:
    store = SQLiteStorage(path)
    store.save_snapshot("s", [Route(name="a", utterances=["x"])], revision=0)
    plain = sqlite3.connect(path)
    content = bytearray(plain.execute("SELECT content FROM snapshot_parts").fetchone()[0])
    for damaged in (content[:-1], content[:20] + bytes([content[20] ^ 1]) + content[21:], b"", b"nonsense"):
        plain.execute("UPDATE snapshot_parts SET content = ?", (bytes(damaged),))
        plain.commit()
        with pytest.raises(StorageCorruptError, match="snapshot 's' is damaged"):
            store.snapshot_routes("s")
    plain.close()
    store.close()


# ------------------------------------------------------------------------------------------------ another encoder
def others(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def execute(path: Path, statement: str) -> None:
    plain = sqlite3.connect(path)
    plain.execute(statement)
    plain.commit()
    plain.close()


def reencode(store: SQLiteStorage, *, limit: int = 1_000) -> list[str]:
    encoded: list[str] = []
    after = 0
    while after >= 0:
        texts, after = store.unencoded(OTHER, after=after, limit=limit)
        store.save_reencoded(texts, others(len(texts)), encoder=OTHER)
        encoded += texts
    return encoded


def test_vectors_of_another_encoder_wait_beside_those_in_use_until_the_swap(path: Path) -> None:
    store = SQLiteStorage(path)
    store.commit([put("a", "x", "y"), put("b", "x", "z")], encoder=ENCODER, expected_revision=0)
    labelled = LabelledQueries(texts=("q", "z"), labels=("a", None), vectors=vectors(2), min_confidence=0.7)
    store.save_labelled(labelled, encoder=ENCODER)
    store.save_learned(b"learned of the old vectors")
    before = store.load(ENCODER)
    assert store.unencoded(OTHER, limit=2) == (["x", "y"], 2)
    assert sorted(reencode(store, limit=2)) == ["q", "x", "y", "z"], "each text once, part after part"
    assert store.load(ENCODER).vectors.tobytes() == before.vectors.tobytes()
    store.close()

    store = SQLiteStorage(path)
    assert store.unencoded(OTHER) == ([], -1), "they outlive the process"
    assert store.swap_encoder(OTHER, expected_revision=1, actor="ann") == 2
    stored = store.load(OTHER)
    assert (stored.revision, stored.routes, stored.vectors.shape) == (2, before.routes, (4, 6))
    assert stored.vectors[0].tobytes() == stored.vectors[2].tobytes(), "both say x"
    assert stored.labelled
    assert (stored.labelled.labels, stored.labelled.min_confidence) == (("a", None), 0.7)
    assert store.load_learned() is None
    assert store.encoder() == OTHER
    entry = store.history(limit=1).entries[0]
    assert (entry.operation, entry.route, entry.actor, entry.cause) == ("migrate", None, "ann", "to other (other-1)")
    store.close()
    plain = sqlite3.connect(path)
    assert plain.execute("SELECT count(*) FROM reencoded").fetchone() == (0,)
    assert plain.execute("SELECT name FROM encoders").fetchall() == [("other",)]
    plain.close()


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        ("UPDATE utterances SET text = 'X' WHERE text = 'x'", "route 'a'"),
        ("UPDATE utterances SET route_id = 2 WHERE text = 'x'", "route 'a'"),
        ("UPDATE labelled_queries SET text = 'Q'", "labelled queries"),
        ("UPDATE labelled_queries SET label = 'b'", "labelled queries"),
    ],
)
def test_texts_and_labels_are_protected_after_a_swap_too(path: Path, damage: str, where: str) -> None:
    store = SQLiteStorage(path)
    store.commit([put("a", "x", "y"), put("b", "z")], encoder=ENCODER, expected_revision=0)
    store.save_labelled(LabelledQueries(texts=("q",), labels=("a",), vectors=vectors(1)), encoder=ENCODER)
    reencode(store)
    store.swap_encoder(OTHER, expected_revision=1)
    assert verify(path).sound
    execute(path, damage)
    with pytest.raises(StorageCorruptError, match="damaged"):
        store.load(OTHER)
    store.close()
    assert where in {finding.where for finding in verify(path).findings}


@pytest.mark.parametrize(
    "damage", ["UPDATE utterances SET text = 'X' WHERE text = 'x'", "UPDATE labelled_queries SET label = 'b'"]
)
def test_a_swap_does_not_give_damaged_texts_sound_checksums(path: Path, damage: str) -> None:
    store = SQLiteStorage(path)
    store.commit([put("a", "x", "y")], encoder=ENCODER, expected_revision=0)
    store.save_labelled(LabelledQueries(texts=("q",), labels=("a",), vectors=vectors(1)), encoder=ENCODER)
    execute(path, damage)
    reencode(store)
    with pytest.raises(StorageCorruptError, match=r"damaged.*repair"):
        store.swap_encoder(OTHER, expected_revision=1)
    assert store.encoder() == ENCODER
    store.close()
    assert not verify(path).sound


def test_a_vector_set_aside_that_is_damaged_at_the_last_moment_is_not_put_in_place(path: Path) -> None:
    store = SQLiteStorage(path)
    store.commit([put("a", "x", "y")], encoder=ENCODER, expected_revision=0)
    reencode(store)
    execute(path, "UPDATE reencoded SET vector = zeroblob(24) WHERE text = 'x'")
    with pytest.raises(RevisionConflictError, match="look again"):
        store.swap_encoder(OTHER, expected_revision=1)
    assert store.load(ENCODER).revision == 1
    assert reencode(store) == ["x"]
    assert store.swap_encoder(OTHER, expected_revision=1) == 2
    store.close()


def test_a_swap_of_more_than_one_part_leaves_nothing_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reencoding, "_ROWS", 2)
    store = SQLiteStorage(path)
    store.commit([put(f"r{n}", "x", f"only {n}") for n in range(3)], encoder=ENCODER, expected_revision=0)
    reencode(store)
    store.swap_encoder(OTHER, expected_revision=1)
    assert store.load(OTHER).vectors.shape == (6, 6)
    store.close()
    assert verify(path).sound


def test_a_swap_while_a_text_has_no_new_vector_is_refused() -> None:
    store = SQLiteStorage(":memory:")
    store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    reencode(store)
    store.commit([put("b", "new")], encoder=ENCODER, expected_revision=1)
    with pytest.raises(RevisionConflictError, match="at revision 2"):
        store.swap_encoder(OTHER, expected_revision=1)
    with pytest.raises(RevisionConflictError, match="1 stored texts have no vector"):
        store.swap_encoder(OTHER, expected_revision=2)
    assert store.encoder() == ENCODER
    assert store.load(ENCODER).revision == 2
    store.save_labelled(LabelledQueries(texts=("q",), labels=(None,), vectors=vectors(1)), encoder=ENCODER)
    assert reencode(store) == ["new", "q"]
    assert store.swap_encoder(OTHER, expected_revision=2) == 3
    store.close()


def test_vectors_set_aside_for_a_third_encoder_or_damaged_are_made_anew(path: Path) -> None:
    third = EncoderIdentity(name="third", dim=6, fingerprint="third-1")
    store = SQLiteStorage(path)
    store.commit([put("a", "x", "y")], encoder=ENCODER, expected_revision=0)
    store.save_reencoded(["x", "y"], others(2), encoder=third)
    assert reencode(store, limit=1) == ["x", "y"]
    assert store.unencoded(third)[0] == ["x", "y"]
    plain = sqlite3.connect(path)
    assert plain.execute("SELECT count(*) FROM reencoded").fetchone() == (2,)
    plain.execute("UPDATE reencoded SET vector = zeroblob(24) WHERE text = 'x'")
    plain.commit()
    plain.close()
    assert store.unencoded(OTHER)[0] == ["x"]
    store.close()
