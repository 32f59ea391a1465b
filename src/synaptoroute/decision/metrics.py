"""How good decisions are, in numbers: ranking, calibration, selective prediction, and their uncertainty.

Scores are higher for what is more likely positive, and a threshold passes what is equal to it. All arguments are
one-dimensional; NaN is refused, and where a number does not exist (no query, only one class) the answer is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synaptoroute.errors import InvalidInputError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: A share of a whole number of items may come out a rounding error beside it: 0.07 · 100 is 7.000000000000001.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """A reliability diagram: one entry a bin of confidence, lowest first.

    Attributes:
        confidence: Mean confidence in the bin; NaN if it is empty.
        accuracy: Share that was right; NaN if it is empty.
        count: How many fell into it.
    """

    confidence: Floats
    accuracy: Floats
    count: Counts


def auroc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Probability that a random positive scores higher than a random negative; a tie counts one half.

    The Mann-Whitney U statistic from midranks, so ties are exact.

    Args:
        scores: Any numbers, infinite ones too (n,).
        positive: Which of them are positive (n,).

    Returns:
        In [0, 1]; NaN unless both classes are there.
    """
    values, truth = _pair(scores, positive)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return math.nan
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    midranks = np.cumsum(sizes) - (sizes - 1) / 2
    above = midranks[group][truth].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def false_positive_rate_at(scores: ArrayLike, positive: ArrayLike, recall: float = 0.95) -> float:
    """Share of the negatives that pass the highest threshold which at least ``recall`` of the positives pass.

    With in-scope queries as positives this is the usual FPR@95 of out-of-scope detection.

    Args:
        scores: Any numbers (n,).
        positive: Which of them are positive (n,).
        recall: In (0, 1].

    Returns:
        In [0, 1]; NaN unless both classes are there.
    """
    if not 0 < recall <= 1:
        raise InvalidInputError(f"recall is {recall}, wanted a share above 0 and up to 1")
    values, truth = _pair(scores, positive)
    hits, negatives = np.sort(values[truth])[::-1], values[~truth]
    if not len(hits) or not len(negatives):
        return math.nan
    threshold = hits[max(math.ceil(recall * len(hits) - _ROUNDING), 1) - 1]
    return float((negatives >= threshold).mean())


def recall_at_false_reject(in_scope_scores: ArrayLike, oos_scores: ArrayLike, rate: float = 0.05) -> float:
    """Share of out-of-scope queries rejected at the highest threshold that rejects at most ``rate`` of those in scope.

    What scores below the threshold is rejected. Equals 1 - ``false_positive_rate_at`` the recall 1 - ``rate``.

    Args:
        in_scope_scores: Any numbers (n,).
        oos_scores: Any numbers (m,).
        rate: In [0, 1).

    Returns:
        In [0, 1]; NaN if either is empty.
    """
    if not 0 <= rate < 1:
        raise InvalidInputError(f"rate is {rate}, wanted a share from 0 to below 1")
    inside, outside = np.sort(_numbers(in_scope_scores, "in_scope_scores")), _numbers(oos_scores, "oos_scores")
    if not len(inside) or not len(outside):
        return math.nan
    threshold = inside[min(math.floor(rate * len(inside) + _ROUNDING), len(inside) - 1)]
    return float((outside < threshold).mean())


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> Reliability:
    """Mean confidence and accuracy in bins of equal width; a bin holds its upper edge, the first one also 0.

    Args:
        confidence: Probabilities in [0, 1] (n,).
        correct: Whether each was right (n,).
        bins: How many, at least 1.
    """
    if bins < 1:
        raise InvalidInputError(f"bins is {bins}, wanted at least 1")
    values, right = _probabilities(confidence, correct)
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], values, side="left")
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=weights, minlength=bins) for weights in (values, right)]
    with np.errstate(invalid="ignore"):
        mean, accuracy = (total / count for total in sums)
    return Reliability(confidence=mean, accuracy=accuracy, count=count.astype(np.int64))


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """Mean distance of confidence and accuracy over the bins of ``reliability``, weighted by their counts.

    Naeini et al. 2015; 15 bins of equal width as in Guo et al. 2017.

    Returns:
        In [0, 1]; NaN without any query.
    """
    found = reliability(confidence, correct, bins)
    used = found.count > 0
    if not used.any():
        return math.nan
    gaps = np.abs(found.confidence[used] - found.accuracy[used])
    return float((found.count[used] * gaps).sum() / found.count.sum())


def coverage_precision(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """What share is answered, and what share of the answers is right, as the least confidence falls.

    One point for each distinct confidence, highest first, because queries of equal confidence pass together: point i
    belongs to the threshold ``np.unique(confidence)[::-1][i]``. Coverage rises strictly and ends at 1.

    Args:
        confidence: Probabilities in [0, 1] (n,).
        correct: Whether an answer would be right (n,); of an out-of-scope query it never is.

    Returns:
        (coverage, precision), empty without any query.
    """
    values, right = _probabilities(confidence, correct)
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    answered = np.cumsum(sizes[::-1])
    hits = np.cumsum(np.bincount(group, weights=right, minlength=len(sizes))[::-1])
    return answered / max(len(values), 1), hits / answered


def bootstrap_interval(
    values: ArrayLike, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean; the same seed gives the same interval.

    Takes 8 bytes a value whatever the number of resamples.

    Args:
        values: For an accuracy, 1 where it was right and 0 elsewhere (n,).
        seed: Of the resampling.
        resamples: How often the values are drawn again, at least 1.
        level: Share of resampled means inside, in (0, 1).

    Returns:
        (low, high); NaN without values. All values equal give an interval of no width, which means too few values to
        tell, not certainty.
    """
    if resamples < 1:
        raise InvalidInputError(f"resamples is {resamples}, wanted at least 1")
    if not 0 < level < 1:
        raise InvalidInputError(f"level is {level}, wanted a share between 0 and 1")
    drawn_from = _numbers(values, "values")
    if not len(drawn_from):
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    means = [drawn_from[generator.integers(len(drawn_from), size=len(drawn_from))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _numbers(values: ArrayLike, name: str) -> Floats:
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1:
        raise InvalidInputError(f"{name} has the shape {numbers.shape}, wanted one dimension")
    if np.isnan(numbers).any():
        raise InvalidInputError(f"{name} has NaN at position {int(np.isnan(numbers).argmax())}; leave such queries out")
    return numbers


def _pair(values: ArrayLike, flags: ArrayLike) -> tuple[Floats, Flags]:
    numbers, marks = _numbers(values, "the first argument"), _numbers(flags, "the second argument")
    if len(numbers) != len(marks):
        raise InvalidInputError(f"{len(numbers)} numbers and {len(marks)} flags, wanted as many of each")
    if not np.isin(marks, (0, 1)).all():
        raise InvalidInputError("the second argument has values other than True and False")
    return numbers, marks.astype(bool)


def _probabilities(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Flags]:
    values, right = _pair(confidence, correct)
    if len(values) and not 0 <= values.min() <= values.max() <= 1:
        raise InvalidInputError(f"confidence goes from {values.min():g} to {values.max():g}, wanted it within 0 and 1")
    return values, right
