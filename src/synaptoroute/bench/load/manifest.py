"""The load manifest: what was timed, how often, and what came out; one row for each thing measured.

Durations end in ``_s`` or ``_ms``, sizes in ``_bytes``, rates in ``_per_s``. What is compared was measured in turns in
the same run, and a ratio or difference is taken within each round, so that a machine that slows down slows both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
from pydantic import AwareDatetime, Field

from synaptoroute.bench.machine import git, machine, software
from synaptoroute.bench.manifest import (
    SCHEMA,
    Count,
    DataInfo,
    EncoderInfo,
    Git,
    Machine,
    Manifest,
    Part,
    Seconds,
    Share,
    now,
    read_content,
    validated,
)
from synaptoroute.encoder.base import BaseEncoder

#: Medians of fewer rounds are for trying out only.
ROUNDS: Final = 5

Kind = Literal["latency", "throughput", "scale", "mutation", "coldboot", "http"]
Rate = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class Times(Part):
    """How long each of ``n`` calls took, all rounds together."""

    n: Positive
    p50_ms: Seconds
    p90_ms: Seconds
    p99_ms: Seconds
    p999_ms: Seconds
    max_ms: Seconds

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Self:
        """Of at least one sample."""
        p50, p90, p99, p999, slowest = np.percentile(samples_ms, (50, 90, 99, 99.9, 100))
        return cls(
            n=len(samples_ms),
            p50_ms=rounded(p50),
            p90_ms=rounded(p90),
            p99_ms=rounded(p99),
            p999_ms=rounded(p999),
            max_ms=rounded(slowest),
        )


class Rounds(Part):
    """A figure of each round, and their median."""

    median: float
    by_round: Annotated[tuple[float, ...], Field(min_length=1)]

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one round."""
        return cls(median=rounded(float(np.median(values))), by_round=tuple(map(rounded, values)))


class Memory(Part):
    """What a process holds in memory. Pages of files can be dropped and read again, anonymous ones cannot.

    Attributes:
        resident_bytes: All of it; where the system tells only the most it has been, that.
        anonymous_bytes: What no file stands behind; null where the system does not tell.
        file_bytes: Pages of mapped files, libraries among them; likewise.
    """

    resident_bytes: int
    anonymous_bytes: int | None
    file_bytes: int | None

    def over(self, baseline: Memory) -> Memory:
        """What was added since; may be negative."""
        return Memory(
            resident_bytes=self.resident_bytes - baseline.resident_bytes,
            anonymous_bytes=_difference(self.anonymous_bytes, baseline.anonymous_bytes),
            file_bytes=_difference(self.file_bytes, baseline.file_bytes),
        )

    @classmethod
    def median(cls, processes: Sequence[Memory]) -> Self:
        """Of several like processes on one system."""
        return cls(
            resident_bytes=int(np.median([memory.resident_bytes for memory in processes])),
            anonymous_bytes=_median([memory.anonymous_bytes for memory in processes]),
            file_bytes=_median([memory.file_bytes for memory in processes]),
        )


class LatencyRow(Part):
    """One query at a time, caches off, beside the bare encoding of the same text.

    Attributes:
        texts: Which.
        tokens: Of each text, median.
        encode: ``encoder.encode([text])``.
        route: ``router.route(text)``.
        aquery: ``await router.aquery(text)``.
        route_over_ms: p50 of ``route`` less that of ``encode``.
        aquery_over_ms: p50 of ``aquery`` less that of ``encode``.
    """

    measure: Literal["latency"] = "latency"
    texts: str
    tokens: float
    encode: Times
    route: Times
    aquery: Times
    route_over_ms: Rounds
    aquery_over_ms: Rounds


class StagesRow(Part):
    """Where the time of one query goes; each the median over texts and rounds.

    Attributes:
        texts: Which.
        tokenise_ms: Text to token numbers.
        run_ms: The network.
        pool_ms: Mean of its states, length one.
        decide_ms: Search and decision.
        hop_ms: ``aquery`` less ``route``: to another thread and back.
    """

    measure: Literal["stages"] = "stages"
    texts: str
    tokenise_ms: Seconds
    run_ms: Seconds
    pool_ms: Seconds
    decide_ms: Seconds
    hop_ms: float


class ThroughputRow(Part):
    """Routed queries per second over those that are only encoded, on all cores, right before and after.

    Attributes:
        callers: Coroutines that await ``aquery``, threads that call ``route``, or one thread that calls ``route_many``.
        size: How many coroutines or threads, or queries in a batch.
        repeated: Every query had been asked before, with caches on; otherwise caches are off.
        queries_per_s: Routed.
        encoder_per_s: Only encoded.
        ratio: The former over the latter.
        call: Of one ``aquery``, ``route`` or ``route_many`` under that load.
    """

    measure: Literal["throughput"] = "throughput"
    callers: Literal["coroutines", "threads", "batches"]
    size: Positive
    repeated: bool
    queries_per_s: Rounds
    encoder_per_s: Rounds
    ratio: Rounds
    call: Times


