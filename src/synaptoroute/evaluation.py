"""How well decisions agree with labels: one pure function from queries, labels and Decisions to an Evaluation."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from synaptoroute.models import Decision, Match, Reason

#: Points of the coverage-precision curve that are kept: one for each percent of coverage, and the first.
CURVE_POINTS = 101
#: Wrong labels that a message names before it only counts them.
_NAMED = 5

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFigures:
    """How one route that was expected or chosen fared. A figure is None where there is nothing to divide by.

    Attributes:
        name: The route.
        support: Queries that belong to it.
        chosen: Queries it was chosen for, rightly or not.
        right: Queries that are both.
        precision: Share of ``chosen`` that is right.
        recall: Share of ``support`` that is right; an abstention counts as wrong.
        f1: Harmonic mean of the two.
    """

    name: str
    support: int
    chosen: int
    right: int
    precision: float | None
    recall: float | None
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How often one route, or none (None), was chosen where another, or none, was right."""

    expected: str | None
    chosen: str | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveragePoint:
    """With ``min_confidence``, the share of all queries that would be answered and the share of answers right."""

    min_confidence: float
    coverage: float
    precision: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Queries whose confidence falls into one fifteenth of [0, 1]; bins without any are left out.

    Attributes:
        confidence: Their mean confidence.
        accuracy: Share whose best match is right; never for a query out of scope.
        count: How many there are.
    """

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One query that was decided wrongly, with the evidence.

    Attributes:
        query: The text.
        expected: The route it belongs to; None if to none.
        chosen: The route that was chosen; None if the router abstained.
        confidence: Calibrated probability in [0, 1] that the best match is right.
        score: Cosine of the best match; None without routes.
        reason: Why the router chose it, or none.
        matches: The best routes, best first, each with its nearest utterance.
    """

    query: str
    expected: str | None
    chosen: str | None
    confidence: float
    score: float | None
    reason: Reason
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What came out of routing labelled queries. Shares are in [0, 1]; None where there is nothing to divide by.

    Attributes:
        n: Queries.
        n_in_scope: Those that belong to a route; the others are out of scope.
        accuracy: Share decided rightly: the right route chosen, or none for a query out of scope.
        accuracy_interval: 95 % bootstrap interval of the accuracy.
        best_match_accuracy: Share of in-scope queries whose best match is right, as if nothing were rejected.
        in_scope_accuracy: Share of in-scope queries that were accepted and right.
        oos_recall: Share of out-of-scope queries that were rejected.
        auroc: Probability that a query in scope has a higher confidence than one out of scope; ties count half.
        fpr_at_95: Share of out-of-scope queries accepted at the confidence that 95 % of those in scope reach.
        oos_recall_at_5: Share of out-of-scope queries rejected at the confidence that rejects 5 % of those in scope.
        ece: Expected calibration error of the confidence that the best match is right, over all queries, 15 bins.
        curve: Coverage and precision as the least confidence falls, thinned to at most 101 points.
        reliability: Confidence against how often it is right, over the bins of ``ece``, lowest first.
        routes: Every route that was expected or chosen, lowest F1 first.
        confusions: What was chosen for what, most frequent first.
        failures: Every query decided wrongly, most confident first.
    """

    n: int
    n_in_scope: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    best_match_accuracy: float | None
    in_scope_accuracy: float | None
    oos_recall: float | None
    auroc: float | None
    fpr_at_95: float | None
    oos_recall_at_5: float | None
    ece: float
    curve: tuple[CoveragePoint, ...] = field(repr=False)
    reliability: tuple[ReliabilityBin, ...] = field(repr=False)
    routes: tuple[RouteFigures, ...] = field(repr=False)
    confusions: tuple[Confusion, ...] = field(repr=False)
    failures: tuple[Failure, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields; no NaN."""
        failures = [asdict(failure) | {"reason": failure.reason.value} for failure in self.failures]
        return asdict(self) | {"accuracy_interval": list(self.accuracy_interval), "failures": failures}

    def to_table(self) -> list[tuple[str, int | float | None]]:
        """The figures of the whole, each with its name; counts are ints, shares floats."""
        low, high = self.accuracy_interval
        return [
            ("queries", self.n),
            ("queries in scope", self.n_in_scope),
            ("queries out of scope", self.n - self.n_in_scope),
            ("failures", len(self.failures)),
            ("accuracy", self.accuracy),
            ("accuracy, 95 % interval from", low),
            ("accuracy, 95 % interval to", high),
            ("in scope: best match right", self.best_match_accuracy),
            ("in scope: accepted and right", self.in_scope_accuracy),
            ("out of scope: rejected", self.oos_recall),
            ("out of scope: rejected at 5 % false rejects", self.oos_recall_at_5),
            ("AUROC of confidence, in scope against out", self.auroc),
            ("FPR at 95 % recall", self.fpr_at_95),
            ("expected calibration error", self.ece),
        ]

    def __str__(self) -> str:
        """One line."""
        low, high = self.accuracy_interval
        parts = [
            f"{self.n:,} queries: accuracy {self.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%})",
            f"in scope {self.in_scope_accuracy:.1%}" if self.in_scope_accuracy is not None else None,
            f"out of scope {self.oos_recall:.1%} rejected" if self.oos_recall is not None else None,
            f"AUROC {self.auroc:.3f}" if self.auroc is not None else None,
            f"ECE {self.ece:.3f}",
            f"{len(self.failures):,} wrong",
        ]
        return ", ".join(part for part in parts if part)


