"""Load manifests as plots: throughput against callers, latency against routes, memory against vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from synaptoroute.bench.charts import Series, line_chart
from synaptoroute.bench.load.manifest import LoadManifest, ScaleRow, ThroughputRow
from synaptoroute.bench.load.tables import of_kind

_MB = 1_000_000


def load_charts(manifests: Sequence[LoadManifest]) -> Iterator[tuple[str, str, str]]:
    """The plots there is data for, each with its title before and its caption after it."""
    rows = [row for manifest in manifests for row in manifest.rows]
    asked = [row for row in of_kind(rows, ThroughputRow) if row.callers == "coroutines" and not row.repeated]
    if asked:
        title = "Throughput against queries in flight"
        yield title, _throughput(title, asked), "Routed, and the same texts only encoded in the same run; medians."
    tables = sorted(of_kind(rows, ScaleRow), key=lambda row: row.routes)
    if tables:
        title = "Latency against routes"
        yield title, _latency(title, tables), "Search and decision of one query, vector given."
        title = "Memory against vectors"
        yield title, _memory(title, tables), "Beyond the encoder. Pages of files can be dropped and read again."


def _throughput(title: str, rows: Sequence[ThroughputRow]) -> str:
    routed = [(math.log2(row.size), row.queries_per_s.median) for row in rows]
    encoded = [(math.log2(row.size), row.encoder_per_s.median) for row in rows]
    return line_chart(
        title, "Higher is better; routed cannot be above encoded for long.",
        [Series("routed", routed), Series("only encoded", encoded)],
        x_label="queries in flight", y_label="queries/s", dots=True, x_range=_around([x for x, _ in routed]),
        y_range=(0, 1.05 * max(y for _, y in routed + encoded)), x_names={x: f"{2**x:.0f}" for x, _ in routed},
    )  # fmt: skip


def _latency(title: str, rows: Sequence[ScaleRow]) -> str:
    at = [math.log10(row.routes) for row in rows]
    p50 = [(x, row.decide.p50_ms) for x, row in zip(at, rows, strict=True)]
    p99 = [(x, row.decide.p99_ms) for x, row in zip(at, rows, strict=True)]
    return line_chart(
        title, "Lower is better.", [Series("p50", p50), Series("p99", p99)],
        x_label="routes", y_label="ms", dots=True, x_range=_around(at),
        y_range=(0, 1.05 * max(ms for _, ms in p50 + p99)),
        x_names={x: f"{row.routes:,}" for x, row in zip(at, rows, strict=True)},
    )  # fmt: skip


def _memory(title: str, rows: Sequence[ScaleRow]) -> str:
    at = [math.log10(row.utterances) for row in rows]
    resident = [(x, row.memory.resident_bytes / _MB) for x, row in zip(at, rows, strict=True)]
    anonymous = [
        (x, row.memory.anonymous_bytes / _MB)
        for x, row in zip(at, rows, strict=True)
        if row.memory.anonymous_bytes is not None
    ]
    held = [mb for _, mb in resident + anonymous]
    series = [Series("all", resident), Series("without pages of files", anonymous)]
    return line_chart(
        title, "Lower is better.", [one for one in series if one.points],
        x_label="vectors", y_label="MB", dots=True, x_range=_around(at), y_range=(min(0, *held), 1.05 * max(1, *held)),
        x_names={x: f"{row.utterances:,}" for x, row in zip(at, rows, strict=True)},
    )  # fmt: skip


def _around(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest with some room beside them, so that one point alone has a place."""
    return min(values) - 0.2, max(values) + 0.2
