"""RouteTable: everything one query needs, in one immutable snapshot; and how the next one is built."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.background import BACKGROUND
from synaptoroute.decision.calibration import Calibration, calibrate
from synaptoroute.decision.evidence import CANDIDATES
from synaptoroute.decision.head import Checkpoint, no_checkpoint
from synaptoroute.decision.labelled import Queries, learn_labelled
from synaptoroute.decision.model import DecisionModel, Examples, Outside, can_learn, learn
from synaptoroute.decision.policy import DEFAULT_MIN_CONFIDENCE, NO_LIMITS, Limits
from synaptoroute.decision.ranking import Ranking, by_model, by_neighbours, challenged
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderError, RouteNotFoundError
from synaptoroute.index import ExactIndex
from synaptoroute.index.base import Mask
from synaptoroute.models import Decision, Match, Reason, Route
from synaptoroute.storage.base import Change, LabelledQueries, PutRoute, StoredTable

Ints = NDArray[np.int64]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedTable:
    """What was learned from a table.

    Attributes:
        model: Its columns are the routes of ``utterances``, in order.
        utterances: Route name -> the utterances it had then. A route that has others now is new to the model.
        labelled: The labelled queries it was trained on.
    """

    model: DecisionModel
    utterances: Mapping[str, tuple[str, ...]]
    labelled: LabelledQueries | None = None


@dataclass(frozen=True)
class RouteTable:
    """The routes of one revision, their rows in the index, and the calibration.

    A query takes a reference to one table and finds everything in it, so no change can tear its answer. Every route
    has a slot, the small number that owns its rows in the index; slots of dropped routes are used again.

    Attributes:
        revision: Number of the change that made it.
        slots: Route name -> slot, in the order the routes were added.
        by_slot: Slot -> route.
        index: One row an utterance, in the route's own order.
        background: Gives the unit rows of the ``BACKGROUND`` sentences.
        labelled: What ``fit`` was given, with the operating point it chose.
        learned: The head and its gate, from these or earlier routes; None until there is one.
    """

    revision: int
    slots: MappingProxyType[str, int]
    by_slot: MappingProxyType[int, Route]
    index: ExactIndex
    background: Callable[[], Vectors]
    labelled: LabelledQueries | None = None
    learned: LearnedTable | None = None

    @classmethod
    def from_stored(cls, stored: StoredTable, background: Callable[[], Vectors]) -> RouteTable:
        """The table of what a store holds."""
        counts = [len(route.utterances) for route in stored.routes]
        owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        return cls(
            revision=stored.revision,
            slots=MappingProxyType({route.name: slot for slot, route in enumerate(stored.routes)}),
            by_slot=MappingProxyType(dict(enumerate(stored.routes))),
            index=ExactIndex(stored.vectors, owners),
            background=background,
            labelled=stored.labelled,
        )

    # -------------------------------------------------------------------------------------------------- routes
    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes in the order they were added."""
        return tuple(self.by_slot[slot] for slot in self.slots.values())

    def get(self, name: str) -> Route:
        """The route of that name. Raises RouteNotFoundError."""
        if name not in self.slots:
            raise RouteNotFoundError(f"there is no route {name!r}")
        return self.by_slot[self.slots[name]]

    def applied(self, changes: Sequence[Change], revision: int) -> RouteTable:
        """The table after the changes, which are those that were committed as ``revision``."""
        slots, by_slot = dict(self.slots), dict(self.by_slot)
        free = iter(sorted(set(range(len(slots) + len(changes))) - set(by_slot)))
        gone: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        owners: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []
        vectors: list[Vectors] = []
        for change in changes:
            if isinstance(change, PutRoute):
                name = change.route.name
                slot = slots[name] if name in slots else next(free)
                if change.removed:
                    stored = by_slot[slot].utterances
                    leaving = set(change.removed)
                    rows = self.index.rows_of(slot)
                    gone.append(rows[[text in leaving for text in stored]])
                slots[name], by_slot[slot] = slot, change.route
                owners.append(np.full(len(change.added), slot, np.int32))
                vectors.append(change.vectors)
            else:
                slot = slots.pop(change.name)
                del by_slot[slot]
                gone.append(self.index.rows_of(slot))
        index = self.index
        if gone:
            index = index.without(np.concatenate(gone))
        if vectors:
            index = index.extended(np.concatenate(vectors), np.concatenate(owners))
        return replace(
            self,
            revision=revision,
            slots=MappingProxyType(slots),
            by_slot=MappingProxyType(by_slot),
            index=index,
        )

    # ---------------------------------------------------------------------------------------------- learning
    def learn(self, checkpoint: Checkpoint = no_checkpoint) -> LearnedTable | None:
        """Train on this table's utterances and labelled queries; None if there are no utterances, or too many.

        Takes seconds.

        Args:
            checkpoint: Called at every step; whatever it raises ends the training.
        """
        if not can_learn(len(self.index), len(self.slots)):
            return None
        examples, outside = self.examples(), self.outside()
        model = learn(examples, outside, checkpoint)
        if self.labelled is not None:
            queries = self.queries(self.labelled)
            if queries.texts:
                model, _ = learn_labelled(model, examples, outside, queries, checkpoint)
        return self.learned_with(model)

    def examples(self) -> Examples:
        """The utterances as examples; the column of a route is its place in ``routes``."""
        routes = self.routes
        rows = [self.index.rows_of(slot) for slot in self.slots.values()]
        columns = np.repeat(np.arange(len(routes), dtype=np.int32), [len(part) for part in rows])
        texts = [text for route in routes for text in route.utterances]
        return Examples(texts, self.index.vectors_of(np.concatenate(rows)), columns, len(routes))

    def outside(self) -> Outside:
        """The background sentences."""
        return Outside(BACKGROUND, self.background())

    def queries(self, labelled: LabelledQueries) -> Queries:
        """Labelled queries by column, without those whose route is gone."""
        column: dict[str | None, int] = {name: number for number, name in enumerate(self.slots)}
        column[None] = -1
        at = np.array([row for row, label in enumerate(labelled.labels) if label in column], np.int64)
        columns = np.array([column[labelled.labels[row]] for row in at], np.int32)
        return Queries([labelled.texts[row] for row in at], labelled.vectors[at], columns)

    def learned_with(self, model: DecisionModel) -> LearnedTable:
        """A model that was trained on just this table."""
        return LearnedTable(model=model, utterances=self._utterances, labelled=self.labelled)

    def with_learned(self, learned: LearnedTable | None) -> RouteTable:
        """The same routes, decided with what was learned from these or earlier ones."""
        return replace(self, learned=learned)

    def with_labelled(self, labelled: LabelledQueries | None) -> RouteTable:
        """The same routes, with other labelled queries to learn from."""
        return replace(self, labelled=labelled)

    @cached_property
    def fitted(self) -> bool:
        """Whether what was learned is from just these utterances and labels, or nothing can be learned from them."""
        if self.learned is None:
            return not can_learn(len(self.index), len(self.slots))
        same_labels = self.learned.labelled is self.labelled
        return same_labels and self.learned.utterances == self._utterances

    @property
    def _utterances(self) -> dict[str, tuple[str, ...]]:
        return {name: self.by_slot[slot].utterances for name, slot in self.slots.items()}

    @cached_property
    def calibration(self) -> Calibration:
        """For neighbours alone; learned from the utterances when a query first needs it."""
        try:
            background = self.background()
        except EncoderError:
            # A query that could be encoded shall not fail because other sentences, just now, could not.
            logger.warning("the background sentences could not be encoded; calibrating without them")
            background = np.empty((0, self.index.dim), np.float32)
        return calibrate(self.index.vectors, self.index.owners, background)

    @cached_property
    def _known(self) -> tuple[Ints, Ints, Mask]:
        """Owner and group of each column of the head, -1 where its route is gone or changed; and who is new to it."""
        learned = self.learned.utterances if self.learned else {}
        new = self._no_slots()
        for name, slot in self.slots.items():
            new[slot] = learned.get(name) != self.by_slot[slot].utterances
        owners = np.array([self.slots.get(name, -1) for name in learned], np.int64)
        owners[owners >= 0] = np.where(new[owners[owners >= 0]], -1, owners[owners >= 0])
        groups = np.where(owners >= 0, np.searchsorted(self.index.present, owners), -1)
        return owners, groups, new

    # ------------------------------------------------------------------------------------------------ deciding
    def decide(
        self,
        texts: Sequence[str],
        vectors: Vectors,
        *,
        top_k: int = 5,
        limits: Limits = NO_LIMITS,
        allow: Iterable[str] | None = None,
    ) -> list[Decision]:
        """Route encoded queries.

        Args:
            texts: Queries (n).
            vectors: Their unit rows (n, dim).
            top_k: How many matches each Decision lists, at least 1.
            limits: What the best route must reach.
            allow: Names of the only routes to consider; None considers all.

        Raises:
            RouteNotFoundError: A name in ``allow`` is not a route.
        """
        if not texts:
            return []
        ranking = self.rank(texts, vectors, max(top_k, 2), self._mask(allow))
        return [
            self._decision(ranking, query, top_k, limits) if ranking.owners[query, 0] >= 0 else self._no_routes()
            for query in range(len(texts))
        ]

    def rank(self, texts: Sequence[str], vectors: Vectors, k: int, allow: Mask | None = None) -> Ranking:
        """The k best routes of each query, by the head where it knows the route and by neighbours where not."""
        owners, groups, new = self._known
        usable = groups >= 0
        if allow is not None:
            usable[usable] = allow[owners[usable]]
        if self.learned is None or not usable.any():
            return self._by_neighbours(vectors, k, allow)
        model = self.learned.model
        evidence = model.ask(self.index.grouped, groups, texts, vectors, candidates=max(k, CANDIDATES), allowed=usable)
        ranking = by_model(evidence, model.gate, owners)
        newcomers = new if allow is None else new & allow
        if newcomers.any():
            ranking = challenged(ranking, self._by_neighbours(vectors, k, newcomers), self.calibration)
        return ranking

    def _by_neighbours(self, vectors: Vectors, k: int, allow: Mask | None) -> Ranking:
        nearest = self.index.search(vectors, k, allow)
        return by_neighbours(
            nearest.owners.astype(np.int64), nearest.scores.astype(np.float64), nearest.rows, self.calibration
        )

    def _mask(self, names: Iterable[str] | None) -> Mask | None:
        """Which slots have one of these names. Raises RouteNotFoundError for a name that is not there."""
        if names is None:
            return None
        mask = self._no_slots()
        for name in names:
            self.get(name)
            mask[self.slots[name]] = True
        return mask

    def _no_slots(self) -> Mask:
        """A mask over slots with none of them in it."""
        return np.zeros(max(self.by_slot, default=-1) + 1, bool)

    def _decision(self, ranking: Ranking, query: int, top_k: int, limits: Limits) -> Decision:
        found = int((ranking.owners[query] >= 0).sum())
        matches = tuple(self._match(ranking, query, place) for place in range(min(found, top_k)))
        best = matches[0]
        runner_up = float(ranking.confidences[query, 1]) if found > 1 else 0.0
        own_threshold = self.by_slot[int(ranking.owners[query, 0])].threshold
        reason = limits.for_route(own_threshold, self._operating_point).judge(best.score, best.confidence, runner_up)
        return Decision(
            name=best.name if reason is Reason.MATCHED else None,
            score=best.score,
            confidence=best.confidence,
            margin=best.confidence - runner_up if found > 1 else None,
            matches=matches,
            reason=reason,
            revision=self.revision,
        )

    @property
    def _operating_point(self) -> float:
        chosen = self.labelled.min_confidence if self.labelled else None
        return DEFAULT_MIN_CONFIDENCE if chosen is None else chosen

    def _match(self, ranking: Ranking, query: int, place: int) -> Match:
        slot, row = int(ranking.owners[query, place]), int(ranking.rows[query, place])
        route = self.by_slot[slot]
        return Match(
            name=route.name,
            score=float(np.clip(ranking.scores[query, place], -1, 1)),
            confidence=float(ranking.confidences[query, place]),
            utterance=route.utterances[row - int(self.index.rows_of(slot)[0])],
        )

    def _no_routes(self) -> Decision:
        return Decision(
            name=None,
            score=None,
            confidence=0.0,
            margin=None,
            matches=(),
            reason=Reason.NO_ROUTES,
            revision=self.revision,
        )
