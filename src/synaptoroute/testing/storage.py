"""What every store promises, as tests."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synaptoroute.errors import EncoderMismatchError, RevisionConflictError, StorageError
from synaptoroute.models import Route
from synaptoroute.storage.base import (
    BaseStorage,
    Change,
    DropRoute,
    EncoderIdentity,
    LabelledQueries,
    PutRoute,
    StoredTable,
    Vectors,
)

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

    def test_what_was_learned_is_kept_until_replaced(self, store: BaseStorage, opening: Opening) -> None:
        """Byte for byte."""
        for learned in (bytes(range(256)), b"", b"\0" * 100_000):
            store.save_learned(learned)
            other = opening()
            assert other.load_learned() == learned
            other.close()

    def test_closing_twice_is_fine_and_a_closed_store_says_so(self, opening: Opening) -> None:
        """By an error of ours."""
        store = opening()
        store.close()
        store.close()
        with pytest.raises(StorageError, match="closed"):
            store.state()
        with pytest.raises(StorageError, match="closed"):
            store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
