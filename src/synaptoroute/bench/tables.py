"""The headline figures as tables: one set of rows, shown in Markdown, in the README and on the HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synaptoroute.bench.load.manifest import ROUNDS, AnyManifest, LoadManifest
from synaptoroute.bench.load.tables import load_tables
from synaptoroute.bench.manifest import Accuracy, Baseline, Manifest, ManifestError, Result
from synaptoroute.bench.table import Table

if TYPE_CHECKING:
    from synaptoroute.bench.tie_break import TieManifest

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
_MB = 1_000_000
_NONE = "-"
_COST = "Cost"


def accuracy_table(results: Iterable[Result]) -> Table:
    """Right or wrong, in percent. Negated queries have their own table."""
    return Table(
        title="Accuracy",
        note=(
            "In percent, with 95 % bootstrap intervals. Top-1 counts every test query: one out of scope (OOS) is right "
            "only if the router abstained, one in scope only if its route was returned. “In scope” asks for the best "
            "route whether or not it was returned. “Nearest utterance” is what the highest cosine alone would give, in "
            "scope / Top-5. “Default” is the router as it comes; “tuned” has seen validation queries through `fit`, "
            "never test queries."
        ),
        columns=(
            "data set", "utterances per route", "router", "queries", "Top-1", "in scope", "Top-5",
            "nearest utterance", "OOS recall", "OOS AUROC", "precision / coverage", "ECE",
        ),
        rows=tuple(
            (
                result.dataset,
                drawn(result),
                tuning(result),
                f"{result.figures.top1.n:,}" if result.figures.top1 else _NONE,
                _interval(result.figures.top1),
                _interval(result.figures.in_scope),
                _percent(_value(result.figures.top5)),
                _nearest(result.nearest),
                _interval(result.figures.oos_recall),
                _percent(result.figures.auroc),
                f"{_percent(result.figures.precision)} / {_percent(_value(result.figures.coverage))}",
                _NONE if result.figures.ece is None else f"{result.figures.ece:.3f}",
            )
            for result in results
            if result.figures.denied_route is None
        ),
    )  # fmt: skip


def negation_table(results: Iterable[Result]) -> Table:
    """How often a query that denies a route is sent there all the same."""
    return Table(
        title="Negation",
        note=(
            "Queries rewritten so that the speaker does not want the route. In percent: how often that very route was "
            "returned, and how often it was the best one before abstaining. Lower is better."
        ),
        columns=(
            "data set",
            "utterances per route",
            "router",
            "queries",
            "returned the denied route",
            "ranked it best",
        ),
        rows=tuple(
            (
                result.dataset,
                drawn(result),
                tuning(result),
                f"{result.figures.denied_route.n:,}",
                _interval(result.figures.denied_route),
                _interval(result.figures.denied_best),
            )
            for result in results
            if result.figures.denied_route is not None
        ),
    )


def language_table(results: Iterable[Result]) -> Table:
    """How alike a router treats the languages it is asked in."""
    return Table(
        title="Languages",
        note=(
            "In percent, by language of the query; all decided by the same routes and the same limit. “In scope” asks "
            "for the best route whether or not it was returned, “returned” for the right route returned."
        ),
        columns=("data set", "utterances per route", "router", "language", "in scope", "returned", "OOS recall"),
        rows=tuple(
            (
                result.dataset,
                drawn(result),
                tuning(result),
                language,
                _interval(found.in_scope),
                _interval(found.in_scope_accepted),
                _interval(found.oos_recall),
            )
            for result in results
            for language, found in result.languages.items()
        ),
    )


def cost_table(results: Iterable[Result]) -> Table:
    """What it took."""
    return Table(
        title=_COST,
        note=(
            "Build: encode the utterances and store the routes. Training: from there until the learned head was in "
            "place (CPU seconds in brackets). Decision: after the encoding, per query in batches of 32. Memory: most "
            "the process had held so far."
        ),
        columns=(
            "data set", "utterances", "router", "build s", "training s", "fit s", "one query p50 / p99 ms", "queries/s",
            "decision ms", "memory MB",
        ),
        rows=tuple(
            (
                result.dataset,
                f"{result.utterances:,}",
                tuning(result),
                f"{result.cost.build_s:.1f}",
                f"{result.cost.training_s:.1f} ({result.cost.training_cpu_s:.1f})",
                _NONE if result.cost.fit_s is None else f"{result.cost.fit_s:.1f} ({result.cost.fit_cpu_s or 0:.1f})",
                f"{result.cost.latency_ms.get('p50', 0):.2f} / {result.cost.latency_ms.get('p99', 0):.2f}",
                f"{result.cost.queries_per_s:,.0f}",
                f"{result.cost.decision_ms:.3f}",
                f"{result.cost.peak_memory_bytes / _MB:,.0f}",
            )
            for result in results
        ),
    )  # fmt: skip


def tables(manifests: Sequence[AnyManifest]) -> list[Table]:
    """All tables that have rows, those of accuracy first."""
    results = [result for manifest in manifests if isinstance(manifest, Manifest) for result in manifest.results]
    of_accuracy = (accuracy_table(results), negation_table(results), language_table(results), cost_table(results))
    of_load = load_tables([manifest for manifest in manifests if isinstance(manifest, LoadManifest)])
    return [table for table in of_accuracy if table.rows] + of_load


def provenance(manifest: AnyManifest | TieManifest) -> str:
    """One line: where the figures come from."""
    git, machine, encoder = manifest.git, manifest.machine, manifest.encoder
    revision = f"revision {git.revision[:12]}{' with changes' if git.dirty else ''}" if git else "no known revision"
    features = f", {' '.join(machine.features)}" if machine.features else ""
    return (
        f"{_trial(manifest)}`{manifest.command}`, {manifest.created_at:%Y-%m-%d}, {revision}, encoder {encoder.name} "
        f"({encoder.fingerprint}), {machine.cores} cores of {machine.cpu}{features}."
    )


def markdown(manifests: Sequence[AnyManifest]) -> str:
    """All tables with headings."""
    return "\n".join(
        f"### {table.title}\n\n{table.note}\n\n{_markdown(table)}" for table in tables(manifests)
    ) + _lines(manifests)


def readme_block(manifests: Sequence[AnyManifest]) -> str:
    """What stands between the README's markers: all but the cost of measuring accuracy."""
    shown = [table for table in tables(manifests) if table.title != _COST]
    return "\n".join(f"{_markdown(table)}\n{table.note}\n" for table in shown) + _lines(manifests)