# ------------------------------------------------------------------------------------------------------ checking
def check_queries(queries: Sequence[str], labels: Sequence[str | None]) -> None:
    """Require a list of texts and as many labels.

    Raises:
        InvalidInputError: There are none, their numbers differ, or a query is not a string.
    """
    for what, values in (("queries", queries), ("labels", labels)):
        if isinstance(values, str):
            raise InvalidInputError(f"{what} is a single text, wanted a list; put it in brackets")
    if len(queries) != len(labels):
        raise InvalidInputError(f"{len(queries):,} queries and {len(labels):,} labels, wanted one label for each query")
    if not len(queries):
        raise InvalidInputError("there are no queries, wanted at least one")
    for number, query in enumerate(queries):
        if not isinstance(query, str):
            raise InvalidInputError(f"query {number} is of type {type(query).__name__}, wanted a text")


def check_labels(labels: Iterable[str | None], names: Container[str]) -> tuple[str | None, ...]:
    """The labels, normalised to NFC as route names are, once each is known to be a route's name or None.

    Args:
        labels: One for each query; None is out of scope.
        names: The names of the routes.

    Raises:
        InvalidInputError: A label is neither a string nor None, or no route has that name. The message names the
            first few.
    """
    checked: list[str | None] = []
    unknown: dict[str, None] = {}
    for number, label in enumerate(labels):
        if label is not None and not isinstance(label, str):
            raise InvalidInputError(
                f"label {number} is of type {type(label).__name__}, wanted a route's name, or None for out of scope"
            )
        name = None if label is None else unicodedata.normalize("NFC", label)
        if name is not None and name not in names:
            unknown[name] = None
        checked.append(name)
    if unknown:
        shown = ", ".join(repr(name[:40]) for name in list(unknown)[:_NAMED])
        more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
        raise InvalidInputError(
            f"there is no route named {shown}{more}; add the route or correct the label, None is for out of scope"
        )
    return tuple(checked)


