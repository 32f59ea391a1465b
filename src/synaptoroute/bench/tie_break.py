"""The tie-break benchmark: the same learned table, asked with its reranker and without it.

Routes are made from the train split as in the accuracy benchmark, in one draw. One router learns them together with
what its reranker's scores are worth; then the test queries are ranked once, and the ranking is decided as it is and
after its ties were broken. So both sides differ by nothing else, and the difference is taken query by query.

Whether the reranker helps is learned from held-out utterances. Where it does not, it is not asked, and both sides are
the same; ``telling`` and ``asked`` say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, Field

from synaptoroute.bench.accuracy import Progress
from synaptoroute.bench.datasets import Dataset, few_shot
from synaptoroute.bench.load.manifest import rounded
from synaptoroute.bench.machine import git, machine, software
from synaptoroute.bench.manifest import (
    SCHEMA,
    Count,
    DataInfo,
    EncoderInfo,
    Git,
    Machine,
    ManifestError,
    Part,
    Seconds,
    Share,
    now,
)
from synaptoroute.bench.measures import RESAMPLES, Answers
from synaptoroute.bench.table import Table
from synaptoroute.bench.tables import provenance
from synaptoroute.decision import metrics
from synaptoroute.decision.policy import NO_LIMITS
from synaptoroute.encoder.base import BaseEncoder, encode_checked
from synaptoroute.errors import InvalidInputError
from synaptoroute.models import Route
from synaptoroute.rerank import TieBreak
from synaptoroute.router import AdaptiveRouter

#: Queries ranked and untied at a time, as a worker would at most.
AT_ONCE = 32
BEGIN, END = "<!-- ties:begin -->", "<!-- ties:end -->"
_SEED = 0

Signed = Annotated[float, Field(ge=-1, le=1)]


class Side(Part):
    """What was decided on one side.

    Attributes:
        top1: Share of right outcomes over all queries; one out of scope is right if the router abstained.
        in_scope: Share of queries in scope whose best route, passed or not, is the right one.
        oos_recall: Share of queries out of scope on which it abstained; None without such queries.
        ece: Expected calibration error of the confidence.
    """

    top1: Share
    in_scope: Share
    oos_recall: Share | None
    ece: Share


class Difference(Part):
    """With the reranker minus without, with a 95 % percentile bootstrap interval over queries."""

    value: Signed
    low: Signed
    high: Signed


class TieResult(Part):
    """One table.

    Attributes:
        dataset: Its name.
        shots: Utterances a route; None for all.
        routes: How many.
        queries: Of the test split.
        learned_ties: Held-out ties the weights were learned from.
        telling: Whether the reranker's scores helped on those, and so were given a weight.
        ties: Share of test queries that are ties.
        asked: Share of test queries the reranker was asked about: all ties, or none.
        changed: Share of test queries whose best route it changed.
        without: Decisions without the reranker.
        with_reranker: And with it.
        top1: Difference of the two.
        in_scope: Likewise.
        added_ms_per_tie: Milliseconds that asking about a tie added; None if nothing was asked.
        added_ms_per_query: The same over all queries.
        training_s: Seconds until head and weights were learned.
    """

    dataset: str
    shots: Annotated[int, Field(ge=1)] | None
    routes: Count
    queries: Count
    learned_ties: Count
    telling: bool
    ties: Share
    asked: Share
    changed: Share
    without: Side
    with_reranker: Side
    top1: Difference
    in_scope: Difference
    added_ms_per_tie: Seconds | None
    added_ms_per_query: Seconds
    training_s: Seconds


class TieManifest(Part):
    """All of it. ``limit`` is set where only so many queries were asked: such figures are for trying out only."""

    schema_version: Literal[1] = SCHEMA
    benchmark: Literal["tiebreak"] = "tiebreak"
    command: str
    created_at: AwareDatetime
    git: Git | None
    limit: Annotated[int, Field(ge=1)] | None
    encoder: EncoderInfo
    reranker: str
    reranker_fingerprint: str
    band: tuple[Share, Share]
    rival: Share
    candidates: Count
    utterances: Count
    machine: Machine
    software: dict[str, str]
    datasets: tuple[DataInfo, ...]
    results: tuple[TieResult, ...]


def measure(
    datasets: Sequence[Dataset],
    *,
    shots: Sequence[int | None],
    encoder: BaseEncoder,
    tie_break: TieBreak,
    command: str,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Iterator[TieManifest]:
    """The manifest after each table, so that what was measured survives an interruption; the last one has it all.

    Args:
        datasets: Whole ones; ``limit`` is applied here, so that it is marked.
        shots: Each data set is run with each of these.
        encoder: For all routers.
        tie_break: Likewise.
        command: How to repeat it, without paths of this machine.
        limit: Only so many test queries.
        progress: Told how many of how many tables were measured.
    """
    if limit is not None:
        datasets = [dataset.limited(limit) for dataset in datasets]
    manifest = TieManifest(
        command=command,
        created_at=now(),
        git=git(),
        limit=limit,
        encoder=EncoderInfo(name=encoder.name, fingerprint=encoder.fingerprint, dim=encoder.dim),
        reranker=tie_break.reranker.name,
        reranker_fingerprint=tie_break.reranker.fingerprint,
        band=tie_break.band,
        rival=tie_break.rival,
        candidates=tie_break.candidates,
        utterances=tie_break.utterances,
        machine=machine(),
        software=software(),
        datasets=tuple(DataInfo.of(dataset) for dataset in datasets),
        results=(),
    )
    tables = [(dataset, count) for dataset in datasets for count in shots]
    for done, (dataset, count) in enumerate(tables, 1):
        result = run(dataset, shots=count, encoder=encoder, tie_break=tie_break)
        manifest = manifest.model_copy(update={"results": (*manifest.results, result)})
        if progress is not None:
            progress(done, len(tables))
        yield manifest


def run(dataset: Dataset, *, shots: int | None, encoder: BaseEncoder, tie_break: TieBreak) -> TieResult:
    """Measure one table.

    Raises:
        InvalidInputError: The data set's labels are what its queries deny, so that nothing says what is right.
    """
    if dataset.negated:
        raise InvalidInputError(f"{dataset.name} says what is wrong, not what is right; take another data set")
    utterances = few_shot(dataset.train, shots, _SEED)
    with AdaptiveRouter(encoder, cache_bytes=0, reranker=tie_break) as router:
        began = perf_counter()
        router.add_routes([Route(name=name, utterances=texts) for name, texts in utterances.items()])
        router.wait_until_fitted()
        training_s = perf_counter() - began
        table = router.snapshot
        texts = [query.text for query in dataset.test]
        vectors = encode_checked(encoder, texts, queries=True)
        without, with_reranker = [], []
        ties = asked = 0
        added_s = 0.0
        for start in range(0, len(texts), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            ranking = table.first_ranked(texts[part], vectors[part], top_k=5, allow=None, exact=False)
            ties += int(tie_break.ties(ranking.confidences).sum())
            without += table.decisions(ranking, top_k=5, limits=NO_LIMITS)
            began = perf_counter()
            untied = table.untied(ranking, texts[part], vectors[part])
            added_s += perf_counter() - began
            asked += len(untied.said)
            with_reranker += table.decisions(untied.ranking, top_k=5, limits=NO_LIMITS)
        tie = table.tie
    before, after = Answers.of(dataset.test, without), Answers.of(dataset.test, with_reranker)
    changed = [one[:1] != other[:1] for one, other in zip(before.ranked, after.ranked, strict=True)]
    inside = before.in_scope
    return TieResult(
        dataset=dataset.name,
        shots=shots,
        routes=len(utterances),
        queries=len(texts),
        learned_ties=tie.ties if tie else 0,
        telling=bool(tie and tie.score),
        ties=ties / len(texts),
        asked=asked / len(texts),
        changed=float(np.mean(changed)),
        without=_side(before),
        with_reranker=_side(after),
        top1=_difference(before.chosen_is_label, after.chosen_is_label),
        in_scope=_difference(before.best_is_label[inside], after.best_is_label[inside]),
        added_ms_per_tie=rounded(1e3 * added_s / asked) if asked else None,
        added_ms_per_query=rounded(1e3 * added_s / len(texts)),
        training_s=rounded(training_s),
    )


def _side(answers: Answers) -> Side:
    inside = answers.in_scope
    recall = float(answers.chosen_is_label[~inside].mean()) if (~inside).any() else None
    return Side(
        top1=float(answers.chosen_is_label.mean()),
        in_scope=float(answers.best_is_label[inside].mean()),
        oos_recall=recall,
        ece=metrics.expected_calibration_error(answers.confidence, answers.best_is_label),
    )


def _difference(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Difference:
    differences = after.astype(np.float64) - before
    random = np.random.default_rng(_SEED)
    means = [differences[random.integers(len(differences), size=len(differences))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5))
    return Difference(value=float(differences.mean()), low=float(low), high=float(high))


def tables(manifest: TieManifest) -> tuple[Table, ...]:
    """The table of a manifest, in percent."""
    rows = tuple(
        (
            result.dataset,
            "all" if result.shots is None else str(result.shots),
            f"{result.queries:,}",
            _percent(result.ties),
            _percent(result.asked),
            _percent(result.changed),
            f"{_percent(result.without.top1)} / {_percent(result.with_reranker.top1)}",
            _points(result.top1),
            _points(result.in_scope),
            f"{_percent(result.without.oos_recall)} / {_percent(result.with_reranker.oos_recall)}",
            f"{result.without.ece:.3f} / {result.with_reranker.ece:.3f}",
            "-" if result.added_ms_per_tie is None else f"{result.added_ms_per_tie:.1f}",
            f"{result.added_ms_per_query:.2f}",
        )
        for result in manifest.results
    )
    low, high = manifest.band
    return (
        Table(
            title="Ties",
            note=(
                f"Reranker: {manifest.reranker}. A tie has a best route of confidence {low:g} to {high:g} and a "
                f"runner-up at least {manifest.rival:g} times as likely; {manifest.candidates} routes and "
                f"{manifest.utterances} utterances of each are compared. In percent; differences are in points, with "
                "95 % bootstrap intervals of the paired difference. Where fewer were asked than there are ties, the "
                "router had found on held-out utterances that the reranker does not help there."
            ),
            columns=(
                "data set",
                "utterances per route",
                "queries",
                "ties",
                "asked",
                "changed",
                "Top-1 without / with",
                "difference",
                "in-scope difference",
                "OOS recall without / with",
                "ECE without / with",
                "ms a tie",
                "ms a query",
            ),
            rows=rows,
        ),
    )


def block(manifest: TieManifest) -> str:
    """What stands between the markers of a page: the table in Markdown, what it means, and where it is from."""
    (table,) = tables(manifest)
    lines = (table.columns, ["---"] * len(table.columns), *table.rows)
    shown = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{shown}\n\n{table.note}\n\n{provenance(manifest)}\n"


def update_page(path: Path, manifest: TieManifest) -> None:
    """Replace what stands between the markers. Raises ManifestError unless both are there, once and in order."""
    try:
        text = path.read_text(encoding="utf-8")
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end or BEGIN in rest or END in after:
            raise ManifestError(f"{path} must have the lines {BEGIN} and {END} once, in this order")
        path.write_text(f"{before}{begin}\n{block(manifest)}{end}{after}", encoding="utf-8")
    except OSError as exc:
        raise ManifestError(f"cannot write {path}: {exc}") from exc


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _points(difference: Difference) -> str:
    value, low, high = (100 * each for each in (difference.value, difference.low, difference.high))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
