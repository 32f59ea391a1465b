"""``bench throughput``: how much of the encoder's speed is left when many callers route at once.

Every load is measured between two runs of the encoder alone over the same texts, and divided by their mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from synaptoroute.bench.load.callers import batches, coroutines, threads
from synaptoroute.bench.load.manifest import EventLoopRow, OverloadRow, Rounds, ThroughputRow, Times
from synaptoroute.bench.load.pressure import Overload, Watched, novel_routes
from synaptoroute.bench.load.stored import Stored
from synaptoroute.bench.load.timing import Steps
from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.profile import OptimizationProfile
from synaptoroute.router import AdaptiveRouter

COROUTINES = (1, 4, 16, 64, 256)
THREADS = (1, 2, 8)
BATCHES = (32, 1000)
#: Distinct texts of the runs in which every query has been asked before.
REPEATED = 256

Callers = Literal["coroutines", "threads", "batches"]
Run = Callable[[AdaptiveRouter, Sequence[str], int], Awaitable[list[float]]]


def steps(rounds: int) -> int:
    """How many steps ``measure`` has."""
    return rounds * (len(_LOADS) + len(_REPEATED_LOADS) + 3)


def measure(
    subject: Stored, *, rounds: int, adding: int, burst_s: float, step: Steps
) -> list[ThroughputRow | EventLoopRow | OverloadRow]:
    """Rows for each way to call, the event loop, and overload.

    Args:
        subject: What to open and ask.
        rounds: Each measures everything once.
        adding: Utterances that are added while the event loop is watched.
        burst_s: How long the router is overloaded.
        step: Called ``steps`` times.

    Raises:
        MeasurementError: The router does not recover from the overload.
    """
    return asyncio.run(_measured(subject, rounds, adding, burst_s, step))


async def _measured(
    subject: Stored, rounds: int, adding: int, burst_s: float, step: Steps
) -> list[ThroughputRow | EventLoopRow | OverloadRow]:
    async with subject.open_uncached(OptimizationProfile.THROUGHPUT) as router:
        routed = await _throughput(router, subject.encoder, subject.queries, _LOADS, rounds, step, repeated=False)
        quiet, busy = Watched(0), Watched(adding)
        overload = Overload()
        for number in range(rounds):
            await quiet.watch(router, subject.queries)
            step()
            await overload.burst(router, subject.queries, burst_s)
            step()
            # Last, because what is learned may have to be learned again.
            await busy.watch(router, subject.queries, novel_routes(subject.queries, adding, number))
            step()
    async with subject.open() as router:
        texts = list(subject.queries[:REPEATED])
        router.route_many(texts)
        asked = texts * -(-len(subject.queries) // len(texts))
        repeated = await _throughput(router, subject.encoder, asked, _REPEATED_LOADS, rounds, step, repeated=True)
    return [*routed, *repeated, quiet.row(), busy.row(), overload.row()]


@dataclass(frozen=True, slots=True)
class _Load:
    callers: Callers
    size: int
    run: Run


_LOADS = (
    *(_Load("coroutines", size, coroutines) for size in COROUTINES),
    *(_Load("threads", size, threads) for size in THREADS),
    *(_Load("batches", size, batches) for size in BATCHES),
)
_REPEATED_LOADS = (_Load("coroutines", 64, coroutines), _Load("threads", 1, threads))


async def _throughput(
    router: AdaptiveRouter,
    encoder: BaseEncoder,
    texts: Sequence[str],
    loads: Sequence[_Load],
    rounds: int,
    step: Steps,
    *,
    repeated: bool,
) -> list[ThroughputRow]:
    routed: dict[_Load, list[float]] = {load: [] for load in loads}
    encoded: dict[_Load, list[float]] = {load: [] for load in loads}
    calls: dict[_Load, list[float]] = {load: [] for load in loads}
    for _ in range(rounds):
        before = _encoded_per_s(encoder, texts)
        for load in loads:
            started = perf_counter()
            calls[load] += await load.run(router, texts, load.size)
            routed[load].append(len(texts) / (perf_counter() - started))
            after = _encoded_per_s(encoder, texts)
            encoded[load].append((before + after) / 2)
            before = after
            step()
    return [
        ThroughputRow(
            callers=load.callers,
            size=load.size,
            repeated=repeated,
            queries_per_s=Rounds.of(routed[load]),
            encoder_per_s=Rounds.of(encoded[load]),
            ratio=Rounds.of([ours / bare for ours, bare in zip(routed[load], encoded[load], strict=True)]),
            call=Times.of(calls[load]),
        )
        for load in loads
    ]


def _encoded_per_s(encoder: BaseEncoder, texts: Sequence[str]) -> float:
    started = perf_counter()
    encoder.encode(texts)
    return len(texts) / (perf_counter() - started)
