"""Learning from labelled queries on top of the utterances: nothing is judged by a model that has seen it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synaptoroute.cli.demo import demo_queries, demo_routes
from synaptoroute.decision import labelled as module
from synaptoroute.decision import lessons as lessons_module
from synaptoroute.decision.background import BACKGROUND
from synaptoroute.decision.head import Head, train_head
from synaptoroute.decision.kernel import train_kernel
from synaptoroute.decision.labelled import FOLDS, HeldOut, Queries, as_it_is, learn_labelled
from synaptoroute.decision.lessons import EFFORTS, Examples, Lessons, Texts
from synaptoroute.decision.model import DecisionModel
from synaptoroute.decision.unlabelled import learn
from synaptoroute.encoder import BundledEncoder

Taught = tuple[Lessons, Queries, DecisionModel]


@pytest.fixture(scope="module")
def taught(encoder: BundledEncoder) -> Taught:
    """Lessons of four routes, labelled queries for these and for none, and what the lessons alone teach."""
    routes = demo_routes()[:4]
    texts = [text for route in routes for text in route.utterances]
    columns = np.repeat(np.arange(4, dtype=np.int32), [len(route.utterances) for route in routes])
    names = [route.name for route in routes]
    lessons = Lessons(
        Examples(texts, encoder.encode(texts), columns, 4), Texts(BACKGROUND[::4], encoder.encode(BACKGROUND[::4]))
    )
    asked = [(text, name) for text, name in demo_queries() if not name or name in names]
    labels = np.array([names.index(name) if name else -1 for _, name in asked], np.int32)
    queries = Queries([text for text, _ in asked], encoder.encode([text for text, _ in asked]), labels)
    return lessons, queries, learn(lessons)


def test_no_query_is_judged_by_a_head_that_was_trained_on_it(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> None:
    lessons, queries, base = taught
    trained: list[tuple[Head, set[str]]] = []
    asked: list[str] = []

    def training(texts: Sequence[str], *arguments: Any, **options: Any) -> Head:
        head = train_head(texts, *arguments, **options)
        trained.append((head, set(texts)))
        return head

    ask = DecisionModel.ask

    def asking(model: DecisionModel, stored: Any, groups: Any, texts: Sequence[str], *more: Any, **options: Any) -> Any:
        known = next(texts for head, texts in trained if head is model.head)
        assert not known & set(texts)
        assert set(lessons.examples.texts) <= known
        asked.extend(texts)
        return ask(model, stored, groups, texts, *more, **options)

    monkeypatch.setattr(module, "train_head", training)
    monkeypatch.setattr(DecisionModel, "ask", asking)
    model, held_out = learn_labelled(base, lessons, queries)
    assert sorted(asked) == sorted(queries.texts)
    assert len(trained) == FOLDS + 1
    assert set(queries.texts) <= next(texts for head, texts in trained if head is model.head)
    assert held_out.columns.shape == held_out.confidences.shape == (len(queries.texts),)


def test_learning_twice_gives_the_same(taught: Taught) -> None:
    lessons, queries, base = taught
    (first, one), (again, other) = (learn_labelled(base, lessons, queries) for _ in range(2))
    np.testing.assert_array_equal(one.columns, other.columns)
    np.testing.assert_array_equal(one.confidences, other.confidences)
    np.testing.assert_array_equal(first.head.vector_weights, again.head.vector_weights)
    np.testing.assert_array_equal(first.gate.in_scope, again.gate.in_scope)


def test_what_is_taught_is_known_and_the_base_stays_as_it_was(taught: Taught) -> None:
    lessons, queries, base = taught
    before = as_it_is(base, lessons.examples, queries)
    model, held_out = learn_labelled(base, lessons, queries)
    after = as_it_is(model, lessons.examples, queries)
    assert after.accuracy(queries.columns) >= held_out.accuracy(queries.columns)
    assert after.accuracy(queries.columns) > before.accuracy(queries.columns)
    np.testing.assert_array_equal(as_it_is(base, lessons.examples, queries).confidences, before.confidences)


def test_without_queries_out_of_scope_the_judgement_of_scope_stays(taught: Taught) -> None:
    lessons, queries, base = taught
    inside = queries.part(np.flatnonzero(queries.columns >= 0))
    model, _ = learn_labelled(base, lessons, inside)
    np.testing.assert_array_equal(model.gate.in_scope, base.gate.in_scope)
    assert not np.array_equal(model.gate.right_route, base.gate.right_route)
    moved, _ = learn_labelled(base, lessons, queries)
    assert not np.array_equal(moved.gate.in_scope, base.gate.in_scope)


def test_a_kernel_is_kept_as_the_utterances_taught_it(taught: Taught) -> None:
    lessons, queries, base = taught
    examples = lessons.examples
    kernel = train_kernel(examples.vectors, examples.columns, examples.routes)
    model, held_out = learn_labelled(replace(base, kernel=kernel), lessons, queries)
    assert model.kernel is kernel
    plain = learn_labelled(replace(base, kernel=None), lessons, queries)[1]
    assert not np.array_equal(held_out.confidences, plain.confidences)


def test_a_head_that_reads_no_n_grams_learns_from_queries_too(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> None:
    lessons, queries, _ = taught
    monkeypatch.setattr(lessons_module, "EFFORTS", EFFORTS[-1:])
    base = learn(lessons)
    model, _ = learn_labelled(base, lessons, queries)
    assert (len(model.head.ngram_weights), len(model.head.idf)) == (0, 0)
    before, after = (as_it_is(each, lessons.examples, queries).accuracy(queries.columns) for each in (base, model))
    assert after > before


def test_a_checkpoint_that_raises_ends_it(taught: Taught) -> None:
    lessons, queries, base = taught

    def checkpoint() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        learn_labelled(base, lessons, queries, checkpoint)


def test_right_outcomes_by_hand() -> None:
    """Queries in scope weigh 80 % together, those out of scope 20 %."""
    held_out = HeldOut(np.array([0, 1, 1, 0]), np.array([0.9, 0.9, 0.4, 0.9]))
    expected = np.array([0, 0, 1, -1], np.int32)
    assert held_out.right(expected).tolist() == [True, False, True, False]
    assert held_out.accuracy(expected) == pytest.approx(0.8 / 3)
    assert held_out.accuracy(expected, 0.4) == pytest.approx(0.8 * 2 / 3)
    assert held_out.accuracy(expected, 0.95) == pytest.approx(0.2)
    assert held_out.accuracy(np.array([0, 1, 1, 0], np.int32)) == pytest.approx(0.75)
    assert HeldOut(np.array([3]), np.array([0.1])).accuracy(np.array([-1], np.int32)) == 1