# ---------------------------------------------------------------------------------------------------- evaluating
def evaluated(queries: Sequence[str], labels: Sequence[str | None], decisions: Sequence[Decision]) -> Evaluation:
    """Compare decisions with labels.

    Args:
        queries: The texts.
        labels: The route each belongs to; None for out of scope.
        decisions: What the router made of each. Their first match is the best route, whether or not it passed.

    Raises:
        InvalidInputError: There are no queries, or not as many labels and decisions.
    """
    check_queries(queries, labels)
    if len(decisions) != len(queries):
        raise InvalidInputError(f"{len(decisions):,} decisions for {len(queries):,} queries, wanted one for each")
    in_scope = np.array([label is not None for label in labels])
    right = np.array([decision.name == label for decision, label in zip(decisions, labels, strict=True)])
    best_right = np.array(
        [
            label is not None and bool(decision.matches) and decision.matches[0].name == label
            for decision, label in zip(decisions, labels, strict=True)
        ]
    )
    confidence = np.array([decision.confidence for decision in decisions], np.float64)
    return Evaluation(
        n=len(queries),
        n_in_scope=int(in_scope.sum()),
        accuracy=float(right.mean()),
        accuracy_interval=bootstrap_interval(right),
        best_match_accuracy=_share(best_right[in_scope]),
        in_scope_accuracy=_share(right[in_scope]),
        oos_recall=_share(right[~in_scope]),
        auroc=_number(auroc(confidence, in_scope)),
        fpr_at_95=_number(false_positive_rate_at(confidence, in_scope)),
        oos_recall_at_5=_number(recall_at_false_reject(confidence[in_scope], confidence[~in_scope])),
        ece=expected_calibration_error(confidence, best_right),
        curve=coverage_curve(confidence, best_right),
        reliability=_reliability_bins(confidence, best_right),
        routes=_route_figures(labels, decisions),
        confusions=_confusions(labels, decisions),
        failures=_failures(queries, labels, decisions),
    )


def _share(flags: Flags) -> float | None:
    return float(flags.mean()) if len(flags) else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def coverage_curve(confidence: NDArray[np.float64], best_right: Flags) -> tuple[CoveragePoint, ...]:
    """The points nearest to each percent of coverage from above, and the first, which is the most confident.

    Args:
        confidence: That the best route is right, in [0, 1] (n,).
        best_right: Whether it is (n,); never for a query out of scope.
    """
    coverage, precision = coverage_precision(confidence, best_right)
    thresholds = np.unique(confidence)[::-1]
    wanted = np.linspace(0, 1, CURVE_POINTS)
    kept = np.unique(np.minimum(np.searchsorted(coverage, wanted), len(coverage) - 1))
    return tuple(
        CoveragePoint(
            min_confidence=float(thresholds[at]), coverage=float(coverage[at]), precision=float(precision[at])
        )
        for at in kept
    )


def _reliability_bins(confidence: NDArray[np.float64], best_right: Flags) -> tuple[ReliabilityBin, ...]:
    found = reliability(confidence, best_right)
    rows = zip(found.confidence.tolist(), found.accuracy.tolist(), found.count.tolist(), strict=True)
    return tuple(ReliabilityBin(confidence=mean, accuracy=right, count=count) for mean, right, count in rows if count)


def _route_figures(labels: Sequence[str | None], decisions: Sequence[Decision]) -> tuple[RouteFigures, ...]:
    support = Counter(label for label in labels if label is not None)
    chosen = Counter(decision.name for decision in decisions if decision.name is not None)
    right = Counter(
        label for label, decision in zip(labels, decisions, strict=True) if label is not None and decision.name == label
    )
    figures = [
        RouteFigures(
            name=name,
            support=support[name],
            chosen=chosen[name],
            right=right[name],
            precision=right[name] / chosen[name] if chosen[name] else None,
            recall=right[name] / support[name] if support[name] else None,
            f1=2 * right[name] / (support[name] + chosen[name]),
        )
        for name in support | chosen
    ]
    return tuple(sorted(figures, key=lambda route: (route.f1, -route.support, route.name)))


def _confusions(labels: Sequence[str | None], decisions: Sequence[Decision]) -> tuple[Confusion, ...]:
    counts = Counter(
        (label, decision.name) for label, decision in zip(labels, decisions, strict=True) if decision.name != label
    )
    confusions = [Confusion(expected=label, chosen=name, count=count) for (label, name), count in counts.items()]
    return tuple(sorted(confusions, key=lambda pair: (-pair.count, pair.expected or "", pair.chosen or "")))


def _failures(
    queries: Sequence[str], labels: Sequence[str | None], decisions: Sequence[Decision]
) -> tuple[Failure, ...]:
    failures = [
        Failure(
            query=query,
            expected=label,
            chosen=decision.name,
            confidence=decision.confidence,
            score=decision.score,
            reason=decision.reason,
            matches=decision.matches,
        )
        for query, label, decision in zip(queries, labels, decisions, strict=True)
        if decision.name != label
    ]
    return tuple(sorted(failures, key=lambda failure: -failure.confidence))