class EventLoopRow(Part):
    """How late the event loop is for a heartbeat of 5 ms while it routes.

    Attributes:
        in_flight: Queries waiting at any time.
        adding: Utterances that one ``add_routes`` in another thread encodes and stores meanwhile; 0 for none.
        lag: Of the heartbeats.
        call: Of one ``aquery``.
        queries_per_s: Routed.
        add_s: What ``add_routes`` took; null without.
    """

    measure: Literal["event loop"] = "event loop"
    in_flight: Positive
    adding: Count
    lag: Times
    call: Times
    queries_per_s: Rounds
    add_s: Rounds | None


class OverloadRow(Part):
    """Many times more queries than can be answered.

    Attributes:
        capacity_per_s: Answered at 256 in flight, just before.
        offered_per_s: Asked; less than wanted if the event loop itself could not keep up.
        shed_share: Of what was asked, refused.
        shed: From the call to the refusal; null if none was refused.
        answered: From the call to the answer.
        recovery_s: From the end of the burst to the first answer within twice the median of an idle router.
        recovered: Answered per second at 256 in flight afterwards, over before.
    """

    measure: Literal["overload"] = "overload"
    capacity_per_s: Rounds
    offered_per_s: Rounds
    shed_share: Rounds
    shed: Times | None
    answered: Times
    recovery_s: Rounds
    recovered: Rounds


class ScaleRow(Part):
    """A table of synthetic routes, asked by a fresh process that opens its files. Vectors are given throughout.

    Attributes:
        build_s: Add all routes, durably, and have the index files written.
        store_bytes: The SQLite file and its companions.
        index_bytes: All other files beside it.
        open_s: From nothing but a loaded encoder to the router.
        first_s: To its first decision, opening included. The files are in the system's cache.
        decide: Search and decide, one query at a time.
        queries: Asked for the two shares.
        recall: The nearest utterance is the one that exact search finds.
        agreement: The best route is that of the utterance that exact search finds.
        memory: Over the same process with nothing but the encoder, after the queries; median.
    """

    measure: Literal["scale"] = "scale"
    routes: Positive
    utterances: Positive
    build_s: Seconds
    store_bytes: Count
    index_bytes: Count
    open_s: Rounds
    first_s: Rounds
    decide: Times
    queries: Positive
    recall: Share
    agreement: Share
    memory: Memory


class MutationRow(Part):
    """Durable changes while a thread queries without a pause; vectors are given to both.

    Attributes:
        add: ``add_routes`` of one route with its utterances.
        delete: ``delete_route`` of an old one.
        alone: Search and decide, without writers.
        beside: The same while the changes go on.
        p99_ratio: The latter's p99 over the former's.
        compacting: The same while a large addition is compacted; null if the index needed no compaction.
    """

    measure: Literal["mutation"] = "mutation"
    routes: Positive
    utterances: Positive
    add: Times
    delete: Times
    alone: Times
    beside: Times
    p99_ratio: Rounds
    compacting: Times | None


class ColdBootRow(Part):
    """A fresh process up to its first decision. The files are in the system's cache.

    Attributes:
        interpreter_s: Python itself.
        import_s: ``AdaptiveRouter`` and what it needs.
        encoder_s: Load the encoder, with its libraries, and encode one text.
        open_s: Open the store.
        decision_s: Route the first query.
        total_s: All of it.
        memory: Of the process after that, median.
    """

    measure: Literal["cold boot"] = "cold boot"
    routes: Positive
    utterances: Positive
    interpreter_s: Rounds
    import_s: Rounds
    encoder_s: Rounds
    open_s: Rounds
    decision_s: Rounds
    total_s: Rounds
    memory: Memory


class HttpRow(Part):
    """``POST /v1/route`` on a server over loopback, beside the router in the benchmark's process, in turns.

    Attributes:
        texts: "new": caches are off on both sides; "repeated": both were asked all of it before, with caches on.
        size: Texts of a request.
        connections: Each asks as soon as it was answered; of the router, threads or, for single texts, coroutines.
        requests_per_s: Answered.
        queries_per_s: Texts in them.
        router_per_s: Texts that the router decides without a server.
        ratio: The former over the latter.
        call: From sending a request to the end of its answer.
        failed: Requests that were not answered with decisions.
        inexact: Answers whose numbers differ from the router's, by 1e-5 at most.
        wrong: Answers that differ by more.
    """

    measure: Literal["http"] = "http"
    texts: Literal["new", "repeated"]
    size: Positive
    connections: Positive
    requests_per_s: Rounds
    queries_per_s: Rounds
    router_per_s: Rounds
    ratio: Rounds
    call: Times
    failed: Count
    inexact: Count
    wrong: Count


