"""Requests that come when they come, whether or not earlier ones were answered."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from time import perf_counter

from synaptoroute.bench.http.connection import Connection
from synaptoroute.bench.http.orders import Outcome, Paced
from synaptoroute.bench.http.run import PATIENCE_S, Requests, Run

_LATE_SAMPLES = 10_000
#: When far behind, answers are taken in after so many requests.
_AT_ONCE = 32
#: Between two tries of a server that still refuses.
_AGAIN_S = 0.01


class PacedRun(Run):
    """Sends at random times (Poisson); what finds no free connection waits for one."""

    def __init__(self, requests: Requests, address: tuple[str, int], order: Paced) -> None:
        super().__init__(requests, address)
        self._order = order
        self._idle = deque[Connection]()
        self._waiting = deque[tuple[int, float]]()
        self._opening = set[asyncio.Task[None]]()
        self._late = list[float]()

    async def carry_out(self) -> Outcome:
        """Send for as long as was ordered, then wait for the last answers."""
        order = self._order
        for _ in range(order.connections):
            self._idle.append(await self.connect())
        elapsed_s, asked = await self._send_all()
        recovery_s = await self._recovery_s(order.quick_ms) if order.quick_ms else None
        async with asyncio.timeout(PATIENCE_S):
            await self._last_answers()
        outcome = self.outcome(elapsed_s, asked)
        every = len(self._late) // _LATE_SAMPLES + 1
        late_ms = [round(second * 1000, 3) for second in self._late[::every]]
        return outcome.model_copy(update={"late_ms": late_ms, "recovery_s": recovery_s})

    def go_on(self, connection: Connection) -> None:
        """Send what waits, or wait for something to send."""
        if not connection.open:
            return
        if self._waiting:
            self._send(connection, *self._waiting.popleft())
        else:
            self._idle.append(connection)

    async def _send_all(self) -> tuple[float, int]:
        """Seconds, and how many."""
        chance = random.Random(self._order.seed)  # noqa: S311  # no secret
        number, started = 0, perf_counter()
        due = started
        while due < started + self._order.seconds:
            if (early_s := due - perf_counter()) > 0:
                await asyncio.sleep(early_s)
            elif number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            self._begin(number, due)
            number += 1
            due += chance.expovariate(self._order.rate_per_s)
        return perf_counter() - started, number

    def _begin(self, number: int, due: float) -> None:
        while self._idle:
            connection = self._idle.popleft()
            if connection.open:
                self._send(connection, number, due)
                return
        self._waiting.append((number, due))
        if len(self._opening) < len(self._waiting) and len(self.connections) + len(self._opening) < self._order.most:
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        try:
            connection = await self.connect()
        except OSError:
            self.broken()
        else:
            self.go_on(connection)

    def _send(self, connection: Connection, number: int, due: float) -> None:
        # A loop's timer may fire a little early.
        self._late.append(max(perf_counter() - due, 0.0))
        self.ask(connection, number, due)

    async def _last_answers(self) -> None:
        # Some thousand connections, looked at a few times: cheaper than keeping count with every answer.
        while self._waiting or any(connection.busy for connection in self.connections):  # noqa: ASYNC110
            await asyncio.sleep(_AGAIN_S)

    async def _recovery_s(self, quick_ms: float) -> float:
        """Seconds until one is answered that quickly, asked one after another on a connection of its own."""
        loop, started = asyncio.get_running_loop(), perf_counter()
        while perf_counter() - started < PATIENCE_S:
            answer = loop.create_future()
            _, connection = await loop.create_connection(_once(answer), *self._address)
            asked = perf_counter()
            self.ask(connection, 0, asked)
            status = await answer
            connection.close()
            if status == 200 and (perf_counter() - asked) * 1000 <= quick_ms:
                break
            await asyncio.sleep(_AGAIN_S if status != 200 else 0)
        return perf_counter() - started


def _once(answer: asyncio.Future[int]):  # type: ignore[no-untyped-def]  # a factory of asyncio
    def done(_connection: Connection, status: int, _body: bytes) -> None:
        if not answer.done():
            answer.set_result(status)

    return lambda: Connection(done)
