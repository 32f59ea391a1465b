"""Why a query was decided as it was: the evidence, the limits that applied, and where the time went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from synaptoroute.asking import Terms
from synaptoroute.encoder.base import Vectors
from synaptoroute.index.base import Mask
from synaptoroute.models import Decision
from synaptoroute.table import Part, RouteTable
from synaptoroute.untying import Contender

#: Utterances that an explanation lists.
NEAREST = 10
#: Rows compared at once, so that routes of 100,000 utterances are not copied whole: 12 MB of vectors.
_ROWS_AT_ONCE = 8_192

Source = Literal["call", "route", "router", "set", "fit", "default"]
Cached = Literal["decision", "vector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A stored utterance near the query.

    Attributes:
        name: Its route.
        utterance: The text.
        score: Cosine similarity to the query, in [-1, 1].
    """

    name: str
    utterance: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Where the time went, in milliseconds. ``route`` does the same work but the search for ``nearest``.

    Attributes:
        encode_ms: Until the query's vector was there, waiting for a turn included; next to nothing if it was cached.
        search_ms: Finding and ranking the routes.
        decide_ms: Holding the best ones against the limits.
        rerank_ms: Breaking a tie; next to nothing where there was none.
    """

    encode_ms: float
    search_ms: float
    decide_ms: float
    rerank_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What the best route had to reach, and who said so. Both None if nothing was asked.

    Attributes:
        value: A cosine score for a threshold, else a probability.
        source: "call" is an option of the call, "route" the route's own threshold, "router" the constructor's
            ``min_confidence``, "set" the operating point of ``set_operating_point``, "fit" that of ``fit``, "default"
            0.5.
    """

    value: float | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedLimits:
    """The limits that held for the best route."""

    threshold: Limit
    min_confidence: Limit
    min_margin: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and what made it.

    Attributes:
        decision: What ``route`` would have given. The rest tells of the full path even where the first stage decides.
        nearest: The utterances nearest to the query, of whichever routes were allowed, nearest first. Where the head
            decides, its first choice need not be the route of the nearest.
        limits: What the best route had to reach.
        decided_by: What ranked the best route: the learned "head", its "neighbours" alone (a route that is not learned
            yet), or the "two_stage" decision of a large table; "static" if the first stage decides; None without
            routes.
        cached: What ``route`` would have found in a cache: the "decision" or the "vector". An explanation decides anew.
        stages: Where the time went.
        revision: The revision of the route table that decided.
        tie: What the reranker made of the first routes, in the order it led to; empty where it was not asked or failed.
    """

    decision: Decision
    nearest: tuple[Neighbour, ...]
    limits: AppliedLimits
    decided_by: Part | None
    cached: Cached | None
    stages: Stages
    revision: int
    tie: tuple[Contender, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        return {
            "decision": self.decision.to_dict(),
            "nearest": [asdict(neighbour) for neighbour in self.nearest],
            "limits": asdict(self.limits),
            "decided_by": self.decided_by,
            "cached": self.cached,
            "stages": asdict(self.stages),
            "revision": self.revision,
            "tie": [asdict(each) | {"scored": [text._asdict() for text in each.scored]} for each in self.tie],
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Explaining:
    """One call that wants to be explained. Made when the call begins; it is decided with no other call together.

    Attributes:
        asked: How to decide.
        confidence_from: Who set ``asked.limits.min_confidence``; None if nobody did.
        cached: For each query, what was known of it beforehand.
        since_s: When the call began, by ``time.perf_counter``.
    """

    asked: Terms
    confidence_from: Source | None
    cached: tuple[Cached | None, ...]
    since_s: float = field(default_factory=time.perf_counter)

    def explained(
        self,
        table: RouteTable,
        texts: Sequence[str],
        vectors: Vectors,
        sure: Sequence[Decision | None] | None = None,
    ) -> list[Explanation]:
        """Decide queries one by one and keep what made each decision.

        Args:
            table: Decides all of them.
            texts: Queries (n).
            vectors: Their unit rows (n, dim).
            sure: What the table's first stage has decided of them, None where it was not sure; None without one.

        Raises:
            RouteNotFoundError: A name in ``allow`` is not a route.
        """
        encode_ms = 1e3 * (time.perf_counter() - self.since_s)
        allow = table.mask(self.asked.allow)
        firsts = sure if sure is not None else [None] * len(texts)
        return [
            self._explained(table, text, vectors[place : place + 1], allow, self.cached[place], encode_ms, first)
            for place, (text, first) in enumerate(zip(texts, firsts, strict=True))
        ]

    def _explained(
        self,
        table: RouteTable,
        text: str,
        vector: Vectors,
        allow: Mask | None,
        cached: Cached | None,
        encode_ms: float,
        first: Decision | None,
    ) -> Explanation:
        asked, times = self.asked, [time.perf_counter()]
        ranking = table.first_ranked([text], vector, top_k=asked.top_k, allow=allow, exact=asked.exact)
        times.append(time.perf_counter())
        ranking, said = table.untied(ranking, [text], vector)
        times.append(time.perf_counter())
        (decision,) = table.decisions(ranking, top_k=asked.top_k, limits=asked.limits)
        times.append(time.perf_counter())
        search_ms, rerank_ms, decide_ms = (1e3 * (after - before) for before, after in pairwise(times))
        best = int(ranking.owners[0, 0]) if ranking.owners.size else -1
        return Explanation(
            decision=first or decision,
            nearest=tuple(nearest(table, vector, allow, exact=asked.exact)),
            limits=self._limits(table, best),
            decided_by="static" if first else None if best < 0 else table.part_for(best),
            cached=cached,
            stages=Stages(encode_ms=encode_ms, search_ms=search_ms, decide_ms=decide_ms, rerank_ms=rerank_ms),
            revision=table.revision,
            tie=said.get(0, ()),
        )

    def _limits(self, table: RouteTable, best: int) -> AppliedLimits:
        own = None if best < 0 else table.catalog.threshold(best)
        asked = self.asked.limits
        applied = asked.for_route(own, table.operating_point)
        by_call = asked.threshold is not None
        confidence_from = self.confidence_from if asked.min_confidence is not None else table.operating_point_from
        return AppliedLimits(
            threshold=_limit(applied.threshold, "call" if by_call else "route"),
            min_confidence=_limit(applied.min_confidence, confidence_from),
            min_margin=_limit(applied.min_margin, "call"),
        )


def _limit(value: float | None, source: Source | None) -> Limit:
    return Limit(value=value, source=None if value is None else source)


def nearest(
    table: RouteTable, vector: Vectors, allow: Mask | None = None, *, k: int = NEAREST, exact: bool = False
) -> Iterator[Neighbour]:
    """The stored utterances nearest to a query, nearest first.

    The k nearest belong to the k nearest routes, so only theirs are compared one by one.

    Args:
        table: Whose utterances.
        vector: The query's unit row (1, dim).
        allow: Which slots; None for all.
        k: How many.
        exact: Compare with every utterance where a large table would approximate.
    """
    if not len(table.index):
        return
    slots = table.index.search(vector, min(k, len(table)), allow, exact=exact).owners[0].astype(np.int64)
    rows, places = table.index.members(slots)
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        scores[part] = table.index.vectors_of(rows[part]) @ vector[0]
    first = np.argsort(-scores, kind="stable")[:k]
    owners = slots[places[first]]
    positions = table.index.positions(owners[None, :], rows[first][None, :])[0]
    for slot, position, score in zip(owners.tolist(), positions.tolist(), scores[first].tolist(), strict=True):
        yield Neighbour(
            name=table.catalog.name(slot),
            utterance=table.catalog.utterance(slot, position),
            score=min(1.0, max(-1.0, score)),
        )
