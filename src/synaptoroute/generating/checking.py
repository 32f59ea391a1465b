"""Whether new utterances help, by queries that neither the routes nor the language model have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synaptoroute import planning
from synaptoroute.decision.head import Checkpoint
from synaptoroute.decision.policy import Limits
from synaptoroute.encoder.base import Vectors
from synaptoroute.generating.records import HeldOutCheck, Negative
from synaptoroute.generating.sides import Sides
from synaptoroute.holdout import without
from synaptoroute.models import is_picture
from synaptoroute.table import RouteTable
from synaptoroute.teaching import learn_head_from

#: A route with at least so many utterances has a third of them withheld.
WITHHELD_FROM = 3
#: With fewer queries the shares say little.
FEW = 20


@dataclass(frozen=True, slots=True)
class Withheld:
    """Utterances that the language model is not shown: for each its route and its text."""

    names: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, table: RouteTable, names: Sequence[str], seed: int) -> Withheld:
        """A third of the utterances of each of these routes; the same seed takes the same ones."""
        random = np.random.default_rng(seed)
        chosen: list[tuple[str, str]] = []
        for name in names:
            utterances = table.get(name).utterances
            if len(utterances) >= WITHHELD_FROM:
                at = sorted(random.permutation(len(utterances))[: len(utterances) // 3].tolist())
                chosen += [(name, utterances[place]) for place in at]
        return cls(tuple(name for name, _ in chosen), tuple(text for _, text in chosen))

    def shown(self, table: RouteTable, name: str, most: int, seed: int) -> tuple[str, ...]:
        """Utterances of the route that the language model may see, at most so many."""
        hidden = {text for route, text in zip(self.names, self.texts, strict=True) if route == name}
        texts = [text for text in table.get(name).utterances if text not in hidden and not is_picture(text)]
        random = np.random.default_rng(seed)
        at = sorted(random.permutation(len(texts))[:most].tolist())
        return tuple(texts[place] for place in at)


@dataclass(frozen=True, slots=True)
class Queries:
    """What is asked: texts, the route of each, and the routes that have not learned from them."""

    texts: Sequence[str]
    labels: Sequence[str | None]
    table: RouteTable
    source: str


def queries_of(
    table: RouteTable, withheld: Withheld, given: tuple[Sequence[str], Sequence[str | None]] | None
) -> Queries | None:
    """The caller's labelled queries, or else what was withheld; None if there is neither."""
    if given is not None:
        return Queries(given[0], given[1], table, "given")
    if not withheld.texts:
        return None
    return Queries(withheld.texts, withheld.names, without(table, withheld.names, withheld.texts), "withheld")


def check(
    queries: Queries,
    sides: Sides,
    limits: Limits,
    route: str,
    utterances: Sequence[str],
    negatives: Sequence[Negative],
    checkpoint: Checkpoint,
) -> HeldOutCheck:
    """Learn from the routes as they are, with the utterances, and with the negatives too; ask all of them the same."""
    vectors = sides.queries(queries.texts)
    adding: dict[str, list[str]] = {route: list(utterances)}
    tables = [queries.table, grown(queries.table, adding, sides)]
    if negatives:
        for negative in negatives:
            adding.setdefault(negative.route, []).append(negative.text)
        tables.append(grown(queries.table, adding, sides))
    shares = [_share_right(table, queries, vectors, limits, checkpoint) for table in tables]
    return HeldOutCheck(
        queries=len(queries.texts),
        before=shares[0],
        after=shares[1],
        with_negatives=shares[2] if negatives else None,
        source=queries.source,
    )


def grown(table: RouteTable, adding: Mapping[str, Sequence[str]], sides: Sides) -> RouteTable:
    """The table with more utterances."""
    routes = [table.get(name) for name, texts in adding.items() if texts]
    more = [route.replaced(utterances=(*route.utterances, *adding[route.name])) for route in routes]
    return table.applied(planning.puts(table, more, sides.utterances), table.revision)


def _share_right(
    table: RouteTable, queries: Queries, vectors: Vectors, limits: Limits, checkpoint: Checkpoint
) -> float:
    if table.can_learn:
        table = table.with_learned(learn_head_from(table, checkpoint, tie=table.tie))
    decisions = table.decide(queries.texts, vectors, limits=limits)
    right = [decision.name == label for decision, label in zip(decisions, queries.labels, strict=True)]
    return float(np.mean(right))
