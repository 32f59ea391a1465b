"""SegmentedIndex: changes, shared tails, older views and compaction, against a dict and a loop over all rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from synaptoroute.index import Nearest, SegmentedIndex
from synaptoroute.index.base import Owners, Rows, Vectors
from tests.index.test_exact import DIM, random_rows

OWNERS = 6
QUERIES = random_rows(99, 3)


class EveryRow:
    """A graph that misses nothing but gives only as many rows as it is asked for, the nearest first."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self.asked: list[int] = []

    def search(self, queries: Vectors, count: int) -> Rows:
        self.asked.append(count)
        found = np.full((len(queries), count), -1, np.int64)
        order = np.argsort(-(queries @ self.vectors.T), axis=1)[:, :count]
        found[:, : order.shape[1]] = order
        return found


def sealed_index(vectors: Vectors, owners: Owners, *, graph: bool = True) -> SegmentedIndex:
    order = np.argsort(owners, kind="stable")
    return SegmentedIndex(vectors[order], owners[order], EveryRow(vectors[order]) if graph else None)


def spread(seed: int, routes: int, each: int) -> tuple[Vectors, Owners]:
    return random_rows(seed, routes * each), np.repeat(np.arange(routes, dtype=np.int32), each)


def same(found: Nearest, expected: Nearest) -> None:
    np.testing.assert_array_equal(found.owners, expected.owners)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


class ChangingTable(RuleBasedStateMachine):
    """The model is a dict: owner -> its vectors in order. Some views are kept, with what they answered then."""

    @initialize(counts=st.lists(st.integers(0, 4), min_size=OWNERS, max_size=OWNERS), graph=st.booleans())
    def start(self, counts: list[int], graph: bool) -> None:
        owners = np.repeat(np.arange(OWNERS, dtype=np.int32), counts)
        vectors = random_rows(7, len(owners)) if len(owners) else np.empty((0, DIM), np.float32)
        self.seed = 100
        self.index = sealed_index(vectors, owners, graph=graph)
        self.model = {owner: list(vectors[owners == owner]) for owner in range(OWNERS)}
        self.kept: list[tuple[SegmentedIndex, Nearest, int]] = []

    @rule(owners=st.lists(st.integers(0, OWNERS - 1), max_size=4))
    def add(self, owners: list[int]) -> None:
        self.seed += 1
        vectors = random_rows(self.seed, 4)[: len(owners)]
        self.index = self.index.extended(vectors, np.array(owners, np.int32))
        for owner, vector in zip(owners, vectors, strict=True):
            self.model[owner].append(vector)

    @rule(owner=st.integers(0, OWNERS - 1), places=st.sets(st.integers(0, 5), max_size=3))
    def remove(self, owner: int, places: set[int]) -> None:
        chosen = sorted(place for place in places if place < len(self.model[owner]))
        self.index = self.index.without(self.index.rows_of(owner)[chosen])
        self.model[owner] = [vector for place, vector in enumerate(self.model[owner]) if place not in chosen]

    @rule(owner=st.integers(0, OWNERS - 1))
    def drop(self, owner: int) -> None:
        self.index = self.index.without(self.index.rows_of(owner))
        self.model[owner] = []

    @rule()
    def hold_a_view(self) -> None:
        self.kept.append((self.index, self.index.search(QUERIES, 3), len(self.index)))

    @rule()
    def change_an_older_view_too(self) -> None:
        if self.kept:
            changed = self.kept[0][0].extended(QUERIES, np.zeros(len(QUERIES), np.int32))
            assert (changed.search(QUERIES, 1).owners == 0).all()

    @rule(graph=st.booleans())
    def compact(self, graph: bool) -> None:
        vectors, owners = self.index.sealed()
        self.index = SegmentedIndex(vectors, owners, EveryRow(vectors) if graph else None)

    @invariant()
    def it_answers_as_the_model(self) -> None:
        assert len(self.index) == sum(map(len, self.model.values()))
        assert self.index.present.tolist() == [owner for owner, vectors in self.model.items() if vectors]
        for owner, vectors in self.model.items():
            rows = self.index.rows_of(owner)
            held = self.index.vectors_of(rows)
            assert self.index.positions(np.full((1, len(rows)), owner), rows[None]).tolist() == [[*range(len(rows))]]
            np.testing.assert_array_equal(held, np.array(vectors, np.float32).reshape(-1, DIM))
        for allow in (None, np.arange(OWNERS) % 2 == 1):
            expected = self.expected(allow)
            same(self.index.search(QUERIES, 3, allow), expected)
            same(self.index.search(QUERIES, 3, allow, exact=True), expected)

    @invariant()
    def older_views_answer_as_before(self) -> None:
        for view, answer, rows in self.kept[-3:]:
            same(view.search(QUERIES, 3), answer)
            assert len(view) == rows

    def expected(self, allow: np.ndarray | None) -> Nearest:
        found = Nearest.nothing(len(QUERIES), 3)
        for number, query in enumerate(QUERIES):
            best = {
                owner: float((np.array(vectors) @ query).max())
                for owner, vectors in self.model.items()
                if vectors and (allow is None or allow[owner])
            }
            for place, owner in enumerate(sorted(best, key=lambda owner: -best[owner])[:3]):
                found.owners[number, place], found.scores[number, place] = owner, best[owner]
        return found


ChangingTable.TestCase.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
TestChangingTable = ChangingTable.TestCase


