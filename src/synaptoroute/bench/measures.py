"""From decisions to figures and curves: pure arithmetic over what the router answered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from synaptoroute.bench.datasets import Labelled
from synaptoroute.bench.manifest import Accuracy, Baseline, Curves, Figures, InLanguage
from synaptoroute.decision import metrics
from synaptoroute.models import Decision

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

#: Shares of all queries at which precision is reported.
COVERAGES = (0.5, 0.7, 0.8, 0.9, 0.95)
RESAMPLES = 1_000
TOP = 5
CURVE_POINTS = 50
CONFUSIONS = 30
#: Digits kept of a share: a hundredth of the standard error of 5,500 queries.
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Answers:
    """What one router answered to the queries of a data set, as arrays of a row per query.

    Attributes:
        labels: The right route, or None; of a negated query the route its speaker does not want.
        ranked: The best routes, best first, whether or not they passed; at least five if there are that many.
        chosen: The route that was returned, None where the router abstained.
        confidence: Probability in [0, 1] that the best route is right (n,).
    """

    labels: tuple[str | None, ...]
    ranked: tuple[tuple[str, ...], ...]
    chosen: tuple[str | None, ...]
    confidence: Floats

    @classmethod
    def of(cls, queries: Sequence[Labelled], decisions: Sequence[Decision]) -> Answers:
        """The decisions on these queries, which are in the same order."""
        return cls(
            labels=tuple(query.label for query in queries),
            ranked=tuple(tuple(match.name for match in decision.matches) for decision in decisions),
            chosen=tuple(decision.name for decision in decisions),
            confidence=np.array([decision.confidence for decision in decisions], np.float64),
        )

    @property
    def in_scope(self) -> Flags:
        """Which queries belong to a route (n,)."""
        return np.array([label is not None for label in self.labels], bool)

    @property
    def best_is_label(self) -> Flags:
        """Whether the best route, passed or not, is the label (n,); never for a query out of scope."""
        return self.within(1)

    def within(self, top: int) -> Flags:
        """Whether the label is among the best so many routes (n,)."""
        pairs = zip(self.labels, self.ranked, strict=True)
        return np.array([label is not None and label in ranked[:top] for label, ranked in pairs], bool)

    @property
    def chosen_is_label(self) -> Flags:
        """Whether the returned route is the label; for a query out of scope, whether the router abstained (n,)."""
        return np.array([chosen == label for label, chosen in zip(self.labels, self.chosen, strict=True)], bool)

    @property
    def answered(self) -> Flags:
        """Which queries got a route (n,)."""
        return np.array([chosen is not None for chosen in self.chosen], bool)


def figures(by_seed: Sequence[Answers], *, negated: bool = False) -> Figures:
    """All figures of one row.

    Args:
        by_seed: One router's answers a seed, all to the same queries.
        negated: The labels are the routes the speakers do not want.
    """
    coverage = accuracy([answers.answered for answers in by_seed])
    if negated:
        return Figures(
            coverage=coverage,
            denied_route=accuracy([answers.chosen_is_label for answers in by_seed]),
            denied_best=accuracy([answers.best_is_label for answers in by_seed]),
        )
    inside = by_seed[0].in_scope
    mean = partial(_mean, by_seed)
    return Figures(
        top1=accuracy([answers.chosen_is_label for answers in by_seed]),
        in_scope=accuracy([answers.best_is_label[inside] for answers in by_seed]),
        in_scope_accepted=accuracy([answers.chosen_is_label[inside] for answers in by_seed]),
        top5=accuracy([answers.within(TOP)[inside] for answers in by_seed]),
        oos_recall=accuracy([answers.chosen_is_label[~inside] for answers in by_seed]),
        coverage=coverage,
        precision=mean(_precision),
        precision_at={f"{share:g}": mean(partial(_precision_at, share)) for share in COVERAGES},
        auroc=mean(lambda answers: metrics.auroc(answers.confidence, inside)),
        fpr95=mean(lambda answers: metrics.false_positive_rate_at(answers.confidence, inside)),
        oos_recall_at_5=mean(
            lambda answers: metrics.recall_at_false_reject(answers.confidence[inside], answers.confidence[~inside])
        ),
        ece=mean(lambda answers: metrics.expected_calibration_error(answers.confidence, answers.best_is_label)),
    )


def baseline(by_seed: Sequence[Answers]) -> Baseline:
    """The figures of a baseline that never abstains, from its answers of each seed, all to the same queries."""
    inside = by_seed[0].in_scope
    return Baseline(
        in_scope=accuracy([answers.best_is_label[inside] for answers in by_seed]),
        top5=accuracy([answers.within(TOP)[inside] for answers in by_seed]),
    )


def by_language(by_seed: Sequence[Answers], queries: Sequence[Labelled]) -> dict[str, InLanguage]:
    """The figures of each language of the queries, in order of its name; none for queries without a language."""
    spoken = np.array([query.language or "" for query in queries])
    inside = by_seed[0].in_scope
    found = {}
    for language in sorted(set(spoken.tolist()) - {""}):
        own = spoken == language
        found[language] = InLanguage(
            in_scope=accuracy([answers.best_is_label[own & inside] for answers in by_seed]),
            in_scope_accepted=accuracy([answers.chosen_is_label[own & inside] for answers in by_seed]),
            oos_recall=accuracy([answers.chosen_is_label[own & ~inside] for answers in by_seed]),
        )
    return found


def accuracy(by_seed: Sequence[Flags], *, resamples: int = RESAMPLES) -> Accuracy | None:
    """The share that is true, with its interval; None without queries.

    The interval is a percentile bootstrap over queries of the share of seeds that were right on each: what another
    sample of queries would change. What another draw of utterances changes shows in ``by_seed``.

    Args:
        by_seed: For each seed, whether each query was right (n,).
        resamples: Bootstrap resamples, drawn with seed 0.
    """
    if not len(by_seed[0]):
        return None
    right = np.asarray(np.mean(by_seed, axis=0, dtype=np.float64))
    low, high = metrics.bootstrap_interval(right, seed=0, resamples=resamples)
    return Accuracy(
        value=_rounded(float(right.mean())),
        low=_rounded(low),
        high=_rounded(high),
        n=len(right),
        by_seed=tuple(_rounded(float(flags.mean())) for flags in by_seed),
    )


def curves(answers: Answers, *, negated: bool = False) -> Curves:
    """The plots' data; none for negated queries, whose right answer nobody knows."""
    if negated:
        return Curves()
    pairs = zip(answers.labels, answers.ranked, strict=True)
    errors = Counter(
        (label, ranked[0]) for label, ranked in pairs if label is not None and ranked and ranked[0] != label
    )
    coverage, precision = metrics.coverage_precision(answers.confidence, answers.best_is_label)
    bins = metrics.reliability(answers.confidence, answers.best_is_label)
    kept = np.unique(np.searchsorted(coverage, np.linspace(0, 1, CURVE_POINTS + 1)[1:] - 1e-9))
    return Curves(
        risk_coverage=_points(coverage[kept], 1 - precision[kept]),
        roc=_roc(answers.confidence, answers.in_scope),
        reliability=tuple(
            (_rounded(float(confidence)), _rounded(float(right)), int(count))
            for confidence, right, count in zip(bins.confidence, bins.accuracy, bins.count, strict=True)
            if count
        ),
        confusion=tuple(
            (right, best, count)
            for (right, best), count in sorted(errors.items(), key=lambda item: (-item[1], item[0]))
        )[:CONFUSIONS],
    )


