"""What every store promises, as tests."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from synaptoroute.errors import (
    EncoderMismatchError,
    InvalidInputError,
    RevisionConflictError,
    SnapshotNotFoundError,
    StorageError,
)
from synaptoroute.models import Route
from synaptoroute.storage.base import (
    BaseStorage,
    Change,
    ChosenPoint,
    DropRoute,
    EncoderIdentity,
    LabelledQueries,
    PutRoute,
    StoredTable,
    Vectors,
)
from synaptoroute.storage.history import undone

ENCODER = EncoderIdentity(name="test", dim=4, fingerprint="test-1")
#: Texts that a database may stumble over.
_UNUSUAL = ("\\", "\\0", "a\0b", "\\\\0\0", "%s", "';--", "é\u0301", "👩‍👩‍👧‍👦", "\u202e", "\t\n|\x01", "x" * 30_000)

Opening = Callable[[], BaseStorage]
Held = dict[str, tuple[Route, bytes]]


def unit_vectors(count: int, seed: int = 0) -> Vectors:
    """Unit rows (count, 4), the same for the same seed."""
    rows = np.random.default_rng(seed).normal(size=(count, ENCODER.dim)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def put(name: str, *utterances: str, seed: int = 0, **fields: Any) -> PutRoute:
    """A route that is new."""
    route = Route(name=name, utterances=utterances, **fields)
    return PutRoute(route=route, added=route.utterances, vectors=unit_vectors(len(route.utterances), seed))


def held(stored: StoredTable) -> Held:
    """Name -> route and the bytes of its vectors, in the order of the store."""
    ends = np.cumsum([len(route.utterances) for route in stored.routes])[:-1]
    parts = np.split(stored.vectors, ends)
    return {route.name: (route, part.tobytes()) for route, part in zip(stored.routes, parts, strict=bool(len(ends)))}


def caught_up(cache: Held, changes: tuple[Change, ...]) -> Held:
    """What was held, after changes as ``changes_since`` gives them."""
    for change in changes:
        if isinstance(change, PutRoute):
            assert change.added == change.route.utterances
            cache = cache | {change.route.name: (change.route, change.vectors.tobytes())}
        else:
            cache = {name: value for name, value in cache.items() if name != change.name}
    return cache


class StorageContract:
    """What every store promises (see ``BaseStorage``). A subclass defines the fixture ``opening``."""

    @pytest.fixture
    def opening(self) -> Opening:
        """Opens the same store every time it is called; for every test another one, which is empty at first."""
        raise NotImplementedError("define the fixture `opening` in your subclass")

    @pytest.fixture
    def store(self, opening: Opening) -> Iterator[BaseStorage]:
        """The store, open."""
        store = opening()
        yield store
        store.close()

    def test_a_new_store_is_empty_at_revision_zero(self, store: BaseStorage) -> None:
        """And holds nothing that was learned."""
        stored = store.load(ENCODER)
        assert (stored.revision, stored.routes, stored.vectors.shape) == (0, (), (0, 4))
        assert stored.vectors.dtype == np.float32
        assert (stored.labelled, store.load_learned()) == (None, None)
        assert store.state().revision == 0

    def test_routes_come_back_whole_and_vectors_bit_for_bit(self, store: BaseStorage, opening: Opening) -> None:
        """After opening it again, in the order they were added."""
        first = put("a", "x", "y", seed=1, threshold=0.0, description="d\\0\0", metadata={"k": [1, None, "é\0"]})
        second = put("b", "x", seed=2, threshold=None)
        odd = replace(second, vectors=np.array([[-0.0, 1e-42, 1.0, -1e-38]], np.float32))
        assert store.commit([first], encoder=ENCODER, expected_revision=0) == 1
        assert store.commit([odd], encoder=ENCODER, expected_revision=1) == 2
        store.close()
        again = opening()
        stored = again.load(ENCODER)
        again.close()
        assert stored.revision == 2
        assert stored.routes == (first.route, second.route)
        assert stored.vectors.tobytes() == np.concatenate([first.vectors, odd.vectors]).tobytes()

    def test_whatever_text_is_stored_comes_back(self, store: BaseStorage) -> None:
        """Control characters, what looks like SQL, and 30,000 characters among them; one by one and many at once."""
        small = put("small", *_UNUSUAL, description=_UNUSUAL[2])
        many = put("many", *_UNUSUAL, *(f"{text}{number}" for text in _UNUSUAL for number in range(20)))
        store.commit([small], encoder=ENCODER, expected_revision=0)
        store.commit([many], encoder=ENCODER, expected_revision=1)
        assert store.load(ENCODER).routes == (small.route, many.route)
        kept, removed = many.route.utterances[1::2], many.route.utterances[::2]
        fewer = PutRoute(route=many.route.replaced(utterances=kept), added=(), vectors=unit_vectors(0), removed=removed)
        store.commit([fewer], encoder=ENCODER, expected_revision=2)
        assert store.load(ENCODER).routes == (small.route, fewer.route)

    def test_an_update_keeps_what_stays_in_order_and_adds_at_the_end(self, store: BaseStorage) -> None:
        """And leaves the route where it is."""
        store.commit([put("a", "x", "y", "z"), put("b", "q", seed=3)], encoder=ENCODER, expected_revision=0)
        before, added = store.load(ENCODER).vectors, unit_vectors(1, seed=9)
        route = Route(name="a", utterances=["x", "z", "w"], threshold=0.5)
        update = PutRoute(route=route, added=("w",), vectors=added, removed=("y",))
        store.commit([update], encoder=ENCODER, expected_revision=1)
        stored = store.load(ENCODER)
        assert stored.routes[0] == route
        assert stored.vectors.tobytes() == np.concatenate([before[[0, 2]], added, before[[3]]]).tobytes()

    def test_a_dropped_route_takes_its_utterances_with_it(self, store: BaseStorage) -> None:
        """Also when it is added again in the same commit."""
        store.commit([put("a", "x"), put("b", "y")], encoder=ENCODER, expected_revision=0)
        store.commit([DropRoute(name="a")], encoder=ENCODER, expected_revision=1)
        assert [route.name for route in store.load(ENCODER).routes] == ["b"]
        store.commit([DropRoute(name="b"), put("b", "z")], encoder=ENCODER, expected_revision=2)
        assert [route.utterances for route in store.load(ENCODER).routes] == [("z",)]

    def test_changes_of_one_route_in_one_commit_follow_each_other(self, store: BaseStorage) -> None:
        """Each is based on the one before."""
        second = PutRoute(
            route=Route(name="a", utterances=["y", "z"]), added=("z",), vectors=unit_vectors(1, 5), removed=("x",)
        )
        store.commit([put("a", "x", "y"), second], encoder=ENCODER, expected_revision=0)
        stored = store.load(ENCODER)
        assert stored.routes == (second.route,)
        expected = np.concatenate([unit_vectors(2)[1:], second.vectors])
        assert stored.vectors.tobytes() == expected.tobytes()

    def test_a_change_based_on_another_revision_is_refused(self, store: BaseStorage, opening: Opening) -> None:
        """Nothing of it is stored."""
        other = opening()
        store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
        with pytest.raises(RevisionConflictError, match="revision 1"):
            other.commit([put("b", "y")], encoder=ENCODER, expected_revision=0)
        assert [route.name for route in other.load(ENCODER).routes] == ["a"]
        other.close()

    @pytest.mark.parametrize("more", [0, 200])
    def test_a_failing_change_leaves_none_of_its_batch(self, store: BaseStorage, more: int) -> None:
        """Whether it is a small one or a large one."""
        twice = PutRoute(route=Route(name="b", utterances=["y"]), added=("y", "y"), vectors=unit_vectors(2))
        large = put("a", *(f"x{number}" for number in range(1 + more)))
        with pytest.raises(StorageError):
            store.commit([large, twice], encoder=ENCODER, expected_revision=0)
        stored = store.load(ENCODER)
        assert (stored.revision, stored.routes) == (0, ())
        assert store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0) == 1

    def test_vectors_of_another_encoder_are_refused_until_none_are_left(self, store: BaseStorage) -> None:
        """By reading as by writing."""
        other = EncoderIdentity(name="other", dim=8, fingerprint="other-1")
        store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
        with pytest.raises(EncoderMismatchError, match=r"test-1.*other-1"):
            store.load(other)
        with pytest.raises(EncoderMismatchError), store.read(other):
            pass
        with pytest.raises(EncoderMismatchError):
            store.changes_since(store.state(), other)
        with pytest.raises(EncoderMismatchError):
            store.commit([DropRoute(name="a")], encoder=other, expected_revision=1)
        store.commit([DropRoute(name="a")], encoder=ENCODER, expected_revision=1)
        assert store.load(other).revision == 2

    @pytest.mark.parametrize("seed", range(3))
    def test_every_earlier_state_can_be_brought_up_to_date(
        self, store: BaseStorage, opening: Opening, seed: int
    ) -> None:
        """By all who have been following, whoever has written; the store is opened anew now and then."""
        chance = np.random.default_rng(seed)
        stores = [store, opening()]
        earlier = [(store.state(), held(store.load(ENCODER)))]
        for number in range(20):
            writer, name = int(chance.integers(2)), "abcd"[chance.integers(4)]
            if chance.random() < 0.15:
                stores[1].close()
                stores[1] = opening()
            stored = held(store.load(ENCODER)).get(name)
            if stored is None:
                change: Change = put(name, "x", f"y{number}", seed=number)
            elif chance.random() < 0.3:
                change = DropRoute(name=name)
            elif chance.random() < 0.5:
                route, added = stored[0], (f"z{number}",)
                changed = route.replaced(utterances=(*route.utterances[1:], *added))
                vectors = unit_vectors(1, number)
                change = PutRoute(route=changed, added=added, vectors=vectors, removed=route.utterances[:1])
            else:
                changed = stored[0].replaced(threshold=number / 20)
                change = PutRoute(route=changed, added=(), vectors=unit_vectors(0))
            stores[writer].commit([change], encoder=ENCODER, expected_revision=store.state().revision)
            earlier.append((store.state(), held(store.load(ENCODER))))
        now = held(store.load(ENCODER))
        for state, cache in earlier:
            found = store.changes_since(state, ENCODER)
            assert found is not None
            assert found.state == store.state()
            assert list(caught_up(cache, found.changes).items()) == list(now.items())
        stores[1].close()

    def test_a_route_dropped_and_added_again_moves_to_the_end(self, store: BaseStorage) -> None:
        """Whoever follows drops it first."""
        store.commit([put("a", "x"), put("b", "y")], encoder=ENCODER, expected_revision=0)
        state = store.state()
        store.commit([DropRoute(name="a"), put("a", "z")], encoder=ENCODER, expected_revision=1)
        found = store.changes_since(state, ENCODER)
        assert found is not None
        drop, again = found.changes
        assert drop == DropRoute(name="a")
        assert isinstance(again, PutRoute)
        assert (again.route.utterances, again.added) == (("z",), ("z",))
        assert [route.name for route in store.load(ENCODER).routes] == ["b", "a"]

    def test_states_that_are_none_of_its_own_lead_nowhere(self, store: BaseStorage) -> None:
        """Of another store, of another past, or of the future."""
        store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
        state = store.state()
        assert store.changes_since(state, ENCODER) is not None
        for other in ({"store_id": "0" * 32}, {"lineage": "0" * 32}, {"revision": 2}):
            assert store.changes_since(replace(state, **other), ENCODER) is None

    def test_a_stream_gives_in_batches_what_load_gives_at_once(self, store: BaseStorage) -> None:
        """Each of them at least as long as was asked for, but the last."""
        changes = [put(f"r{number}", *"abcde"[: number % 5 + 1], seed=number) for number in range(40)]
        store.commit(changes, encoder=ENCODER, expected_revision=0)
        stored = store.load(ENCODER)
        for rows in (1, 7, 1_000):
            with store.read(ENCODER, rows=rows) as stream:
                assert stream.state == store.state()
                batches = list(stream.batches)
            assert all(len(vectors) >= rows for _, vectors in batches[:-1])
            assert sum((routes for routes, _ in batches), ()) == stored.routes
            assert np.concatenate([vectors for _, vectors in batches]).tobytes() == stored.vectors.tobytes()

    def test_a_stream_shows_one_revision_and_lets_writers_go_on(self, store: BaseStorage) -> None:
        """Whatever is committed between its batches."""
        store.commit([put(f"r{number}", "x") for number in range(10)], encoder=ENCODER, expected_revision=0)
        with store.read(ENCODER, rows=1) as stream:
            names = [next(stream.batches)[0][0].name]
            store.commit([DropRoute(name="r5"), put("new", "y")], encoder=ENCODER, expected_revision=1)
            names += [routes[0].name for routes, _ in stream.batches]
            assert stream.state.revision == 1
        assert names == [f"r{number}" for number in range(10)]
        assert len(store.load(ENCODER).routes) == 10

    def test_labelled_queries_come_back_with_everything_that_is_read(
        self, store: BaseStorage, opening: Opening
    ) -> None:
        """Replaced as a whole, forgotten when told so; no route changes by it."""
        texts = ("q", "a\0b", "q")
        first = LabelledQueries(texts=texts, labels=(None, "a", "a"), vectors=unit_vectors(3), min_confidence=0.0)
        second = LabelledQueries(texts=("r",), labels=("b",), vectors=unit_vectors(1, 3))
        for labelled in (first, second):
            store.save_labelled(labelled, encoder=ENCODER)
            other = opening()
            changes = other.changes_since(other.state(), ENCODER)
            assert changes is not None
            assert (changes.changes, changes.state.revision) == ((), 0)
            with other.read(ENCODER) as stream:
                for found in (other.load(ENCODER).labelled, changes.labelled, stream.labelled):
                    assert found is not None
                    assert (found.texts, found.labels) == (labelled.texts, labelled.labels)
                    assert found.min_confidence == labelled.min_confidence
                    assert found.vectors.tobytes() == labelled.vectors.tobytes()
            other.close()
        store.save_labelled(None, encoder=ENCODER)
        assert store.load(ENCODER).labelled is None

    def test_an_operating_point_is_kept_until_a_fit_chooses_one(self, store: BaseStorage, opening: Opening) -> None:
        """Or the fit is forgotten; the revision stays, and whoever follows the store is told."""
        point = ChosenPoint(min_confidence=0.625, actor="ann \\0", at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
        store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
        state = store.state()

        def seen() -> ChosenPoint | None:
            other = opening()
            found = other.changes_since(state, ENCODER)
            with other.read(ENCODER) as stream:
                assert found is not None
                assert found.point == stream.point
            stored = other.load(ENCODER)
            other.close()
            assert (stored.point, stored.revision) == (found.point, 1)
            return stored.point

        def labelled(min_confidence: float | None) -> LabelledQueries:
            return LabelledQueries(texts=("q",), labels=("a",), vectors=unit_vectors(1), min_confidence=min_confidence)

        assert seen() is None
        store.save_operating_point(point)
        assert seen() == point
        store.save_operating_point(replace(point, min_confidence=0.0, actor=None))
        assert seen() == replace(point, min_confidence=0.0, actor=None)
        store.save_labelled(labelled(None), encoder=ENCODER)
        assert seen() is not None
        for chosen in (labelled(0.75), None):
            store.save_operating_point(point)
            store.save_labelled(chosen, encoder=ENCODER)
            assert seen() is None
        store.save_operating_point(point)
        store.save_operating_point(None)
        assert seen() is None

    def test_what_was_learned_is_kept_until_replaced(self, store: BaseStorage, opening: Opening) -> None:
        """Byte for byte."""
        for learned in (bytes(range(256)), b"", b"\0" * 100_000):
            store.save_learned(learned)
            other = opening()
            assert other.load_learned() == learned
            other.close()

    # ------------------------------------------------------------------------------------- history, snapshots
    @pytest.mark.parametrize("seed", range(3))
    def test_undoing_entries_gives_every_earlier_revision(self, store: BaseStorage, seed: int) -> None:
        """Also where one commit changes a route several times."""
        chance, revisions = np.random.default_rng(seed), [store.load(ENCODER).routes]
        for number in range(15):
            changes: list[Change] = []
            now = {route.name: route for route in revisions[-1]}
            for step in range(int(chance.integers(1, 4))):
                name, fresh = "abc"[chance.integers(3)], f"{number}.{step}\0"
                stored = now.get(name)
                if stored is None:
                    changes.append(put(name, "x", fresh, description="d\\0"))
                    now[name] = changes[-1].route  # type: ignore[union-attr] # a put
                elif chance.random() < 0.3:
                    changes.append(DropRoute(name=name))
                    del now[name]
                else:
                    removed = stored.utterances[:1] if chance.random() < 0.6 else ()
                    utterances = (*stored.utterances[len(removed) :], fresh)
                    route = stored.replaced(utterances=utterances, threshold=number / 20, metadata={"n": [number]})
                    changes.append(PutRoute(route=route, added=(fresh,), vectors=unit_vectors(1), removed=removed))
                    now[name] = route
            store.commit(changes, encoder=ENCODER, expected_revision=number, actor="ann", cause=f"step {number}")
            revisions.append(store.load(ENCODER).routes)
        routes = {route.name: route for route in revisions[-1]}
        history = store.history()
        assert history.begins == 0
        assert {(entry.actor, entry.cause) for entry in history.entries} == {("ann", f"step {n}") for n in range(15)}
        for revision in range(14, -1, -1):
            for entry in (entry for entry in history.entries if entry.revision == revision + 1):
                assert entry.route is not None
                former = undone(entry, routes.pop(entry.route, None))
                if former is not None:
                    routes[entry.route] = former
            assert routes == {route.name: route for route in revisions[revision]}
        newest = store.history(limit=2).entries
        assert newest == history.entries[:2]
        assert store.history(since=10).entries == tuple(each for each in history.entries if each.revision > 10)
        assert all(entry.route == "a" for entry in store.history(route="a").entries)

    def test_a_route_that_has_changed_since_is_not_overwritten(self, store: BaseStorage) -> None:
        """By whom it was not expected to; 0 expects that it is new."""
        store.commit([put("a", "x"), put("b", "y")], encoder=ENCODER, expected_revision=0, expected={"a": 0, "b": 0})
        changed = PutRoute(route=Route(name="a", utterances=["x"], threshold=0.5), added=(), vectors=unit_vectors(0))
        store.commit([changed], encoder=ENCODER, expected_revision=1, expected={"a": 1, "b": 1})
        assert [store.route_revision(name) for name in ("a", "b", "c")] == [2, 1, 0]
        for expected in ({"a": 1}, {"a": 0}, {"b": 2}, {"c": 1}):
            with pytest.raises(RevisionConflictError, match="nothing was changed"):
                store.commit([DropRoute(name="a")], encoder=ENCODER, expected_revision=2, expected=expected)
        assert store.state().revision == 2

    def test_snapshots_are_kept_until_they_are_deleted(self, store: BaseStorage, opening: Opening) -> None:
        """Whole, in order, under a name that is taken once."""
        routes = tuple(put(f"r{number}", "x", "a\0b").route for number in range(1_500))
        saved = store.save_snapshot("full", routes, revision=7, actor="ann")
        store.save_snapshot("empty", (), revision=0)
        other = opening()
        assert other.snapshots() == (saved, *other.snapshots()[1:])
        assert [(each.name, each.revision, each.routes, each.actor) for each in other.snapshots()] == [
            ("full", 7, 1_500, "ann"),
            ("empty", 0, 0, None),
        ]
        assert other.snapshot_routes("full") == routes
        assert other.snapshot_routes("empty") == ()
        with pytest.raises(InvalidInputError, match="already"):
            other.save_snapshot("full", (), revision=8)
        other.delete_snapshot("full")
        for asking in (other.snapshot_routes, other.delete_snapshot):
            with pytest.raises(SnapshotNotFoundError):
                asking("full")
        other.close()

    # --------------------------------------------------------------------------------------- another encoder
    def test_vectors_of_another_encoder_take_over_when_all_are_there(self, store: BaseStorage) -> None:
        """Those of texts that came meanwhile, and of labelled queries, too."""
        other = EncoderIdentity(name="other", dim=6, fingerprint="other-1")
        vectors = np.eye(6, dtype=np.float32)
        store.commit([put("a", "x", "y\0"), put("b", "x")], encoder=ENCODER, expected_revision=0)
        labelled = LabelledQueries(texts=("q",), labels=("a",), vectors=unit_vectors(1), min_confidence=0.5)
        store.save_labelled(labelled, encoder=ENCODER)
        first, after = store.unencoded(other, limit=2)
        rest, end = store.unencoded(other, after=after, limit=2)
        assert (first, rest, end) == (["x", "y\0"], ["x", "q"], -1)
        store.save_reencoded(["x", "y\0"], vectors[:2], encoder=other)
        with pytest.raises(RevisionConflictError, match="1 stored texts have no vector"):
            store.swap_encoder(other, expected_revision=1)
        store.save_reencoded(["q"], vectors[2:3], encoder=other)
        assert store.unencoded(other) == ([], -1)
        state = store.state()
        with pytest.raises(RevisionConflictError):
            store.swap_encoder(other, expected_revision=0)
        assert store.swap_encoder(other, expected_revision=1, actor="ann") == 2
        with pytest.raises(EncoderMismatchError):
            store.changes_since(state, ENCODER)
        stored = store.load(other)
        assert stored.vectors.tobytes() == vectors[[0, 1, 0]].tobytes()
        assert stored.labelled is not None
        assert stored.labelled.vectors.tobytes() == vectors[2:3].tobytes()
        assert store.load_learned() is None
        (entry,) = store.history(limit=1).entries
        assert (entry.operation, entry.route, entry.actor, entry.revision) == ("migrate", None, "ann", 2)

    def test_closing_twice_is_fine_and_a_closed_store_says_so(self, opening: Opening) -> None:
        """By an error of ours."""
        store = opening()
        store.close()
        store.close()
        with pytest.raises(StorageError, match="closed"):
            store.state()
        with pytest.raises(StorageError, match="closed"):
            store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
