"""What a comparison with peers writes down, and the table that shows it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from synaptoroute.bench.manifest import SCHEMA, Accuracy, Count, DataInfo, EncoderInfo, Git, Machine, Part, Seconds

_MB = 1_000_000
_NONE = "-"

Figures = dict[str, float | None]


class Scale(Part):
    """A synthetic table: so many routes with so many utterances each."""

    routes: Annotated[int, Field(ge=2)]
    utterances: Annotated[int, Field(ge=1)]


class Ratio(Part):
    """Our figure divided by the other's, round by round: the median, the least and the greatest."""

    median: float
    low: float
    high: float


class Setting(Part):
    """How right a system was, set up in one way; ``tuning_s`` is what it took to set it up so.

    Attributes:
        top1: As in the accuracy benchmark: a query out of scope is right only if the system returned no route.
        in_scope: The right route was returned; queries in scope.
        oos_recall: No route was returned; queries out of scope.
    """

    name: str
    tuning_s: Seconds
    top1: Accuracy | None
    in_scope: Accuracy | None
    oos_recall: Accuracy | None


class SystemResult(Part):
    """One system.

    Attributes:
        version: Of the system; ``software`` has those of what all systems share.
        settings: How it was used.
        build: ``build_s`` from the utterances to the first answer, durable if the system stores anything;
            ``settle_s`` from there until it has learned from them; ``resident_bytes`` of the process after that.
        rounds: Figures of each round, see below.
        median: Of each figure over the rounds.
        ratios: Ours divided by this system's; the system that is ours has none.
        accuracy: For each way to set it up.
        failure: Why it was given up, if it was; what was measured before stays.

    The figures of a round:
        ``load_s``: From what was saved to the first answer; ``build_s`` instead where nothing can be saved.
        ``memory_bytes``: What the process then holds above one that has only loaded the encoder.
        ``concurrent_per_s``, ``_p50_ms``, ``_p99_ms``: With many queries in flight, text to answer.
        ``concurrent_lag_p50_ms``, ``_p99_ms``: How late a task on the same event loop woke up meanwhile.
        ``concurrent_right``: Share of those answers that were the right route or, out of scope, none.
        ``sequential_per_s``, ``_p50_ms``, ``_p99_ms``: One query after the other.
        ``given_...``: The same with a query encoder that takes no time, so that search and decision remain.
    """

    name: str
    version: str = ""
    settings: str = ""
    software: dict[str, str] = Field(default_factory=dict)
    build: Figures = Field(default_factory=dict)
    rounds: tuple[Figures, ...] = ()
    median: Figures = Field(default_factory=dict)
    ratios: dict[str, Ratio] = Field(default_factory=dict)
    accuracy: tuple[Setting, ...] = ()
    failure: str | None = None


class PeersManifest(Part):
    """All of it; ours is the first system, the encoder alone the last.

    Attributes:
        limit: Queries were limited to so many, and ``shots`` utterances a route: such figures are for trying out.
        scale: The synthetic table that was measured in place of the data set's routes.
        queries: Asked in each round, of which ``alone`` one after the other, unless the time for it was up.
    """

    schema_version: Literal[1] = SCHEMA
    benchmark: Literal["peers"] = "peers"
    command: str
    created_at: AwareDatetime
    git: Git | None
    limit: Annotated[int, Field(ge=1)] | None
    shots: Annotated[int, Field(ge=1)] | None
    scale: Scale | None
    in_flight: Annotated[int, Field(ge=1)]
    time_limit_s: Seconds
    queries: Count
    alone: Count
    encoder: EncoderInfo
    machine: Machine
    software: dict[str, str]
    dataset: DataInfo
    systems: tuple[SystemResult, ...]


def compared(systems: Sequence[SystemResult]) -> tuple[SystemResult, ...]:
    """The systems with their memory above that of the last one, medians, and ratios of the first to each other."""
    alone = systems[-1].rounds
    above = [
        tuple(_above(figures, alone[place] if place < len(alone) else {}) for place, figures in enumerate(each.rounds))
        for each in systems
    ]
    return tuple(
        each.model_copy(
            update={
                "rounds": rounds,
                "median": {name: _median([figures.get(name) for figures in rounds]) for name in _names(rounds)},
                "ratios": {} if place == 0 else _ratios(above[0], rounds),
            }
        )
        for place, (each, rounds) in enumerate(zip(systems, above, strict=True))
    )


def table(manifest: PeersManifest) -> str:
    """Markdown: a table of speed with a column for each system, and one of accuracy with a row for each setting."""
    systems = manifest.systems
    heads = [f"{each.name} {each.version}" if each.version not in each.name else each.name for each in systems]
    lines = [["", *heads]]
    for title, cell in _ROWS:
        cells = [cell(each) for each in systems]
        if any(text != _NONE for text in cells):
            lines.append([title, *cells])
    if any(each.failure for each in systems):
        lines.append(["given up", *(each.failure or _NONE for each in systems)])
    parts = [_note(manifest), _markdown(lines)]
    judged = [
        [
            head,
            setting.name,
            *map(_percent, (setting.top1, setting.in_scope, setting.oos_recall)),
            f"{setting.tuning_s:.0f}",
        ]
        for head, each in zip(heads, systems, strict=True)
        for setting in each.accuracy
    ]
    if judged:
        columns = ["", "set up", "Top-1 %", "in scope %", "OOS recall %", "set up in s"]
        parts.append(_markdown([columns, *judged]))
    return "\n".join(parts)


