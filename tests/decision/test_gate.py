"""The gate: probabilities from evidence, none of which ever counts against a route."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from synaptoroute.decision.evidence import FEATURES
from synaptoroute.decision.gate import (
    FAR,
    IN_SCOPE,
    NEAR,
    NEAR_SHARE,
    OUT_OF_SCOPE,
    RIGHT,
    RIGHT_ROUTE,
    WRONG,
    Gate,
    prior_gate,
    shares,
    table_size,
)

Floats = NDArray[np.float64]

WIDTH = len(FEATURES)
ALL_KINDS = np.repeat(np.array([RIGHT, WRONG, NEAR, FAR], np.int8), [60, 20, 30, 30])

feature = st.floats(-30, 30)
rows = arrays(np.float64, st.tuples(st.integers(1, 5), st.just(WIDTH)), elements=feature)
kinds = st.lists(st.sampled_from([RIGHT, WRONG, NEAR, FAR]), max_size=30).map(lambda found: np.array(found, np.int8))


def weights(count: int) -> st.SearchStrategy[Floats]:
    """An offset and weights, some of them zero."""
    offset, positive = st.floats(-10, 10), st.just(0.0) | st.floats(0, 10)
    return st.tuples(offset, *[positive] * count).map(np.array)


random_gates = st.builds(Gate, in_scope=weights(len(IN_SCOPE)), right_route=weights(len(RIGHT_ROUTE)))
prior_gates = st.builds(prior_gate, st.integers(1, 1_000), st.floats(1, 1_000))
gates = random_gates | prior_gates


def evidence(kinds: NDArray[np.int8], seed: int = 0) -> Floats:
    """Features as they are: the better the kind, the more of each."""
    random = np.random.default_rng(seed)
    return np.asarray(random.normal(size=(len(kinds), WIDTH)) + 0.8 * kinds[:, None])


# -------------------------------------------------------------------------------------------------------- confidence
def assert_more_never_hurts(gate: Gate, features: Floats, place: int, more: float) -> None:
    raised = features.copy()
    raised[:, place] += more
    for before, after in zip(gate.probabilities(features), gate.probabilities(raised), strict=True):
        assert (after >= before - 1e-12).all()
    assert (gate.confidence(raised) >= gate.confidence(features) - 1e-12).all()


@given(gates, rows, st.integers(0, WIDTH - 1), st.floats(0, 100))
def test_more_of_any_feature_never_lowers_the_confidence(gate: Gate, features: Floats, place: int, more: float) -> None:
    assert_more_never_hurts(gate, features, place, more)


@settings(max_examples=40, deadline=None)
@given(gates, kinds, st.integers(0, 99), st.integers(0, WIDTH - 1), st.data())
def test_nor_does_it_after_fitting_to_anything(
    gate: Gate, found: NDArray[np.int8], seed: int, place: int, data: st.DataObject
) -> None:
    # Even where the evidence says the opposite.
    sign = data.draw(st.sampled_from([1, -1]))
    fitted = gate.fitted(sign * evidence(found, seed), found, shares(found))
    assert (fitted.in_scope[1:] >= 0).all()
    assert (fitted.right_route[1:] >= 0).all()
    assert np.isfinite([*fitted.in_scope, *fitted.right_route]).all()
    assert_more_never_hurts(fitted, data.draw(rows), place, data.draw(st.floats(0, 100)))


@given(gates, arrays(np.float64, (3, WIDTH), elements=st.floats(-1e6, 1e6)))
def test_confidence_is_a_probability_and_never_above_that_of_being_in_scope(gate: Gate, features: Floats) -> None:
    in_scope, right = gate.probabilities(features)
    confidence = gate.confidence(features)
    assert confidence.shape == in_scope.shape == right.shape == (3,)
    for values in (in_scope, right, confidence):
        assert ((values >= 0) & (values <= 1)).all()
    assert confidence == pytest.approx(in_scope * right)
    assert (confidence <= in_scope).all()


@pytest.mark.parametrize("routes", [1, 2, 3, 10, 64, 65, 150, 1_000])
@pytest.mark.parametrize("per_route", [1, 3, 20, 30, 1_000])
def test_the_prior_alone_tells_good_evidence_from_bad_for_any_table(routes: int, per_route: float) -> None:
    gate = prior_gate(routes, per_route)
    assert (gate.in_scope[1:] > 0).all()
    assert (gate.right_route[1:] > 0).all()
    much = np.array([[6.0, -0.01, 0.9, 1.0, 6.0, 0.5]])
    little = np.array([[-2.0, -2.0, 0.1, 0.0, -6.0, 0.0]])
    assert 0.9 < gate.confidence(much) <= 1
    assert 0 <= gate.confidence(little) < 0.5


def test_the_prior_is_the_same_beyond_the_sizes_it_was_fitted_on() -> None:
    assert table_size(1_000, 1_000).tolist() == table_size(64, 30).tolist()
    assert table_size(1, 1).tolist() == table_size(1, 3).tolist()
    assert table_size(1, 3) == pytest.approx([1, 0, 0.3 * np.log(3)])


# ------------------------------------------------------------------------------------------------------------- shares
@pytest.mark.parametrize("out_of_scope", [OUT_OF_SCOPE, 0.5])
def test_the_kinds_get_their_assumed_shares_however_many_there_are(out_of_scope: float) -> None:
    found = shares(ALL_KINDS, out_of_scope)
    assert found.sum() == pytest.approx(1)
    assert found[ALL_KINDS >= 0].sum() == pytest.approx(1 - out_of_scope)
    assert found[ALL_KINDS == NEAR].sum() == pytest.approx(out_of_scope * NEAR_SHARE)
    assert found[ALL_KINDS == FAR].sum() == pytest.approx(out_of_scope * (1 - NEAR_SHARE))


@pytest.mark.parametrize("only", [NEAR, FAR])
def test_a_kind_that_is_missing_leaves_its_share_to_the_other(only: int) -> None:
    some = np.array([RIGHT, only, only], np.int8)
    assert shares(some) == pytest.approx([1 - OUT_OF_SCOPE, OUT_OF_SCOPE / 2, OUT_OF_SCOPE / 2])


@given(kinds)
def test_rows_of_a_kind_weigh_alike_and_all_together_at_most_one(found: NDArray[np.int8]) -> None:
    weights = shares(found)
    assert (weights >= 0).all()
    assert weights.sum() <= 1 + 1e-9
    for mask in (found >= 0, found == NEAR, found == FAR):
        assert len(set(weights[mask].tolist())) <= 1
    if (found >= 0).any() and (found < 0).any():
        assert weights.sum() == pytest.approx(1)
        assert (weights > 0).all()


# ------------------------------------------------------------------------------------------------------------ fitting
def same(left: Gate, right: Gate) -> bool:
    return np.array_equal(left.in_scope, right.in_scope) and np.array_equal(left.right_route, right.right_route)


def test_fitting_on_nothing_changes_nothing() -> None:
    gate = prior_gate(10, 10)
    assert same(gate.fitted(np.empty((0, WIDTH)), np.empty(0, np.int8), np.empty(0)), gate)
    assert same(gate.fitted(evidence(ALL_KINDS), ALL_KINDS, np.zeros(len(ALL_KINDS))), gate)


def test_without_texts_in_scope_nothing_is_learned_about_which_route_is_right() -> None:
    gate, outside = prior_gate(10, 10), np.array([NEAR, FAR, FAR], np.int8)
    fitted = gate.fitted(evidence(outside), outside, shares(outside))
    np.testing.assert_array_equal(fitted.right_route, gate.right_route)
    assert not np.array_equal(fitted.in_scope, gate.in_scope)


def test_fitting_is_deterministic() -> None:
    gate, features = prior_gate(10, 10), evidence(ALL_KINDS)
    fitted = [gate.fitted(features.copy(), ALL_KINDS.copy(), shares(ALL_KINDS)) for _ in range(2)]
    assert same(*fitted)
    assert not same(fitted[0], gate)


def test_fitted_probabilities_have_the_means_that_were_seen() -> None:
    many = np.repeat(ALL_KINDS, 20)
    features, weights = evidence(many), shares(many)
    in_scope, right = prior_gate(10, 10).fitted(features, many, weights).probabilities(features)
    assert np.average(in_scope, weights=weights) == pytest.approx(1 - OUT_OF_SCOPE, abs=0.01)
    inside = many >= 0
    assert right[inside].mean() == pytest.approx((many[inside] == RIGHT).mean(), abs=0.01)


def test_more_evidence_moves_the_gate_further() -> None:
    gate, features, weights = prior_gate(10, 10), evidence(ALL_KINDS), shares(ALL_KINDS)
    moved = [
        np.linalg.norm(gate.fitted(features, ALL_KINDS, weights, evidence=size).in_scope - gate.in_scope)
        for size in (1, 10, 100)
    ]
    assert 0 < moved[0] < moved[1] < moved[2]
