"""What was asked in the last five minutes, second by second, in a fixed amount of memory."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from synaptoroute.observability.events import QueriesDecided, QueryEvent, Unanswered
from synaptoroute.server.drift import BINS, Counts, histogram

#: Seconds that are remembered.
WINDOW_S = 300
#: The latest confidences that are kept for comparison with the baseline, however long ago.
DECISIONS_KEPT = 1_000
#: Upper ends of the bins latencies are counted in: from 0.05 ms, each 9 % above the last, up to 3.3 s and beyond.
_ENDS_MS = [0.05 * 2 ** (place / 8) for place in range(129)]
_PERCENTILES = (50, 95, 99)
_KINDS = ("queries", "abstained", "shed", "failed")


_unwatched: ContextVar[bool] = ContextVar("synaptoroute_unwatched", default=False)


@contextmanager
def unwatched() -> Iterator[None]:
    """Queries asked inside, in this task or thread, are somebody looking, as the playground does at every keystroke."""
    token = _unwatched.set(True)
    try:
        yield
    finally:
        _unwatched.reset(token)


class Traffic:
    """A hook that counts what was asked. Everything may be called from any thread, and takes microseconds.

    Args:
        clock: Seconds that never go back.
        wall: Seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._second = int(clock())
        # Lists of Python numbers: counting one query in arrays takes ten times as long.
        self._counts = [[0] * len(_KINDS) for _ in range(WINDOW_S)]
        self._latencies = [[0] * (len(_ENDS_MS) + 1) for _ in range(WINDOW_S)]
        self._confidences: deque[float] = deque(maxlen=DECISIONS_KEPT)

    def on_query(self, event: QueryEvent) -> None:
        """A call was answered, or not."""
        if _unwatched.get():
            return
        if isinstance(event, QueriesDecided):
            confidences = [decision.confidence for decision in event.decisions]
            abstained = sum(decision.name is None for decision in event.decisions)
            self.decided(confidences, abstained, event.stages.total_s * 1000)
        elif event.why is Unanswered.SHED:
            self.shed(event.queries)
        elif event.why in (Unanswered.EXPIRED, Unanswered.FAILED):
            self.failed(event.queries)

    def decided(self, confidences: Sequence[float], abstained: int, took_ms: float) -> None:
        """Queries that were answered together.

        Args:
            confidences: Of each of them.
            abstained: How many of them got no route.
            took_ms: How long they took.
        """
        place = bisect_left(_ENDS_MS, took_ms)
        with self._lock:
            at = self._now()
            counts = self._counts[at]
            counts[0] += len(confidences)
            counts[1] += abstained
            self._latencies[at][place] += len(confidences)
            self._confidences.extend(confidences)

    def shed(self, queries: int) -> None:
        """Queries that were turned away for there were too many."""
        self._add("shed", queries)

    def failed(self, queries: int) -> None:
        """Queries that were accepted and not answered: the encoder failed, or the deadline passed."""
        self._add("failed", queries)

    def _add(self, kind: str, queries: int) -> None:
        with self._lock:
            self._counts[self._now()][_KINDS.index(kind)] += queries

    def _now(self) -> int:
        """The place of the current second; places of seconds without any traffic are emptied on the way."""
        second = int(self._clock())
        for gone in range(max(self._second, second - WINDOW_S) + 1, second + 1):
            self._counts[gone % WINDOW_S] = [0] * len(_KINDS)
            self._latencies[gone % WINDOW_S] = [0] * (len(_ENDS_MS) + 1)
        self._second = max(self._second, second)
        return self._second % WINDOW_S

    def confidences(self) -> Counts:
        """A histogram of the latest confidences (BINS,)."""
        with self._lock:
            kept = list(self._confidences)
        return histogram(np.array(kept, np.float64))

    def to_dict(self) -> dict[str, Any]:
        """The last five minutes, as JSON types; the last second is the current one and still filling."""
        with self._lock:
            now = self._now()
            rows = [list(row) for row in self._counts], [list(row) for row in self._latencies]
        order = (now + 1 + np.arange(WINDOW_S)) % WINDOW_S
        counts, latencies = (np.array(table, np.int64)[order] for table in rows)
        # By ten seconds: one second alone has too few queries for its 99th percentile to mean anything.
        tens = latencies.reshape(WINDOW_S // 10, 10, -1).sum(axis=1)
        curves = [_percentiles(row) for row in tens]
        return {
            "window_s": WINDOW_S,
            "until": int(self._wall()),
            "seconds": {kind: counts[:, place].tolist() for place, kind in enumerate(_KINDS)},
            "totals": {kind: int(counts[:, place].sum()) for place, kind in enumerate(_KINDS)},
            "latency_ms": _percentiles(latencies.sum(axis=0)),
            "latency_every_10_s": {name: [curve[name] for curve in curves] for name in curves[0]},
            "bins": [place / BINS for place in range(BINS + 1)],
        }


def _percentiles(counts: Counts) -> dict[str, float | None]:
    """Latencies that 50, 95 and 99 % are within, from counts by bin; within 9 %."""
    total = int(counts.sum())
    if not total:
        return {f"p{percent}": None for percent in _PERCENTILES}
    running = counts.cumsum()
    places = np.searchsorted(running, [np.ceil(total * percent / 100) for percent in _PERCENTILES])
    values = [_ENDS_MS[min(place, len(_ENDS_MS) - 1)] for place in places.tolist()]
    return {f"p{percent}": round(value, 3) for percent, value in zip(_PERCENTILES, values, strict=True)}
