"""``bench http``: how much of the router's speed is left over HTTP, and what happens when too much is asked.

Server, load generator and router are three processes on the same cores; the router's turn comes when the server is
idle, and the other way round, within each round.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal

from synaptoroute.bench.http.driving import Generator, generating, write_requests
from synaptoroute.bench.http.orders import Closed, Outcome, Paced
from synaptoroute.bench.http.service import Service, serving
from synaptoroute.bench.load.callers import coroutines
from synaptoroute.bench.load.manifest import HttpOverloadRow, HttpPacedRow, HttpRow, Memory, Rounds, Times
from synaptoroute.bench.load.stored import Stored
from synaptoroute.bench.load.timing import Steps
from synaptoroute.router import AdaptiveRouter

OVERLOAD = 10
SHARE = 0.5
#: A text must not come again while it may still wait: it would be encoded once for both.
_DISTINCT_S = 3.0
_MOST_DISTINCT = 60_000
_MEMORY_EVERY_S = 0.5
_IDLE = 50
#: Opened beforehand, as those of a proxy: room for what waits in the server (1,024 queries) and what is being refused.
_CONNECTIONS, _MOST = 1_400, 1_900


@dataclass(frozen=True, slots=True)
class _Load:
    texts: Literal["new", "repeated"]
    size: int
    connections: int


_NEW = (_Load("new", 32, 1), _Load("new", 32, 4), _Load("new", 1, 1), _Load("new", 1, 64))
_REPEATED = (_Load("repeated", 32, 4), _Load("repeated", 1, 64))


def steps(rounds: int) -> int:
    """How many steps ``measure`` has."""
    return rounds * (len(_NEW) + len(_REPEATED) + 1) + 1


def measure(
    subject: Stored, *, rounds: int, paced_s: float, overload_s: float, step: Steps
) -> Iterator[HttpRow | HttpPacedRow | HttpOverloadRow]:
    """Rows for each load, for half of the capacity, and for ten times as much.

    Args:
        subject: What server and router open, and are asked.
        rounds: Each measures every load once, on both sides.
        paced_s: How long half of the capacity is asked in each round.
        overload_s: How long ten times as much is asked; once.
        step: Called ``steps`` times.

    Raises:
        MeasurementError: The server or the load generator failed.
    """
    with TemporaryDirectory(prefix="synaptoroute-http-") as name:
        folder = Path(name)
        yield from _without_caches(subject, folder, rounds, paced_s, overload_s, step)
        yield from _with_caches(subject, folder, rounds, step)


def _without_caches(
    subject: Stored, folder: Path, rounds: int, paced_s: float, overload_s: float, step: Steps
) -> Iterator[HttpRow | HttpPacedRow | HttpOverloadRow]:
    with subject.open_uncached() as router, _served(subject, folder / "new", cached=False) as (service, generator):
        loads = [_Compared(load, router, subject.queries, folder) for load in _NEW]
        paced = list[Outcome]()
        for number in range(rounds):
            for load in loads:
                load.round(generator)
                step()
            rate = SHARE * loads[-1].requests_per_s[-1]
            paced.append(generator.run(_paced(loads[-1].requests, rate, paced_s, seed=number)))
            step()
        yield from (load.row() for load in loads)
        yield _paced_row(loads[-1], paced, paced_s)
        capacity = Rounds.of(loads[-1].requests_per_s).median
        requests = _distinct(subject, router, capacity, folder)
        yield _overload_row(service, generator, requests, capacity, overload_s)
        step()


def _with_caches(subject: Stored, folder: Path, rounds: int, step: Steps) -> Iterator[HttpRow]:
    with subject.open() as router, _served(subject, folder / "repeated", cached=True) as (_, generator):
        loads = [_Compared(load, router, subject.queries, folder) for load in _REPEATED]
        for load in loads:
            # So that all of it has been asked before, of both.
            generator.run(load.order())
        for _ in range(rounds):
            for load in loads:
                load.round(generator)
                step()
        yield from (load.row() for load in loads)


@contextmanager
def _served(subject: Stored, folder: Path, *, cached: bool) -> Iterator[tuple[Service, Generator]]:
    """A server over a copy of the store, and a load generator for it."""
    # With what was learned from it, so that both decide by the very same numbers.
    shutil.copytree(subject.path.parent, folder)
    settings = {"SYNAPTOROUTE_LOG_LEVEL": "warning", **({} if cached else {"SYNAPTOROUTE_CACHE_MIB": "0"})}
    arguments = ["--db", str(folder / subject.path.name)]
    with serving(arguments, settings=settings) as service, generating(service) as generator:
        yield service, generator


class _Compared:
    """One load on the server and on the router, in turns."""

    def __init__(self, load: _Load, router: AdaptiveRouter, texts: Sequence[str], folder: Path) -> None:
        self.load = load
        self._router = router
        # At least one request, if there are very few texts.
        texts = list(islice(cycle(texts), max(len(texts), load.size)))
        count = len(texts) // load.size
        self._texts = list(texts[: count * load.size])
        # One connection does by itself what others do in turns; a part of it is enough.
        self._count = count if load.connections > 1 else max(count // 4, min(count, 8))
        self.requests = folder / f"{load.texts}-{load.size}.jsonl"
        if not self.requests.exists():
            write_requests(self.requests, router, self._texts, load.size)
        self.requests_per_s = list[float]()
        self._router_per_s = list[float]()
        self._outcomes = list[Outcome]()

    def order(self) -> Closed:
        return Closed(requests=self.requests, connections=self.load.connections, count=self._count)

    def round(self, generator: Generator) -> None:
        """The router, then the server."""
        texts = self._texts[: self._count * self.load.size]
        started = perf_counter()
        if self.load.size == 1:
            asyncio.run(coroutines(self._router, texts, self.load.connections))
        else:
            _batches(self._router, texts, self.load.size, self.load.connections)
        self._router_per_s.append(len(texts) / (perf_counter() - started))
        outcome = generator.run(self.order())
        self._outcomes.append(outcome)
        self.requests_per_s.append(len(outcome.answered_ms) / outcome.elapsed_s)

    def row(self) -> HttpRow:
        """All rounds."""
        queries = [rate * self.load.size for rate in self.requests_per_s]
        return HttpRow(
            texts=self.load.texts,
            size=self.load.size,
            connections=self.load.connections,
            requests_per_s=Rounds.of(self.requests_per_s),
            queries_per_s=Rounds.of(queries),
            router_per_s=Rounds.of(self._router_per_s),
            ratio=Rounds.of([over / bare for over, bare in zip(queries, self._router_per_s, strict=True)]),
            call=Times.of([ms for outcome in self._outcomes for ms in outcome.answered_ms]),
            failed=sum(outcome.asked - len(outcome.answered_ms) for outcome in self._outcomes),
            inexact=sum(outcome.inexact for outcome in self._outcomes),
            wrong=sum(outcome.wrong for outcome in self._outcomes),
        )


def _batches(router: AdaptiveRouter, texts: Sequence[str], size: int, callers: int) -> None:
    """So many threads that take turns in asking for a batch."""
    starts, lock = iter(range(0, len(texts), size)), threading.Lock()

    def ask() -> None:
        while True:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            router.route_many(texts[start : start + size])

    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _paced(requests: Path, rate_per_s: float, seconds: float, *, seed: int = 0, quick_ms: float = 0.0) -> Paced:
    return Paced(
        requests=requests,
        rate_per_s=rate_per_s,
        seconds=seconds,
        connections=_CONNECTIONS if quick_ms else 32,
        most=_MOST,
        quick_ms=quick_ms,
        seed=seed,
    )


def _paced_row(load: _Compared, outcomes: Sequence[Outcome], seconds: float) -> HttpPacedRow:
    return HttpPacedRow(
        share=SHARE,
        seconds=seconds,
        offered_per_s=Rounds.of([outcome.asked / outcome.elapsed_s for outcome in outcomes]),
        capacity_per_s=Rounds.of(load.requests_per_s),
        call=Times.of([ms for outcome in outcomes for ms in outcome.answered_ms]),
        late=Times.of([ms for outcome in outcomes for ms in outcome.late_ms]),
        failed=sum(outcome.asked - len(outcome.answered_ms) for outcome in outcomes),
        inexact=sum(outcome.inexact for outcome in outcomes),
        wrong=sum(outcome.wrong for outcome in outcomes),
    )


def _distinct(subject: Stored, router: AdaptiveRouter, capacity: float, folder: Path) -> Path:
    """Requests whose texts do not repeat as long as one of them may wait."""
    count = min(int(OVERLOAD * capacity * _DISTINCT_S) + 1, _MOST_DISTINCT)
    texts = islice((f"{text} {number}" for number, text in enumerate(cycle(subject.queries))), count)
    return write_requests(folder / "distinct.jsonl", router, list(texts), 1)


@dataclass
class _Watch:
    """What the server's process holds, looked at again and again while something goes on."""

    service: Service
    seen: list[Memory] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def _look(self) -> None:
        while not self._over.wait(_MEMORY_EVERY_S):
            self.seen.append(self.service.memory())

    @contextmanager
    def looking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self.seen.append(self.service.memory())


