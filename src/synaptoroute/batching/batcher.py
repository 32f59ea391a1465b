"""Batcher: what callers see, from plain threads and from event loops."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic

from synaptoroute.batching.apart import Encode
from synaptoroute.batching.crew import Answer, Crew, Decide
from synaptoroute.batching.limits import BatcherHealth, BatchLimits
from synaptoroute.batching.queue import Call, CallFuture, K, R
from synaptoroute.caching import EmbeddingCache, Vector
from synaptoroute.errors import RouterClosedError
from synaptoroute.forking import PerProcess
from synaptoroute.observability.stages import CallStages

#: Up to this many texts of known vectors are decided in the event loop: it takes less time than going to a thread.
_DECIDED_IN_LOOP = 32


class Batcher(Generic[K, R]):
    """Turns the calls of many callers into few calls of the encoder, and decides each call as a whole.

    What waits is encoded by the next free worker, without waiting for more unless the limits say so. A text wanted by
    several callers is encoded once. Calls take turns, so one of many texts is spread over many turns and delays others
    by one at most. If the encoder fails on a batch, only the callers whose text it fails on get the error.

    May be used from any number of threads and event loops. Threads are started when first needed; a forked child
    starts its own, and with an empty queue.

    Attributes:
        cache: Vectors known already; None without a cache.

    Args:
        encode: Texts -> unit rows, float32 (len(texts), dim). Called by several workers at once.
        decide: Key, texts and their rows -> a result each. Called once for a call, perhaps for several calls of one key
            together, from workers, callers' threads and event loops.
        limits: How much at once, how much may wait.
        cache: Vectors known already; what is encoded is added.
        ranked_at: Tells, in the thread that has just decided, when it had searched and ranked; for ``CallStages``.
        decides_quickly: Whether ``decide`` takes so little time that texts of known vectors may be decided in the event
            loop, and without looking at a deadline.
    """

    def __init__(
        self,
        encode: Encode,
        decide: Decide[K, R],
        limits: BatchLimits,
        cache: EmbeddingCache | None = None,
        *,
        ranked_at: Callable[[], float] | None = None,
        decides_quickly: bool = True,
    ) -> None:
        self._decides_quickly = decides_quickly
        self.cache = cache
        self._make_crew = lambda: Crew(encode, decide, limits, cache, ranked_at=ranked_at)
        self._crew: PerProcess[Crew[K, R]] = PerProcess()
        self._closed = False

    def run(
        self, texts: Sequence[str], key: K, *, deadline_s: float | None = None, stages: CallStages | None = None
    ) -> list[R]:
        """One result for each text, in order. Blocks; for plain threads.

        Without a deadline the calling thread does the work itself if nothing waits and a worker's place is free. With
        one it must be able to leave, so a worker does it.

        Args:
            texts: Any number.
            key: Hashable; goes to ``decide``.
            deadline_s: Give up after this long, whatever the encoder is doing.
            stages: Noted here is when the call comes to each step.

        Raises:
            RouterOverloadedError: Too much waits already; nothing was done.
            DeadlineExceededError: The deadline passed.
            RouterClosedError: The batcher was closed.
            Exception: What encoding one of the texts, or deciding, raised.
        """
        crew, known = self._begin(texts)
        if (self._decides_quickly or deadline_s is None) and _all_known(known):
            return crew.decide(key, texts, known, stages)
        future: Future[list[R]] = Future()
        call = _call(texts, key, known, future, deadline_s, stages)
        crew.accept(call, here=deadline_s is None)
        try:
            with suppress(TimeoutError):
                return future.result(deadline_s)
            # Out of time, unless the encoder raised a TimeoutError of its own: then this does nothing.
            crew.expire(call)
            return future.result()
        except BaseException:
            crew.leave(call)
            raise

    async def arun(
        self, texts: Sequence[str], key: K, *, deadline_s: float | None = None, stages: CallStages | None = None
    ) -> list[R]:
        """``run`` for event loops, which it never blocks. Cancelling it drops the call."""
        crew, known = self._begin(texts)
        if self._decides_quickly and len(texts) <= _DECIDED_IN_LOOP and _all_known(known):
            return crew.decide(key, texts, known, stages)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer[R]] = loop.create_future()
        call = _call(texts, key, known, future, deadline_s, stages)
        crew.accept(call)
        timer = None if deadline_s is None else loop.call_later(deadline_s, crew.expire, call)
        try:
            answer = await future
        except asyncio.CancelledError:
            crew.leave(call)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def submit(self, texts: Sequence[str], key: K, *, deadline_s: float | None = None) -> Future[list[R]]:
        """``run`` by a worker; returns at once. Cancelling the future drops the call.

        A deadline keeps texts from being encoded too late; how long to wait is for the caller to say, in ``result``.

        Raises:
            RouterOverloadedError: Too much waits already.
            RouterClosedError: The batcher was closed.
        """
        crew, known = self._begin(texts)
        future: Future[list[R]] = Future()
        call = _call(texts, key, known, future, deadline_s)
        crew.accept(call)
        future.add_done_callback(lambda future: crew.leave(call) if future.cancelled() else None)
        return future

    def health(self) -> BatcherHealth:
        """What it is doing, and what it has seen since its process began to use it."""
        return self._crew.get(self._make_crew).health()

    @property
    def busy_s(self) -> float:
        """How long what waits will keep the workers busy, in seconds, going by what the last texts have taken."""
        return self._crew.get(self._make_crew).busy_s

    def close(self, drain_s: float | None = None) -> None:
        """Answer what was accepted, then end the workers. Closing twice is fine.

        Args:
            drain_s: What is not answered after this long fails with RouterClosedError. None waits for all.
        """
        self._closed = True
        self._crew.get(self._make_crew).close(drain_s)

    def _begin(self, texts: Sequence[str]) -> tuple[Crew[K, R], Sequence[Vector | None]]:
        if self._closed:
            raise RouterClosedError("this router was closed; make a new one")
        known = [None] * len(texts) if self.cache is None else self.cache.get_many(texts)
        return self._crew.get(self._make_crew), known


def _all_known(rows: Sequence[Vector | None]) -> bool:
    return all(row is not None for row in rows)


def _call(
    texts: Sequence[str],
    key: K,
    known: Sequence[Vector | None],
    future: CallFuture[R],
    deadline_s: float | None,
    stages: CallStages | None = None,
) -> Call[K, R]:
    now = time.monotonic()
    return Call(texts, key, known, future, now, math.inf if deadline_s is None else now + deadline_s, stages)