def _above(figures: Figures, alone: Figures) -> Figures:
    held, baseline = figures.get("resident_bytes"), alone.get("resident_bytes")
    return figures if held is None or baseline is None else {**figures, "memory_bytes": held - baseline}


def _names(rounds: Sequence[Figures]) -> list[str]:
    return list(dict.fromkeys(name for figures in rounds for name in figures))


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 4) if known else None


def _ratios(ours: Sequence[Figures], others: Sequence[Figures]) -> dict[str, Ratio]:
    found = {}
    for name in _names(others):
        # A system that was given up has fewer rounds.
        pairs = [(mine.get(name), its.get(name)) for mine, its in zip(ours, others, strict=False)]
        ratios = [round(mine / its, 4) for mine, its in pairs if mine is not None and its]
        if ratios:
            found[name] = Ratio(median=round(statistics.median(ratios), 4), low=min(ratios), high=max(ratios))
    return found


def _rate(prefix: str) -> Callable[[SystemResult], str]:
    def cell(system: SystemResult) -> str:
        value, ratio = system.median.get(f"{prefix}per_s"), system.ratios.get(f"{prefix}per_s")
        if value is None:
            return _NONE
        beside = f" (ours {ratio.median:.2f} times, {ratio.low:.2f}-{ratio.high:.2f})" if ratio else ""
        return f"{value:,.0f}{beside}"

    return cell


def _several(*names: str, digits: int = 1, unit: float = 1) -> Callable[[SystemResult], str]:
    def cell(system: SystemResult) -> str:
        values = [
            system.build.get(name) if name.startswith(("build", "settle")) else system.median.get(name)
            for name in names
        ]
        if all(value is None for value in values):
            return _NONE
        return " / ".join(_NONE if value is None else f"{value / unit:,.{digits}f}" for value in values)

    return cell


_ROWS: tuple[tuple[str, Callable[[SystemResult], str]], ...] = (
    ("concurrent queries/s", _rate("concurrent_")),
    ("… p50 / p99 ms", _several("concurrent_p50_ms", "concurrent_p99_ms")),
    ("… event loop late by, p99 ms", _several("concurrent_lag_p99_ms")),
    ("… right", _several("concurrent_right", digits=3)),
    ("sequential queries/s", _rate("sequential_")),
    ("… p50 / p99 ms", _several("sequential_p50_ms", "sequential_p99_ms", digits=2)),
    ("search and decision, concurrent queries/s", _rate("given_concurrent_")),
    ("… p50 / p99 ms", _several("given_concurrent_p50_ms", "given_concurrent_p99_ms")),
    ("… event loop late by, p99 ms", _several("given_concurrent_lag_p99_ms")),
    ("search and decision, sequential queries/s", _rate("given_sequential_")),
    ("… p50 / p99 ms", _several("given_sequential_p50_ms", "given_sequential_p99_ms", digits=2)),
    ("build / then learn, s", _several("build_s", "settle_s")),
    ("load what was saved, s", _several("load_s", digits=2)),
    ("memory above the encoder's, MB", _several("memory_bytes", digits=0, unit=_MB)),
)


def _note(manifest: PeersManifest) -> str:
    rounds = max((len(each.rounds) for each in manifest.systems), default=0)
    counts = manifest.dataset.counts
    routes = (
        f"{manifest.scale.routes:,} synthetic routes of {manifest.scale.utterances} utterances"
        if manifest.scale
        else f"{manifest.dataset.name}, {counts['routes']:,} routes, "
        + (f"{manifest.shots} utterances each" if manifest.shots else f"{counts['train']:,} utterances")
    )
    trial = "Trial run, not to be compared. " if manifest.limit or manifest.shots else ""
    return (
        f"{trial}{routes}; {manifest.queries:,} distinct queries a round, {manifest.alone:,} of them sequential, the "
        f"others with {manifest.in_flight} in flight; medians of {rounds} interleaved rounds, in brackets ours divided "
        f"by the system's with the least and greatest of the rounds. Encoder {manifest.encoder.name} "
        f"({manifest.encoder.fingerprint}) for all; {manifest.machine.cores} cores of {manifest.machine.cpu}; "
        f"`{manifest.command}`, {manifest.created_at:%Y-%m-%d}.\n"
    )


def _percent(accuracy: Accuracy | None) -> str:
    return (
        _NONE
        if accuracy is None
        else f"{100 * accuracy.value:.1f} ({100 * accuracy.low:.1f}-{100 * accuracy.high:.1f})"
    )


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |\n" for line in ruled
    )
