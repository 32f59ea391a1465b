"""Crew: the threads that encode, decide and answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Any, Generic, TypeAlias

import numpy as np

from synaptoroute.batching.apart import Encode, encoded_apart
from synaptoroute.batching.limits import BatcherHealth, BatchLimits
from synaptoroute.batching.queue import Call, K, Queue, R, Turn
from synaptoroute.caching import EmbeddingCache, Vector
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import DeadlineExceededError, EncoderError, RouterClosedError
from synaptoroute.forking import close_at_exit
from synaptoroute.observability.stages import CallStages

logger = logging.getLogger(__name__)

Decide: TypeAlias = Callable[[K, Sequence[str], Vectors], list[R]]
Answer: TypeAlias = list[R] | Exception

#: A worker without work ends after this long, so that a batcher that was forgotten without close() can be freed.
IDLE_S = 10.0
#: A worker that died is replaced after the first of these, the next after twice that, and so on up to the second.
REST_S, LONGEST_REST_S = 0.05, 5.0
#: close() waits this long for workers that are still encoding what nobody waits for.
_LAST_TURN_S = 5.0


class Crew(Generic[K, R]):
    """The workers of one process, and the queue they work off. May be used from any thread.

    Args:
        encode: Texts -> unit rows (len(texts), dim).
        decide: Key, texts and their rows -> a result each.
        limits: How many workers, how much at once.
        cache: Told of all that is encoded.
        ranked_at: Tells, in the thread that has just decided, when it had searched and ranked.
    """

    def __init__(
        self,
        encode: Encode,
        decide: Decide[K, R],
        limits: BatchLimits,
        cache: EmbeddingCache | None = None,
        *,
        ranked_at: Callable[[], float] | None = None,
    ) -> None:
        self._ranked_at = ranked_at
        self._encode, self._decide, self._limits, self._cache = encode, decide, limits, cache
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._all_answered = threading.Condition(self._lock)
        self._closing = threading.Event()
        self._queue: Queue[K, R] = Queue(limits)
        self._threads: set[threading.Thread] = set()
        self._idle = self._resting = self._busy = 0
        self._restarts = self._expired = self._cancelled = 0
        self._rest_s = REST_S
        self._last_failure: str | None = None
        close_at_exit(self, _close_at_once)

    def decide(
        self, key: K, texts: Sequence[str], rows: Sequence[Vector | None], stages: CallStages | None = None
    ) -> list[R]:
        """The results for texts whose rows are all known. Raises what deciding raises."""
        if not texts:
            return []
        vectors: Vectors = np.concatenate(rows).reshape(len(rows), -1)  # type: ignore[arg-type]
        if stages is None:
            return self._decide(key, texts, vectors)
        stages.searched_from = time.monotonic()
        results = self._decide(key, texts, vectors)
        stages.decided = time.monotonic()
        ranked = self._ranked_at() if self._ranked_at is not None else stages.decided
        stages.ranked = min(max(ranked, stages.searched_from), stages.decided)
        return results

    # ------------------------------------------------------------------------------------------------- callers
    def accept(self, call: Call[K, R], *, here: bool = False) -> None:
        """Take on a call; its future gets the answer.

        With ``here`` its first turn is done in the calling thread, if that is sooner: a worker's place is free,
        nothing waits, and nothing is gained by waiting.

        Raises:
            RouterOverloadedError: There is no room.
            RouterClosedError: ``close`` was called.
        """
        with self._lock:
            if self._closing.is_set():
                raise RouterClosedError("this router was closed; make a new one")
            limits = self._limits
            here = here and not self._queue and self._busy < limits.workers and not limits.wait_s
            if not here:
                # Before it is accepted: if no thread can be started, nobody would answer it.
                self._call_for_help()
            self._queue.add(call)
            turn = self._take() if here else None
        if turn is not None:
            self._do(turn)

    def leave(self, call: Call[K, R]) -> None:
        """The caller does not wait any more; nothing happens if it was answered meanwhile."""
        with self._lock:
            left = self._remove(call)
            self._cancelled += left
        if left and isinstance(call.future, Future):
            # Without this, concurrent.futures.wait would not see that it was cancelled.
            call.future.set_running_or_notify_cancel()

    def expire(self, call: Call[K, R]) -> None:
        """The caller's deadline has passed; nothing happens if it was answered meanwhile."""
        waited_s = call.deadline - call.since
        self._answer([(call, DeadlineExceededError(f"there was no answer within the deadline of {waited_s:.3g} s"))])

    @property
    def busy_s(self) -> float:
        """How long what waits will keep the workers busy, in seconds."""
        with self._lock:
            return self._queue.busy_s

    def health(self) -> BatcherHealth:
        """What goes on."""
        with self._lock:
            queue = self._queue
            return BatcherHealth(
                queries=queue.queries,
                tokens=queue.tokens,
                waiting=queue.waiting,
                encoding=queue.encoding,
                workers=len(self._threads) - self._resting,
                restarts=self._restarts,
                shed=queue.shed,
                expired=self._expired,
                cancelled=self._cancelled,
                coalesced=queue.coalesced,
                last_failure=self._last_failure,
            )

    def close(self, drain_s: float | None = None) -> None:
        """Accept no more, answer what was accepted, end the workers. After ``drain_s`` the rest is failed."""
        with self._lock:
            self._closing.set()
            self._work.notify_all()
            self._all_answered.wait_for(lambda: not self._queue.open, drain_s)
            rest, threads = list(self._queue.open), list(self._threads)
        self._answer([(call, RouterClosedError("the router was closed before it could answer")) for call in rest])
        end = time.monotonic() + _LAST_TURN_S
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, end - time.monotonic()))

    # ------------------------------------------------------------------------------------------------- workers
    def _run(self) -> None:
        """A worker's life: turns until it is not needed, or dies; then another takes its place if there is work."""
        try:
            while (turn := self._next_turn()) is not None:
                self._do(turn)
        except BaseException as exc:  # noqa: BLE001 - even SystemExit is an accident here
            self._rest(exc)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
                if self._queue:
                    self._call_for_help()

    def _rest(self, death: BaseException) -> None:
        """Keep the dead worker's place empty for a while."""
        logger.error("a worker died and will be replaced", exc_info=death)
        with self._lock:
            self._restarts += 1
            self._resting += 1
            rest_s, self._rest_s = self._rest_s, min(2 * self._rest_s, LONGEST_REST_S)
        self._closing.wait(rest_s)
        with self._lock:
            self._resting -= 1

    def _next_turn(self) -> Turn[K, R] | None:
        """Wait for a turn; None when this worker is not needed any more."""
        with self._lock:
            while True:
                closing, wait_s = self._closing.is_set(), IDLE_S
                if self._queue and self._busy < self._limits.workers:
                    wait_s = self._queue.leaves_at - time.monotonic()
                    if wait_s <= 0 or closing:
                        return self._take()
                elif closing and not self._queue:
                    return None
                self._idle += 1
                try:
                    notified = self._work.wait(wait_s)
                finally:
                    self._idle -= 1
                if not notified and not self._queue:
                    return None

    def _call_for_help(self) -> None:
        """Wake or start a worker, if there is one to wake or start. Holds the lock."""
        if self._idle:
            self._work.notify()
        elif len(self._threads) < self._limits.workers:
            thread = threading.Thread(target=self._run, name="synaptoroute-batch", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # Those at work will get to it.
                if not self._threads and not self._busy:
                    raise
            else:
                self._threads.add(thread)

    def _take(self) -> Turn[K, R]:
        turn = self._queue.take(self._limits.workers - self._busy, time.monotonic())
        self._busy += 1
        if self._queue:
            self._call_for_help()
        return turn

    def _do(self, turn: Turn[K, R]) -> None:
        try:
            for call in turn.late:
                self.expire(call)
            if turn.wanted:
                self._encode_texts_of(turn)
            small = [call for call in turn.known if len(call.texts) <= self._limits.batch]
            large = [call for call in turn.known if len(call.texts) > self._limits.batch]
            if small:
                self._answer(self._decided(small))
            for call in large:
                # By itself and last, for others not to wait for it.
                self._answer(self._decided([call]))
            self._rest_s = REST_S
        except BaseException as exc:
            self._abandon(turn, exc)
            raise
        finally:
            with self._lock:
                if self._queue:
                    self._call_for_help()
                self._busy -= 1

    def _abandon(self, turn: Turn[K, R], death: BaseException) -> None:
        error = EncoderError(f"the worker died: {death!r}")
        error.__cause__ = death
        with self._lock:
            self._last_failure = repr(death)
            calls = self._queue.give_up(turn)
        self._answer([(call, error) for call in calls])

    def _encode_texts_of(self, turn: Turn[K, R]) -> None:
        texts = [wanted.text for wanted in turn.wanted]
        start = time.perf_counter()
        rows = encoded_apart(self._encode, texts)
        took_s = time.perf_counter() - start
        if self._cache is not None:
            # Before the texts leave the queue: whoever comes next finds them in one or the other.
            good = [(text, row) for text, row in zip(texts, rows, strict=True) if not isinstance(row, Exception)]
            self._cache.put_many([text for text, _ in good], [row for _, row in good])
        before = len(turn.known)
        with self._lock:
            failed = self._queue.encoded(turn, rows, took_s)
        for call in turn.known[before:]:
            if call.stages is not None:
                call.stages.encoded = time.monotonic()
        if failed:
            self._last_failure = repr(next(iter(failed.values())))
            self._answer(failed.items())

    def _decided(self, calls: list[Call[K, R]]) -> list[tuple[Call[K, R], Answer[R]]]:
        """Each call's results; calls of one key are decided at once."""
        groups: defaultdict[K, list[Call[K, R]]] = defaultdict(list)
        for call in calls:
            groups[call.key].append(call)
        answers: list[tuple[Call[K, R], Answer[R]]] = []
        for key, group in groups.items():
            texts = [text for call in group for text in call.texts]
            rows = [call.rows[text] for call in group for text in call.texts]
            watched = [call.stages for call in group if call.stages is not None]
            try:
                results = iter(self.decide(key, texts, rows, watched[0] if watched else None))
            except Exception as exc:  # noqa: BLE001 - it is handed to whoever waits for these decisions
                answers += [(call, exc) for call in group]
            else:
                for stages in watched[1:]:
                    stages.decided_with(watched[0])
                answers += [(call, list(islice(results, len(call.texts)))) for call in group]
        return answers

    def _answer(self, answers: Iterable[tuple[Call[K, R], Answer[R]]]) -> None:
        """Answer the calls that still wait, with results or an error; one wake-up for each event loop."""
        with self._lock:
            due = [(call.future, answer) for call, answer in answers if self._remove(call)]
            self._expired += sum([isinstance(answer, DeadlineExceededError) for _, answer in due])
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[Any]] = defaultdict(list)
        for future, answer in due:
            if isinstance(future, Future):
                _settle(future, answer)
            else:
                by_loop[future.get_loop()].append((future, answer))
        for loop, settled in by_loop.items():
            # A loop that was closed meanwhile has nobody waiting.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle_in_loop, settled)

    def _remove(self, call: Call[K, R]) -> bool:
        removed = self._queue.remove(call)
        if not self._queue.open:
            self._all_answered.notify_all()
        return removed


def _settle(future: Future[list[R]], answer: Answer[R]) -> None:
    # False if it was cancelled; from here on it cannot be.
    if future.set_running_or_notify_cancel():
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _settle_in_loop(settled: list[tuple[asyncio.Future[Answer[R]], Answer[R]]]) -> None:
    for future, answer in settled:
        if not future.done():
            future.set_result(answer)


def _close_at_once(crew: Crew[Any, Any]) -> None:
    crew.close(drain_s=0)
