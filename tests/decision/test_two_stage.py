"""TwoStage on synthetic clusters: the right route first, less sure of strangers, open to newcomers."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute.decision.two_stage import CANDIDATES, TEMPERATURE, TwoStage, _ask, learn_two_stage
from synaptoroute.index import ExactIndex, SegmentedIndex

DIM, ROUTES, EACH = 24, 80, 5
Vectors = np.ndarray


def unit(rows: Vectors) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def around(centres: Vectors, each: int, seed: int, spread: float = 0.6) -> Vectors:
    """Unit rows about each centre, centre after centre."""
    noise = np.random.default_rng(seed).normal(size=(len(centres), each, DIM))
    return unit((unit(centres)[:, None] + spread * noise / np.sqrt(DIM)).reshape(-1, DIM))


CENTRES = np.random.default_rng(0).normal(size=(ROUTES, DIM))
STRANGE = np.random.default_rng(1).normal(size=(60, DIM))
BACKGROUND = unit(np.random.default_rng(2).normal(size=(50, DIM)))


@pytest.fixture(scope="module")
def index() -> ExactIndex:
    return ExactIndex(around(CENTRES, EACH, 3), np.repeat(np.arange(ROUTES, dtype=np.int32), EACH))


@pytest.fixture(scope="module")
def learned(index: ExactIndex) -> TwoStage:
    return learn_two_stage(index, BACKGROUND)


def test_the_right_route_comes_first(learned: TwoStage, index: ExactIndex) -> None:
    ranking = learned.rank(index, around(CENTRES, 2, 4), 3)
    assert (ranking.owners[:, 0] == np.repeat(np.arange(ROUTES), 2)).mean() > 0.95
    assert ranking.owners.shape == ranking.scores.shape == ranking.rows.shape == ranking.confidences.shape
    assert (np.diff(ranking.confidences, axis=1) <= 0).all()
    assert ((ranking.confidences >= 0) & (ranking.confidences <= 1)).all()


def test_it_is_sure_of_its_own_and_not_of_strangers(learned: TwoStage, index: ExactIndex) -> None:
    own = learned.rank(index, around(CENTRES, 2, 4), 1).confidences[:, 0]
    strangers = learned.rank(index, around(STRANGE, 2, 5), 1).confidences[:, 0]
    assert np.median(own) > 0.8
    assert np.median(strangers) < 0.2
    assert (own > 0.5).mean() > 0.9
    assert (strangers < 0.5).mean() > 0.8


def test_scores_and_rows_are_those_of_the_nearest_utterance(learned: TwoStage, index: ExactIndex) -> None:
    queries = around(CENTRES[:5], 1, 6)
    ranking = learned.rank(index, queries, 4)
    for query, owners, rows, scores in zip(queries, ranking.owners, ranking.rows, ranking.scores, strict=True):
        for owner, row, score in zip(owners, rows, scores, strict=True):
            all_rows = index.rows_of(int(owner))
            cosines = index.vectors_of(all_rows) @ query
            assert all_rows[cosines.argmax()] == row
            assert score == pytest.approx(cosines.max(), abs=1e-5)


def test_asking_for_more_routes_changes_nothing_about_the_first(learned: TwoStage, index: ExactIndex) -> None:
    queries = around(CENTRES, 1, 7)
    few, many, all_of_them = (learned.rank(index, queries, k) for k in (2, CANDIDATES + 9, ROUTES))
    for more in (many, all_of_them):
        np.testing.assert_array_equal(more.owners[:, :2], few.owners)
        np.testing.assert_allclose(more.confidences[:, :2], few.confidences, atol=1e-9)
        assert (np.diff(more.confidences, axis=1) <= 0).all()
    assert (np.sort(all_of_them.owners, axis=1) == np.arange(ROUTES)).all()
    rest = many.scores[:, CANDIDATES:]
    assert (np.diff(rest, axis=1) <= 0).all()


def test_where_fewer_routes_are_there_than_asked_for_the_rest_is_empty(learned: TwoStage, index: ExactIndex) -> None:
    allow = np.arange(ROUTES) < 3
    for k in (5, CANDIDATES + 4):
        ranking = learned.rank(index, around(CENTRES[:4], 1, 8), k, allow)
        assert (np.sort(ranking.owners[:, :3], axis=1) == [0, 1, 2]).all()
        assert (ranking.owners[:, 3:] == ranking.rows[:, 3:]).all()
        assert (ranking.owners[:, 3:] == -1).all()
        assert np.isneginf(ranking.scores[:, 3:]).all()
        assert (ranking.confidences[:, 3:] == 0).all()
    nothing = learned.rank(index, around(CENTRES[:1], 1, 8), 2, np.zeros(ROUTES, bool))
    assert (nothing.owners == -1).all()
    assert (nothing.confidences == 0).all()


def test_a_route_that_is_not_allowed_makes_room_for_the_next(learned: TwoStage, index: ExactIndex) -> None:
    queries = around(CENTRES[:10], 1, 9)
    first = learned.rank(index, queries, 2)
    allow = np.ones(ROUTES, bool)
    allow[:10] = False
    second = learned.rank(index, queries, 1, allow)
    assert (second.owners >= 10).all()
    assert (second.confidences[:, 0] <= first.confidences[:, 0]).mean() > 0.8


def test_learning_twice_gives_the_same_bits(learned: TwoStage, index: ExactIndex) -> None:
    again = learn_two_stage(index, BACKGROUND)
    for field in fields(TwoStage):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(learned, field.name))


def test_blocks_of_queries_leave_no_seam(learned: TwoStage, index: ExactIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = around(CENTRES, 1, 10)
    whole = learned.rank(index, queries, 4)
    monkeypatch.setattr("synaptoroute.decision.two_stage.AT_ONCE", 7)
    parts = learned.rank(index, queries, 4)
    np.testing.assert_array_equal(parts.owners, whole.owners)
    np.testing.assert_allclose(parts.confidences, whole.confidences, atol=1e-5)


def test_new_routes_are_ranked_at_once_and_removed_ones_no_more(learned: TwoStage, index: ExactIndex) -> None:
    segmented = SegmentedIndex(index.vectors, index.owners)
    for start in (index, segmented):
        grown = start.extended(
            around(STRANGE[:5], EACH, 11), np.repeat(np.arange(ROUTES, ROUTES + 5, dtype=np.int32), EACH)
        )
        queries = around(STRANGE[:5], 2, 12)
        ranking = learned.rank(grown, queries, 2)
        assert (ranking.owners[:, 0] == np.repeat(np.arange(ROUTES, ROUTES + 5), 2)).all()
        assert (ranking.confidences[:, 0] > 0.5).mean() > 0.8
        left = grown.without(np.concatenate([grown.rows_of(owner) for owner in range(ROUTES, ROUTES + 5)]))
        np.testing.assert_array_equal(learned.rank(left, queries, 2).owners, learned.rank(index, queries, 2).owners)


@pytest.mark.parametrize(("routes", "each"), [(1, 1), (1, 6), (2, 1), (40, 1), (3, 200)])
def test_it_learns_from_any_shape_of_table(routes: int, each: int) -> None:
    owners = np.repeat(np.arange(routes, dtype=np.int32), each)
    index = ExactIndex(around(CENTRES[:routes], each, 13), owners)
    ranking = learn_two_stage(index, BACKGROUND).rank(index, around(CENTRES[:routes], 1, 14), 3)
    assert (ranking.owners[:, 0] == np.arange(routes)).all()
    assert np.isfinite(ranking.confidences).all()


def test_whatever_the_checkpoint_raises_ends_the_learning(index: ExactIndex) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_two_stage(index, BACKGROUND, stop)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), extra=st.integers(1, 4))
def test_one_more_near_utterance_never_hurts_what_they_softly_say(seed: int, extra: int) -> None:
    random = np.random.default_rng(seed)
    vectors, query = unit(random.normal(size=(3 + extra, DIM))), unit(random.normal(size=(1, DIM)))
    owners, asked = np.zeros(3 + extra, np.int32), np.zeros((1, 1), np.int64)
    precision = np.eye(DIM, dtype=np.float32)
    few, more = (_ask(ExactIndex(vectors[:end], owners[:end]), query, asked, precision) for end in (3, 3 + extra))
    cosines = vectors @ query[0]
    for found, end in ((few, 3), (more, 3 + extra)):
        expected = 1 + TEMPERATURE * np.log(np.exp((cosines[:end] - 1) / TEMPERATURE).sum())
        assert found.soft[0, 0] == pytest.approx(expected, abs=1e-3)
    assert more.soft >= few.soft - 1e-6
