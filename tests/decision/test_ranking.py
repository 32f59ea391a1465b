"""Rankings: best first, confidence never rising, nobody twice, and newcomers where they are nearer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from synaptoroute.decision.calibration import UNCALIBRATED, Calibration
from synaptoroute.decision.evidence import FEATURES, Evidence
from synaptoroute.decision.gate import Gate, prior_gate
from synaptoroute.decision.ranking import Ranking, by_model, by_neighbours, challenged

Floats = NDArray[np.float64]

seeds = st.integers(0, 10_000)
calibrations = st.just(UNCALIBRATED) | st.tuples(st.floats(0, 20), st.floats(0, 20), st.floats(-10, 10)).map(
    lambda weights: Calibration(np.array(weights))
)


def neighbours(
    random: np.random.Generator, queries: int, width: int, owners: list[int], calibration: Calibration
) -> Ranking:
    """What a search over these owners gives: the nearest first, padded to the width."""
    found = min(len(owners), width)
    chosen = np.full((queries, width), -1)
    scores = np.full((queries, width), -np.inf)
    rows = np.full((queries, width), -1)
    for query in range(queries):
        chosen[query, :found] = random.permutation(owners)[:found]
        # Two decimals make ties common.
        scores[query, :found] = np.sort(random.uniform(-1, 1, found).round(2))[::-1]
        rows[query, :found] = 10 * chosen[query, :found] + random.integers(10)
    return by_neighbours(chosen, scores, rows, calibration)


def learned(random: np.random.Generator, queries: int, owners: list[int], gate: Gate) -> Ranking:
    """What a head over these owners gives, in the order of its own probabilities."""
    columns = np.stack([random.permutation(len(owners)) for _ in range(queries)])
    likely = np.sort(random.dirichlet(np.full(len(owners), 0.5), queries), axis=1)[:, ::-1]
    return by_model(
        Evidence(
            columns=columns,
            probabilities=likely,
            scores=random.uniform(-1, 1, columns.shape).round(2).astype(np.float32),
            rows=10 * np.array(owners)[columns] + 3,
            features=random.normal(size=(queries, len(FEATURES))) * 3,
        ),
        gate,
        np.array(owners),
    )


def assert_sound(ranking: Ranking) -> None:
    shape = ranking.owners.shape
    assert shape == ranking.scores.shape == ranking.rows.shape == ranking.confidences.shape
    assert ((ranking.confidences >= 0) & (ranking.confidences <= 1)).all()
    assert (np.diff(ranking.confidences, axis=1) <= 0).all()
    # That two routes are right at once cannot be.
    if shape[1] > 1:
        assert (ranking.confidences[:, :2].sum(axis=1) <= 1 + 1e-9).all()
    for owners, scores, rows, confidences in zip(
        ranking.owners, ranking.scores, ranking.rows, ranking.confidences, strict=True
    ):
        found = int((owners >= 0).sum())
        assert (owners[:found] >= 0).all()
        assert len(set(owners[:found].tolist())) == found
        assert (rows[:found] // 10 == owners[:found]).all()
        assert np.isfinite(scores[:found]).all()
        assert (owners[found:] == -1).all()
        assert (rows[found:] == -1).all()
        assert (scores[found:] == -np.inf).all()
        assert (confidences[found:] == 0).all()


# ------------------------------------------------------------------------------------------------------- neighbours
@given(seeds, st.integers(0, 4), st.integers(1, 6), st.integers(0, 8), calibrations)
def test_neighbours_rank_by_score(seed: int, queries: int, width: int, routes: int, calibration: Calibration) -> None:
    ranking = neighbours(np.random.default_rng(seed), queries, width, list(range(routes)), calibration)
    assert_sound(ranking)
    found = min(routes, width)
    assert (np.diff(ranking.scores[:, :found], axis=1) <= 0).all()


def test_the_lead_over_the_second_counts_and_a_rival_below_zero_is_none() -> None:
    owners, rows = np.array([[0, 1]] * 4), np.zeros((4, 2), np.int64)
    scores = np.array([[0.8, 0.7], [0.8, 0.1], [0.8, 0.0], [0.8, -0.9]])
    close, clear, nothing, opposite = by_neighbours(owners, scores, rows, UNCALIBRATED).confidences[:, 0]
    assert close < clear < nothing == opposite
    alone = by_neighbours(owners[:1, :1], scores[:1, :1], rows[:1, :1], UNCALIBRATED).confidences
    assert alone[0, 0] == pytest.approx(nothing)


def test_of_two_equally_near_routes_neither_is_believed_more_than_half() -> None:
    sure = Calibration(np.array([0.0, 0.0, 5.0]))
    ranking = by_neighbours(np.array([[0, 1]]), np.array([[0.9, 0.9]]), np.zeros((1, 2), np.int64), sure)
    assert ranking.confidences[0, 1] == pytest.approx(1 - ranking.confidences[0, 0])


# ------------------------------------------------------------------------------------------------------------- model
@given(seeds, st.integers(1, 4), st.integers(1, 6), st.integers(1, 200))
def test_the_model_ranks_by_its_candidates(seed: int, queries: int, routes: int, size: int) -> None:
    random, gate = np.random.default_rng(seed), prior_gate(size, 10)
    owners = (random.permutation(routes) + 5).tolist()
    ranking = learned(random, queries, owners, gate)
    assert_sound(ranking)
    assert sorted(ranking.owners[0].tolist()) == sorted(owners)
    assert (ranking.confidences.sum(axis=1) <= 1 + 1e-9).all()


def test_what_the_first_is_not_given_goes_to_the_others_by_their_probabilities() -> None:
    features = np.random.default_rng(0).normal(size=(1, len(FEATURES)))
    gate = prior_gate(10, 10)
    in_scope, right = (float(part[0]) for part in gate.probabilities(features))
    ranking = by_model(
        Evidence(
            columns=np.array([[2, 0, 1]]),
            probabilities=np.array([[0.5, 0.375, 0.0625]]),
            scores=np.array([[0.5, 0.6, 0.1]], np.float32),
            rows=np.array([[7, 8, 9]]),
            features=features,
        ),
        gate,
        np.array([20, 21, 22]),
    )
    first, rest = in_scope * right, in_scope * (1 - right)
    assert ranking.owners.tolist() == [[22, 20, 21]]
    assert ranking.rows.tolist() == [[7, 8, 9]]
    expected = np.minimum.accumulate([first, rest * 0.75, rest * 0.125])
    assert ranking.confidences[0] == pytest.approx(expected)


def test_a_head_that_is_certain_leaves_nothing_to_divide_by_zero() -> None:
    evidence = Evidence(
        columns=np.array([[0, 1]]),
        probabilities=np.array([[1.0, 0.0]]),
        scores=np.array([[0.9, 0.1]], np.float32),
        rows=np.array([[3, 13]]),
        features=np.zeros((1, len(FEATURES))),
    )
    ranking = by_model(evidence, prior_gate(2, 5), np.array([0, 1]))
    assert_sound(ranking)
    assert ranking.confidences[0, 1] == 0


# --------------------------------------------------------------------------------------------------------- newcomers
@given(seeds, st.integers(1, 4), st.integers(1, 5), st.integers(0, 5), st.integers(1, 6), calibrations)
def test_the_nearest_newcomer_wins_exactly_where_it_is_nearer_than_the_heads_choice(
    seed: int, queries: int, known: int, new: int, width: int, calibration: Calibration
) -> None:
    random = np.random.default_rng(seed)
    head = learned(random, queries, list(range(known)), prior_gate(known, 10))
    newcomers = neighbours(random, queries, width, list(range(known, known + new)), calibration)
    ranking = challenged(head, newcomers, calibration)
    assert_sound(ranking)
    nearer = newcomers.scores[:, 0] > head.scores[:, 0]
    np.testing.assert_array_equal(ranking.owners[:, 0], np.where(nearer, newcomers.owners[:, 0], head.owners[:, 0]))
    for query in range(queries):
        listed = ranking.owners[query][ranking.owners[query] >= 0].tolist()
        theirs = newcomers.owners[query][newcomers.owners[query] >= 0].tolist()
        assert sorted(listed) == sorted(head.owners[query].tolist() + theirs)
        # Each keeps its own score and row.
        for part in (head, newcomers):
            for owner, score, row in zip(part.owners[query], part.scores[query], part.rows[query], strict=True):
                if owner >= 0:
                    at = ranking.owners[query].tolist().index(owner)
                    assert (ranking.scores[query, at], ranking.rows[query, at]) == (score, row)
    # Where the head's choice stands, so does its confidence.
    np.testing.assert_array_equal(ranking.confidences[~nearer, 0], head.confidences[~nearer, 0])


def one(owners: list[int], scores: list[float], confidences: list[float]) -> Ranking:
    rows = [10 * owner for owner in owners]
    return Ranking(np.array([owners]), np.array([scores]), np.array([rows]), np.array([confidences]))


SURE = one([0, 1], [0.5, 0.2], [0.9, 0.05])


@pytest.mark.parametrize(
    ("newcomers", "order"),
    [
        pytest.param(one([2], [0.6], [0.8]), [2, 0, 1], id="nearer wins"),
        pytest.param(one([2], [0.5], [0.8]), [0, 2, 1], id="as near does not"),
        pytest.param(one([2], [0.1], [0.01]), [0, 1, 2], id="far comes where its confidence puts it"),
        pytest.param(one([-1], [-np.inf], [0.0]), [0, 1, -1], id="nobody"),
        pytest.param(one([2, 3], [0.9, 0.8], [0.6, 0.4]), [2, 0, 3, 1], id="only the nearest of them wins"),
    ],
)
def test_who_comes_first_by_hand(newcomers: Ranking, order: list[int]) -> None:
    assert challenged(SURE, newcomers, UNCALIBRATED).owners[0].tolist() == order


def test_two_newcomers_that_stand_close_are_not_believed_less_than_the_head_they_beat() -> None:
    """Near each other they are unsure, and the head, sure of something else, must not stand above the first."""
    newcomers = by_neighbours(
        np.array([[2, 3]]), np.array([[0.95, 0.95]]), np.array([[20, 30]]), Calibration(np.array([0.0, 10.0, 0.0]))
    )
    assert newcomers.confidences[0, 0] == pytest.approx(0.5)
    ranking = challenged(SURE, newcomers, Calibration(np.array([0.0, 10.0, 0.0])))
    assert ranking.owners[0, 0] == 2
    assert (np.diff(ranking.confidences[0]) <= 0).all()


def test_a_newcomer_is_believed_by_its_lead_over_the_heads_choice() -> None:
    def confidence(rival: float) -> Any:
        head = one([0, 1], [rival, 0.1], [0.9, 0.05])
        newcomers = by_neighbours(np.array([[2]]), np.array([[0.9]]), np.array([[20]]), UNCALIBRATED)
        return challenged(head, newcomers, UNCALIBRATED).confidences[0, 0]

    assert confidence(0.85) < confidence(0.5) < confidence(0.0) == confidence(-0.5)
    expected = UNCALIBRATED.confidence(np.array([0.9], np.float32), np.array([0.4], np.float32))
    assert confidence(0.5) == pytest.approx(float(expected[0]), abs=1e-6)
