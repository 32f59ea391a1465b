"""ExactIndex against a plain loop over all rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute.index import ExactIndex, Nearest

DIM = 8


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def random_rows(seed: int, count: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, DIM)))


def slow_search(index: ExactIndex, query: np.ndarray, k: int, allow: np.ndarray | None) -> list[tuple[int, int]]:
    best: dict[int, tuple[float, int]] = {}
    for row, (vector, owner) in enumerate(zip(index.vectors, index.owners, strict=True)):
        if allow is not None and not allow[owner]:
            continue
        score = float(vector @ query)
        if owner not in best or score > best[owner][0] + 1e-9:
            best[int(owner)] = (score, row)
    ranked = sorted(best.items(), key=lambda item: -item[1][0])
    return [(owner, row) for owner, (_, row) in ranked[:k]]


def found(nearest: Nearest, query: int) -> list[tuple[int, int]]:
    return [(int(o), int(r)) for o, r in zip(nearest.owners[query], nearest.rows[query], strict=True) if o >= 0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 8), st.data())
def test_it_finds_what_a_loop_finds(seed: int, owners: list[int], k: int, data: st.DataObject) -> None:
    index = ExactIndex(random_rows(seed, len(owners)), np.array(owners, np.int32))
    allow = np.array(data.draw(st.one_of(st.none(), st.lists(st.booleans(), min_size=7, max_size=7))))
    mask = None if allow.shape == () else allow
    queries = random_rows(seed + 1, 3)
    nearest = index.search(queries, k, mask)
    for number, query in enumerate(queries):
        assert found(nearest, number) == slow_search(index, query, k, mask)
        real = nearest.owners[number] >= 0
        scores = nearest.scores[number]
        assert (np.diff(scores[real]) <= 0).all()
        assert np.isneginf(scores[~real]).all()
        np.testing.assert_allclose(scores[real], index.vectors[nearest.rows[number][real]] @ query, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 5), max_size=20), st.data())
def test_changing_is_the_same_as_building_anew(seed: int, owners: list[int], data: st.DataObject) -> None:
    rows, owner = random_rows(seed, len(owners)), np.array(owners, np.int32)
    split = data.draw(st.integers(0, len(owners)))
    gone = data.draw(st.sets(st.integers(0, max(len(owners) - 1, 0)), max_size=len(owners)))
    grown = ExactIndex.empty(DIM).extended(rows[:split], owner[:split]).extended(rows[split:], owner[split:])
    left = grown.without(np.array(sorted(gone), np.int64))
    keep = [row for row in sorted(range(len(owners)), key=owners.__getitem__) if row not in placed_at(gone, owners)]
    assert left.vectors.tobytes() == rows[keep].tobytes()
    assert left.owners.tolist() == owner[keep].tolist()
    assert len(grown) == len(owners)
    for who in range(6):
        assert left.rows_of(who).tolist() == [at for at, row in enumerate(keep) if owner[row] == who]
    assert left.vectors_of(left.rows_of(0)).shape[1] == DIM


def placed_at(places: set[int], owners: list[int]) -> set[int]:
    """Which of the rows as given stand at these places once they are ordered by owner."""
    order = sorted(range(len(owners)), key=owners.__getitem__)
    return {order[place] for place in places if place < len(order)}


def test_an_empty_index_finds_nothing() -> None:
    nearest = ExactIndex.empty(DIM).search(random_rows(0, 2), 3)
    assert nearest.owners.tolist() == [[-1] * 3] * 2
    assert np.isneginf(nearest.scores).all()


def test_one_query_is_a_batch_of_one_and_large_batches_are_cut() -> None:
    index = ExactIndex(random_rows(1, 5_000), np.arange(5_000, dtype=np.int32) % 300)
    queries = random_rows(2, 4_000)
    together = index.search(queries, 5)
    for number in (0, 3_354, 3_355, 3_999):
        alone = index.search(queries[number : number + 1], 5)
        assert alone.owners[0].tolist() == together.owners[number].tolist()
        np.testing.assert_allclose(alone.scores[0], together.scores[number], atol=1e-5)


@pytest.mark.parametrize("owners", [40, 2_000])
@pytest.mark.parametrize("k", [1, 2, 50])
def test_equal_scores_go_to_the_lower_owner(k: int, owners: int) -> None:
    axis = np.eye(DIM, dtype=np.float32)[:1]
    index = ExactIndex(np.repeat(axis, owners, axis=0), np.arange(owners, dtype=np.int32)[::-1].copy())
    nearest = index.search(axis, k)
    assert nearest.owners[0, : min(k, owners)].tolist() == list(range(owners))[:k]


def test_scores_are_cosines_even_where_rounding_exceeds_one() -> None:
    row = np.full((1, DIM), np.float32(1 / np.sqrt(DIM)) * np.float32(1.00001), np.float32)
    assert ExactIndex(row, np.zeros(1, np.int32)).search(row, 1).scores[0, 0] == 1.0
