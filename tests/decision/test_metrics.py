from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score, roc_curve

from synaptoroute.decision.metrics import (
    auroc,
    bootstrap_interval,
    coverage_precision,
    expected_calibration_error,
    false_positive_rate_at,
    recall_at_false_reject,
    reliability,
)
from synaptoroute.errors import InvalidInputError

#: A few values, so that ties are common; and any at all.
some_score = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]) | st.floats(-1, 1, width=32)
some_probability = st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 1.0]) | st.floats(0, 1)
labelled = st.lists(st.tuples(some_score, st.booleans()), max_size=40)
judged = st.lists(st.tuples(some_probability, st.booleans()), max_size=40)
share = st.sampled_from([0.0, 0.05, 0.07, 0.1, 0.5, 0.9]) | st.floats(0, 0.999)


def columns(pairs: list[tuple[float, bool]]) -> tuple[list[float], list[bool]]:
    return [value for value, _ in pairs], [flag for _, flag in pairs]


# ----------------------------------------------------------------------------------------------------- ranking
def test_auroc_by_hand() -> None:
    assert auroc([0.9, 0.8, 0.3, 0.1], [True, True, False, False]) == 1
    assert auroc([0.1, 0.9], [True, False]) == 0
    assert auroc([0.9, 0.5, 0.7, 0.2], [True, True, False, False]) == 0.75
    assert auroc([0.5, 0.5, 0.5], [True, False, False]) == 0.5
    assert auroc([0.5, 0.5, 0.1], [True, False, False]) == 0.75
    assert auroc([math.inf, -math.inf], [True, False]) == 1


@given(labelled)
def test_auroc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[float, bool]]) -> None:
    scores, positive = columns(pairs)
    wins = [
        (high > low) + (high == low) / 2 for high, is_high in pairs if is_high for low, is_low in pairs if not is_low
    ]
    if not wins:
        assert math.isnan(auroc(scores, positive))
        return
    assert auroc(scores, positive) == pytest.approx(sum(wins) / len(wins), abs=1e-12)
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_false_positive_rate_by_hand() -> None:
    scores, positive = [0.9, 0.8, 0.7, 0.6, 0.65, 0.3], [True, True, True, True, False, False]
    assert false_positive_rate_at(scores, positive, recall=0.75) == 0
    assert false_positive_rate_at(scores, positive, recall=0.76) == 0.5
    assert false_positive_rate_at(scores, positive) == 0.5
    # A tie passes with the positive it equals.
    assert false_positive_rate_at([0.5, 0.5], [True, False]) == 1


@given(labelled, st.floats(0.001, 1) | st.sampled_from([0.07, 0.5, 0.95, 1.0]))
def test_false_positive_rate_is_the_least_at_that_recall(pairs: list[tuple[float, bool]], recall: float) -> None:
    scores, positive = columns(pairs)
    if len(set(positive)) < 2:
        assert math.isnan(false_positive_rate_at(scores, positive, recall))
        return
    rates, recalls, _ = roc_curve(positive, scores, drop_intermediate=False)
    assert false_positive_rate_at(scores, positive, recall) == pytest.approx(rates[recalls >= recall - 1e-9].min())


def test_recall_at_false_reject_by_hand() -> None:
    in_scope = [0.1, *[0.9] * 19]
    assert recall_at_false_reject(in_scope, [0.05, 0.5, 0.95, 0.9]) == 0.5
    assert recall_at_false_reject(in_scope, [0.05, 0.5, 0.95, 0.9], rate=0.04) == 0.25
    assert recall_at_false_reject(in_scope, [0.05, 0.1], rate=0) == 0.5
    # Seven in a hundred are seven, whatever 0.07 * 100 is in floating point.
    assert recall_at_false_reject(np.arange(100), [6.5], rate=0.07) == 1
    assert recall_at_false_reject(np.arange(100), [6.5], rate=0.069) == 0


@given(st.lists(some_score, max_size=40), st.lists(some_score, max_size=40), share)
def test_no_threshold_with_so_few_false_rejects_rejects_more(
    inside: list[float], oos: list[float], rate: float
) -> None:
    found = recall_at_false_reject(inside, oos, rate)
    if not inside or not oos:
        assert math.isnan(found)
        return
    allowed = [bound for bound in inside if np.mean(np.array(inside) < bound) <= rate + 1e-9]
    assert found == max(np.mean(np.array(oos) < bound) for bound in allowed)
    both, positive = inside + oos, [True] * len(inside) + [False] * len(oos)
    assert found == pytest.approx(1 - false_positive_rate_at(both, positive, 1 - rate))


# ------------------------------------------------------------------------------------------------- calibration
def test_calibration_error_by_hand() -> None:
    assert expected_calibration_error([1, 1, 0, 0], [True, True, False, False]) == 0
    assert expected_calibration_error([1, 1], [True, False]) == 0.5
    # Two bins: 0.2 and 0.4 with none right, 0.9 and 0.7 with one right of two.
    assert expected_calibration_error([0.2, 0.4, 0.9, 0.7], [False, False, True, False], bins=2) == pytest.approx(0.3)
    assert math.isnan(expected_calibration_error([], []))


def test_a_bin_holds_its_upper_edge_and_the_first_also_zero() -> None:
    found = reliability([0, 0.5, 0.500001, 1], [True, False, True, True], bins=2)
    assert found.count.tolist() == [2, 2]
    assert found.confidence == pytest.approx([0.25, 0.7500005])
    assert found.accuracy.tolist() == [0.5, 1]


