"""What is learned from the stored utterances alone, on the demo's routes with the bundled encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synaptoroute.cli.demo import demo_queries, demo_routes
from synaptoroute.decision import model as module
from synaptoroute.decision.background import BACKGROUND
from synaptoroute.decision.evidence import BLENDS, FEATURES, Grouped, gather
from synaptoroute.decision.gate import FAR, NEAR, RIGHT, WRONG, prior_gate
from synaptoroute.decision.head import Head, train_head
from synaptoroute.decision.metrics import auroc
from synaptoroute.decision.model import (
    FOLDS,
    MAX_CELLS,
    SMALL,
    SMALL_FOLDS,
    DecisionModel,
    Examples,
    Outside,
    can_learn,
    cross_fitted,
    learn,
)
from synaptoroute.decision.ranking import Ranking, by_model
from synaptoroute.encoder import BundledEncoder

Kinds = NDArray[np.int8]


@pytest.fixture(scope="module")
def demo(encoder: BundledEncoder) -> Examples:
    routes = demo_routes()
    texts = [text for route in routes for text in route.utterances]
    columns = np.repeat(np.arange(len(routes), dtype=np.int32), [len(route.utterances) for route in routes])
    return Examples(texts, encoder.encode(texts), columns, len(routes))


@pytest.fixture(scope="module")
def outside(encoder: BundledEncoder) -> Outside:
    return Outside(BACKGROUND, encoder.encode(BACKGROUND))


@pytest.fixture(scope="module")
def learned(demo: Examples, outside: Outside) -> DecisionModel:
    return learn(demo, outside)


def few(demo: Examples, routes: int, per_route: int) -> Examples:
    """The first utterances of the first routes."""
    place = np.arange(len(demo)) - np.searchsorted(demo.columns, demo.columns)
    kept, _ = demo.chosen((demo.columns < routes) & (place < per_route))
    return kept


def ranked(model: DecisionModel, examples: Examples, texts: Sequence[str], vectors: module.Vectors) -> Ranking:
    columns = np.arange(examples.routes)
    return by_model(model.ask(examples.grouped, columns, texts, vectors, candidates=5), model.gate, columns)


# ------------------------------------------------------------------------------------------------- what it is good for
def test_it_finds_more_routes_than_the_nearest_utterance_does_and_knows_what_belongs_to_none(
    demo: Examples, learned: DecisionModel, encoder: BundledEncoder
) -> None:
    names = [route.name for route in demo_routes()]
    texts = [text for text, _ in demo_queries()]
    expected = np.array([names.index(name) if name else -1 for _, name in demo_queries()])
    vectors = encoder.encode(texts)
    ranking = ranked(learned, demo, texts, vectors)
    inside = expected >= 0
    chosen = ranking.owners[:, 0]
    nearest = demo.columns[(vectors @ demo.vectors.T).argmax(axis=1)]
    assert (chosen == expected)[inside].mean() > (nearest == expected)[inside].mean()
    assert (chosen == expected)[inside].mean() >= 0.85
    assert auroc(ranking.confidences[:, 0], inside) >= 0.9
    # A half, the default, is a fair place to say no.
    right = np.where(ranking.confidences[:, 0] >= 0.5, chosen, -1) == expected
    assert right.mean() >= 0.75


def test_its_own_utterances_come_home(demo: Examples, learned: DecisionModel) -> None:
    ranking = ranked(learned, demo, demo.texts, demo.vectors)
    assert (ranking.owners[:, 0] == demo.columns).mean() > 0.99
    assert np.median(ranking.confidences[:, 0]) > 0.9


def test_the_gate_is_not_the_prior_any_more(demo: Examples, learned: DecisionModel) -> None:
    prior = prior_gate(demo.routes, len(demo) / demo.routes)
    assert not np.array_equal(learned.gate.in_scope, prior.in_scope)
    assert not np.array_equal(learned.gate.right_route, prior.right_route)
    assert learned.blend in BLENDS


def same(left: DecisionModel, right: DecisionModel) -> bool:
    def parts(model: DecisionModel) -> list[NDArray[Any]]:
        head, gate = model.head, model.gate
        learned: list[NDArray[Any]] = [head.mean, head.vector_weights, head.ngram_weights, head.bias, head.idf]
        return [*learned, model.vocabulary.idf, model.vocabulary.known, gate.in_scope, gate.right_route]

    pairs = zip(parts(left), parts(right), strict=True)
    return left.blend == right.blend and all(np.array_equal(one, other) for one, other in pairs)


def test_learning_twice_gives_the_same_bits(demo: Examples, outside: Outside) -> None:
    examples = few(demo, 3, 4)
    first = learn(examples, outside)
    again = learn(few(demo, 3, 4), Outside(list(BACKGROUND), outside.vectors.copy()))
    assert same(first, again)
    assert not same(first, learn(few(demo, 3, 3), outside))


# ------------------------------------------------------------------------------------------------------- cross-fitting
class Spy:
    """Notes which texts each head was trained on and which it was asked about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: list[tuple[Head, list[str], int]] = []
        self.asked: list[tuple[set[str], set[str]]] = []
        monkeypatch.setattr(module, "train_head", self.train_head)
        monkeypatch.setattr(module, "gather", self.gather)

    def train_head(self, texts: Sequence[str], vectors: Any, columns: Any, routes: int, **options: Any) -> Head:
        head = train_head(texts, vectors, columns, routes, **options)
        self.trained.append((head, list(texts), routes))
        return head

    def gather(
        self, head: Head, vocabulary: Any, stored: Grouped, groups: Any, texts: Any, vectors: Any, **options: Any
    ) -> Any:
        known = next(texts for other, texts, _ in self.trained if other is head)
        self.asked.append((set(known), set(texts)))
        # Nor would it find itself among its neighbours.
        assert not {row.tobytes() for row in stored.vectors} & {row.tobytes() for row in vectors}
        return gather(head, vocabulary, stored, groups, texts, vectors, **options)


