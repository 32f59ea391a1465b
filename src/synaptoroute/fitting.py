"""What ``router.fit`` does: check labelled queries, learn from them, and report honestly whether that helped."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from synaptoroute.decision.head import Checkpoint, no_checkpoint
from synaptoroute.decision.labelled import (
    HeldOut,
    Queries,
    as_it_is,
    learn_labelled,
    threshold_for_false_rejects,
    threshold_for_precision,
)
from synaptoroute.decision.metrics import auroc, expected_calibration_error
from synaptoroute.decision.policy import DEFAULT_MIN_CONFIDENCE
from synaptoroute.errors import InvalidInputError
from synaptoroute.evaluation import CoveragePoint, coverage_curve
from synaptoroute.learned import LearnedTable
from synaptoroute.storage.base import LabelledQueries
from synaptoroute.table import RouteTable
from synaptoroute.teaching import (
    first_lessons_of,
    first_queries_of,
    learn_head_from,
    learned_from,
    lessons_of,
    queries_of,
)

#: Fewer queries than this cannot be cross-validated to any use.
FEWEST_QUERIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Held-out figures: every query was decided by a head and a gate that had not seen it.

    Attributes:
        accuracy: Share of right outcomes at the operating point, abstaining rightly included, with in-scope queries
            weighing 80 % and out-of-scope ones 20 % where there are both.
        in_scope_accuracy: Share of in-scope queries whose first choice is right, answered or not; None without any.
        out_of_scope_recall: Share of out-of-scope queries that were not answered; None without any.
        auroc: How well confidence tells in scope from out of scope; None unless there are both.
        ece: Expected calibration error of the confidence, 15 bins.
    """

    accuracy: float
    in_scope_accuracy: float | None
    out_of_scope_recall: float | None
    auroc: float | None
    ece: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What fitting did.

    Attributes:
        applied: Whether the router uses it now. A fit that does not improve on held-out queries is refused.
        queries: Labelled queries that were used.
        out_of_scope: Of these, how many are out of scope.
        before: Figures of what the utterances alone teach, answering from a confidence of 0.5.
        after: Figures with the fit, cross-validated, answering from the operating point.
        min_confidence: The operating point; None for the default of 0.5.
        promise: What the operating point guarantees, or why it cannot guarantee what was asked; None if nothing was.
        warnings: What the reader should know.
        curve: With the fit, coverage and precision as the least confidence falls; at most 101 points.
        languages: Those whose confidences are brought to one scale; none where one is spoken or it does not help.
    """

    applied: bool
    queries: int
    out_of_scope: int
    before: Figures
    after: Figures
    min_confidence: float | None
    promise: str | None
    warnings: tuple[str, ...]
    curve: tuple[CoveragePoint, ...]
    languages: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        return asdict(self)

    def __str__(self) -> str:
        outcome = "applied" if self.applied else "not applied"
        return (
            f"fit on {self.queries} queries ({self.out_of_scope} out of scope): held-out accuracy "
            f"{self.before.accuracy:.1%} -> {self.after.accuracy:.1%}, {outcome}"
        )


def fit(
    table: RouteTable,
    labelled: LabelledQueries,
    *,
    target_precision: float | None = None,
    max_false_reject: float | None = None,
    force: bool = False,
    checkpoint: Checkpoint = no_checkpoint,
) -> tuple[FitReport, LabelledQueries, LearnedTable]:
    """Learn from labelled queries on top of the utterances of a table.

    The checkpoint is called at every step, from several threads; whatever it raises ends the fit.

    Returns:
        The report, the queries that were used with the operating point, and what was learned.

    Raises:
        InvalidInputError: There is not enough to learn from, or an option is out of its range.
    """
    _check_options(target_precision, max_false_reject)
    if not table.can_learn:
        raise InvalidInputError(
            f"{len(table):,} routes with {len(table.index):,} utterances cannot be fitted: there must be routes, "
            "and not more than the head can learn"
        )
    labelled, warnings = _usable(table, labelled)
    queries = queries_of(table, labelled)
    lessons = lessons_of(table)
    known = table.learned if table.fitted and table.labelled is None else None
    known = known or learn_head_from(table.with_labelled(None), checkpoint)
    former = as_it_is(known.model, lessons.examples, queries)
    first = first_lessons_of(table, lessons)
    twin = (first, first_queries_of(table, queries)) if first is not None else None
    model, held_out = learn_labelled(known.model, lessons, queries, checkpoint, first=twin)
    point, promise = _operating_point(held_out, queries, target_precision, max_false_reject)
    labelled = replace(labelled, min_confidence=point)
    before = _figures(former, queries, DEFAULT_MIN_CONFIDENCE)
    after = _figures(held_out, queries, DEFAULT_MIN_CONFIDENCE)
    better = (after.accuracy, -after.ece) > (before.accuracy, -before.ece)
    if not better:
        outcome = "was applied because it was forced" if force else "was refused"
        warnings.append(f"the fit does not improve on held-out queries and {outcome}")
    if point is not None:
        after = _figures(held_out, queries, point)
    report = FitReport(
        applied=better or force,
        queries=len(queries.texts),
        out_of_scope=int((queries.columns < 0).sum()),
        before=before,
        after=after,
        min_confidence=point,
        promise=promise,
        warnings=tuple(warnings),
        curve=coverage_curve(held_out.confidences, held_out.right(queries.columns)),
        languages=model.languages.among if model.languages else (),
    )
    return report, labelled, learned_from(table.with_labelled(labelled), model, known.tie)


def _check_options(target_precision: float | None, max_false_reject: float | None) -> None:
    if target_precision is not None and max_false_reject is not None:
        raise InvalidInputError("give target_precision or max_false_reject, not both: each chooses the operating point")
    for name, value in (("target_precision", target_precision), ("max_false_reject", max_false_reject)):
        if value is not None and not 0 < value < 1:
            raise InvalidInputError(f"{name} is {value}, wanted a share between 0 and 1")


def _usable(table: RouteTable, labelled: LabelledQueries) -> tuple[LabelledQueries, list[str]]:
    """The queries without repeats, contradictions and stored utterances, and what to warn of."""
    stored = {_plain(text) for route in table.routes for text in route.utterances}
    by_text: dict[str, list[int]] = {}
    for row, text in enumerate(labelled.texts):
        by_text.setdefault(_plain(text), []).append(row)
    leaked = by_text.keys() & stored
    contested = {text for text, rows in by_text.items() if len({labelled.labels[row] for row in rows}) > 1} - leaked
    left_out = leaked | contested
    at = [rows[0] for text, rows in by_text.items() if text not in left_out]
    repeats = len(labelled.texts) - len(by_text)
    warnings = []
    if leaked:
        warnings.append(
            f"{len(leaked)} queries are stored utterances, which says nothing about new ones; they were left out"
        )
    if contested:
        warnings.append(f"{len(contested)} queries come with several labels and were left out")
    if repeats:
        warnings.append(f"{repeats} repeated queries were left out")
    labels = [labelled.labels[row] for row in at]
    if len(at) < FEWEST_QUERIES or len(set(labels)) < 2:
        why = f" ({'; '.join(warnings)})" if warnings else ""
        raise InvalidInputError(
            f"not enough data: {len(at)} usable queries with {len(set(labels))} different labels{why}, wanted at least "
            f"{FEWEST_QUERIES} with 2; without fitting, the router calibrates itself from the utterances"
        )
    if None not in labels:
        warnings.append("no query is out of scope (label None), so the judgement of scope was left as it was")
    kept = LabelledQueries(
        texts=tuple(labelled.texts[row] for row in at), labels=tuple(labels), vectors=labelled.vectors[at]
    )
    return kept, warnings


def _plain(text: str) -> str:
    """What the same text has in common however it is typed: the bundled encoder and the head see no case either."""
    return " ".join(text.casefold().split())


def _operating_point(
    held_out: HeldOut, queries: Queries, target_precision: float | None, max_false_reject: float | None
) -> tuple[float | None, str | None]:
    right = held_out.right(queries.columns)
    if target_precision is not None:
        point = threshold_for_precision(held_out.confidences, right, target_precision)
        if point is None:
            return None, (
                f"{len(right)} queries cannot support a precision of {target_precision:.1%}: no confidence reaches it "
                "with 95 % certainty; the operating point stays at the default"
            )
        return (
            point,
            f"at least {target_precision:.1%} of answers are right, with 95 % certainty, on queries like these",
        )
    if max_false_reject is not None:
        inside = held_out.confidences[queries.columns >= 0]
        point = threshold_for_false_rejects(inside, max_false_reject)
        if point is None:
            return None, (
                f"{len(inside)} in-scope queries cannot support a false-reject rate of {max_false_reject:.1%}, wanted "
                f"at least {int(np.ceil(1 / max_false_reject)) - 1}; the operating point stays at the default"
            )
        return point, f"at most {max_false_reject:.1%} of in-scope queries like these are rejected, on average"
    return None, None


def _figures(held_out: HeldOut, queries: Queries, point: float) -> Figures:
    expected = queries.columns
    inside = expected >= 0
    right = held_out.right(expected)
    both = inside.any() and not inside.all()
    return Figures(
        accuracy=held_out.accuracy(expected, point),
        in_scope_accuracy=float(right[inside].mean()) if inside.any() else None,
        out_of_scope_recall=None if inside.all() else float((held_out.confidences[~inside] < point).mean()),
        auroc=float(auroc(held_out.confidences, inside)) if both else None,
        ece=float(expected_calibration_error(held_out.confidences, right)),
    )
