"""The load generator: ``python -m synaptoroute.bench.http.generator HOST PORT``, orders on stdin, outcomes on stdout.

A process of its own, so that its work does not hold up what it measures; asyncio over sockets, without an HTTP
library, takes some 30 microseconds a request. It keeps to times of its own (``Paced``), which closed-loop tools such as
wrk cannot, and holds every answer against the expected one.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter, deque
from pathlib import Path
from time import perf_counter

from synaptoroute.bench.http.checking import Checker
from synaptoroute.bench.http.connection import Connection, request
from synaptoroute.bench.http.orders import ORDER, Asked, Closed, Outcome, Paced

_LATE_SAMPLES = 10_000
_PATIENCE_S = 60.0


class Requests:
    """What a file of ``Asked`` holds, as it goes over the wire."""

    def __init__(self, path: Path, host: str, port: int) -> None:
        with path.open(encoding="utf-8") as lines:
            asked = [Asked.model_validate_json(line) for line in lines]
        self.wire = [request(host, port, one.body.encode()) for one in asked]
        self.expected = [one.expected.encode() for one in asked]

    def __len__(self) -> int:
        return len(self.wire)


class Run:
    """Carries out one order."""

    def __init__(self, requests: Requests, address: tuple[str, int]) -> None:
        self._requests = requests
        self._address = address
        self._checker = Checker(requests.expected)
        self._statuses = Counter[int]()
        self._answered = list[float]()
        self._refused = list[float]()
        self._idle = deque[Connection]()
        self._all = list[Connection]()

    async def closed(self, order: Closed) -> Outcome:
        """Each connection asks as soon as it was answered."""
        numbers = iter(range(order.first, order.first + order.count))
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        left = order.count

        def go_on(connection: Connection) -> None:
            number = next(numbers, None)
            if number is not None:
                place = number % len(self._requests)
                connection.ask(place, self._requests.wire[place], perf_counter())

        def done(connection: Connection, status: int, body: bytes) -> None:
            nonlocal left
            self._count(connection, status, body)
            left -= 1
            if not left:
                ended.set()
            elif connection.open:
                go_on(connection)

        for _ in range(order.connections):
            _, connection = await loop.create_connection(lambda: Connection(done), *self._address)
            self._all.append(connection)
        started = perf_counter()
        for connection in self._all:
            go_on(connection)
        async with asyncio.timeout(_PATIENCE_S + order.count / 10):
            await ended.wait()
        return self._outcome(perf_counter() - started, order.count)

    async def paced(self, order: Paced) -> Outcome:
        """Requests come at random times, whether or not others were answered."""
        loop, chance = asyncio.get_running_loop(), random.Random(order.seed)  # noqa: S311  # no secret
        waiting, late = deque[tuple[int, float]](), list[float]()
        opening = 0

        def send(connection: Connection, number: int, due: float) -> None:
            if len(late) < _LATE_SAMPLES or number % 50 == 0:
                late.append((perf_counter() - due) * 1000)
            place = number % len(self._requests)
            connection.ask(place, self._requests.wire[place], due)

        def done(connection: Connection, status: int, body: bytes) -> None:
            self._count(connection, status, body, paced=True)
            if not connection.open:
                return
            if waiting:
                send(connection, *waiting.popleft())
            else:
                self._idle.append(connection)

        async def open_one() -> None:
            nonlocal opening
            try:
                _, connection = await loop.create_connection(lambda: Connection(done), *self._address)
            except OSError:
                self._statuses[0] += 1
                return
            finally:
                opening -= 1
            self._all.append(connection)
            if waiting:
                send(connection, *waiting.popleft())
            else:
                self._idle.append(connection)

        opening = order.connections
        for _ in range(order.connections):
            await open_one()
        tasks = set[asyncio.Task[None]]()
        number, started = 0, perf_counter()
        due = started
        while due < started + order.seconds:
            if (early := due - perf_counter()) > 0:
                await asyncio.sleep(early)
            elif number % 64 == 0:
                # Far behind: answers must come in all the same.
                await asyncio.sleep(0)
            if self._idle:
                send(self._idle.popleft(), number, due)
            else:
                waiting.append((number, due))
                if opening < len(waiting) and len(self._all) + opening < order.most:
                    opening += 1
                    task = loop.create_task(open_one())
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            number += 1
            due += chance.expovariate(order.rate_per_s)
        elapsed = perf_counter() - started
        recovery_s = await self._recovery_s(order.quick_ms) if order.quick_ms else None
        async with asyncio.timeout(_PATIENCE_S):
            while waiting or any(connection.busy for connection in self._all):
                await asyncio.sleep(0.01)
        outcome = self._outcome(elapsed, number)
        return outcome.model_copy(update={"late_ms": [round(ms, 3) for ms in late[-_LATE_SAMPLES:]], "recovery_s": recovery_s})

    async def _recovery_s(self, quick_ms: float) -> float:
        """Seconds until one is answered that quickly, one asked after another on a connection of its own."""
        started = perf_counter()
        number = 0
        while perf_counter() - started < _PATIENCE_S:
            answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda answer=answer: Connection(lambda _connection, status, _body: answer.set_result(status)),  # type: ignore[misc]
                *self._address,
            )
            asked, place = perf_counter(), number % len(self._requests)
            connection.ask(place, self._requests.wire[place], asked)
            status = await answer
            connection.close()
            if status == 200 and (perf_counter() - asked) * 1000 <= quick_ms:
                return perf_counter() - started
            number += 1
            if status != 200:
                await asyncio.sleep(0.01)
        return perf_counter() - started

    def _count(self, connection: Connection, status: int, body: bytes, *, paced: bool = False) -> None:
        now = perf_counter()
        if status == 200:
            self._answered.append(now - (connection.due if paced else connection.sent))
            self._checker.check(connection.number, body)
        elif status == 503:
            self._refused.append(now - connection.sent)
        else:
            self._statuses[status] += 1

    def _outcome(self, elapsed_s: float, asked: int) -> Outcome:
        for connection in self._all:
            connection.close()
        return Outcome(
            elapsed_s=elapsed_s,
            asked=asked,
            answered_ms=[round(second * 1000, 3) for second in self._answered],
            refused_ms=[round(second * 1000, 3) for second in self._refused],
            statuses=dict(self._statuses),
            inexact=self._checker.inexact,
            wrong=self._checker.wrong,
        )


def main() -> None:
    """Carry out orders until stdin ends."""
    host, port = sys.argv[1], int(sys.argv[2])
    files: dict[Path, Requests] = {}
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        for line in sys.stdin:
            order = ORDER.validate_json(line)
            if order.requests not in files:
                files[order.requests] = Requests(order.requests, host, port)
            run = Run(files[order.requests], (host, port))
            outcome = runner.run(run.closed(order) if isinstance(order, Closed) else run.paced(order))
            sys.stdout.write(json.dumps(outcome.model_dump(mode="json"), separators=(",", ":")) + "\n")
            sys.stdout.flush()


def _loop_factory():  # type: ignore[no-untyped-def]
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
