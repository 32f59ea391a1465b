"""Gathering: what the coroutines of an event loop ask for at about the same time is done at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
C = TypeVar("C")
R = TypeVar("R")


class Gathering(Generic[K, C, R]):
    """Does what costs less for many at a time, in the event loop, for coroutines that ask one by one.

    Those that are woken together ask in the same turn of the loop; at its end they are answered together, or a little
    later where it is known that nobody loses by it. Several loops, each in its thread, may be at it.

    Args:
        do: One result for each of these calls, in order, which have one key.
        most: Calls to do before the loop may turn to others; as soon as so many have come, they are answered.
        pause_s: How long the first who asks may wait for others, in seconds; asked each time.
    """

    def __init__(
        self, do: Callable[[K, list[C]], list[R]], most: int, pause_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._do = do
        self._most = most
        self._pause_s = pause_s
        # One list for each running loop. A loop runs in one thread, and no two at once in the same.
        self._waiting: dict[asyncio.AbstractEventLoop, list[tuple[K, C, asyncio.Future[R | Exception]]]] = {}
        self._timers: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}

    async def ask(self, key: K, call: C) -> R:
        """The result of this call. Raises what doing it raised, which then is raised for all calls of the key."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R | Exception] = loop.create_future()
        waiting = self._waiting.setdefault(loop, [])
        waiting.append((key, call, future))
        if len(waiting) == 1:
            if pause_s := self._pause_s():
                self._timers[loop] = loop.call_later(pause_s, self._answer, loop)
            else:
                loop.call_soon(self._answer, loop)
        elif len(waiting) == self._most and (timer := self._timers.pop(loop, None)) is not None:
            timer.cancel()
            loop.call_soon(self._answer, loop)
        try:
            answer = await future
        except asyncio.CancelledError:
            self._left(loop)
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _left(self, loop: asyncio.AbstractEventLoop) -> None:
        # A loop that closes cancels its tasks and no timer comes any more: it must not be held for ever.
        if loop in self._timers and all(future.done() for _, _, future in self._waiting[loop]):
            self._timers.pop(loop).cancel()
            del self._waiting[loop]

    def _answer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timers.pop(loop, None)
        waiting = self._waiting.pop(loop)
        now, later = waiting[: self._most], waiting[self._most :]
        if later:
            self._waiting[loop] = later
            loop.call_soon(self._answer, loop)
        groups: defaultdict[K, list[tuple[C, asyncio.Future[R | Exception]]]] = defaultdict(list)
        for key, call, future in now:
            if not future.done():
                groups[key].append((call, future))
        for key, group in groups.items():
            answers: Sequence[R | Exception]
            try:
                answers = self._do(key, [call for call, _ in group])
            except Exception as exc:  # noqa: BLE001 - it is handed to whoever waits
                answers = [exc] * len(group)
            for (_, future), answer in zip(group, answers, strict=True):
                future.set_result(answer)
