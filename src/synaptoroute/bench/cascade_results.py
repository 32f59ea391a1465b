"""What a measurement of the first stage writes down, and the table that shows it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from synaptoroute.bench.load.manifest import Rounds
from synaptoroute.bench.manifest import SCHEMA, Accuracy, Count, DataInfo, EncoderInfo, Git, Machine, Part, Seconds

_NONE = "-"


class Shares(Part):
    """A share of the queries: of all, of those in scope, and of those out of scope, where there are any."""

    all: Accuracy
    in_scope: Accuracy | None
    oos: Accuracy | None


class Rate(Part):
    """Routed queries a second, full path and cascade in turns; a ratio is taken within each round.

    Attributes:
        callers: How they called: coroutines of one query each, or batches.
        size: How many in flight, or in a batch.
    """

    callers: Literal["coroutines", "batches"]
    size: Annotated[int, Field(ge=1)]
    full_per_s: Rounds
    cascade_per_s: Rounds
    ratio: Rounds


class Learning(Part):
    """What it takes to learn a table, on the first seed.

    Attributes:
        wall_s: From the utterances being stored until everything is learned.
        cpu_s: The same, as CPU time of all threads.
        kept_bytes: What is kept of it in the store.
    """

    wall_s: Seconds
    cpu_s: Seconds
    kept_bytes: Count


class CascadeRow(Part):
    """One data set with so many utterances a route.

    Attributes:
        shots: Utterances per route; null is all of train.
        seeds: Which utterances were drawn; a single 0 where all are taken.
        agreement: The cascade decides as the full path does, abstentions included.
        answered: Decided by the first stage.
        top1: Right over all queries, by ``full``, ``cascade`` and ``static``, the static encoder alone: one out of
            scope is right only if the router abstained, one in scope only if its route was returned.
        learning: Of ``full`` and ``cascade``.
        rates: Speeds, on the first seed.
    """

    dataset: str
    shots: Annotated[int, Field(ge=1)] | None
    seeds: tuple[int, ...]
    routes: Count
    utterances: Count
    agreement: Shares
    answered: Shares
    top1: dict[str, Accuracy]
    learning: dict[str, Learning]
    rates: tuple[Rate, ...]


class CascadeManifest(Part):
    """All of it. ``limit`` is set where only so many queries were asked: such figures are for trying out only."""

    schema_version: Literal[1] = SCHEMA
    benchmark: Literal["cascade"] = "cascade"
    command: str
    created_at: AwareDatetime
    git: Git | None
    limit: Annotated[int, Field(ge=1)] | None
    rounds: Annotated[int, Field(ge=1)]
    encoder: EncoderInfo
    first_encoder: EncoderInfo
    machine: Machine
    software: dict[str, str]
    datasets: tuple[DataInfo, ...]
    rows: tuple[CascadeRow, ...]


COLUMNS = (
    "data set", "utterances per route", "queries", "agreement", "in scope / OOS", "answered first", "in scope / OOS",
    "Top-1 full", "Top-1 cascade", "Top-1 static alone", "queries/s full", "queries/s cascade", "ratio",
)  # fmt: skip


def rows_of(manifest: CascadeManifest) -> list[tuple[str, ...]]:
    """The table's cells; speeds are those with coroutines."""
    return [_cells(row) for row in manifest.rows]


def table(manifest: CascadeManifest) -> str:
    """The table in Markdown, and where its figures come from."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *rows_of(manifest)]
    found = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    return f"{found}\n{provenance(manifest)}\n"


def provenance(manifest: CascadeManifest) -> str:
    """One line: where the figures come from."""
    git, machine = manifest.git, manifest.machine
    revision = f"revision {git.revision[:12]}{' with changes' if git.dirty else ''}" if git else "no known revision"
    trial = f"Trial run of at most {manifest.limit} queries, not to be compared. " if manifest.limit else ""
    return (
        f"{trial}`{manifest.command}`, {manifest.created_at:%Y-%m-%d}, {revision}, encoder {manifest.encoder.name} "
        f"({manifest.encoder.fingerprint}), first stage {manifest.first_encoder.fingerprint}, {machine.cores} cores of "
        f"{machine.cpu}; medians of {manifest.rounds} rounds in turns; in percent, with 95 % bootstrap intervals."
    )


def _cells(row: CascadeRow) -> tuple[str, ...]:
    draws = f", {len(row.seeds)} draws" if len(row.seeds) > 1 else ""
    rate = next((rate for rate in row.rates if rate.callers == "coroutines"), None)
    return (
        row.dataset,
        "all" if row.shots is None else f"{row.shots}{draws}",
        f"{row.agreement.all.n:,}",
        _interval(row.agreement.all, 2),
        _two(row.agreement, 2),
        _interval(row.answered.all, 1),
        _two(row.answered, 1),
        *(_interval(row.top1[name], 1) for name in ("full", "cascade", "static")),
        f"{rate.full_per_s.median:,.0f}" if rate else _NONE,
        f"{rate.cascade_per_s.median:,.0f}" if rate else _NONE,
        f"{rate.ratio.median:.2f}" if rate else _NONE,
    )


def _interval(accuracy: Accuracy, digits: int) -> str:
    value, low, high = (f"{100 * share:.{digits}f}" for share in (accuracy.value, accuracy.low, accuracy.high))
    return f"{value} ({low}-{high})"


def _two(shares: Shares, digits: int) -> str:
    parts = (shares.in_scope, shares.oos)
    return " / ".join(_NONE if part is None else f"{100 * part.value:.{digits}f}" for part in parts)