def _overload_row(
    service: Service, generator: Generator, requests: Path, capacity: float, seconds: float
) -> HttpOverloadRow:
    idle_ms = Times.of(generator.run(Closed(requests=requests, connections=1, count=_IDLE)).answered_ms).p50_ms
    before, watch = service.memory(), _Watch(service)
    with watch.looking():
        outcome = generator.run(_paced(requests, OVERLOAD * capacity, seconds, quick_ms=2 * idle_ms))
    return HttpOverloadRow(
        seconds=seconds,
        capacity_per_s=capacity,
        offered_per_s=outcome.asked / outcome.elapsed_s,
        answered_per_s=len(outcome.answered_ms) / outcome.elapsed_s,
        refused_share=len(outcome.refused_ms) / outcome.asked,
        refused=Times.of(outcome.refused_ms) if outcome.refused_ms else None,
        answered=Times.of(outcome.answered_ms),
        late=Times.of(outcome.late_ms),
        other_statuses={str(status): count for status, count in sorted(outcome.statuses.items())},
        inexact=outcome.inexact,
        wrong=outcome.wrong,
        recovery_s=outcome.recovery_s or 0.0,
        memory_before=before,
        memory_peak=max(watch.seen, key=lambda memory: memory.resident_bytes),
        memory_after=watch.seen[-1],
    )
