"""Held-out queries decided as things are, and as they would be.

None of them is one that the deciding routes have learned from: labelled queries of ``fit`` are decided by the head and
gate of the fold that had not seen them, other feedback was never learned, and utterances are only taken where there is
little else, by routes that were learned without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from synaptoroute import planning
from synaptoroute.calibrating import Encode
from synaptoroute.corrections.options import Idea, edited
from synaptoroute.corrections.records import Check
from synaptoroute.corrections.rows import digest_of
from synaptoroute.decision.head import Checkpoint
from synaptoroute.decision.labelled import HeldOut, learn_labelled
from synaptoroute.decision.policy import Limits
from synaptoroute.decision.unlabelled import learn
from synaptoroute.encoder.base import Vectors
from synaptoroute.holdout import without
from synaptoroute.models import Decision, Reason
from synaptoroute.storage.base import Change, ChosenPoint, LabelledQueries
from synaptoroute.table import RouteTable
from synaptoroute.teaching import learn_head_from, learned_from, lessons_of, queries_of

#: With fewer checks than this from labelled queries and feedback, utterances are left out and asked too.
ENOUGH = 20
#: A route's utterances are cut into so many parts, of which one is left out at a time; so many utterances in all.
_PARTS, _LEFT_OUT = 4, 1_000
#: So many parts are left out in turn, in tables of up to so many utterances; in larger ones, one. Each is a training.
_TIMES, _TIMES_UP_TO = 2, 2_000
#: Of an operating point that is only tried.
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Fold:
    """Utterances that are left out at once: of which routes, and their unit rows (n, dim)."""

    names: tuple[str, ...]
    texts: tuple[str, ...]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class _World:
    """A table with what has been learned of it, and the outcomes of ``fit``'s queries; and the same without each fold.

    Attributes:
        table: Decides the text of the feedback, and other feedback.
        held_out: Of the labelled queries; None where none were learned from.
        without: One table for each fold.
    """

    table: RouteTable
    held_out: HeldOut | None
    without: tuple[RouteTable, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """What was decided: for each check the route, or None for none; and for the text of the feedback."""

    names: tuple[str | None, ...]
    decision: Decision


class Replay:
    """Decides the same queries again and again. One thread at a time.

    Args:
        table: The routes as they are.
        encode: Utterances to unit rows.
        encode_queries: Queries to unit rows.
        limits: What a query must reach that asks for nothing.
        text: Of the feedback; never a check.
        others: Other feedback: texts and the routes they belong to.
        touched: Routes that an idea would change.
        strays: Utterances that an idea would remove or move.
        checkpoint: Called at every step of learning; whatever it raises ends the replay.
    """

    def __init__(
        self,
        table: RouteTable,
        encode: Encode,
        encode_queries: Encode,
        limits: Limits,
        *,
        text: str,
        others: Sequence[tuple[str, str | None]],
        touched: Iterable[str],
        strays: Iterable[str],
        checkpoint: Checkpoint,
    ) -> None:
        self._encode, self._limits, self._checkpoint = encode, limits, checkpoint
        self._target = text, encode_queries((text,))
        stored = {digest_of(utterance) for route in table.routes for utterance in route.utterances}
        left_out = {digest_of(text), *map(digest_of, strays)}
        labelled = table.labelled
        rows = [] if labelled is None else _usable(table, labelled, left_out | stored)
        self._fit_rows = np.array(rows, np.int64)
        seen = left_out | stored
        if labelled is not None:
            seen |= {digest_of(each) for each in labelled.texts}
        known = [(each, label) for each, label in others if label is None or label in table]
        self._others = tuple((each, label) for each, label in known if digest_of(each) not in seen)
        self._other_vectors = encode_queries(tuple(each for each, _ in self._others))
        few = len(rows) + len(self._others) < ENOUGH
        self._folds = tuple(_folds(table, set(touched), left_out)) if few else ()
        fit_checks = [] if labelled is None else [(labelled.texts[row], labelled.labels[row]) for row in rows]
        #: What is decided, in order.
        self.checks: tuple[Check, ...] = (
            *(Check(text=each, expected=label, origin="fit") for each, label in fit_checks),
            *(Check(text=each, expected=label, origin="feedback") for each, label in self._others),
            *(
                Check(text=each, expected=name, origin="utterance")
                for fold in self._folds
                for name, each in zip(fold.names, fold.texts, strict=True)
            ),
        )
        self._now = self._world(table)

    def before(self) -> Answers:
        """As things are."""
        return self._answers(self._now)

    def after(self, idea: Idea) -> Answers:
        """As they would be."""
        if idea.key == "nothing":
            return self.before()
        now = self._now
        changes = self._changes(now.table, idea)
        if idea.teaches:
            # Learned anew, but where there is too much for a head: two stages belong to no utterances in particular.
            return self._answers(self._world(now.table.applied(changes, now.table.revision)))
        tables = (_as(each, self._changes(each, idea), idea.min_confidence) for each in (now.table, *now.without))
        table, *without = tables
        return self._answers(_World(table, now.held_out, tuple(without)))

    def _changes(self, table: RouteTable, idea: Idea) -> list[Change]:
        return planning.puts(table, edited(table, idea.edits), lambda texts: self._encode(tuple(texts)))

    # --------------------------------------------------------------------------------------------------- learning
    def _world(self, table: RouteTable) -> _World:
        learned, held_out = self._learned(table)
        parts = (without(table, fold.names, fold.texts) for fold in self._folds)
        others = tuple(self._learned(part, labelled=False)[0] for part in parts)
        return _World(learned, held_out, others)

    def _learned(self, table: RouteTable, *, labelled: bool = True) -> tuple[RouteTable, HeldOut | None]:
        """The table with all that can be learned of it, and what was held out while it was learned."""
        if not table.can_learn:
            return table, None
        queries = queries_of(table, table.labelled) if labelled and table.labelled is not None else None
        if queries is None or not queries.texts:
            # What a reranker's scores are worth hardly moves with one correction, and asking takes long.
            learned = None if table.fitted else learn_head_from(table, self._checkpoint, tie=table.tie)
            return (table.with_learned(learned) if learned else table), None
        lessons = lessons_of(table)
        model, held_out = learn_labelled(learn(lessons, self._checkpoint), lessons, queries, self._checkpoint)
        return table.with_learned(learned_from(table, model, table.tie)), held_out

    # --------------------------------------------------------------------------------------------------- deciding
    def _answers(self, world: _World) -> Answers:
        (decision,) = self._decide(world.table, [self._target[0]], self._target[1])
        names = [*self._of_fit(world)]
        if self._others:
            decided = self._decide(world.table, [each for each, _ in self._others], self._other_vectors)
            names += [each.name for each in decided]
        for fold, table in zip(self._folds, world.without, strict=True):
            names += [each.name for each in self._decide(table, fold.texts, fold.vectors)]
        return Answers(tuple(names), decision)

    def _decide(self, table: RouteTable, texts: Sequence[str], vectors: Vectors) -> list[Decision]:
        return table.decide(texts, vectors, limits=self._limits)

    def _of_fit(self, world: _World) -> list[str | None]:
        """What is decided for the labelled queries by what had not seen them."""
        table, labelled = world.table, world.table.labelled
        if labelled is None or not len(self._fit_rows):
            return []
        texts, vectors = [labelled.texts[row] for row in self._fit_rows], labelled.vectors[self._fit_rows]
        if world.held_out is None:
            return [each.name for each in self._decide(table, texts, vectors)]
        at = _places(table, labelled)[self._fit_rows]
        slots = table.catalog.used[world.held_out.columns[at]]
        scores = table.index.neighbours(vectors, slots[:, None]).first[:, 0]
        judged = zip(slots.tolist(), scores.tolist(), world.held_out.confidences[at].tolist(), strict=True)
        return [_judged(table, self._limits, *each) for each in judged]


def _judged(table: RouteTable, limits: Limits, slot: int, score: float, confidence: float) -> str | None:
    applied = limits.for_route(table.catalog.threshold(slot), table.operating_point)
    return table.catalog.name(slot) if applied.judge(score, confidence) is Reason.MATCHED else None


def _as(table: RouteTable, changes: Sequence[Change], min_confidence: float | None) -> RouteTable:
    """The table with other limits, and all that was learned."""
    if changes:
        table = table.applied(changes, table.revision)
    if min_confidence is None:
        return table
    return table.with_point(ChosenPoint(min_confidence=min_confidence, actor=None, at=_NO_TIME))


def _usable(table: RouteTable, labelled: LabelledQueries, left_out: set[str]) -> list[int]:
    """The rows of labelled queries that can be checked."""
    return [
        row
        for row, (text, label) in enumerate(zip(labelled.texts, labelled.labels, strict=True))
        if (label is None or label in table) and digest_of(text) not in left_out
    ]


def _places(table: RouteTable, labelled: LabelledQueries) -> np.ndarray:
    """Where each labelled query is among ``table.queries`` (q,); any number where its route is gone."""
    there = np.array([label is None or label in table for label in labelled.labels], bool)
    return np.cumsum(there) - 1


def _folds(table: RouteTable, touched: set[str], left_out: set[str]) -> Iterator[_Fold]:
    """Utterances to be left out at once: a quarter of each route's, and in small tables then another quarter.

    A route keeps one at least, also where an idea removes one.
    """
    routes = [route for route in table.routes if len(route.utterances) > (2 if route.name in touched else 1)]
    for time in range(_TIMES if len(table.index) <= _TIMES_UP_TO else 1):
        chosen = [
            (route.name, at, text)
            for route in routes
            for at, text in enumerate(route.utterances)
            if (len(route.utterances) - 1 - at) % _PARTS == time and digest_of(text) not in left_out
        ]
        chosen = chosen[:: max(1, -(-len(chosen) // _LEFT_OUT))]
        if chosen:
            rows = [table.index.rows_of(table.catalog.slot(name))[at] for name, at, _ in chosen]
            yield _Fold(
                tuple(name for name, _, _ in chosen),
                tuple(text for *_, text in chosen),
                table.index.vectors_of(np.array(rows, np.int64)),
            )
