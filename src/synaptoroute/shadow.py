"""A shadow: another table that is asked what live queries are asked, to see what it would change."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from synaptoroute.asking import Terms
from synaptoroute.caching import RecentCache
from synaptoroute.comparison import Comparison, Tally, compared
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import RouterClosedError, SynaptoRouteError
from synaptoroute.forking import close_at_exit
from synaptoroute.lane import Lane
from synaptoroute.models import Decision, clean_query
from synaptoroute.table import RouteTable
from synaptoroute.teaching import learn_from

#: Queries that wait to be compared, at most: 6 MB of vectors. What comes while so many wait is dropped and counted.
WAITING = 4_096
_DECISIONS_KEPT = 8_192
#: Notes are gathered for so long: a thread that woke at every query would take turns with it at the interpreter.
_GATHER_S = 0.02
#: Decided in one call at most, for a live query may have to wait for the interpreter as long.
_AT_ONCE = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowReport:
    """What a shadow has seen so far.

    Attributes:
        of: What its routes are of, such as "revision 12" or "snapshot spring".
        learned: Whether it has learned from its routes; until then, queries wait.
        live: The live decisions held against its own.
        waiting: Queries that wait to be compared.
        dropped: Queries that came while too many waited, and were not compared.
    """

    of: str
    learned: bool
    live: Comparison
    waiting: int
    dropped: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        return {
            "of": self.of,
            "learned": self.learned,
            "live": self.live.to_dict(),
            "waiting": self.waiting,
            "dropped": self.dropped,
        }

    def __str__(self) -> str:
        return f"shadow of {self.of}: {self.live}; {self.waiting:,} waiting, {self.dropped:,} dropped"


class _Note(NamedTuple):
    texts: Sequence[str]
    vectors: Vectors | None
    asked: Terms
    decisions: Sequence[Decision]


class Shadow:
    """A candidate table beside the live one. Made by ``router.shadow``.

    It learns from its routes in a thread of its own and then decides what was decided live, with the vectors that are
    there already; a live query only leaves a note. When notes come faster than they are worked off, they are dropped
    and counted. A forked child's queries are not compared. Once the router has changed its encoder, nothing is
    compared any more.

    Args:
        lane: The live one.
        table: The candidate, with vectors of the same encoder.
        of: What its routes are of, for people.
        plain: How queries are decided that ask for nothing in particular.
        promote: Makes a table with what it has learned the live one; returns the revision.
        examples: So many changed queries are kept as texts. None are unless asked for: they may be private.
        closed: Called whenever it is closed.
    """

    def __init__(
        self,
        lane: Lane,
        table: RouteTable,
        *,
        of: str,
        plain: Terms,
        promote: Callable[[RouteTable], int],
        examples: int,
        closed: Callable[[Shadow], None],
    ) -> None:
        self._lane = lane
        self._table = table
        self._of = of
        self._plain = plain
        self._promote = promote
        self._closed = closed
        self._pid = os.getpid()
        self._examples = examples
        self._tally = Tally(examples)
        # Like the live table, it need not decide again what it has just decided.
        self._decided: RecentCache[tuple[str, Terms], Decision] = RecentCache(_DECISIONS_KEPT)
        self._notes: deque[_Note] = deque()
        self._waiting = self._dropped = 0
        self._learned = self._stopping = False
        self._failure: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="synaptoroute-shadow", daemon=True)
        self._thread.start()
        close_at_exit(self, Shadow.close)

    # --------------------------------------------------------------------------------------------- what it is told
    def __call__(
        self, texts: Sequence[str], vectors: Vectors | None, asked: Terms, decisions: Sequence[Decision]
    ) -> None:
        """Note what was decided live; see ``Observer``. Returns at once."""
        if os.getpid() != self._pid:
            # A forked child has no thread for it, and perhaps a lock that nobody will ever release.
            return
        with self._changed:
            if self._stopping or self._failure is not None:
                return
            room = WAITING - self._waiting
            if room < len(texts):
                self._dropped += len(texts) - room
                texts, decisions = texts[:room], decisions[:room]
                vectors = None if vectors is None else vectors[:room]
            if texts:
                self._waiting += len(texts)
                self._notes.append(_Note(texts, vectors, asked, decisions))
                if self._waiting == len(texts):
                    self._changed.notify_all()

    # ------------------------------------------------------------------------------------------------ what it says
    @property
    def table(self) -> RouteTable:
        """The candidate, with what has been learned of it."""
        return self._table

    def wait_until_fitted(self, timeout_s: float | None = None) -> bool:
        """Wait until it has learned from its routes; False if that took longer than the timeout.

        Raises:
            SynaptoRouteError: Learning failed; the cause says why.
            RouterClosedError: It was closed before.
        """
        return self._wait(lambda: self._learned, timeout_s)

    def wait_until_compared(self, timeout_s: float | None = None) -> bool:
        """Wait until every live decision that is not dropped is compared; as ``wait_until_fitted``."""
        return self._wait(lambda: self._learned and not self._waiting, timeout_s)

    def _wait(self, reached: Callable[[], bool], timeout_s: float | None) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: reached() or self._stopping or self._failure is not None, timeout_s)
            self._require_working()
            return reached()

    def report(self) -> ShadowReport:
        """What has been compared so far. Raises SynaptoRouteError if the shadow failed."""
        with self._changed:
            self._require_sound()
            return ShadowReport(
                of=self._of,
                learned=self._learned,
                live=self._tally.result(),
                waiting=self._waiting,
                dropped=self._dropped,
            )

    def compare(self, queries: Sequence[str], *, examples: int | None = None) -> Comparison:
        """Decide these queries live and by the candidate, now, once it has learned. They do not go into the report.

        Args:
            queries: Texts.
            examples: So many changed queries are given back; as many as the report keeps if None.

        Raises:
            InvalidQueryError: A query cannot be routed.
            SynaptoRouteError: Learning failed.
        """
        self.wait_until_fitted()
        texts = [clean_query(query) for query in queries]
        vectors = self._lane.encode(texts, queries=True)
        tables = self._lane.table, self._table
        live, candidate = (table.decide(texts, vectors, **self._plain._asdict()) for table in tables)
        return compared(texts, live, candidate, examples=self._examples if examples is None else examples)

    def promote(self) -> int:
        """Make the candidate live, with what it has learned, and close. Returns the new revision.

        Raises:
            RevisionConflictError: Routes have changed since the shadow was made, and that would be lost.
            SynaptoRouteError: Learning failed.
        """
        self.wait_until_fitted()
        revision = self._promote(self._table)
        self.close()
        return revision

    def close(self) -> None:
        """End it, and wait for its thread. What it has counted can still be read; closing twice is fine."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._closed(self)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_sound(self) -> None:
        if self._failure is not None:
            raise SynaptoRouteError(f"the shadow of {self._of} failed: {self._failure}") from self._failure

    def _require_working(self) -> None:
        self._require_sound()
        if self._stopping:
            raise RouterClosedError("this shadow was closed; make another with router.shadow")

    # ------------------------------------------------------------------------------------------------- its thread
    def _run(self) -> None:
        try:
            table = self._table.with_learned(learn_from(self._table, self._checkpoint))
            with self._changed:
                self._table, self._learned = table, True
                self._changed.notify_all()
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._notes or self._stopping)
                    self._changed.wait_for(lambda: self._stopping, _GATHER_S)
                    if self._stopping:
                        return
                    notes, self._notes = self._notes, deque()
                for note in notes:
                    for start in range(0, len(note.texts), _AT_ONCE):
                        self._checkpoint()
                        self._compare(note, slice(start, start + _AT_ONCE))
        except _Stopped:
            pass
        except Exception as exc:
            logger.exception("the shadow of %s failed; live queries are not affected", self._of)
            with self._changed:
                self._failure = exc
                self._notes.clear()
                self._changed.notify_all()

    def _checkpoint(self) -> None:
        if self._stopping:
            raise _Stopped

    def _compare(self, note: _Note, part: slice) -> None:
        began = time.perf_counter()
        texts, decisions = note.texts[part], note.decisions[part]
        candidates = self._decide(texts, None if note.vectors is None else note.vectors[part], note.asked)
        with self._changed:
            for text, live, candidate in zip(texts, decisions, candidates, strict=True):
                self._tally.add(text, live, candidate)
            self._waiting -= len(texts)
            self._changed.notify_all()
        # As long again: live queries get at least every other turn at the interpreter, and half of the core.
        time.sleep(time.perf_counter() - began)

    def _decide(self, texts: Sequence[str], vectors: Vectors | None, asked: Terms) -> list[Decision]:
        found = [self._decided.get((text, asked)) for text in texts]
        missing = [place for place, decision in enumerate(found) if decision is None]
        if missing:
            new = [texts[place] for place in missing]
            rows = self._lane.encode(new, queries=True) if vectors is None else vectors[missing]
            options = asked._asdict()
            if asked.allow is not None:
                # What the call allowed may not be there.
                options["allow"] = [name for name in asked.allow if name in self._table]
            for place, decision in zip(missing, self._table.decide(new, rows, **options), strict=True):
                found[place] = decision
                self._decided.put((texts[place], asked), decision)
        return [decision for decision in found if decision is not None]


class _Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside the learning to leave it."""