def test_an_empty_bin_has_no_accuracy() -> None:
    found = reliability([0.9], [True], bins=2)
    assert np.isnan([found.confidence[0], found.accuracy[0]]).all()
    assert found.count.tolist() == [0, 1]
    assert reliability([], []).count.tolist() == [0] * 15


@given(judged, st.integers(1, 20))
def test_reliability_agrees_with_scikit_learn(pairs: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = columns(pairs)
    found = reliability(confidence, correct, bins)
    assert len(found.count) == bins
    assert found.count.sum() == len(pairs)
    if len(set(correct)) < 2:
        return
    accuracy, mean = calibration_curve(correct, confidence, n_bins=bins)
    used = found.count > 0
    assert found.accuracy[used] == pytest.approx(accuracy)
    assert found.confidence[used] == pytest.approx(mean)
    weights = found.count[used] / len(pairs)
    error = expected_calibration_error(confidence, correct, bins)
    assert error == pytest.approx(float((weights * np.abs(accuracy - mean)).sum()))
    assert 0 <= error <= 1


# ------------------------------------------------------------------------------------------ coverage, intervals
def test_coverage_and_precision_by_hand() -> None:
    coverage, precision = coverage_precision([0.5, 0.9, 0.5, 0.7], [True, True, False, False])
    assert coverage.tolist() == [0.25, 0.5, 1]
    assert precision.tolist() == [1, 0.5, 0.5]
    assert [part.tolist() for part in coverage_precision([], [])] == [[], []]


@given(judged)
def test_every_point_is_what_its_threshold_gives(pairs: list[tuple[float, bool]]) -> None:
    confidence, correct = columns(pairs)
    coverage, precision = coverage_precision(confidence, correct)
    thresholds = np.unique(confidence)[::-1]
    assert len(coverage) == len(precision) == len(thresholds)
    for threshold, covered, right in zip(thresholds, coverage, precision, strict=True):
        answered = [flag for value, flag in pairs if value >= threshold]
        assert covered == pytest.approx(len(answered) / len(pairs))
        assert right == pytest.approx(sum(answered) / len(answered))


def test_an_interval_holds_the_mean_and_narrows_with_more_values() -> None:
    few, many = np.arange(50) % 4 == 0, np.arange(5000) % 4 == 0
    low, high = bootstrap_interval(few)
    assert low < few.mean() < high
    closer = bootstrap_interval(many)
    assert closer[1] - closer[0] < (high - low) / 5
    # The normal approximation is good at 5,000 values.
    half = 1.96 * math.sqrt(0.25 * 0.75 / 5000)
    assert closer == pytest.approx((0.25 - half, 0.25 + half), abs=0.002)


def test_an_interval_depends_on_the_seed_and_nothing_else() -> None:
    values = [0.0, 1.0, 1.0, 0.5]
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(np.arange(100), seed=1) != bootstrap_interval(np.arange(100), seed=2)
    narrow, wide = bootstrap_interval(np.arange(100), level=0.5), bootstrap_interval(np.arange(100), level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_without_values_there_is_no_interval_and_with_one_it_has_no_width() -> None:
    assert all(math.isnan(end) for end in bootstrap_interval([]))
    assert bootstrap_interval([0.5]) == (0.5, 0.5)


# ------------------------------------------------------------------------------------------------- what is refused
PAIRED: list[Callable[[Any, Any], Any]] = [
    auroc, false_positive_rate_at, reliability, expected_calibration_error, coverage_precision,
]  # fmt: skip


@pytest.mark.parametrize("metric", PAIRED)
def test_nan_other_lengths_other_shapes_and_labels_that_are_no_flags_are_refused(
    metric: Callable[[Any, Any], Any],
) -> None:
    with pytest.raises(InvalidInputError, match="NaN at position 1"):
        metric([0.5, math.nan], [True, False])
    with pytest.raises(InvalidInputError, match="2 numbers and 1 flags"):
        metric([0.5, 0.6], [True])
    with pytest.raises(InvalidInputError, match="one dimension"):
        metric([[0.5, 0.6]], [True, False])
    with pytest.raises(InvalidInputError, match="other than True and False"):
        metric([0.5, 0.6], [0, 2])


@pytest.mark.parametrize("metric", [reliability, expected_calibration_error, coverage_precision])
def test_a_confidence_outside_0_and_1_is_refused(metric: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"from -0\.1 to 0\.5"):
        metric([-0.1, 0.5], [True, False])
    with pytest.raises(InvalidInputError, match=r"from 0\.5 to 1\.1"):
        metric([1.1, 0.5], [True, False])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="recall is 0"):
        false_positive_rate_at([0.5], [True], recall=0)
    with pytest.raises(InvalidInputError, match="rate is 1"):
        recall_at_false_reject([0.5], [0.5], rate=1)
    with pytest.raises(InvalidInputError, match="NaN"):
        recall_at_false_reject([math.nan], [0.5])
    with pytest.raises(InvalidInputError, match="bins is 0"):
        reliability([0.5], [True], bins=0)
    with pytest.raises(InvalidInputError, match="resamples is 0"):
        bootstrap_interval([0.5], resamples=0)
    with pytest.raises(InvalidInputError, match="level is 1"):
        bootstrap_interval([0.5], level=1)
