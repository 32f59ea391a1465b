"""Queue: who waits for which text, and whose turn it is. No thread, no lock, no clock: its owner has them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from synaptoroute.batching.limits import BatchLimits
from synaptoroute.caching import Vector
from synaptoroute.errors import RouterOverloadedError
from synaptoroute.observability.stages import CallStages

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
#: An event loop's future takes an error as its result, so that one nobody waits for any more is not reported as lost.
CallFuture: TypeAlias = "concurrent.futures.Future[list[R]] | asyncio.Future[list[R] | Exception]"

#: Characters of a token of English on average, rounded down: estimating is a hundred times faster than tokenising.
_CHARACTERS_PER_TOKEN = 4


class Call(Generic[K, R]):
    """What one caller asked for.

    Args:
        texts: The queries.
        key: Calls of one key may be decided together.
        known: The vector of each text, or None.
        future: Gets the answer.
        now: The time.
        deadline: When the caller gives up; never by default.
        stages: Where it is noted when the call came to each step, if somebody wants to know.

    Attributes:
        rows: Text -> its vector, None until it is known.
        missing: How many of them are None.
        todo: Those that were not yet taken when the call came in; another call's turn may have taken them since.
        tokens: Of all texts, estimated.
    """

    __slots__ = ("deadline", "future", "key", "missing", "rows", "since", "stages", "texts", "todo", "tokens")

    def __init__(
        self,
        texts: Sequence[str],
        key: K,
        known: Sequence[Vector | None],
        future: CallFuture[R],
        now: float,
        deadline: float = math.inf,
        stages: CallStages | None = None,
    ) -> None:
        self.texts, self.key, self.future, self.stages = texts, key, future, stages
        self.since, self.deadline = now, deadline
        self.rows = dict(zip(texts, known, strict=True))
        self.missing = sum([row is None for row in self.rows.values()])
        self.todo: deque[Wanted[K, R]] = deque()
        self.tokens = sum([len(text) // _CHARACTERS_PER_TOKEN + 1 for text in texts])


class Wanted(Generic[K, R]):
    """A text that is waiting or being encoded, once for all calls that want it."""

    __slots__ = ("calls", "taken", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.calls: set[Call[K, R]] = set()
        self.taken = False


@dataclass(slots=True)
class Turn(Generic[K, R]):
    """What a worker has taken on: texts to encode, calls to decide, and calls it is too late for."""

    wanted: list[Wanted[K, R]] = field(default_factory=list)
    known: list[Call[K, R]] = field(default_factory=list)
    late: list[Call[K, R]] = field(default_factory=list)


class Queue(Generic[K, R]):
    """Calls that were accepted and are not yet answered.

    Attributes:
        open: All of them.
        waiting: Texts nobody has taken yet.
        encoding: Texts taken and not yet encoded.
        queries: What ``open`` counts for among ``max_queries``.
        tokens: What ``open`` counts for among ``max_tokens``.
        coalesced: How many texts joined one that another call was waiting for already.
        shed: How many calls were turned away.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._pending: dict[str, Wanted[K, R]] = {}
        #: Calls with something left to take, next turn first.
        self._line: OrderedDict[Call[K, R], None] = OrderedDict()
        self.open: set[Call[K, R]] = set()
        self.waiting = self.encoding = self.queries = self.tokens = self.coalesced = self.shed = 0
        self._s_per_query = 0.001

    def __bool__(self) -> bool:
        """Whether there is something to take."""
        return bool(self._line)

    def add(self, call: Call[K, R]) -> None:
        """Accept a call.

        Raises:
            RouterOverloadedError: It would be too much. A call that is larger than a limit is accepted when nothing
                else waits.
        """
        limits = self._limits
        queries, tokens = self._share(call)
        crowded = self.queries + queries > limits.max_queries
        full = crowded or self.tokens + tokens > limits.max_tokens
        oversize = len(call.texts) > limits.max_queries or call.tokens > limits.max_tokens
        if full or (oversize and self._line):
            self.shed += 1
            raise RouterOverloadedError(
                f"{self.queries} queries of about {self.tokens} tokens wait, at most {limits.max_queries} and "
                f"{limits.max_tokens} may; try again in {self.retry_after_s:.2f} s",
                self.retry_after_s,
                shed_for="queries" if crowded else "tokens" if full else "oversize",
            )
        self.queries += queries
        self.tokens += tokens
        self.open.add(call)
        for text, row in call.rows.items():
            if row is None:
                self._want(text, call)
        if call.todo or not call.missing:
            self._line[call] = None

    def _share(self, call: Call[K, R]) -> tuple[int, int]:
        """The queries and tokens a call counts for, at most half of each limit.

        It is encoded in turns with others, so more of it makes none of them wait longer; and they find room.
        """
        limits = self._limits
        return (
            min(len(call.texts), max(1, limits.max_queries // 2)),
            min(call.tokens, max(1, limits.max_tokens // 2)),
        )

    def _want(self, text: str, call: Call[K, R]) -> None:
        wanted = self._pending.get(text)
        if wanted is None:
            wanted = self._pending[text] = Wanted(text)
            self.waiting += 1
        else:
            self.coalesced += 1
        wanted.calls.add(call)
        if not wanted.taken:
            call.todo.append(wanted)

    @property
    def busy_s(self) -> float:
        """How long what waits will keep the workers busy, in seconds, going by the last turns."""
        return self._takes_s(self.waiting)

    @property
    def retry_after_s(self) -> float:
        """How long it will take to encode what is there, in seconds, between 0.01 and 60, going by the last turns."""
        return min(max(self._takes_s(self.waiting + self.encoding), 0.01), 60.0)

    def _takes_s(self, texts: int) -> float:
        return texts * self._s_per_query / self._limits.workers

    @property
    def leaves_at(self) -> float:
        """When the next turn should be taken: at once if its batch is full or has no reason to wait."""
        limits = self._limits
        if not limits.wait_s or self.waiting >= limits.batch:
            return 0.0
        return min(call.since if call.missing else 0.0 for call in self._line) + limits.wait_s

    def take(self, free_workers: int, now: float) -> Turn[K, R]:
        """Take the next turn, round robin: of every call in line its share of the batch, then of the rest again.

        Texts are spread over the free workers, unless it is batches that are waited for.
        """
        turn: Turn[K, R] = Turn()
        most = self._limits.batch
        if not self._limits.wait_s:
            most = min(most, max(1, math.ceil(self.waiting / free_workers)))
        share = max(1, most // max(1, len(self._line)))
        while self._line and len(turn.wanted) < most:
            call, _ = self._line.popitem(last=False)
            if call.stages is not None and not call.stages.taken:
                call.stages.taken = now
            if call.deadline <= now:
                turn.late.append(call)
            elif not call.missing:
                turn.known.append(call)
                break
            else:
                end = min(len(turn.wanted) + share, most)
                while call.todo and len(turn.wanted) < end:
                    wanted = call.todo.popleft()
                    if not wanted.taken:
                        wanted.taken = True
                        turn.wanted.append(wanted)
                if call.todo:
                    self._line[call] = None
        self.waiting -= len(turn.wanted)
        self.encoding += len(turn.wanted)
        return turn

    def encoded(
        self, turn: Turn[K, R], rows: Sequence[Vector | Exception], took_s: float
    ) -> dict[Call[K, R], Exception]:
        """Hand out what a turn has encoded; calls that miss nothing any more are added to ``turn.known``.

        Returns:
            The calls whose text failed, and why.

        Raises:
            ValueError: There are more or fewer rows than texts.
        """
        results = list(zip(turn.wanted, rows, strict=True))
        failed: dict[Call[K, R], Exception] = {}
        for wanted, row in results:
            for call in wanted.calls:
                if isinstance(row, Exception):
                    failed[call] = row
                else:
                    call.rows[wanted.text] = row
                    call.missing -= 1
                    if not call.missing:
                        turn.known.append(call)
        self._s_per_query += 0.1 * (took_s / len(results) - self._s_per_query)
        self._finish(turn)
        return failed

    def give_up(self, turn: Turn[K, R]) -> list[Call[K, R]]:
        """Forget a turn that failed as a whole; returns all calls that waited for it."""
        calls = {call for wanted in turn.wanted for call in wanted.calls}
        self._finish(turn)
        return [*calls, *turn.known, *turn.late]

    def _finish(self, turn: Turn[K, R]) -> None:
        for wanted in turn.wanted:
            del self._pending[wanted.text]
        self.encoding -= len(turn.wanted)
        turn.wanted = []

    def remove(self, call: Call[K, R]) -> bool:
        """Forget a call, answered or not, and the texts that no other call waits for; False if it was not there."""
        if call not in self.open:
            return False
        self.open.remove(call)
        self._line.pop(call, None)
        queries, tokens = self._share(call)
        self.queries -= queries
        self.tokens -= tokens
        if call.missing:
            self._withdraw(call)
        return True

    def _withdraw(self, call: Call[K, R]) -> None:
        for text, row in call.rows.items():
            wanted = self._pending.get(text)
            if row is None and wanted is not None:
                wanted.calls.discard(call)
                if not wanted.calls and not wanted.taken:
                    del self._pending[text]
                    self.waiting -= 1
