"""Refuse queries before they are read, for a moment after the router had to: what costs little can be said to many.

A refusal that goes all the way (parse, admit, validate, queue, problem) takes 121 microseconds of CPU; at ten times
what the router can answer that would take the whole event loop, and even refusals would wait. This one takes 21.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from http import HTTPStatus

from synaptoroute.server.problems import Problem

#: So few queries are answered meanwhile that the queue stays full; then one is let through to see.
WINDOW_S = 0.02
#: Queries that are parsed and handed to the router in one turn of the loop: some 2 ms.
WIDTH = 16
_MARK = "0" * 16
_TOLD_AFTER_S = 0.1


class Turnstile:
    """Lets a few through in each turn of the event loop, in their order.

    A thousand queries that come at once would else be parsed in one turn, while refusals and health checks wait.
    """

    def __init__(self) -> None:
        self._left = WIDTH
        self._due = False
        self._waiting = deque[asyncio.Future[None]]()

    async def passed(self) -> None:
        """Wait for one's turn."""
        loop = asyncio.get_running_loop()
        if not self._due:
            self._due = True
            loop.call_soon(self._turn, loop)
        if self._left > 0 and not self._waiting:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left = WIDTH
        while self._waiting and self._left > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        self._due = bool(self._waiting) or self._left < WIDTH
        if self._due:
            loop.call_soon(self._turn, loop)


class Shedding:
    """Whether queries are refused at the door, and with which words.

    Args:
        head: Headers of every answer, as pairs.
        instance: Path of the call.
        tell: Told how many were refused, some time after they were.

    Attributes:
        count: Refused here since the start.
    """

    def __init__(
        self, head: tuple[tuple[bytes, bytes], ...], instance: str, tell: Callable[[int], None] | None = None
    ) -> None:
        self.count = 0
        self._told = 0
        self._tell = tell
        self._until_s = 0.0
        self._instance = instance
        self._head = b"".join(b"%b: %b\r\n" % pair for pair in head)
        self._say(too_many())

    def begin(self, now_s: float, problem: Problem) -> None:
        """The router has refused: refuse likewise for a moment.

        Args:
            now_s: By the event loop's clock.
            problem: What it was refused with.
        """
        self._until_s = now_s + WINDOW_S
        self._say(problem)

    def _tell_all(self) -> None:
        refused, self._told = self.count - self._told, self.count
        if self._tell is not None:
            self._tell(refused)

    def _say(self, problem: Problem) -> None:
        before, _, after = problem.body(instance=self._instance, request_id=_MARK).partition(_MARK.encode())
        self._made = before, after
        self._retry_after_s = int(problem.headers.get("Retry-After", "1"))

    def goes_on(self, now_s: float) -> bool:
        """Whether that moment lasts."""
        return now_s < self._until_s

    def answer(self, request_id: bytes | None, *, closing: bool) -> bytes:
        """The whole answer to one request.

        Args:
            request_id: The client's; made unless it has one.
            closing: Whether the connection is closed after it.
        """
        if self.count == self._told and self._tell is not None:
            # Many at once: to tell of each would cost as much as refusing it.
            asyncio.get_running_loop().call_later(_TOLD_AFTER_S, self._tell_all)
        self.count += 1
        request_id = request_id or b"%016x" % random.getrandbits(64)
        before, after = self._made
        return b"HTTP/1.1 503 %b\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n" % _PHRASE + (
            b"content-length: %d\r\nretry-after: %d\r\nx-request-id: %b\r\n%b%b\r\n%b%b%b"
            % (
                len(before) + len(request_id) + len(after),
                self._retry_after_s,
                request_id,
                b"connection: close\r\n" if closing else b"",
                self._head,
                before,
                request_id,
                after,
            )
        )


def too_many() -> Problem:
    """What a server says that answers as many requests as it may."""
    return Problem("overloaded", "too many requests are being answered", headers={"Retry-After": "1"})


_PHRASE = HTTPStatus.SERVICE_UNAVAILABLE.phrase.encode()
