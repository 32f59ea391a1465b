"""Ties among the first routes, broken by what a reranker says of their nearest utterances; and learning how."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synaptoroute.catalog import RouteCatalog
from synaptoroute.decision.gate import Gate
from synaptoroute.decision.head import Checkpoint, no_checkpoint
from synaptoroute.decision.lessons import Examples
from synaptoroute.decision.ranking import Ranking, shared_confidences
from synaptoroute.decision.tie import Choices, TieWeights, learned_weights
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import RerankerError
from synaptoroute.index import ExactIndex, SegmentedIndex
from synaptoroute.rerank.breaker import TieBreaker

Floats = NDArray[np.float64]
Slots = NDArray[np.int64]

#: Held-out ties that the reranker is asked about while learning; more would not move two weights. At 50 ms for a tie,
#: as a cross-encoder takes, this is a quarter of a minute in the background.
ASKED = 300
_SEED = 0


class ScoredText(NamedTuple):
    """An utterance that the reranker has scored."""

    utterance: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What the reranker made of one of the routes it was asked about.

    Attributes:
        name: The route.
        before: Its confidence without the reranker.
        after: And with it.
        scored: Its nearest utterances, nearest first, with the reranker's scores, which are on a scale of its own.
    """

    name: str
    before: float
    after: float
    scored: tuple[ScoredText, ...]


class Untied(NamedTuple):
    """A ranking after its ties were broken, and what was said of each query that was a tie, by its row."""

    ranking: Ranking
    said: dict[int, tuple[Contender, ...]]


class Untier:
    """Breaks the ties of one table.

    Args:
        breaker: Asks the reranker.
        weights: What its scores are worth in this table.
        index: The table's utterances.
        catalog: Their texts.
    """

    def __init__(
        self, breaker: TieBreaker, weights: TieWeights, index: ExactIndex | SegmentedIndex, catalog: RouteCatalog
    ) -> None:
        self._breaker, self._weights, self._index, self._catalog = breaker, weights, index, catalog

    def untied(self, ranking: Ranking, texts: Sequence[str], vectors: Vectors) -> Untied:
        """The ranking, with the first routes of each tie in the order and the confidences the reranker leads to.

        What the candidates of a query are believed together stays: whether it is in scope at all is not asked here. If
        the reranker fails on a query, its row stays as it is.

        Args:
            ranking: Of n queries.
            texts: The queries.
            vectors: Their unit rows (n, dim).
        """
        ties = np.flatnonzero(self._breaker.tie_break.ties(ranking.confidences)).tolist()
        if not ties:
            return Untied(ranking, {})
        owners, scores, rows = ranking.owners.copy(), ranking.scores.copy(), ranking.rows.copy()
        confidences, reranked = ranking.confidences.copy(), np.zeros(len(owners), bool)
        said = {}
        for tie in ties:
            count = min(self._breaker.tie_break.candidates, int((owners[tie] >= 0).sum()))
            began = time.perf_counter()
            nearest = self._nearest(owners[tie, :count], vectors[tie])
            try:
                found, by_text = self._breaker.scores(texts[tie], nearest)
            except RerankerError as exc:
                self._breaker.failed(time.perf_counter() - began, exc)
                continue
            before = confidences[tie, :count].copy()
            after = self._weights.shared(before, found)
            order = np.argsort(-after, kind="stable")
            said[tie] = tuple(
                Contender(
                    name=self._catalog.name(int(owners[tie, place])),
                    before=float(before[place]),
                    after=float(after[place]),
                    scored=tuple(map(ScoredText, nearest[place], by_text[place])),
                )
                for place in order.tolist()
            )
            for values in (owners, scores, rows):
                values[tie, :count] = values[tie, :count][order]
            confidences[tie, :count] = after[order]
            # A route that was not asked about stays behind those that were.
            confidences[tie] = np.minimum.accumulate(confidences[tie])
            reranked[tie] = True
            self._breaker.asked(time.perf_counter() - began, changed=bool(order[0]))
        return Untied(Ranking(owners, scores, rows, confidences, reranked), said)

    def _nearest(self, slots: Slots, vector: Vectors) -> list[tuple[str, ...]]:
        """The utterances of each slot that are nearest to the query, nearest first."""
        rows, places = self._index.members(slots)
        near = self._index.vectors_of(rows) @ vector
        nearest = []
        for place, slot in enumerate(slots.tolist()):
            own = np.flatnonzero(places == place)
            first = own[np.argsort(-near[own], kind="stable")[: self._breaker.tie_break.utterances]]
            at = self._index.positions(np.full((1, len(first)), slot), rows[first][None, :])[0]
            nearest.append(tuple(self._catalog.utterance(slot, position) for position in at.tolist()))
        return nearest


def learn_weights(
    breaker: TieBreaker,
    choices: Sequence[Choices],
    gate: Gate,
    examples: Examples,
    checkpoint: Checkpoint = no_checkpoint,
) -> TieWeights:
    """Ask the reranker about held-out utterances that would have been ties; deterministic.

    Args:
        breaker: Asks it.
        choices: What heads made of utterances they had not seen.
        gate: Says how far they are believed.
        examples: All utterances, from which each candidate's nearest are taken, but never the one that is asked.
        checkpoint: Called before each tie; whatever it raises ends this.

    Returns:
        The weights; marked as failed, and of no effect, if the reranker fails.
    """
    tie_break = breaker.tie_break
    width = tie_break.candidates
    found = []
    for each in choices:
        confidences = shared_confidences(gate, each.features, each.probabilities)
        found += [(each, int(row), confidences[row, :width]) for row in np.flatnonzero(tie_break.ties(confidences))]
    random = np.random.default_rng(_SEED)
    asked = [found[at] for at in sorted(random.permutation(len(found))[:ASKED].tolist())]
    confidences, scores = np.zeros((len(asked), width)), np.zeros((len(asked), width))
    right = np.full(len(asked), -1, np.int64)
    try:
        for row, (each, at, its) in enumerate(asked):
            checkpoint()
            columns = each.columns[at, : len(its)]
            nearest = _nearest_others(examples, columns, each.texts[at], each.vectors[at], tie_break.utterances)
            there = [place for place, texts in enumerate(nearest) if texts]
            confidences[row, there] = its[there]
            scores[row, there] = breaker.scores(each.texts[at], [nearest[place] for place in there])[0]
            places = np.flatnonzero(columns == each.expected[at])
            right[row] = places[0] if len(places) and places[0] in there else -1
    except RerankerError as exc:
        breaker.failed(0.0, exc)
        return TieWeights(fingerprint=breaker.fingerprint, failed=True)
    return learned_weights(breaker.fingerprint, confidences, scores, right)


def _nearest_others(
    examples: Examples, columns: Slots, text: str, vector: Vectors, count: int
) -> list[tuple[str, ...]]:
    """The nearest utterances of each column, without the text itself however it is typed."""
    nearest = []
    for column in columns.tolist():
        start, end = np.searchsorted(examples.columns, [column, column + 1]).tolist()
        order = np.argsort(-(examples.vectors[start:end] @ vector), kind="stable")[: count + 2].tolist()
        others = (examples.texts[start + at] for at in order)
        nearest.append(tuple(other for other in others if other.casefold() != text.casefold())[:count])
    return nearest
