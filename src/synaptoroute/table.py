"""RouteTable: everything one query needs, in one immutable snapshot; and how the next one is built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synaptoroute.blas import one_blas_thread
from synaptoroute.calibrating import Calibrating, Encode
from synaptoroute.catalog import RouteCatalog
from synaptoroute.decision.calibration import Calibration
from synaptoroute.decision.evidence import CANDIDATES
from synaptoroute.decision.lessons import effort_for
from synaptoroute.decision.policy import DEFAULT_MIN_CONFIDENCE, NO_LIMITS, Limits
from synaptoroute.decision.ranking import Ranking, by_model, by_neighbours, challenged
from synaptoroute.decision.tie import TieWeights
from synaptoroute.decision.two_stage import TwoStage
from synaptoroute.encoder.base import BaseEncoder, Vectors
from synaptoroute.first_answers import FirstAnswers
from synaptoroute.index import ExactIndex, SegmentedIndex
from synaptoroute.index.base import Mask
from synaptoroute.language.identify import spoken_in
from synaptoroute.learned import HeadNow, Learned, LearnedTable
from synaptoroute.models import Decision, Match, Reason, Route, Stage
from synaptoroute.rerank.breaker import TieBreaker
from synaptoroute.storage.base import Change, ChosenPoint, LabelledQueries, PutRoute, StoredTable
from synaptoroute.untying import Untied, Untier

Ints = NDArray[np.int64]

#: Above so many utterances, copying all vectors at each change (12 ms here) costs more than keeping what is new apart.
SEGMENTED_FROM = 20_000

#: What can rank a route: the learned head, its neighbours alone, the two stages of a large table, or the first stage.
Part = Literal["head", "neighbours", "two_stage", "static"]
PointSource = Literal["set", "fit", "default"]


def _suiting(index: ExactIndex | SegmentedIndex) -> ExactIndex | SegmentedIndex:
    """The same rows, in segments from where that pays."""
    if isinstance(index, ExactIndex) and len(index) > SEGMENTED_FROM:
        return SegmentedIndex(index.vectors, index.owners)
    return index


def _stages(ranking: Ranking) -> Iterable[Stage]:
    """What decided each query of a ranking."""
    if ranking.reranked is None:
        return [Stage.ENCODER] * len(ranking.owners)
    return [Stage.RERANKER if reranked else Stage.ENCODER for reranked in ranking.reranked.tolist()]


@dataclass(frozen=True, eq=False)
class RouteTable:
    """The routes of one revision, their rows in the index, and what was learned.

    A query takes a reference to one table and finds everything in it, so no change can tear its answer. Every route
    has a slot, the small number that owns its rows in the index; see ``RouteCatalog``.

    Attributes:
        revision: Number of the change that made it.
        catalog: The routes by name and by slot.
        index: One row an utterance, in the route's own order.
        encode: Gives the unit rows of texts; remembers those of the ``BACKGROUND`` sentences.
        labelled: What ``fit`` was given, with the operating point it chose.
        point: The operating point that somebody set, which comes before that of ``fit``; None if nobody has.
        two_stage: What was learned of a table that is too large for a head; None until there is one.
        breaker: Asks a reranker where the first routes are close; None without one.
        first_encoder: Gives the static vectors of a first stage; None for none.
    """

    revision: int
    catalog: RouteCatalog
    index: ExactIndex | SegmentedIndex
    encode: Encode
    labelled: LabelledQueries | None = None
    point: ChosenPoint | None = None
    two_stage: TwoStage | None = None
    breaker: TieBreaker | None = None
    first_encoder: BaseEncoder | None = None
    _head: HeadNow | None = None
    _calibrating: Calibrating = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_calibrating", Calibrating(len(self.index)))

    @classmethod
    def from_stored(
        cls,
        stored: StoredTable,
        encode: Encode,
        breaker: TieBreaker | None = None,
        first_encoder: BaseEncoder | None = None,
    ) -> RouteTable:
        """The table of what a store holds."""
        catalog = RouteCatalog.of(stored.routes)
        owners = np.repeat(np.arange(len(catalog), dtype=np.int32), catalog.counts)
        return cls(
            revision=stored.revision,
            catalog=catalog,
            index=_suiting(ExactIndex(stored.vectors, owners)),
            encode=encode,
            labelled=stored.labelled,
            point=stored.point,
            breaker=breaker,
            first_encoder=first_encoder,
        )

    # -------------------------------------------------------------------------------------------------- routes
    def __len__(self) -> int:
        return len(self.catalog)

    def __contains__(self, name: object) -> bool:
        return name in self.catalog

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes in the order they were added."""
        return tuple(self.catalog.routes())

    def get(self, name: str) -> Route:
        """The route of that name. Raises RouteNotFoundError."""
        return self.catalog.get(self.catalog.slot(name))

    def applied(self, changes: Sequence[Change], revision: int) -> RouteTable:
        """The table after the changes, which are those that were committed as ``revision``."""
        catalog = self.catalog.replaced(
            (change.route.name, change.route) if isinstance(change, PutRoute) else (change.name, None)
            for change in changes
        )
        dropped: set[str] = set()
        gone: set[int] = set()
        changed: dict[str, Route] = {}
        leaving: list[Ints] = []
        added: dict[str, tuple[tuple[str, ...], Vectors]] = {}
        for change in changes:
            name = change.route.name if isinstance(change, PutRoute) else change.name
            old = self.catalog.slot(name) if name in self.catalog and name not in dropped else None
            if not isinstance(change, PutRoute):
                dropped.add(name)
                added.pop(name, None)
                changed.pop(name, None)
                if old is not None:
                    gone.add(old)
                    leaving.append(self.index.rows_of(old))
                continue
            kept = set(change.route.utterances[: len(change.route.utterances) - len(change.added)])
            if old is not None:
                stays = np.array([text in kept for text in self.catalog.get(old).utterances], bool)
                leaving.append(self.index.rows_of(old)[~stays])
            texts, vectors = change.added, change.vectors
            if name in added:
                # Of what an earlier change of the same batch has added, this one may keep some.
                earlier, its_vectors = added[name]
                stays = np.array([text in kept for text in earlier], bool)
                texts = (*(text for text in earlier if text in kept), *texts)
                vectors = np.concatenate([its_vectors[stays], vectors])
            added[name] = texts, vectors
            if texts or (old is not None and len(leaving[-1])):
                changed[name] = change.route
        index = self.index
        if leaving:
            index = index.without(np.concatenate(leaving))
        if added:
            slots = [np.full(len(texts), catalog.slot(name), np.int32) for name, (texts, _) in added.items()]
            index = index.extended(np.concatenate([vectors for _, vectors in added.values()]), np.concatenate(slots))
        return self._with(
            revision=revision,
            catalog=catalog,
            index=_suiting(index),
            _head=self._head.after(gone, {catalog.slot(name): route for name, route in changed.items()})
            if self._head
            else None,
        )

    def _with(self, **changes: object) -> RouteTable:
        """A table with other parts, calibrated as this one unless it has become much larger or smaller."""
        table = replace(self, **changes)  # type: ignore[arg-type]
        if self._calibrating.suits(len(table.index)):
            object.__setattr__(table, "_calibrating", self._calibrating)
        return table

    def rebuilt(self, catalog: RouteCatalog, index: SegmentedIndex) -> RouteTable:
        """The same routes in other slots, with the same rows in another index."""
        return self._with(catalog=catalog, index=index).resuming(self)

    def resuming(self, former: RouteTable) -> RouteTable:
        """These routes, with what was learned from the former ones."""
        return self._with(
            labelled=former.labelled,
            point=former.point,
            two_stage=former.two_stage,
            _head=HeadNow.over(former.learned, self.catalog) if former.learned else None,
        )

    # ---------------------------------------------------------------------------------------------- learning
    @property
    def can_learn(self) -> bool:
        """Whether there are utterances, and not more than a head can learn from."""
        return effort_for(len(self.index), len(self)) is not None

    @cached_property
    def wants_first(self) -> bool:
        """Whether there is to be a first stage, and a head of this table reads n-grams as it does."""
        effort = effort_for(len(self.index), len(self))
        return self.first_encoder is not None and effort is not None and effort.reads_ngrams

    def vectors_by_route(self) -> tuple[Vectors, NDArray[np.int32]]:
        """The vectors of all utterances, route after route (n, dim), and the place of each one's route (n,)."""
        rows, places = self.index.members(self.catalog.used)
        return self.index.vectors_of(rows), places.astype(np.int32)

    def with_learned(self, learned: Learned | None) -> RouteTable:
        """The same routes, decided with what was learned from these or earlier ones."""
        # Not by ``_with``: what a settled table answers depends on its content alone, not on how it came about.
        if isinstance(learned, TwoStage):
            return replace(self, two_stage=learned, _head=None)
        return replace(self, two_stage=None, _head=HeadNow.over(learned, self.catalog) if learned else None)

    def with_labelled(self, labelled: LabelledQueries | None) -> RouteTable:
        """The same routes, with other labelled queries to learn from."""
        return self._with(labelled=labelled)

    def with_point(self, point: ChosenPoint | None) -> RouteTable:
        """The same routes, answering from the operating point that somebody set; None leaves that to ``fit``."""
        return self._with(point=point)

    @property
    def learned(self) -> LearnedTable | None:
        """The head and its gate, from these or earlier routes; None until there is one."""
        return self._head.learned if self._head else None

    @cached_property
    def fitted(self) -> bool:
        """Whether what was learned is up to date with utterances and labels, or there is nothing to learn."""
        if not len(self.index):
            return True
        if not self.can_learn:
            return self.two_stage is not None
        head = self._head
        if head is None or head.learned.labelled is not self.labelled:
            return False
        if self.breaker is not None and self.tie is None:
            return False
        if self.wants_first and head.learned.first is None:
            return False
        return not len(head.newcomers) and bool(head.usable.all())

    @property
    def tie(self) -> TieWeights | None:
        """What the scores of the table's own reranker are worth; None if there is none, or it is not learned yet."""
        tie = self.learned.tie if self.learned else None
        return tie if tie is not None and self.breaker and tie.fingerprint == self.breaker.fingerprint else None

    @property
    def calibration(self) -> Calibration:
        """For neighbours alone; learned from the utterances when a query first needs it."""
        return self._calibrating.get(self.index, self.encode)

    # ------------------------------------------------------------------------------------------------ deciding
    def decide(
        self,
        texts: Sequence[str],
        vectors: Vectors,
        *,
        top_k: int = 5,
        limits: Limits = NO_LIMITS,
        allow: Iterable[str] | None = None,
        exact: bool = False,
    ) -> list[Decision]:
        """Route encoded queries.

        Args:
            texts: Queries (n).
            vectors: Their unit rows (n, dim).
            top_k: How many matches each Decision lists, at least 1.
            limits: What the best route must reach.
            allow: Names of the only routes to consider; None considers all.
            exact: Compare with every row even where the index would approximate.

        Raises:
            RouteNotFoundError: A name in ``allow`` is not a route.
        """
        if not texts:
            return []
        ranking = self.ranked(texts, vectors, top_k=top_k, allow=self.mask(allow), exact=exact)
        return self.decisions(ranking, top_k=top_k, limits=limits)

    def decide_first(self, texts: Sequence[str], *, top_k: int, point: float) -> list[Decision | None] | None:
        """The decisions that the first stage is sure of, and None for the others; None if there is no such stage now.

        It has none while it is to be learned from what has changed. A query whose route has a threshold of its own is
        never among them.

        Args:
            texts: Queries.
            top_k: How many matches each Decision lists, at least 1.
            point: From which confidence a route is answered.
        """
        if (first := self._first) is None or first.least(point) > 1:
            return None
        with one_blas_thread():
            decisions = first.decide(texts, top_k=top_k, point=point, revision=self.revision)
        own = self._own_thresholds
        return [None if each is not None and each.name in own else each for each in decisions] if own else decisions

    def may_decide_first(self, point: float) -> bool:
        """Whether the first stage is learned, and may answer anything beside a full path that answers from there on."""
        return self._first is not None and self._first.least(point) <= 1

    @cached_property
    def _first(self) -> FirstAnswers | None:
        return self._head.learned.first if self._head is not None and self.fitted else None

    @cached_property
    def _own_thresholds(self) -> frozenset[str]:
        """Routes with a threshold of their own."""
        slots = self.catalog.used.tolist()
        return frozenset(self.catalog.name(slot) for slot in slots if self.catalog.threshold(slot) is not None)

    def ranked(self, texts: Sequence[str], vectors: Vectors, *, top_k: int, allow: Mask | None, exact: bool) -> Ranking:
        """The first half of ``decide``: which routes come first, at least two where there are."""
        return self.untied(self.first_ranked(texts, vectors, top_k=top_k, allow=allow, exact=exact), texts, vectors)[0]

    def first_ranked(
        self, texts: Sequence[str], vectors: Vectors, *, top_k: int, allow: Mask | None, exact: bool
    ) -> Ranking:
        """``ranked`` before anybody breaks ties."""
        # No more than there are: room is made for as many as are asked for.
        with one_blas_thread():
            return self.rank(texts, vectors, max(min(top_k, len(self)), 2), allow, exact=exact)

    def untied(self, ranking: Ranking, texts: Sequence[str], vectors: Vectors) -> Untied:
        """The ranking after its ties were broken, where there is a reranker that helps here."""
        tie = self.tie
        if self.breaker is None or tie is None or not tie.score:
            return Untied(ranking, {})
        return Untier(self.breaker, tie, self.index, self.catalog).untied(ranking, texts, vectors)

    def decisions(self, ranking: Ranking, *, top_k: int, limits: Limits) -> list[Decision]:
        """The second half of ``decide``: what of it passes, with the utterances that made it."""
        positions = self.index.positions(ranking.owners[:, :top_k], ranking.rows[:, :top_k])
        # Lists of Python numbers: taking them out of arrays one by one costs more than deciding.
        rows = zip(
            ranking.owners.tolist(),
            np.clip(ranking.scores, -1, 1).tolist(),
            ranking.confidences.tolist(),
            positions.tolist(),
            _stages(ranking),
            strict=True,
        )
        return [self._decision(*row, limits) for row in rows]

    def rank(
        self, texts: Sequence[str], vectors: Vectors, k: int, allow: Mask | None = None, *, exact: bool = False
    ) -> Ranking:
        """The k best routes of each query: by the head where it knows the route, by neighbours where not.

        Where there are too many routes for a head, in two stages.
        """
        head = self._head
        if head is None:
            if self.two_stage is None:
                return self._by_neighbours(vectors, k, allow, exact=exact)
            return self.two_stage.rank(self.index, vectors, k, allow, exact=exact)
        usable = head.usable if allow is None else head.usable & allow[head.owners]
        if not usable.any():
            return self._by_neighbours(vectors, k, allow, exact=exact)
        model = head.learned.model
        evidence = model.ask(self.index, head.owners, texts, vectors, candidates=max(k, CANDIDATES), allowed=usable)
        ranking = by_model(evidence, model.gate, head.owners)
        if model.languages is not None:
            spoken = spoken_in(texts, among=model.languages.among)
            ranking = replace(ranking, confidences=model.languages.brought(ranking.confidences, spoken))
        newcomers = self._newcomers(head, allow)
        if newcomers is not None:
            ranking = challenged(ranking, self._by_neighbours(vectors, k, newcomers, exact=exact), self.calibration)
        return ranking

    def _newcomers(self, head: HeadNow, allow: Mask | None) -> Mask | None:
        """Which slots hold allowed routes that the head does not know; None if there are none."""
        if not len(head.newcomers):
            return None
        mask = self._no_slots()
        mask[head.newcomers] = True
        if allow is not None:
            mask &= allow
        return mask if mask.any() else None

    def _by_neighbours(self, vectors: Vectors, k: int, allow: Mask | None, *, exact: bool) -> Ranking:
        nearest = self.index.search(vectors, k, allow, exact=exact)
        return by_neighbours(
            nearest.owners.astype(np.int64), nearest.scores.astype(np.float64), nearest.rows, self.calibration
        )

    def part_for(self, slot: int) -> Part:
        """Which part ranks the route in this slot."""
        head = self._head
        if head is None:
            return "neighbours" if self.two_stage is None else "two_stage"
        return "neighbours" if slot in head.newcomers else "head"

    def mask(self, names: Iterable[str] | None) -> Mask | None:
        """Which slots have one of these names. Raises RouteNotFoundError for a name that is not there."""
        if names is None:
            return None
        mask = self._no_slots()
        mask[[self.catalog.slot(name) for name in names]] = True
        return mask

    def _no_slots(self) -> Mask:
        """A mask over slots with none of them in it."""
        return np.zeros(self.catalog.slots, bool)

    def _decision(
        self,
        slots: list[int],
        scores: list[float],
        confidences: list[float],
        positions: list[int],
        stage: Stage,
        limits: Limits,
    ) -> Decision:
        """From a row of a ranking, best route first, and the place of each listed route's nearest utterance."""
        found = len(slots) - slots.count(-1)
        if not found:
            return self._no_routes()
        runner_up = confidences[1] if found > 1 else 0.0
        own_threshold = self.catalog.threshold(slots[0])
        reason = limits.for_route(own_threshold, self.operating_point).judge(scores[0], confidences[0], runner_up)
        matches = tuple(
            Match(
                name=self.catalog.name(slot),
                score=score,
                confidence=confidence,
                utterance=self.catalog.utterance(slot, position),
            )
            for slot, score, confidence, position in zip(
                slots[:found], scores, confidences, positions[:found], strict=False
            )
        )
        return Decision(
            name=matches[0].name if reason is Reason.MATCHED else None,
            score=scores[0],
            confidence=confidences[0],
            margin=confidences[0] - runner_up if found > 1 else None,
            matches=matches,
            reason=reason,
            revision=self.revision,
            stage=stage,
        )

    @property
    def operating_point(self) -> float:
        """From which confidence a route without a threshold is answered where the call does not say."""
        if self.point is not None:
            return self.point.min_confidence
        chosen = self.labelled.min_confidence if self.labelled else None
        return DEFAULT_MIN_CONFIDENCE if chosen is None else chosen

    @property
    def operating_point_from(self) -> PointSource:
        """Who chose the operating point: "set" is by ``set_operating_point``, "fit" by ``fit``."""
        if self.point is not None:
            return "set"
        return "fit" if self.labelled and self.labelled.min_confidence is not None else "default"

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