def _mean(by_seed: Sequence[Answers], number: Callable[[Answers], float]) -> float | None:
    """Mean of a number over the seeds; None where it does not exist."""
    value = float(np.mean([number(answers) for answers in by_seed]))
    return None if math.isnan(value) else _rounded(value)


def _precision(answers: Answers) -> float:
    answered = answers.answered
    return float(answers.best_is_label[answered].mean()) if answered.any() else math.nan


def _precision_at(share: float, answers: Answers) -> float:
    coverage, precision = metrics.coverage_precision(answers.confidence, answers.best_is_label)
    return float(precision[np.searchsorted(coverage, share - 1e-9)]) if len(coverage) else math.nan


def _roc(confidence: Floats, inside: Flags) -> tuple[tuple[float, float], ...]:
    if inside.all() or not inside.any():
        return ()
    thresholds = np.unique(confidence)[::-1]
    passing = [
        np.searchsorted(np.sort(group), thresholds, side="left") for group in (confidence[~inside], confidence[inside])
    ]
    fpr, tpr = (1 - below / size for below, size in zip(passing, ((~inside).sum(), inside.sum()), strict=True))
    grid = np.linspace(0, 1, CURVE_POINTS // 2)
    places = np.concatenate([np.searchsorted(rate, grid) for rate in (fpr, tpr)])
    kept = np.unique(np.minimum(places, len(thresholds) - 1))
    return ((0.0, 0.0), *_points(fpr[kept], tpr[kept]))


def _points(x: Floats, y: Floats) -> tuple[tuple[float, float], ...]:
    return tuple((_rounded(float(a)), _rounded(float(b))) for a, b in zip(x, y, strict=True))


def _rounded(share: float) -> float:
    return round(min(max(share, 0.0), 1.0), _DIGITS)