def test_the_graph_is_asked_for_more_until_enough_owners_are_found() -> None:
    vectors, owners = spread(1, 400, 10)
    near = random_rows(2, 1)
    crowd = np.repeat(near, 90, axis=0) + 1e-3 * random_rows(3, 90)
    index = sealed_index(np.concatenate([vectors, crowd]), np.concatenate([owners, np.full(90, 400, np.int32)]))
    found = index.search(near, 3)
    same(found, index.search(near, 3, exact=True))
    assert found.owners[0, 0] == 400
    assert isinstance(index.graph, EveryRow)
    assert index.graph.asked == [32, 64, 128]


def test_removed_rows_do_not_use_up_what_the_graph_returns() -> None:
    index = sealed_index(*spread(1, 400, 10))
    nearest = index.search(QUERIES, 100).owners
    left = index.without(np.concatenate([index.rows_of(owner) for owner in np.unique(nearest)]))
    same(left.search(QUERIES, 5), left.search(QUERIES, 5, exact=True))


@pytest.mark.parametrize(("allowed", "asked"), [(10, []), (200, [64])])
def test_few_allowed_rows_are_scored_without_asking_the_graph(allowed: int, asked: list[int]) -> None:
    index = sealed_index(*spread(1, 400, 10))
    allow = np.arange(400) < allowed
    same(index.search(QUERIES, 2, allow), index.search(QUERIES, 2, allow, exact=True))
    assert isinstance(index.graph, EveryRow)
    assert index.graph.asked == asked


def test_fewer_owners_than_wanted_do_not_make_every_search_exact() -> None:
    index = sealed_index(*spread(1, 2, 3_000))
    same(index.search(QUERIES, 5), index.search(QUERIES, 5, exact=True))
    assert isinstance(index.graph, EveryRow)
    assert index.graph.asked[0] == 32
    assert max(index.graph.asked) < 1_000


def test_blocks_of_rows_and_of_queries_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, owners = spread(4, 37, 9)
    queries = random_rows(5, 50)
    whole, told = sealed_index(vectors, owners, graph=False), np.arange(100, dtype=np.int64).reshape(50, 2) % 40
    expected, neighbours = whole.search(queries, 6), whole.neighbours(queries, told)
    monkeypatch.setattr("synaptoroute.index.segmented._ROWS_AT_ONCE", 13)
    monkeypatch.setattr("synaptoroute.index.segmented.SCORES_AT_ONCE", 13 * 7)
    same(whole.search(queries, 6), expected)
    np.testing.assert_allclose(whole.neighbours(queries, told).second, neighbours.second, atol=1e-5)
    np.testing.assert_array_equal(whole.sealed()[0], vectors)


def test_row_numbers_stay_until_compaction() -> None:
    index = sealed_index(*spread(1, 10, 4))
    changed = index.extended(QUERIES, np.array([3, 20, 3], np.int32)).without(index.rows_of(2))
    assert changed.rows_of(3).tolist() == [12, 13, 14, 15, 40, 42]
    assert changed.rows_of(20).tolist() == [41]
    assert changed.extended(QUERIES, np.array([2, 2, 2], np.int32)).rows_of(2).tolist() == [43, 44, 45]


def test_a_segment_may_be_a_memory_map_and_become_another(tmp_path: Path) -> None:
    vectors, owners = spread(1, 30, 3)
    np.save(tmp_path / "sealed.npy", vectors)
    mapped = SegmentedIndex(np.load(tmp_path / "sealed.npy", mmap_mode="r"), owners)
    newer = mapped.extended(QUERIES, np.array([1, 1, 40], np.int32)).without(mapped.rows_of(0))
    gathered, its_owners = newer.sealed()
    assert its_owners.tolist() == sorted([*owners[3:], 1, 1, 40])
    same(SegmentedIndex(gathered, its_owners).search(QUERIES, 4), newer.search(QUERIES, 4))


def test_the_parts_of_a_new_segment_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    index = sealed_index(*spread(1, 30, 3)).extended(QUERIES, np.array([1, 0, 40], np.int32))
    whole, _ = index.sealed()
    monkeypatch.setattr("synaptoroute.index.segmented._ROWS_AT_ONCE", 7)
    parts = list(index.sealed_in_parts())
    assert {len(part) for part in parts[:-1]} == {7}
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_views_between_which_nothing_was_removed_share_what_is_derived() -> None:
    index = sealed_index(*spread(1, 10, 4)).without(np.array([3]))
    grown = index.extended(QUERIES, np.zeros(3, np.int32))
    assert grown.without(np.array([40]))._live is grown._live is index._live
    assert index.without(np.array([4]))._live is not index._live


def test_a_segment_must_be_ordered_by_owner() -> None:
    with pytest.raises(ValueError, match="ordered by owner"):
        SegmentedIndex(random_rows(0, 2), np.array([1, 0], np.int32))


def test_compaction_is_due_after_many_additions_or_removals() -> None:
    index = sealed_index(*spread(1, 100, 10))
    assert not index.needs_compaction
    many = random_rows(2, 4_097)
    assert not index.extended(many[1:], np.zeros(4_096, np.int32)).needs_compaction
    assert index.extended(many, np.zeros(4_097, np.int32)).needs_compaction
    assert not index.without(np.arange(200)).needs_compaction
    assert index.without(np.arange(201)).needs_compaction


def test_recall_counts_what_the_graph_misses() -> None:
    vectors, owners = spread(1, 300, 10)
    assert sealed_index(vectors, owners).recall() == 1
    assert sealed_index(vectors[:0], owners[:0]).recall() == 1
    half_blind = EveryRow(np.where(np.arange(len(vectors))[:, None] % 2 == 0, vectors, 0).astype(np.float32))
    assert 0.3 < SegmentedIndex(vectors, owners, half_blind).recall() < 0.7
