"""Tally: counts what calls came to. Queries leave a note each; the notes are counted many at a time."""

from __future__ import annotations

import bisect
import threading
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synaptoroute.models import Decision
from synaptoroute.observability.events import BatchEncoded, QueriesDecided, QueriesUnanswered, QueryEvent, Unanswered

#: Notes are counted when there are so many, or when somebody asks. Counting as many takes about a millisecond.
_NOTES_AT_ONCE = 512
#: A call of so many queries is counted by itself, so that notes do not keep many texts in memory.
_LARGE_CALL = 64
#: The route that is counted in the place of those that come when the cap is reached.
OTHER = "other"

#: Upper bounds in seconds: a known decision takes a few microseconds, a new one milliseconds.
SECONDS = (0.00001, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TEXTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
PROBABILITIES = tuple(step / 20 for step in range(1, 21))
#: Prometheus has no sum of a histogram with negative bounds; what is below 0 counts as 0.
COSINES = tuple(step / 10 for step in range(11))


class Histogram:
    """How many values lie up to each bound, and their sum. One thread at a time.

    Args:
        bounds: Ascending; a value that equals one counts as up to it.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._edges = np.array(self.bounds)
        self._counts: NDArray[np.int64] = np.zeros(len(self.bounds) + 1, np.int64)
        self.sum = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """One value, so many times."""
        self._counts[bisect.bisect_left(self.bounds, value)] += count
        self.sum += value * count

    def add_many(self, values: Sequence[float]) -> None:
        """Several values."""
        if values:
            found = np.asarray(values, np.float64)
            self._counts += np.bincount(np.searchsorted(self._edges, found), minlength=len(self._counts))
            self.sum += float(found.sum())

    @property
    def count(self) -> int:
        """How many values there were."""
        return int(self._counts.sum())

    def cumulative(self) -> list[tuple[str, int]]:
        """(bound, how many values up to it), the last for all of them: as Prometheus has them."""
        names = [*map(str, self.bounds), "+Inf"]
        return list(zip(names, np.cumsum(self._counts).tolist(), strict=True))


class Tally:
    """Counts since it was made. Read it under ``counting``, which first counts what was noted.

    A note costs a query half a microsecond; counters and histograms of a metrics library would cost it ten.

    Args:
        route_names: So many routes are counted by name, the first that were chosen; all others as "other".

    Attributes:
        results: Queries "matched", "abstained" and "error".
        reasons: Decisions by their reason.
        routes: Decisions for a route, by its name.
        made_by: Decisions by the stage that made them.
        unanswered: Queries without an answer, by why.
        shed: Queries turned away, by what there was too much of.
        known: Queries whose decisions were known.
        encoder_failures: Calls of the encoder that failed.
        durations: Seconds of a call, by whether its decisions were known.
        stages: Seconds of a call in a stage.
        batches: Texts in a call of the encoder.
        encoding: Seconds of it.
        confidence: Of the best route.
        score: Of the best route, if there was any.
    """

    def __init__(self, route_names: int) -> None:
        self._lock = threading.Lock()
        self._room = route_names
        self._notes: deque[QueriesDecided] = deque()
        self.results = Counter[str]({"matched": 0, "abstained": 0, "error": 0})
        self.reasons = Counter[str]()
        self.routes = Counter[str]()
        self.made_by = Counter[str]()
        self.unanswered = Counter[str](dict.fromkeys(map(str, Unanswered), 0))
        self.shed = Counter[str]({"queries": 0, "tokens": 0, "oversize": 0})
        self.known = self.encoder_failures = 0
        self.durations = Histogram(SECONDS)
        self.stages = {stage: Histogram(SECONDS) for stage in ("queue", "search", "decide")}
        self.batches, self.encoding = Histogram(TEXTS), Histogram(SECONDS)
        self.confidence, self.score = Histogram(PROBABILITIES), Histogram(COSINES)

    def note(self, event: QueryEvent) -> None:
        """A call has ended."""
        if isinstance(event, QueriesUnanswered):
            self._count_unanswered(event)
            return
        self._notes.append(event)
        if len(self._notes) >= _NOTES_AT_ONCE or len(event.texts) >= _LARGE_CALL:
            with self._lock:
                self._count_notes()

    def note_batch(self, event: BatchEncoded) -> None:
        """The encoder was called."""
        with self._lock:
            self.batches.add(event.texts)
            self.encoding.add(event.took_s)
            self.encoder_failures += event.failed

    def counted(self) -> threading.Lock:
        """Held while reading. Everything that was noted before is counted."""
        with self._lock:
            self._count_notes()
        return self._lock

    def _count_unanswered(self, event: QueriesUnanswered) -> None:
        with self._lock:
            self.unanswered[event.why.value] += event.queries
            self.results["error"] += event.queries
            if event.shed_for is not None:
                self.shed[event.shed_for] += event.queries
            self.durations.add(event.stages.total_s)

    def _count_notes(self) -> None:
        """Holds the lock; others go on noting meanwhile."""
        take = self._notes.popleft
        events = [take() for _ in range(min(len(self._notes), 2 * _NOTES_AT_ONCE))]
        if not events:
            return
        # The same decision objects come again and again where decisions are known: each is looked at once.
        each = [decision for event in events for decision in event.decisions]
        distinct = {id(decision): decision for decision in each}
        for key, count in Counter(map(id, each)).items():
            self._count_decision(distinct[key], count)
        took_s, fresh, new = [], [], 0
        for event in events:
            stages = event.stages
            took_s.append(stages.ended - stages.began)
            if stages.searched_from:
                fresh.append(stages)
                new += len(event.decisions)
        self.durations.add_many(took_s)
        self.known += len(each) - new
        self.stages["queue"].add_many([s for stages in fresh if (s := stages.queue_s) is not None])
        self.stages["search"].add_many([s for stages in fresh if (s := stages.search_s) is not None])
        self.stages["decide"].add_many([s for stages in fresh if (s := stages.decide_s) is not None])

    def _count_decision(self, decision: Decision, count: int) -> None:
        name = decision.name
        if name is None:
            self.results["abstained"] += count
        else:
            self.results["matched"] += count
            known = name in self.routes or len(self.routes) - (OTHER in self.routes) < self._room
            self.routes[name if known else OTHER] += count
        self.reasons[decision.reason.value] += count
        self.made_by[decision.stage.value] += count
        self.confidence.add(decision.confidence, count)
        if decision.score is not None:
            self.score.add(max(0.0, decision.score), count)