def update_readme(path: Path, manifests: Sequence[AnyManifest]) -> None:
    """Replace what stands between the markers. Raises ManifestError unless both are there, once and in order."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ManifestError(f"cannot read {path}: {exc}") from exc
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ManifestError(f"{path} must have the line {BEGIN} once and after it the line {END} once")
    path.write_text(f"{before}{BEGIN}\n{readme_block(manifests)}{END}{after}", encoding="utf-8")


def drawn(result: Result) -> str:
    """How many utterances a route, and of how many draws."""
    if result.shots is None:
        return "all"
    return f"{result.shots}, mean of {len(result.seeds)} draws" if len(result.seeds) > 1 else str(result.shots)


def tuning(result: Result) -> str:
    """Whether the router was tuned; ``fit`` refuses to when held-out queries show no gain."""
    if result.fit is None:
        return "default"
    return "tuned" if result.fit.get("applied", True) else "fit refused"


def _markdown(table: Table) -> str:
    lines = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _trial(manifest: AnyManifest | TieManifest) -> str:
    """A warning, if the run was too small to be compared."""
    if isinstance(manifest, LoadManifest):
        return f"Trial run of {manifest.rounds} rounds, not to be compared. " if manifest.rounds < ROUNDS else ""
    return f"Trial run of at most {manifest.limit} queries, not to be compared. " if manifest.limit else ""


def _lines(manifests: Sequence[AnyManifest]) -> str:
    return "\n" + "\n".join(f"{provenance(manifest)}\n" for manifest in manifests)


def _interval(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return _NONE
    return f"{100 * accuracy.value:.1f} ({100 * accuracy.low:.1f}-{100 * accuracy.high:.1f})"


def _nearest(baseline: Baseline | None) -> str:
    if baseline is None:
        return _NONE
    return f"{_percent(_value(baseline.in_scope))} / {_percent(_value(baseline.top5))}"


def _percent(share: float | None) -> str:
    return _NONE if share is None else f"{100 * share:.1f}"


def _value(accuracy: Accuracy | None) -> float | None:
    return None if accuracy is None else accuracy.value
