"""Manifests as one HTML page: no script, nothing loaded from elsewhere, light or dark as the reader has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from xml.sax.saxutils import escape

from synaptoroute.bench.charts import STYLE, Point, Series, bar_chart, heat_map, line_chart
from synaptoroute.bench.load.charts import load_charts
from synaptoroute.bench.load.manifest import AnyManifest, LoadManifest
from synaptoroute.bench.manifest import Accuracy, DataInfo, Manifest, Result
from synaptoroute.bench.table import Table
from synaptoroute.bench.tables import drawn, provenance, tables, tuning

#: Confused pairs a heat map shows; more would not be read.
_PAIRS = 15

_PAGE_STYLE = (
    """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c1e21; --faint: #62676e; --line: #dcdfe3; --c0: #1f6fb4;
 --c1: #c2480e; --c2: #23803a; --c3: #8a3fb0; --c4: #a3731a; --c5: #b02a5b; --c6: #147d85; --c7: #5b626b; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e7e9ec; --faint: #a2a8b0; --line: #363b41;
 --c0: #6db3ee; --c1: #f79a63; --c2: #6fcb87; --c3: #cf9cec; --c4: #dfb65f; --c5: #f08bb1; --c6: #63cdd5;
 --c7: #b4bac2; } }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
 font: 15px/1.5 system-ui, sans-serif; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
