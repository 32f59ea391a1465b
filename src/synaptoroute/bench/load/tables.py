"""Load manifests as tables, for the terminal, Markdown and the HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from synaptoroute.bench.http.tables import http_overload_table, http_paced_table, http_table
from synaptoroute.bench.load.manifest import (
    ColdBootRow,
    EventLoopRow,
    HttpOverloadRow,
    HttpPacedRow,
    HttpRow,
    LatencyRow,
    LoadManifest,
    MutationRow,
    OverloadRow,
    Rounds,
    Row,
    ScaleRow,
    StagesRow,
    ThroughputRow,
    Times,
)
from synaptoroute.bench.manifest import Part
from synaptoroute.bench.table import Table

_MB = 1_000_000
_NONE = "-"
_CALLERS = {"coroutines": "aquery", "threads": "route", "batches": "route_many"}

OneRow = TypeVar("OneRow", bound=Part)


def latency_table(rows: Sequence[LatencyRow]) -> Table:
    """One query at a time."""
    return Table(
        title="Latency",
        note=(
            "One query at a time without caches, beside the bare encoding of the same text in the same run: p50 / p90 "
            "/ p99 / p99.9 in ms. “More” is the difference of the p50, median over rounds."
        ),
        columns=("texts", "tokens", "calls", "encode ms", "route ms", "more ms", "aquery ms", "more ms"),
        rows=tuple(
            (
                row.texts,
                f"{row.tokens:g}",
                f"{row.route.n:,}",
                _percentiles(row.encode),
                _percentiles(row.route),
                f"{row.route_over_ms.median:.3f}",
                _percentiles(row.aquery),
                f"{row.aquery_over_ms.median:.3f}",
            )
            for row in rows
        ),
    )


def stages_table(rows: Sequence[StagesRow]) -> Table:
    """Where the time goes."""
    return Table(
        title="Stages of one query",
        note="Medians in ms. The hop is what `aquery` takes longer than `route`: to another thread and back.",
        columns=("texts", "tokenise", "run", "pool", "search and decide", "hop"),
        rows=tuple(
            (
                row.texts,
                f"{row.tokenise_ms:.3f}",
                f"{row.run_ms:.3f}",
                f"{row.pool_ms:.3f}",
                f"{row.decide_ms:.3f}",
                f"{row.hop_ms:.3f}",
            )
            for row in rows
        ),
    )


def throughput_table(rows: Sequence[ThroughputRow]) -> Table:
    """Many callers."""
    return Table(
        title="Throughput",
        note=(
            "Routed queries per second over texts only encoded per second, on all cores, measured in turns; medians "
            "over rounds, of the ratio with its least and greatest. “Repeated” queries come from the caches."
        ),
        columns=("call", "callers or batch", "queries", "queries/s", "encoder/s", "ratio", "call p50 / p99 ms"),
        rows=tuple(
            (
                _CALLERS[row.callers],
                f"{row.size} {row.callers}" if row.callers != "batches" else f"batches of {row.size:,}",
                "repeated" if row.repeated else "new",
                f"{row.queries_per_s.median:,.0f}",
                f"{row.encoder_per_s.median:,.0f}",
                _range(row.ratio),
                _middle_and_tail(row.call),
            )
            for row in rows
        ),
    )


def event_loop_table(rows: Sequence[EventLoopRow]) -> Table:
    """Its lag."""
    return Table(
        title="Event loop",
        note="How late a heartbeat of 5 ms was while so many queries were in flight.",
        columns=("in flight", "utterances added meanwhile", "lag p50 / p99 ms", "lag max ms", "queries/s", "add s"),
        rows=tuple(
            (
                f"{row.in_flight:,}",
                f"{row.adding:,}",
                _middle_and_tail(row.lag),
                f"{row.lag.max_ms:.1f}",
                f"{row.queries_per_s.median:,.0f}",
                _NONE if row.add_s is None else f"{row.add_s.median:.1f}",
            )
            for row in rows
        ),
    )


def overload_table(rows: Sequence[OverloadRow]) -> Table:
    """Refusing in time."""
    return Table(
        title="Overload",
        note=(
            "A burst of ten times the capacity. Recovery: until a query is answered within twice the idle median; "
            "afterwards: capacity over that of before, least and greatest in brackets."
        ),
        columns=(
            "capacity/s", "offered/s", "refused %", "to refuse p50 / p99 ms", "to answer p50 / p99 ms", "recovery s",
            "afterwards",
        ),
        rows=tuple(
            (
                f"{row.capacity_per_s.median:,.0f}",
                f"{row.offered_per_s.median:,.0f}",
                f"{100 * row.shed_share.median:.1f}",
                _NONE if row.shed is None else _middle_and_tail(row.shed),
                _middle_and_tail(row.answered),
                f"{row.recovery_s.median:.3f}",
                _range(row.recovered),
            )
            for row in rows
        ),
    )  # fmt: skip


def scale_table(rows: Sequence[ScaleRow]) -> Table:
    """Large tables."""
    return Table(
        title="Scale",
        note=(
            "Synthetic routes of five utterances, vectors given. A fresh process opens the files and asks one query at "
            "a time; memory is what it holds beyond the encoder, in brackets without pages of files. Recall and "
            "agreement are with exact search."
        ),
        columns=(
            "routes", "utterances", "build s", "open s", "to first decision s", "decide p50 / p99 ms", "recall@1 %",
            "agreement %", "memory MB", "store MB", "index MB",
        ),
        rows=tuple(
            (
                f"{row.routes:,}",
                f"{row.utterances:,}",
                f"{row.build_s:,.1f}",
                f"{row.open_s.median:.3f}",
                f"{row.first_s.median:.3f}",
                _middle_and_tail(row.decide),
                f"{100 * row.recall:.2f}",
                f"{100 * row.agreement:.2f}",
                f"{_megabytes(row.memory.resident_bytes)} ({_megabytes(row.memory.anonymous_bytes)})",
                _megabytes(row.store_bytes),
                _megabytes(row.index_bytes),
            )
            for row in sorted(rows, key=lambda row: row.routes)
        ),
    )  # fmt: skip


def mutation_table(rows: Sequence[MutationRow]) -> Table:
    """Changes beside queries."""
    return Table(
        title="Changes",
        note=(
            "Durable changes of one route of five utterances while a thread searches and decides without a pause, "
            "vectors given: p50 / p99 in ms. The ratio is the queries' p99 beside changes over that without."
        ),
        columns=(
            "routes", "add ms", "delete ms", "query alone ms", "query beside changes ms", "ratio of p99",
            "query during compaction p99 / max ms",
        ),
        rows=tuple(
            (
                f"{row.routes:,}",
                _middle_and_tail(row.add),
                _middle_and_tail(row.delete),
                _middle_and_tail(row.alone),
                _middle_and_tail(row.beside),
                _range(row.p99_ratio),
                _NONE if row.compacting is None else f"{row.compacting.p99_ms:.2f} / {row.compacting.max_ms:.2f}",
            )
            for row in sorted(rows, key=lambda row: row.routes)
        ),
    )  # fmt: skip


def cold_boot_table(rows: Sequence[ColdBootRow]) -> Table:
    """From nothing."""
    return Table(
        title="Cold boot",
        note="A fresh process up to its first decision, medians in s. Its files are in the system's cache.",
        columns=(
            "routes", "utterances", "runs", "Python", "import", "encoder", "open", "first decision", "total",
            "memory MB",
        ),
        rows=tuple(
            (
                f"{row.routes:,}",
                f"{row.utterances:,}",
                f"{len(row.total_s.by_round)}",
                *(
                    f"{step.median:.3f}"
                    for step in (
                        row.interpreter_s, row.import_s, row.encoder_s, row.open_s, row.decision_s, row.total_s,
                    )
                ),
                _megabytes(row.memory.resident_bytes),
            )
            for row in rows
        ),
    )  # fmt: skip


def load_tables(manifests: Sequence[LoadManifest]) -> list[Table]:
    """All tables that have rows."""
    rows = [row for manifest in manifests for row in manifest.rows]
    tables = (
        latency_table(of_kind(rows, LatencyRow)),
        stages_table(of_kind(rows, StagesRow)),
        throughput_table(of_kind(rows, ThroughputRow)),
        event_loop_table(of_kind(rows, EventLoopRow)),
        overload_table(of_kind(rows, OverloadRow)),
        scale_table(of_kind(rows, ScaleRow)),
        mutation_table(of_kind(rows, MutationRow)),
        cold_boot_table(of_kind(rows, ColdBootRow)),
        http_table(of_kind(rows, HttpRow)),
        http_paced_table(of_kind(rows, HttpPacedRow)),
        http_overload_table(of_kind(rows, HttpOverloadRow)),
    )
    return [table for table in tables if table.rows]


def of_kind(rows: Sequence[Row], kind: type[OneRow]) -> list[OneRow]:
    """The rows of that kind."""
    return [row for row in rows if isinstance(row, kind)]


def _percentiles(times: Times) -> str:
    return f"{times.p50_ms:.2f} / {times.p90_ms:.2f} / {times.p99_ms:.2f} / {times.p999_ms:.2f}"


def _middle_and_tail(times: Times) -> str:
    return f"{times.p50_ms:.2f} / {times.p99_ms:.2f}"


def _range(rounds: Rounds) -> str:
    return f"{rounds.median:.2f} ({min(rounds.by_round):.2f}-{max(rounds.by_round):.2f})"


def _megabytes(size: int | None) -> str:
    return _NONE if size is None else f"{size / _MB:,.0f}"
