"""What ``bench http`` measured, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from synaptoroute.bench.load.manifest import HttpOverloadRow, HttpPacedRow, HttpRow, Rounds, Times
from synaptoroute.bench.table import Table

_MB = 1_000_000
_NONE = "-"


def http_table(rows: Sequence[HttpRow]) -> Table:
    """Server beside router."""
    return Table(
        title="HTTP",
        note=(
            "POST /v1/route on a server over loopback; server, load generator and router share the cores, and the "
            "router is measured in turns with the server in the same run. Medians over rounds, of the ratio with its "
            "least and greatest. Every answer is held against the router's; “wrong” ones differ by more than 1e-5."
        ),
        columns=(
            "texts", "request", "connections", "requests/s", "queries/s", "router alone/s", "ratio",
            "request p50 / p99 ms", "failed", "wrong",
        ),
        rows=tuple(
            (
                row.texts,
                "1 text" if row.size == 1 else f"{row.size} texts",
                f"{row.connections}",
                f"{row.requests_per_s.median:,.0f}",
                f"{row.queries_per_s.median:,.0f}",
                f"{row.router_per_s.median:,.0f}",
                _range(row.ratio),
                _middle_and_tail(row.call),
                f"{row.failed:,}",
                f"{row.wrong:,}",
            )
            for row in rows
        ),
    )  # fmt: skip


def http_paced_table(rows: Sequence[HttpPacedRow]) -> Table:
    """At a share of the capacity."""
    return Table(
        title="HTTP at a steady pace",
        note=(
            "Single new texts at random times (Poisson) at a share of the capacity, timed from when they were due. "
            "“Late” is by how much the load generator sent them later, which counts as part of the time."
        ),
        columns=("of capacity", "offered/s", "capacity/s", "p50 / p99 ms", "max ms", "late p99 ms", "failed", "wrong"),
        rows=tuple(
            (
                f"{row.share:.0%}",
                f"{row.offered_per_s.median:,.0f}",
                f"{row.capacity_per_s.median:,.0f}",
                _middle_and_tail(row.call),
                f"{row.call.max_ms:.1f}",
                f"{row.late.p99_ms:.2f}",
                f"{row.failed:,}",
                f"{row.wrong:,}",
            )
            for row in rows
        ),
    )


def http_overload_table(rows: Sequence[HttpOverloadRow]) -> Table:
    """Refusing in time."""
    return Table(
        title="HTTP under overload",
        note=(
            "Single new texts at ten times the capacity. Recovery: from the last request until one is answered within "
            "twice the idle median. Memory: of the server's process before, at most, and afterwards."
        ),
        columns=(
            "seconds", "offered/s", "answered/s", "refused %", "to refuse p50 / p99 / max ms",
            "to answer p50 / p99 ms", "other statuses", "wrong", "recovery s", "memory MB",
        ),
        rows=tuple(
            (
                f"{row.seconds:g}",
                f"{row.offered_per_s:,.0f}",
                f"{row.answered_per_s:,.0f}",
                f"{100 * row.refused_share:.1f}",
                _NONE if row.refused is None else f"{_middle_and_tail(row.refused)} / {row.refused.max_ms:.1f}",
                _middle_and_tail(row.answered),
                ", ".join(f"{status}: {count:,}" for status, count in row.other_statuses.items()) or _NONE,
                f"{row.wrong:,}",
                f"{row.recovery_s:.2f}",
                " / ".join(
                    f"{memory.resident_bytes / _MB:,.0f}"
                    for memory in (row.memory_before, row.memory_peak, row.memory_after)
                ),
            )
            for row in rows
        ),
    )  # fmt: skip


def _middle_and_tail(times: Times) -> str:
    return f"{times.p50_ms:.2f} / {times.p99_ms:.2f}"


def _range(rounds: Rounds) -> str:
    return f"{rounds.median:.2f} ({min(rounds.by_round):.2f}-{max(rounds.by_round):.2f})"