.note, figcaption, footer { color: var(--faint); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1.5rem; }
figure { margin: 0; } h3 { margin: 0 0 .3rem; font-size: 1rem; }
"""
    + STYLE
)


def html(manifests: Sequence[AnyManifest]) -> str:
    """The page, which is well-formed XML as well."""
    of_accuracy = [manifest for manifest in manifests if isinstance(manifest, Manifest)]
    results = [result for manifest in of_accuracy for result in manifest.results]
    infos = {info.name: info for manifest in of_accuracy for info in manifest.datasets}
    body = [
        "<h1>SynaptoRoute: benchmarks</h1>",
        *(f"<p>{escape(provenance(manifest))}</p>" for manifest in manifests),
        *(_table(table) for table in tables(manifests)),
    ]
    for name, rows in groupby(sorted(results, key=lambda result: list(infos).index(result.dataset)), _dataset):
        body.append(_section(infos[name], list(rows)))
    if charts := list(load_charts([manifest for manifest in manifests if isinstance(manifest, LoadManifest)])):
        body.append(f"<section><h2>Load</h2>{_figures(charts)}</section>")
    body.append(f"<footer>{_software(manifests)}</footer>")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/><title>SynaptoRoute: benchmarks</title>'
        f"<style>{_PAGE_STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )


def _dataset(result: Result) -> str:
    return result.dataset


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return (
        f'<h2>{escape(table.title)}</h2><p class="note">{escape(table.note)}</p>'
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _section(info: DataInfo, rows: Sequence[Result]) -> str:
    counts = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in info.counts.items() if number)
    files = "".join(f"<li><code>{escape(name)}</code> <code>{sha}</code></li>" for name, sha in info.files.items())
    return (
        f"<section><h2>{escape(info.name)}</h2><p>{escape(info.reading)}. {escape(counts)}. {escape(info.licence)}.</p>"
        f"{_figures(_charts(info.name, rows))}"
        f"<details><summary>Files and their SHA-256</summary><ul>{files}</ul></details></section>"
    )


def _figures(charts: Iterable[tuple[str, str, str]]) -> str:
    """Plots side by side, each with its title before and its caption after it."""
    shown = "".join(
        f"<figure><h3>{escape(title)}</h3>{chart}<figcaption>{escape(caption)}</figcaption></figure>"
        for title, chart, caption in charts
    )
    return f'<div class="charts">{shown}</div>'


def _charts(name: str, rows: Sequence[Result]) -> Iterator[tuple[str, str, str]]:
    """The plots there is data for, each with its title before and its caption after it."""
    yield "Accuracy", _bars(name, rows), "One bar a row of the tables, with the 95 % interval."
    if risks := _series(rows, "risk_coverage"):
        highest = max(y for series in risks for _, y in series.points)
        yield (
            "Risk and coverage",
            line_chart(
                f"{name}: risk and coverage", "Lower is better: fewer wrong answers among as many.", risks,
                x_label="share of queries answered", y_label="share of answers wrong",
                y_range=(0, max(0.02, 1.05 * highest)),
            ),
            "Wrong answers if only the most confident queries were answered. An out-of-scope query is always wrong.",
        )  # fmt: skip
    if rocs := _series(rows, "roc"):
        yield (
            "Detecting out-of-scope queries",
            line_chart(
                f"{name}: detecting out-of-scope queries", "Nearer to the upper left corner is better.", rocs,
                x_label="out-of-scope queries that pass", y_label="in-scope queries that pass", diagonal=True,
            ),
            "ROC of the confidence as a detector of queries that belong to a route.",
        )  # fmt: skip
    bins = [(result, [(mean, right) for mean, right, _ in result.curves.reliability]) for result in rows]
    if reliable := [Series(_named(result), points) for result, points in bins if points]:
        yield (
            "Reliability of the confidence",
            line_chart(
                f"{name}: reliability of the confidence", "Nearer to the diagonal is better.", reliable,
                x_label="confidence", y_label="share that was right", diagonal=True, dots=True,
            ),
            "Above the diagonal the router was too modest, below it too sure. 15 bins, empty ones left out.",
        )  # fmt: skip
    if len(shots := _by_shots(rows)) > 1:
        yield "Accuracy against utterances per route", _against_shots(name, shots), "Mean over the draws of utterances."
    main = max(rows, key=lambda result: (result.utterances, not result.tuned))
    if pairs := main.curves.confusion[:_PAIRS]:
        cells = {(right, best): count for right, best, count in pairs}
        yield (
            "Most frequent errors",
            heat_map(
                f"{name}: most frequent errors", "Counts of queries by their right route and the best route.", cells,
                rows="right route", columns="best route",
            ),
            f"The {len(cells)} most frequent confusions, {_named(main)}.",
        )  # fmt: skip


def _bars(name: str, rows: Sequence[Result]) -> str:
    shown = [
        (f"{label}, {_named(result)}", figure.value, figure.low, figure.high)
        for result in rows
        for label, figure in _headline(result)
    ]
    return bar_chart(f"{name}: accuracy", "Shares of the test queries in percent.", shown)


def _headline(result: Result) -> list[tuple[str, Accuracy]]:
    figures = result.figures
    named = {
        "Top-1": figures.top1,
        "in scope": figures.in_scope,
        "in scope, nearest utterance": result.nearest.in_scope if result.nearest else None,
        "OOS recall": figures.oos_recall,
        "denied route returned": figures.denied_route,
    }
    return [(label, figure) for label, figure in named.items() if figure is not None]


def _series(rows: Sequence[Result], curve: str) -> list[Series]:
    curves: list[tuple[Result, Sequence[Point]]] = [(result, getattr(result.curves, curve)) for result in rows]
    return [Series(_named(result), points) for result, points in curves if points]


def _by_shots(rows: Sequence[Result]) -> list[Result]:
    """One row for each number of utterances, as the router comes, fewest first."""
    default = {result.shots: result for result in rows if not result.tuned and result.figures.in_scope}
    return sorted(default.values(), key=lambda result: result.utterances)


def _against_shots(name: str, rows: Sequence[Result]) -> str:
    by_label: dict[str, list[Point]] = {}
    for at, result in enumerate(rows):
        nearest = result.nearest.in_scope if result.nearest else None
        for label, figure in (
            ("in scope", result.figures.in_scope),
            ("in scope, nearest utterance", nearest),
            ("Top-1", result.figures.top1),
        ):
            if figure is not None:
                by_label.setdefault(label, []).append((float(at), figure.value))
    series = [Series(label, points) for label, points in by_label.items()]
    lowest = min(y for one in series for _, y in one.points)
    return line_chart(
        f"{name}: accuracy against utterances per route", "Higher is better.", series,
        x_label="utterances per route", y_label="accuracy", dots=True,
        x_range=(-0.2, len(rows) - 0.8), y_range=(int(10 * lowest) / 10, 1),
        x_names={float(at): "all" if result.shots is None else str(result.shots) for at, result in enumerate(rows)},
    )  # fmt: skip


def _named(result: Result) -> str:
    return f"{drawn(result).partition(',')[0]} {tuning(result)}"


def _software(manifests: Sequence[AnyManifest]) -> str:
    versions = dict.fromkeys(
        f"{name} {version}" for manifest in manifests for name, version in manifest.software.items()
    )
    return escape(", ".join(versions))