class HttpPacedRow(Part):
    """Requests of one new text at random times (Poisson), whether or not earlier ones were answered.

    Attributes:
        share: Of the capacity.
        seconds: In each round.
        offered_per_s: Asked.
        capacity_per_s: Answered in the same round to 64 connections that ask as soon as they are answered.
        call: From when a request was due to the end of its answer.
        late: By how much the load generator sent it later than due; it counts as part of the call.
        failed: See ``HttpRow``.
        inexact: Likewise.
        wrong: Likewise.
    """

    measure: Literal["http paced"] = "http paced"
    share: Share
    seconds: Seconds
    offered_per_s: Rounds
    capacity_per_s: Rounds
    call: Times
    late: Times
    failed: Count
    inexact: Count
    wrong: Count


class HttpOverloadRow(Part):
    """Many times more such requests than can be answered, no text twice while it may wait.

    Attributes:
        seconds: How long.
        capacity_per_s: Median of the rounds before.
        offered_per_s: Asked; less than ten times the capacity if the load generator could not keep up.
        answered_per_s: Answered with decisions.
        refused_share: Of what was asked, answered 503.
        refused: From sending to the end of the refusal; null if none was refused.
        answered: From when it was due to the end of the answer.
        late: See ``HttpPacedRow``.
        other_statuses: How often others than 200 and 503 came; "0" is a connection that broke.
        inexact: See ``HttpRow``.
        wrong: Likewise.
        recovery_s: From the last request to the first answer within twice the median of an idle server.
        memory_before: Of the server's process.
        memory_peak: The most of it, looked at every half second.
        memory_after: Once all was answered.
    """

    measure: Literal["http overload"] = "http overload"
    seconds: Seconds
    capacity_per_s: Rate
    offered_per_s: Rate
    answered_per_s: Rate
    refused_share: Share
    refused: Times | None
    answered: Times
    late: Times
    other_statuses: dict[str, Count]
    inexact: Count
    wrong: Count
    recovery_s: Seconds
    memory_before: Memory
    memory_peak: Memory
    memory_after: Memory


Row = (
    LatencyRow
    | StagesRow
    | ThroughputRow
    | EventLoopRow
    | OverloadRow
    | ScaleRow
    | MutationRow
    | ColdBootRow
    | HttpRow
    | HttpPacedRow
    | HttpOverloadRow
)


class LoadManifest(Part):
    """All of it. ``datasets`` is empty where routes are synthetic; ``shots`` is null where all of train was used."""

    schema_version: Literal[1] = SCHEMA
    benchmark: Literal["load"] = "load"
    kind: Kind
    command: str
    created_at: AwareDatetime
    git: Git | None
    rounds: Positive
    shots: Positive | None
    encoder: EncoderInfo
    machine: Machine
    software: dict[str, str]
    datasets: tuple[DataInfo, ...]
    rows: tuple[Annotated[Row, Field(discriminator="measure")], ...]

    @classmethod
    def begin(
        cls,
        kind: Kind,
        *,
        command: str,
        rounds: int,
        encoder: BaseEncoder,
        dataset: DataInfo | None = None,
        shots: int | None = None,
    ) -> Self:
        """One without rows, of this machine, now."""
        return cls(
            kind=kind,
            command=command,
            created_at=now(),
            git=git(),
            rounds=rounds,
            shots=shots,
            encoder=EncoderInfo(name=encoder.name, fingerprint=encoder.fingerprint, dim=encoder.dim),
            machine=machine(),
            software=software(),
            datasets=() if dataset is None else (dataset,),
            rows=(),
        )

    def with_row(self, row: Row) -> Self:
        """The same and one row more."""
        return self.model_copy(update={"rows": (*self.rows, row)})


AnyManifest = Manifest | LoadManifest


def read(path: Path) -> AnyManifest:
    """The manifest in a file, of accuracy or of load. Raises ManifestError."""
    content = read_content(path)
    if content.get("benchmark") == "load":
        return validated(LoadManifest, content, path)
    return validated(Manifest, content, path)


def rounded(value: float) -> float:
    """To four significant digits: more are noise."""
    return float(f"{value:.4g}")


def _difference(value: int | None, baseline: int | None) -> int | None:
    return None if value is None or baseline is None else value - baseline


def _median(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return int(np.median(known)) if known else None
