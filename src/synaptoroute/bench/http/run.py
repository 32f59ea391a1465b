"""One order being carried out: its requests, its connections, and the count of its answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from time import perf_counter

from synaptoroute.bench.http.checking import Checker
from synaptoroute.bench.http.connection import Connection, request
from synaptoroute.bench.http.orders import Asked, Closed, Outcome

#: How long the last answers may take.
PATIENCE_S = 60.0


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
    """What every order needs.

    Args:
        requests: To be sent.
        address: Of the server.
    """

    def __init__(self, requests: Requests, address: tuple[str, int]) -> None:
        self.connections = list[Connection]()
        self._requests = requests
        self._address = address
        self._checker = Checker(requests.expected)
        self._statuses = Counter[int]()
        self._answered = list[float]()
        self._refused = list[float]()

    def ask(self, connection: Connection, number: int, due: float) -> None:
        """Send a request; after the last one the first comes again."""
        place = number % len(self._requests)
        connection.ask(place, self._requests.wire[place], due)

    async def connect(self) -> Connection:
        """A further connection. Raises OSError."""
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self.done), *self._address
        )
        self.connections.append(connection)
        return connection

    def done(self, connection: Connection, status: int, body: bytes) -> None:
        """Count an answer, then go on."""
        now = perf_counter()
        if status == 200:
            self._answered.append(now - connection.due)
            self._checker.check(connection.number, body)
        elif status == 503:
            self._refused.append(now - connection.sent)
        else:
            self._statuses[status] += 1
        self.go_on(connection)

    def go_on(self, connection: Connection) -> None:
        """What the connection does next."""
        raise NotImplementedError

    def broken(self) -> None:
        """Count a request that found no connection."""
        self._statuses[0] += 1

    def outcome(self, elapsed_s: float, asked: int) -> Outcome:
        """What came of it; hangs up."""
        for connection in self.connections:
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


class ClosedRun(Run):
    """So many connections, each asking as soon as it was answered."""

    async def carry_out(self, order: Closed) -> Outcome:
        """Send each request once."""
        self._numbers = iter(range(order.first, order.first + order.count))
        self._left, self._ended = order.count, asyncio.Event()
        for _ in range(order.connections):
            await self.connect()
        started = perf_counter()
        for connection in self.connections:
            self._next(connection)
        if not order.count:
            self._ended.set()
        async with asyncio.timeout(PATIENCE_S + order.count / 10):
            await self._ended.wait()
        return self.outcome(perf_counter() - started, order.count)

    def go_on(self, connection: Connection) -> None:
        """Ask again, while there is something to ask."""
        self._left -= 1
        if not self._left:
            self._ended.set()
        elif connection.open:
            self._next(connection)

    def _next(self, connection: Connection) -> None:
        if (number := next(self._numbers, None)) is not None:
            self.ask(connection, number, perf_counter())