@pytest.mark.parametrize(("routes", "per_route"), [(6, 6), (5, 1), (1, 8)])
def test_no_head_is_asked_about_a_text_it_was_trained_on(
    demo: Examples, outside: Outside, monkeypatch: pytest.MonkeyPatch, routes: int, per_route: int
) -> None:
    spy = Spy(monkeypatch)
    examples = few(demo, routes, per_route)
    assert len({*examples.texts, *outside.texts}) == len(examples.texts) + len(outside.texts)
    cross_fitted(examples, outside)
    assert spy.asked
    for known, asked in spy.asked:
        assert not known & asked
    # Every utterance is asked about by some head, and so is every text from outside.
    asked = set.union(*(asked for _, asked in spy.asked))
    assert asked == {*examples.texts, *outside.texts} or routes == 1


def test_a_fold_leaves_out_whole_routes_parts_of_the_others_and_half_of_the_world(
    demo: Examples, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    cross_fitted(demo, outside)
    assert len(spy.trained) == SMALL_FOLDS
    gone: list[int] = []
    owner = dict(zip(demo.texts, demo.columns.tolist(), strict=True))
    for _, texts, routes in spy.trained:
        inside = [text for text in texts if text in owner]
        present = {owner[text] for text in inside}
        assert len(present) == routes
        gone += set(range(demo.routes)) - present
        left = sum(owner[text] in present for text in demo.texts)
        assert len(inside) == pytest.approx(left * (1 - 1 / SMALL_FOLDS), rel=0.05)
        assert len(texts) - len(inside) == len(outside.texts) // 2
    assert sorted(gone) == list(range(demo.routes))


def test_a_larger_table_has_fewer_folds(monkeypatch: pytest.MonkeyPatch, demo: Examples, outside: Outside) -> None:
    assert FOLDS < SMALL_FOLDS
    assert len(demo) <= SMALL
    monkeypatch.setattr(module, "SMALL", len(demo) - 1)
    monkeypatch.setattr(module, "ASKED", 40)
    spy = Spy(monkeypatch)
    _, _, kinds = cross_fitted(demo, outside)
    assert len(spy.trained) == FOLDS
    assert ((kinds >= 0).sum(), (kinds == NEAR).sum()) == (44, 44)


@pytest.mark.parametrize(
    ("routes", "per_route", "kinds"),
    [
        pytest.param(16, 20, {RIGHT, WRONG, NEAR, FAR}, id="a table"),
        pytest.param(2, 6, {RIGHT, WRONG, NEAR, FAR}, id="two routes"),
        pytest.param(1, 6, {RIGHT, FAR}, id="one route: there is none to leave out"),
        pytest.param(6, 1, {NEAR, FAR}, id="one utterance each: none is left to find it by"),
        pytest.param(1, 1, {FAR}, id="a single utterance"),
    ],
)
def test_the_kinds_of_what_was_asked(
    demo: Examples, outside: Outside, routes: int, per_route: int, kinds: set[int]
) -> None:
    examples = few(demo, routes, per_route)
    blend, features, found = cross_fitted(examples, outside)
    assert blend in BLENDS
    assert features.shape == (len(found), len(FEATURES))
    assert np.isfinite(features).all()
    assert set(found.tolist()) == kinds
    assert (found == FAR).sum() % (len(outside.texts) // 2) == 0
    assert (found == NEAR).sum() == (len(examples) if routes > 1 else 0)


@pytest.mark.parametrize(("routes", "per_route"), [(1, 1), (1, 5), (4, 1), (2, 2)])
def test_the_smallest_tables_learn_something_that_can_be_asked(
    demo: Examples, outside: Outside, encoder: BundledEncoder, routes: int, per_route: int
) -> None:
    examples = few(demo, routes, per_route)
    model = learn(examples, outside)
    own = ranked(model, examples, examples.texts, examples.vectors)
    assert own.owners[:, 0].tolist() == examples.columns.tolist()
    strange = ranked(model, examples, ["the cat sat on the mat"], encoder.encode(["the cat sat on the mat"]))
    assert strange.confidences[0, 0] < own.confidences[:, 0].min()
    assert np.isfinite(own.confidences).all()


def test_without_any_text_from_outside_it_still_learns(demo: Examples, outside: Outside) -> None:
    nothing = outside.part(np.zeros(len(outside.texts), bool))
    assert (list(nothing.texts), nothing.vectors.shape) == ([], (0, outside.vectors.shape[1]))
    model = learn(few(demo, 3, 4), nothing)
    examples = few(demo, 3, 4)
    assert ranked(model, examples, examples.texts, examples.vectors).owners[:, 0].tolist() == examples.columns.tolist()
    blend, features, kinds = cross_fitted(few(demo, 1, 1), nothing)
    assert (blend, features.shape, len(kinds)) == (0.0, (0, len(FEATURES)), 0)
    assert np.array_equal(learn(few(demo, 1, 1), nothing).gate.in_scope, prior_gate(1, 1).in_scope)


def test_a_checkpoint_that_raises_ends_learning_in_the_middle(demo: Examples, outside: Outside) -> None:
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(few(demo, 4, 5), outside, checkpoint)
    assert calls == 30


# --------------------------------------------------------------------------------------------------------------- parts
def test_examples_are_chosen_with_their_columns_renumbered() -> None:
    examples = Examples(["a", "b", "c", "d"], np.eye(4, dtype=np.float32), np.array([0, 0, 1, 2], np.int32), 3)
    assert len(examples) == 4
    assert examples.grouped.starts.tolist() == [0, 2, 3]
    assert examples.grouped.ends.tolist() == [2, 3, 4]
    kept, number = examples.chosen(np.array([False, True, False, True]))
    assert (kept.texts, kept.columns.tolist(), kept.routes) == (["b", "d"], [0, 1], 2)
    assert number.tolist() == [0, -1, 1]
    np.testing.assert_array_equal(kept.vectors, examples.vectors[[1, 3]])
    none, number = examples.chosen(np.zeros(4, bool))
    assert (len(none), none.routes, number.tolist()) == (0, 0, [-1, -1, -1])


@pytest.mark.parametrize(
    ("utterances", "routes", "small_enough"),
    [
        (0, 0, False),
        (1, 1, True),
        (15_000, 150, True),
        (50_000, 99, True),
        (50_000, 100, False),
        (MAX_CELLS // 2, 1, True),
        (MAX_CELLS // 2 + 1, 1, False),
    ],
)
def test_which_tables_are_small_enough_for_a_head(utterances: int, routes: int, small_enough: bool) -> None:
    assert can_learn(utterances, routes) is small_enough
