"""What a table teaches: its routes and labelled queries as lessons, and the training on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synaptoroute.decision.background import BACKGROUND
from synaptoroute.decision.head import Checkpoint, no_checkpoint
from synaptoroute.decision.labelled import Queries, learn_labelled
from synaptoroute.decision.lessons import Examples, Lessons, Texts
from synaptoroute.decision.model import DecisionModel
from synaptoroute.decision.names import spoken, telling
from synaptoroute.decision.refusals import refusals
from synaptoroute.decision.tie import Choices, TieWeights
from synaptoroute.decision.two_stage import learn_two_stage
from synaptoroute.decision.unlabelled import learn
from synaptoroute.encoder.base import Vectors, encode_checked
from synaptoroute.first_answers import FirstAnswers
from synaptoroute.language.identify import often_spoken_in
from synaptoroute.learned import Learned, LearnedTable
from synaptoroute.storage.base import LabelledQueries
from synaptoroute.table import RouteTable
from synaptoroute.untying import learn_weights


def learn_from(table: RouteTable, checkpoint: Checkpoint = no_checkpoint) -> Learned | None:
    """Train on a table's utterances and labelled queries; None if there are no utterances.

    Takes seconds. Where there is too much for a head, the two stages are learned.

    Args:
        table: The routes.
        checkpoint: Called at every step; whatever it raises ends the training.
    """
    if not len(table.index):
        return None
    if not table.can_learn:
        return learn_two_stage(table.index, table.encode(BACKGROUND), checkpoint)
    return learn_head_from(table, checkpoint)


def learn_head_from(
    table: RouteTable, checkpoint: Checkpoint = no_checkpoint, *, tie: TieWeights | None = None
) -> LearnedTable:
    """``learn_from`` a table from which a head ``can_learn``.

    Args:
        table: The routes.
        checkpoint: See ``learn_from``.
        tie: What the reranker's scores are taken to be worth; None asks it.
    """
    lessons = lessons_of(table)
    first = first_lessons_of(table, lessons)
    held_out: list[Choices] = []
    model = learn(lessons, checkpoint, held_out, first=first)
    if table.breaker is not None and tie is None:
        tie = learn_weights(table.breaker, held_out, model.gate, lessons.examples, checkpoint)
    if table.labelled is not None:
        queries = queries_of(table, table.labelled)
        if queries.texts:
            twin = (first, first_queries_of(table, queries)) if first is not None else None
            model, _ = learn_labelled(model, lessons, queries, checkpoint, first=twin)
    return learned_from(table, model, tie)


def lessons_of(table: RouteTable) -> Lessons:
    """What there is to learn from but labelled queries; the column of a route is its place in ``table.routes``."""
    routes = table.routes
    vectors, columns = table.vectors_by_route()
    texts = [text for route in routes for text in route.utterances]
    names = tuple(spoken(route.name) for route in routes)
    named = table.encode(names)
    refused = tuple(refusals(texts))
    return Lessons(
        examples=Examples(texts, vectors, columns, len(routes)),
        outside=Texts([*BACKGROUND, *refused], np.concatenate([table.encode(BACKGROUND), table.encode(refused)])),
        names=Texts(names, named) if telling(named, vectors, columns) else None,
    )


def first_lessons_of(table: RouteTable, lessons: Lessons) -> Lessons | None:
    """The same lessons with static vectors, if there is to be a first stage and the table is not too large."""
    return lessons.seen_by(lambda texts: _static(table, texts)) if table.wants_first else None


def queries_of(table: RouteTable, labelled: LabelledQueries) -> Queries:
    """Labelled queries by column, without those whose route is gone."""
    column: dict[str | None, int] = {name: number for number, name in enumerate(table.catalog)}
    column[None] = -1
    at = np.array([row for row, label in enumerate(labelled.labels) if label in column], np.int64)
    columns = np.array([column[labelled.labels[row]] for row in at], np.int32)
    texts = [labelled.texts[row] for row in at]
    return Queries(texts, labelled.vectors[at], columns, often_spoken_in(texts))


def first_queries_of(table: RouteTable, queries: Queries) -> Queries:
    """The same queries with static vectors; only where there is to be a first stage."""
    return queries.seen_by(lambda texts: _static(table, texts))


def learned_from(table: RouteTable, model: DecisionModel, tie: TieWeights | None = None) -> LearnedTable:
    """A model that was trained on just this table, and what a reranker's scores are worth in it."""
    utterances = {route.name: route.utterances for route in table.catalog.routes()}
    first = None
    if table.first_encoder is not None and model.first is not None:
        first = FirstAnswers.of(table.first_encoder, model, utterances)
    return LearnedTable(model=model, utterances=utterances, labelled=table.labelled, tie=tie, first=first)


def _static(table: RouteTable, texts: Sequence[str]) -> Vectors:
    assert table.first_encoder is not None  # noqa: S101 - the caller asked
    return encode_checked(table.first_encoder, texts)
