"""Instant calibration: a probability from score and margin, learned from the utterances alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synaptoroute.decision import calibration as module
from synaptoroute.decision.calibration import PRIOR, UNCALIBRATED, Calibration, Owners, Vectors, calibrate

DIM = 24


def unit(rows: NDArray[np.float64]) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def table(routes: int, per_route: int, spread: float = 0.15, seed: int = 0) -> tuple[Vectors, Owners]:
    """Routes as clusters around random directions; the wider the spread, the more they overlap."""
    random = np.random.default_rng(seed)
    owners = np.repeat(np.arange(routes, dtype=np.int32), per_route)
    centres = unit(random.normal(size=(routes, DIM)))
    return unit(centres[owners] + random.normal(scale=spread, size=(len(owners), DIM))), owners


BACKGROUND = unit(np.random.default_rng(99).normal(size=(40, DIM)))


def at(calibration: Calibration, score: float, margin: float) -> float:
    return float(calibration.confidence(np.array([score], np.float32), np.array([margin], np.float32))[0])


sizes = st.tuples(st.integers(1, 12), st.integers(1, 6), st.floats(0.01, 2), st.integers(0, 999))


@settings(max_examples=50, deadline=None)
@given(sizes, st.floats(-1, 1), st.floats(-2, 2), st.floats(0, 1))
def test_more_score_or_margin_never_lowers_the_confidence(
    size: tuple[int, int, float, int], score: float, margin: float, more: float
) -> None:
    found = calibrate(*table(*size), BACKGROUND)
    assert np.isfinite(found.weights).all()
    assert (found.weights[:2] >= 0).all()
    confidence = at(found, score, margin)
    assert 0 <= confidence <= 1
    assert at(found, score + more, margin) >= confidence
    assert at(found, score, margin + more) >= confidence


@pytest.mark.parametrize(("routes", "per_route"), [(1, 1), (1, 8), (2, 1), (8, 1), (50, 1), (50, 10)])
def test_it_tells_the_routes_own_from_the_rest_for_any_table(routes: int, per_route: int) -> None:
    vectors, owners = table(routes, per_route)
    found = calibrate(vectors, owners, BACKGROUND)
    assert at(found, 0.95, 0.6) > 0.5 > at(found, 0.2, 0.02)


def test_it_is_deterministic_and_the_order_of_the_rows_does_not_matter() -> None:
    vectors, owners = table(10, 6)
    found = calibrate(vectors, owners, BACKGROUND)
    np.testing.assert_array_equal(calibrate(vectors.copy(), owners.copy(), BACKGROUND).weights, found.weights)
    shuffled = np.random.default_rng(1).permutation(len(owners))
    np.testing.assert_allclose(
        calibrate(vectors[shuffled], owners[shuffled], BACKGROUND).weights, found.weights, atol=1e-5
    )


def test_owners_need_not_be_numbered_without_gaps() -> None:
    vectors, owners = table(5, 4)
    np.testing.assert_allclose(
        calibrate(vectors, owners * 7 + 3, BACKGROUND).weights, calibrate(vectors, owners, BACKGROUND).weights
    )


def test_without_utterances_the_prior_holds() -> None:
    found = calibrate(np.empty((0, DIM), np.float32), np.empty(0, np.int32), BACKGROUND)
    assert found is UNCALIBRATED
    assert found.weights.tolist() == PRIOR.tolist()


def test_routes_that_overlap_are_believed_less_than_routes_that_do_not() -> None:
    apart = calibrate(*table(12, 8, spread=0.05), BACKGROUND)
    mixed = calibrate(*table(12, 8, spread=2.0), BACKGROUND)
    assert at(mixed, 0.6, 0.02) < at(apart, 0.6, 0.02)


def test_evidence_against_a_feature_takes_its_weight_to_zero_and_not_below() -> None:
    """Two routes with the same texts: the nearer the nearest, the likelier it is wrong."""
    vectors, _ = table(20, 1)
    twice = np.concatenate([vectors, vectors])
    owners = np.repeat(np.arange(2, dtype=np.int32), 20)
    found = calibrate(twice, owners, BACKGROUND)
    assert (found.weights[:2] >= 0).all()
    assert at(found, 1.0, 0.0) < 0.5


def test_a_large_table_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, owners = table(20, 10)
    whole = calibrate(vectors, owners, BACKGROUND)
    monkeypatch.setattr(module, "SAMPLE", 100)
    part = calibrate(vectors, owners, BACKGROUND)
    assert part.weights == pytest.approx(whole.weights, abs=1.0)
    assert part.weights.tolist() != whole.weights.tolist()


def test_scores_out_of_range_count_as_the_least_there_is() -> None:
    """Minus infinity stands for "no route"."""
    with np.errstate(all="raise"):
        assert at(UNCALIBRATED, -np.inf, -np.inf) == at(UNCALIBRATED, -1, -2) < 1e-6
        assert at(Calibration(np.array([1e3, 1e3, 1e3])), 1, 1) == pytest.approx(1)
        assert at(Calibration(np.array([1e3, 1e3, -1e6])), 1, 1) == pytest.approx(0)
    assert UNCALIBRATED.confidence(np.empty((2, 0), np.float32), np.empty((2, 0), np.float32)).shape == (2, 0)


def test_the_fit_is_where_the_gradient_vanishes() -> None:
    random = np.random.default_rng(3)
    features, weights = random.uniform(0, 1, (200, 2)), random.random(200)
    outcome = random.random(200) < features.mean(axis=1)
    found = module._logistic(features, outcome, weights)
    x = np.column_stack([features, np.ones(200)])
    p = 1 / (1 + np.exp(-x @ found))
    gradient = x.T @ (weights * (p - outcome)) + module.PRIOR_STRENGTH * (found - PRIOR)
    assert (found[:2] > 0).all()
    assert gradient == pytest.approx(0, abs=1e-6)
