"""What ``bench throughput`` does to a router besides counting: watch its event loop, and overload it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from time import perf_counter

from synaptoroute.bench.load.callers import coroutines
from synaptoroute.bench.load.manifest import EventLoopRow, OverloadRow, Rounds, Times
from synaptoroute.bench.load.timing import MeasurementError, since_ms
from synaptoroute.errors import RouterOverloadedError
from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter

IN_FLIGHT = 256
HEARTBEAT_S = 0.005
#: How many times its capacity the router is asked in the overload.
OVERLOAD = 10
_UTTERANCES = 100
_IDLE = 50
_RECOVERY_TIMEOUT_S = 60


@asynccontextmanager
async def heartbeat() -> AsyncIterator[list[float]]:
    """Milliseconds by which the event loop was late for each beat."""
    late: list[float] = []
    beaten = asyncio.Event()

    async def beat() -> None:
        while True:
            due = perf_counter() + HEARTBEAT_S
            await asyncio.sleep(HEARTBEAT_S)
            late.append(max(since_ms(due), 0.0))
            beaten.set()

    task = asyncio.create_task(beat())
    try:
        yield late
        # What took less than a beat is measured by the beat that it may have delayed.
        await beaten.wait()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@dataclass
class Watched:
    """The event loop with 256 queries in flight, round after round."""

    adding: int
    late: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    add_s: list[float] = field(default_factory=list)

    async def watch(self, router: AdaptiveRouter, texts: Sequence[str], routes: Sequence[Route] = ()) -> None:
        """One round; with routes it lasts as long as adding them does, and they are removed again."""
        async with heartbeat() as late:
            started = perf_counter()
            if routes:
                adding = asyncio.create_task(asyncio.to_thread(router.add_routes, routes))
                taken = await coroutines(router, _until(adding, texts), IN_FLIGHT)
                await adding
                self.add_s.append(perf_counter() - started)
            else:
                taken = await coroutines(router, texts, IN_FLIGHT)
            self.per_s.append(len(taken) / (perf_counter() - started))
        self.late += late
        self.calls += taken
        if routes:
            await asyncio.to_thread(_restore, router, routes)

    def row(self) -> EventLoopRow:
        """All rounds."""
        return EventLoopRow(
            in_flight=IN_FLIGHT,
            adding=self.adding,
            lag=Times.of(self.late),
            call=Times.of(self.calls),
            queries_per_s=Rounds.of(self.per_s),
            add_s=Rounds.of(self.add_s) if self.add_s else None,
        )


def _until(task: asyncio.Task[int], texts: Sequence[str]) -> Iterable[str]:
    """The texts over and over, until the task is done."""
    for text in cycle(texts):
        if task.done():
            return
        yield text


def _restore(router: AdaptiveRouter, routes: Iterable[Route]) -> None:
    for route in routes:
        router.delete_route(route.name)
    router.wait_until_fitted()


def novel_routes(texts: Sequence[str], utterances: int, number: int) -> list[Route]:
    """So many utterances that no router has seen, 100 a route."""
    novel = [f"{text}, case {place} of {number}" for place, text in zip(range(utterances), cycle(texts), strict=False)]
    return [
        Route(name=f"added {start}", utterances=novel[start : start + _UTTERANCES])
        for start in range(0, utterances, _UTTERANCES)
    ]


@dataclass
class Overload:
    """Bursts of ten times what the router can answer."""

    capacity: list[float] = field(default_factory=list)
    offered: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    shed: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    recovery_s: list[float] = field(default_factory=list)
    recovered: list[float] = field(default_factory=list)

    async def burst(self, router: AdaptiveRouter, texts: Sequence[str], burst_s: float) -> None:
        """One round: capacity, burst, recovery, capacity again."""
        idle = Times.of(await coroutines(router, texts[:_IDLE], 1)).p50_ms
        capacity = await _capacity(router, texts)
        answered, shed = list[float](), list[float]()

        async def ask(text: str) -> None:
            started = perf_counter()
            try:
                await router.aquery(text)
                answered.append(since_ms(started))
            except RouterOverloadedError:
                shed.append(since_ms(started))

        started, elapsed, tasks = perf_counter(), 0.0, set[asyncio.Task[None]]()
        # All different: a query that waits already would be answered together with its equals.
        more = (f"{text} {number}" for number, text in enumerate(cycle(texts)))
        while elapsed < burst_s:
            elapsed = perf_counter() - started
            # All that is due, also where the machine had no time for this loop meanwhile.
            for _ in range(int(OVERLOAD * capacity * min(elapsed, burst_s)) - len(tasks)):
                tasks.add(asyncio.create_task(ask(next(more))))
            await asyncio.sleep(0.001)
        self.offered.append(len(tasks) / elapsed)
        self.recovery_s.append(await _recovery_s(router, texts, 2 * idle))
        await asyncio.gather(*tasks)
        self.capacity.append(capacity)
        self.shares.append(len(shed) / len(tasks))
        self.answered += answered
        self.shed += shed
        self.recovered.append(await _capacity(router, texts) / capacity)

    def row(self) -> OverloadRow:
        """All rounds."""
        return OverloadRow(
            capacity_per_s=Rounds.of(self.capacity),
            offered_per_s=Rounds.of(self.offered),
            shed_share=Rounds.of(self.shares),
            shed=Times.of(self.shed) if self.shed else None,
            answered=Times.of(self.answered),
            recovery_s=Rounds.of(self.recovery_s),
            recovered=Rounds.of(self.recovered),
        )


async def _capacity(router: AdaptiveRouter, texts: Sequence[str]) -> float:
    started = perf_counter()
    await coroutines(router, texts, IN_FLIGHT)
    return len(texts) / (perf_counter() - started)


async def _recovery_s(router: AdaptiveRouter, texts: Sequence[str], quick_ms: float) -> float:
    """Seconds until a query is answered that quickly. Raises MeasurementError if that does not happen."""
    started = perf_counter()
    for text in cycle(texts):
        asked = perf_counter()
        with suppress(RouterOverloadedError):
            await router.aquery(text)
            if since_ms(asked) <= quick_ms:
                break
        if perf_counter() - started > _RECOVERY_TIMEOUT_S:
            raise MeasurementError(f"{_RECOVERY_TIMEOUT_S} s after the overload the router was still slow")
        # Being refused takes no time: asking at once again would take the interpreter from those who are answered.
        await asyncio.sleep(0.001)
    return perf_counter() - started
