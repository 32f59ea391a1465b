"""Utterances asked as if they were queries, each by routes that were learned without it.

What comes out says how the routes decide about texts like their own; it is a stand-in where nobody has labelled
queries, and kinder than those would be, for a route's utterances were mostly written by one hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synaptoroute.decision.head import Checkpoint, no_checkpoint
from synaptoroute.decision.policy import NO_LIMITS, Limits
from synaptoroute.models import Decision
from synaptoroute.storage.base import PutRoute
from synaptoroute.table import RouteTable
from synaptoroute.teaching import learn_head_from

#: A route's utterances are cut into so many parts, of which one is left out at a time; so many are asked in all.
PARTS, ASKED = 4, 1_000
#: In tables of more utterances than this only one part is left out: each is a training.
ALL_PARTS_UP_TO = 2_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One utterance, the route it belongs to, and what was decided without it."""

    route: str
    text: str
    decision: Decision

    @property
    def right(self) -> bool:
        """Whether its own route was chosen."""
        return self.decision.name == self.route


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutShares:
    """How utterances that were left out were decided.

    Attributes:
        asked: How many there were; a route's only utterance cannot be left out.
        right: Of these, how many got their own route.
        wrong: How many got another one.
        abstained: How many got none.
    """

    asked: int
    right: int
    wrong: int
    abstained: int

    @classmethod
    def of(cls, asked: Collection[Asked]) -> HeldOutShares:
        """Counts them."""
        right = sum(each.right for each in asked)
        abstained = sum(each.decision.name is None for each in asked)
        return cls(asked=len(asked), right=right, wrong=len(asked) - right - abstained, abstained=abstained)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        return {name: getattr(self, name) for name in self.__slots__}


def ask_held_out(
    table: RouteTable,
    *,
    routes: Collection[str] | None = None,
    limits: Limits = NO_LIMITS,
    checkpoint: Checkpoint = no_checkpoint,
) -> list[Asked]:
    """Leave out a quarter of each route's utterances at a time, learn from the rest and ask about the quarter.

    Takes four times as long as learning from the routes, or once as long for tables of more than 2,000 utterances, of
    which at most 1,000 are asked. The same table gives the same answer.

    Args:
        table: The routes. Labelled queries of ``fit`` are not used.
        routes: Names of the routes whose utterances are asked; all unless given.
        limits: What a query must reach.
        checkpoint: Called at every step of learning; whatever it raises ends it.
    """
    found: list[Asked] = []
    plain = table.with_labelled(None)
    for names, texts, rows in _parts(plain, routes):
        rest = without(plain, names, texts)
        if rest.can_learn:
            rest = rest.with_learned(learn_head_from(rest, checkpoint, tie=table.tie))
        decisions = rest.decide(texts, plain.index.vectors_of(rows), limits=limits)
        found += map(Asked, names, texts, decisions)
    return found


def by_route(asked: Collection[Asked]) -> Mapping[str, HeldOutShares]:
    """The counts of each route that was asked about."""
    groups: dict[str, list[Asked]] = defaultdict(list)
    for each in asked:
        groups[each.route].append(each)
    return {name: HeldOutShares.of(group) for name, group in groups.items()}


def without(table: RouteTable, names: Collection[str], texts: Collection[str]) -> RouteTable:
    """The table without these utterances: for each of the texts, the name of its route. A route must keep one."""
    none = np.empty((0, table.index.dim), np.float32)
    leaving: dict[str, set[str]] = defaultdict(set)
    for name, text in zip(names, texts, strict=True):
        leaving[name].add(text)
    puts = []
    for name, gone in leaving.items():
        route = table.get(name)
        kept = tuple(text for text in route.utterances if text not in gone)
        removed = tuple(text for text in route.utterances if text in gone)
        puts.append(PutRoute(route=route.replaced(utterances=kept), added=(), vectors=none, removed=removed))
    return table.applied(puts, table.revision)


def _parts(table: RouteTable, routes: Collection[str] | None) -> Iterator[tuple[list[str], list[str], Any]]:
    """Utterances to be left out at once: names of their routes, texts, and their rows in the index."""
    asked = [route for route in table.routes if len(route.utterances) > 1 and (routes is None or route.name in routes)]
    parts = PARTS if len(table.index) <= ALL_PARTS_UP_TO else 1
    for part in range(parts):
        chosen = [
            (route.name, at, text)
            for route in asked
            for at, text in enumerate(route.utterances)
            # A route of fewer utterances than parts loses one at a time.
            if (len(route.utterances) - 1 - at) % max(2, min(PARTS, len(route.utterances))) == part
        ]
        chosen = chosen[:: max(1, -(-len(chosen) * parts // ASKED))]
        if chosen:
            rows = [table.index.rows_of(table.catalog.slot(name))[at] for name, at, _ in chosen]
            yield [name for name, _, _ in chosen], [text for *_, text in chosen], np.array(rows, np.int64)
