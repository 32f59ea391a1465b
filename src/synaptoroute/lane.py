"""Lane: what a query passes through: an encoder, the queue before it, and the table of its vectors."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np

from synaptoroute import learned_file
from synaptoroute.asking import Terms
from synaptoroute.batching import Batcher, Gathering, batch_limits
from synaptoroute.caching import EmbeddingCache, RecentCache
from synaptoroute.cascading import Cascade
from synaptoroute.encoder.base import BaseEncoder, Vectors, encode_checked
from synaptoroute.errors import InvalidInputError
from synaptoroute.explaining import Cached, Explaining, Explanation, Source
from synaptoroute.models import Decision, is_picture
from synaptoroute.observability.events import BatchEncoded
from synaptoroute.observability.hooks import Hooks
from synaptoroute.observability.stages import CallStages
from synaptoroute.profile import OptimizationProfile
from synaptoroute.rerank.breaker import TieBreaker
from synaptoroute.storage.base import BaseStorage, EncoderIdentity
from synaptoroute.table import RouteTable
from synaptoroute.table_files import TableFiles

#: Told how many of how many are done.
Progress = Callable[[int, int], None]

_ENCODED_AT_ONCE = 256
#: Decisions of the current table that are kept, about 2 KB each.
_DECISIONS_KEPT = 8_192
#: Up to so many queries, the first stage decides in the event loop: two to four milliseconds.
_DECIDED_IN_LOOP = 32
#: Where the encoder is busy for longer with what waits already, a query may wait so long for others to be decided with:
#: under full load some 20 are decided at a time instead of 7, which saves a fifth of what the first stage takes.
_GATHERED_S = 0.005

#: A call of queries, and where to note when it came to each step.
_Begun = tuple[Sequence[str], CallStages | None]


class Observer(Protocol):
    """Is told what was decided, in the thread that decided it, and must return at once."""

    def __call__(
        self, texts: Sequence[str], vectors: Vectors | None, asked: Terms, decisions: Sequence[Decision]
    ) -> None:
        """Queries, their unit rows (n, dim) or None if they were not encoded again, how and what was decided."""
        ...


class _Current:
    """The current table, with the decisions made by it that are likely asked for again."""

    def __init__(self, table: RouteTable, kept: int) -> None:
        self.table = table
        self.decisions: RecentCache[tuple[str, Terms], Decision] = RecentCache(kept)


class Lane:
    """One encoder and the table of its vectors, opened from the store, with the queue that leads to them.

    A router has one, and puts another in its place when its encoder changes. A query that began in the former lane
    ends there: its vector is never held against those of another encoder.

    Args:
        encoder: Texts to vectors.
        storage: What holds the vectors it made.
        profile: How much of the machine one query may take.
        plain: How queries are decided that ask for nothing in particular; others never go to the first stage.
        first_encoder: Gives the vectors of a static first stage; None for none.
        cache_bytes: Memory for the vectors of texts asked lately; 0 also stops keeping decisions.
        wake: Called when a query finds that there is something to learn or to compact.
        hooks: Told of what the encoder does.
        breaker: Asks a reranker where the first routes are close; None without one.

    Raises:
        EncoderMismatchError: The store was written with another encoder.
        StorageError: The store cannot be read.
    """

    def __init__(
        self,
        encoder: BaseEncoder,
        storage: BaseStorage,
        *,
        profile: OptimizationProfile,
        plain: Terms,
        first_encoder: BaseEncoder | None = None,
        cache_bytes: int,
        wake: Callable[[], None],
        hooks: Hooks,
        breaker: TieBreaker | None = None,
    ) -> None:
        self.encoder = encoder
        self._hooks = hooks
        self._ranked = threading.local()
        self.identity = EncoderIdentity(name=encoder.name, dim=encoder.dim, fingerprint=encoder.fingerprint)
        self._wake = wake
        self._plain = plain
        #: Queries that the first stage has decided since it was opened, and those it has left to the full path;
        #: colliding threads may lose a count.
        self.first_decided = self.first_left = 0
        #: Told of every decision. Replaced as a whole, never changed in place: others may be reading it.
        self.observers: tuple[Observer, ...] = ()
        # Learning asks for the background sentences, the routes' names and their refusals again and again.
        encode = functools.lru_cache(maxsize=3)(self.encode)
        self.files = TableFiles(storage, self.identity, encode, breaker, first_encoder)
        table = self.files.open()
        kept = storage.load_learned()
        self._decisions_kept = _DECISIONS_KEPT if cache_bytes else 0
        self._current = _Current(
            table.with_learned(learned_file.load(kept, table) if kept else None), self._decisions_kept
        )
        self._gathering = Gathering(self._begin_all, _DECIDED_IN_LOOP, self._pause_s)
        self._vectors = EmbeddingCache(self.identity.fingerprint, cache_bytes) if cache_bytes else None
        #: A key of ``Terms`` gets Decisions, one of ``Explaining`` Explanations.
        self.batcher: Batcher[Terms | Explaining, Any] = Batcher(
            self._encode_queries,
            self._answer,
            batch_limits(profile, alone=hasattr(encoder, "encode_in_thread")),
            self._vectors,
            ranked_at=self._ranked_at,
            # A reranker takes longer than the way to a thread.
            decides_quickly=breaker is None,
        )

    @property
    def table(self) -> RouteTable:
        """The immutable table that the next query will be decided by. Whoever sets it holds the router's lock."""
        return self._current.table

    @table.setter
    def table(self, table: RouteTable) -> None:
        # Queries see the table and what was decided by it in one piece.
        self._current = _Current(table, self._decisions_kept)

    def settled(self, table: RouteTable) -> bool:
        """Whether a table of this lane is learned from and compacted."""
        learned = table.fitted or self.files.growing > 0
        return learned and self.files.verified and not self.files.needs_compaction(table)

    def known(self, texts: Sequence[str], asked: Terms) -> list[Decision]:
        """The decisions of all these queries if they have just been made; none if one of them has not."""
        decisions = self._current.decisions
        known = []
        for text in texts:
            decision = decisions.get((text, asked))
            if decision is None:
                return []
            known.append(decision)
        for observer in self.observers:
            observer(texts, None, asked, known)
        return known

    def begin(self, texts: Sequence[str], asked: Terms, stages: CallStages | None = None) -> Cascade:
        """Let the first stage decide what it is sure of, in the calling thread; it takes microseconds a query.

        Args:
            texts: Queries that are not ``known``.
            asked: How to decide them.
            stages: Noted here is when it began and ended.
        """
        return self._begin_all(asked, [(texts, stages)])[0]

    def _begin_all(self, asked: Terms, calls: Sequence[_Begun]) -> list[Cascade]:
        began, current = time.monotonic(), self._current
        texts = [text for of_call, _ in calls for text in of_call]
        sure = self.sure(current.table, texts, asked) if current.table.first_encoder is not None else None
        if sure is None:
            return [Cascade(of_call) for of_call, _ in calls]
        answered = [place for place, decision in enumerate(sure) if decision is not None]
        self.first_decided += len(answered)
        self.first_left += len(texts) - len(answered)
        if answered:
            decisions = [decision for decision in sure if decision is not None]
            self._decided(current, asked, [texts[place] for place in answered], None, decisions)
        now, each_sure = time.monotonic(), iter(sure)
        for _, stages in calls:
            if stages is not None:
                stages.searched_from, stages.ranked, stages.decided = began, now, now
        return [Cascade(of_call, list(islice(each_sure, len(of_call)))) for of_call, _ in calls]

    async def abegin(self, texts: Sequence[str], asked: Terms, stages: CallStages | None = None) -> Cascade:
        """``begin`` for event loops.

        A query by itself is decided with those that others ask in the same turn of the loop, which for 16 takes a
        quarter of what it takes one by one; while the encoder is busy, also with those of the next milliseconds. Many
        queries of one call are decided in a thread.
        """
        if not self.has_first_stage or 1 < len(texts) <= _DECIDED_IN_LOOP:
            return self.begin(texts, asked, stages)
        if len(texts) == 1:
            return await self._gathering.ask(asked, (texts, stages))
        return await asyncio.to_thread(self.begin, texts, asked, stages)

    def _pause_s(self) -> float:
        # Twice as long: by then, those that the first stage leaves to the encoder must have come.
        return _GATHERED_S if self.batcher.busy_s > 2 * _GATHERED_S else 0.0

    @property
    def has_first_stage(self) -> bool:
        """Whether the current table's first stage answers anything now."""
        return self._current.table.may_decide_first(self._point(self._current.table))

    def _point(self, table: RouteTable) -> float:
        own = self._plain.limits.min_confidence
        return table.operating_point if own is None else own

    def sure(self, table: RouteTable, texts: Sequence[str], asked: Terms) -> list[Decision | None] | None:
        """What the first stage of a table is sure of, None for each other query; None if it has no say in this."""
        plain = self._plain
        if asked.limits != plain.limits or asked.allow is not None or asked.exact:
            return None
        return table.decide_first(texts, top_k=asked.top_k, point=self._point(table))

    def explaining(self, texts: Sequence[str], asked: Terms, confidence_from: Source | None) -> Explaining:
        """The key with which the batcher explains these queries.

        Args:
            texts: The queries.
            asked: How to decide them.
            confidence_from: Who set ``asked.limits.min_confidence``.
        """
        return Explaining(
            asked=asked, confidence_from=confidence_from, cached=tuple(self._cached(text, asked) for text in texts)
        )

    def _cached(self, text: str, asked: Terms) -> Cached | None:
        if (text, asked) in self._current.decisions:
            return "decision"
        return "vector" if self._vectors is not None and text in self._vectors else None

    def encode(self, texts: Sequence[str], progress: Progress | None = None, *, queries: bool = False) -> Vectors:
        """Unit rows (n, dim) of utterances, or of queries; the progress is told every 256 texts.

        Raises:
            InvalidInputError: An utterance is a picture, and the encoder reads none. Queries are not held to this: a
                router of texts that is asked a picture abstains, as from any other nonsense.
        """
        if not queries and any(map(is_picture, texts)) and not getattr(self.encoder, "reads_pictures", False):
            raise InvalidInputError(
                f"an utterance is a picture, which {self.encoder.name} cannot read; give the router an ImageEncoder"
            )
        if progress is None:
            return encode_checked(self.encoder, texts, queries=queries)
        parts = [encode_checked(self.encoder, [])]
        for start in range(0, len(texts), _ENCODED_AT_ONCE):
            parts.append(encode_checked(self.encoder, texts[start : start + _ENCODED_AT_ONCE], queries=queries))
            progress(min(start + _ENCODED_AT_ONCE, len(texts)), len(texts))
        return np.concatenate(parts)

    def _encode_queries(self, texts: Sequence[str]) -> Vectors:
        """In the calling thread alone where the encoder can; the batcher has a thread for each core."""
        if not self._hooks.batches:
            return encode_checked(self.encoder, texts, alone=True, queries=True)
        began, failed = time.monotonic(), True
        try:
            vectors = encode_checked(self.encoder, texts, alone=True, queries=True)
            failed = False
        finally:
            event = BatchEncoded(texts=len(texts), took_s=time.monotonic() - began, failed=failed)
            self._hooks.batch_encoded(event)
        return vectors

    def _answer(
        self, asked: Terms | Explaining, texts: Sequence[str], vectors: Vectors
    ) -> list[Decision] | list[Explanation]:
        current = self._current
        if not self.settled(current.table):
            self._wake()
        if isinstance(asked, Explaining):
            sure = self.sure(current.table, texts, asked.asked)
            explanations = asked.explained(current.table, texts, vectors, sure)
            self._decided(current, asked.asked, texts, vectors, [each.decision for each in explanations])
            return explanations
        decisions = self._decisions(current.table, asked, texts, vectors)
        self._decided(current, asked, texts, vectors, decisions)
        return decisions

    def _decided(
        self,
        current: _Current,
        asked: Terms,
        texts: Sequence[str],
        vectors: Vectors | None,
        decisions: Sequence[Decision],
    ) -> None:
        for text, decision in zip(texts, decisions, strict=True):
            current.decisions.put((text, asked), decision)
        for observer in self.observers:
            observer(texts, vectors, asked, decisions)

    def _decisions(self, table: RouteTable, asked: Terms, texts: Sequence[str], vectors: Vectors) -> list[Decision]:
        if not self._hooks.queries:
            return table.decide(texts, vectors, **asked._asdict())
        # In two steps, for somebody wants to know how long each of them takes.
        allow = table.mask(asked.allow)
        ranking = table.ranked(texts, vectors, top_k=asked.top_k, allow=allow, exact=asked.exact)
        self._ranked.at = time.monotonic()
        return table.decisions(ranking, top_k=asked.top_k, limits=asked.limits)

    def _ranked_at(self) -> float:
        """When the decision that this thread has just made had its ranking; now if nobody heard of queries then."""
        return self._ranked.__dict__.pop("at", None) or time.monotonic()
