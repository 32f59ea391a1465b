"""What is learned from the stored utterances alone, on the demo's routes with the bundled encoder."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synaptoroute.cli.demo import demo_queries, demo_routes
from synaptoroute.decision import cross_fitting, unlabelled
from synaptoroute.decision import lessons as lessons_module
from synaptoroute.decision import model as module
from synaptoroute.decision.background import BACKGROUND
from synaptoroute.decision.cross_fitting import cross_fitted, in_parallel
from synaptoroute.decision.evidence import FEATURES
from synaptoroute.decision.gate import FAR, NEAR, RIGHT, WRONG, prior_gate
from synaptoroute.decision.head import Head, train_head
from synaptoroute.decision.lessons import EFFORTS, Effort, Examples, Lessons, Texts, Vectors, effort_for
from synaptoroute.decision.metrics import auroc
from synaptoroute.decision.model import DecisionModel
from synaptoroute.decision.names import spoken
from synaptoroute.decision.ranking import Ranking, by_model
from synaptoroute.decision.unlabelled import learn
from synaptoroute.encoder import BundledEncoder

Kinds = NDArray[np.int8]

SMALL, LARGER, COMPACT = EFFORTS


@pytest.fixture(scope="module")
def demo(encoder: BundledEncoder) -> Examples:
    routes = demo_routes()
    texts = [text for route in routes for text in route.utterances]
    columns = np.repeat(np.arange(len(routes), dtype=np.int32), [len(route.utterances) for route in routes])
    return Examples(texts, encoder.encode(texts), columns, len(routes))


@pytest.fixture(scope="module")
def outside(encoder: BundledEncoder) -> Texts:
    return Texts(BACKGROUND, encoder.encode(BACKGROUND))


@pytest.fixture(scope="module")
def learned(demo: Examples, outside: Texts) -> DecisionModel:
    return learn(Lessons(demo, outside))


@pytest.fixture(scope="module")
def names(encoder: BundledEncoder) -> Texts:
    said = [spoken(route.name) for route in demo_routes()]
    return Texts(said, encoder.encode(said))


def few(demo: Examples, routes: int, per_route: int) -> Examples:
    """The first utterances of the first routes."""
    place = np.arange(len(demo)) - np.searchsorted(demo.columns, demo.columns)
    kept, _ = demo.chosen((demo.columns < routes) & (place < per_route))
    return kept


def ranked(model: DecisionModel, examples: Examples, texts: Sequence[str], vectors: Vectors) -> Ranking:
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


def same(left: Any, right: Any) -> bool:
    """Whether every array in both is equal to the last bit."""
    if is_dataclass(left):
        return type(left) is type(right) and all(
            same(getattr(left, field.name), getattr(right, field.name)) for field in fields(left)
        )
    return left is right if left is None or right is None else np.array_equal(left, right)


def test_learning_twice_gives_the_same_bits(demo: Examples, outside: Texts) -> None:
    first = learn(Lessons(few(demo, 3, 4), outside))
    again = learn(Lessons(few(demo, 3, 4), Texts(list(BACKGROUND), outside.vectors.copy())))
    assert same(first, again)
    assert not same(first, learn(Lessons(few(demo, 3, 3), outside)))


# ------------------------------------------------------------------------------------------------------- cross-fitting
class Spy:
    """Notes which texts each head was trained on and which it was asked about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: list[tuple[Head, list[str], int]] = []
        self.asked: list[tuple[set[str], set[str]]] = []
        self._ask = DecisionModel.ask
        monkeypatch.setattr(module, "train_head", self.train_head)
        monkeypatch.setattr(DecisionModel, "ask", lambda *arguments, **options: self.ask(*arguments, **options))

    def train_head(self, texts: Sequence[str], vectors: Any, columns: Any, routes: int, **options: Any) -> Head:
        head = train_head(texts, vectors, columns, routes, **options)
        self.trained.append((head, list(texts), routes))
        return head

    def ask(self, model: DecisionModel, stored: Any, groups: Any, texts: Any, vectors: Any, **options: Any) -> Any:
        known = next(texts for head, texts, _ in self.trained if head is model.head)
        self.asked.append((set(known), set(texts)))
        # Nor would it find itself among its neighbours, or among the landmarks.
        rows = {row.tobytes() for row in vectors}
        assert not {row.tobytes() for row in stored.vectors} & rows
        assert model.kernel is None or not {row.tobytes() for row in model.kernel.points} & rows
        return self._ask(model, stored, groups, texts, vectors, **options)


@pytest.mark.parametrize(("routes", "per_route"), [(6, 6), (5, 1), (1, 8)])
def test_no_head_is_asked_about_a_text_it_was_trained_on(
    demo: Examples, outside: Texts, monkeypatch: pytest.MonkeyPatch, routes: int, per_route: int
) -> None:
    spy = Spy(monkeypatch)
    examples = few(demo, routes, per_route)
    assert len({*examples.texts, *outside.texts}) == len(examples.texts) + len(outside.texts)
    cross_fitted(Lessons(examples, outside), SMALL)
    assert spy.asked
    for known, asked in spy.asked:
        assert not known & asked
    # Every utterance is asked about by some head, and so is every text from outside.
    asked = set.union(*(asked for _, asked in spy.asked))
    assert asked == {*examples.texts, *outside.texts} or routes == 1


def test_a_fold_leaves_out_whole_routes_parts_of_the_others_and_half_of_the_world(
    demo: Examples, outside: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    cross_fitted(Lessons(demo, outside), SMALL)
    assert len(spy.trained) == SMALL.folds
    gone: list[int] = []
    owner = dict(zip(demo.texts, demo.columns.tolist(), strict=True))
    for _, texts, routes in spy.trained:
        inside = [text for text in texts if text in owner]
        present = {owner[text] for text in inside}
        assert len(present) == routes
        gone += set(range(demo.routes)) - present
        left = sum(owner[text] in present for text in demo.texts)
        assert len(inside) == pytest.approx(left * (1 - 1 / SMALL.folds), rel=0.05)
        assert len(texts) - len(inside) == len(outside.texts) // 2
    assert sorted(gone) == list(range(demo.routes))


@pytest.mark.parametrize("effort", [LARGER, COMPACT, replace(SMALL, folds=3, used=2)])
def test_the_effort_says_how_many_folds_there_are_and_how_many_are_asked(
    monkeypatch: pytest.MonkeyPatch, demo: Examples, outside: Texts, effort: Effort
) -> None:
    monkeypatch.setattr(cross_fitting, "ASKED", 30)
    spy = Spy(monkeypatch)
    _, _, kinds, _ = cross_fitted(Lessons(demo, outside), effort)
    assert len(spy.trained) == effort.used
    asked = effort.used * (30 // effort.used + 1)
    assert ((kinds >= 0).sum(), (kinds == NEAR).sum()) == (asked, asked)


def test_the_kernel_is_taken_where_more_are_right_with_it(
    monkeypatch: pytest.MonkeyPatch, demo: Examples, outside: Texts
) -> None:
    """Against a head that knows nothing it always helps; weighing nothing it never does."""

    def blind(*arguments: Any, **options: Any) -> Head:
        head = train_head(*arguments, **{**options, "steps": 1})
        return replace(head, vector_weights=0 * head.vector_weights, ngram_weights=0 * head.ngram_weights)

    monkeypatch.setattr(module, "train_head", blind)
    lessons = Lessons(few(demo, 4, 8), outside)
    with_kernel, _, kinds, _ = cross_fitted(lessons, SMALL)
    assert with_kernel
    monkeypatch.setattr(module, "LIFT", 0.0)
    without, _, kinds_without, _ = cross_fitted(lessons, SMALL)
    assert not without
    assert (kinds == RIGHT).sum() > (kinds_without == RIGHT).sum()


@pytest.mark.parametrize("helps", [True, False])
def test_a_model_has_a_kernel_exactly_where_that_helps(
    monkeypatch: pytest.MonkeyPatch, demo: Examples, outside: Texts, helps: bool
) -> None:
    lessons = Lessons(few(demo, 4, 8), outside)
    answer = cross_fitted(lessons, replace(SMALL, used=2))
    monkeypatch.setattr(unlabelled, "cross_fitted", lambda *_: (helps, *answer[1:]))
    model = learn(lessons)
    assert (model.kernel is not None) is helps
    if model.kernel is not None:
        np.testing.assert_array_equal(model.kernel.points, lessons.examples.vectors)
        own = ranked(model, lessons.examples, lessons.examples.texts, lessons.examples.vectors)
        assert own.owners[:, 0].tolist() == lessons.examples.columns.tolist()


@pytest.mark.parametrize(
    ("routes", "per_route", "kinds"),
    [
        pytest.param(16, 20, {RIGHT, WRONG, NEAR, FAR}, id="a table"),
        pytest.param(2, 6, {RIGHT, NEAR, FAR}, id="two routes, which it tells apart"),
        pytest.param(1, 6, {RIGHT, FAR}, id="one route: there is none to leave out"),
        pytest.param(6, 1, {NEAR, FAR}, id="one utterance each: none is left to find it by"),
        pytest.param(1, 1, {FAR}, id="a single utterance"),
    ],
)
def test_the_kinds_of_what_was_asked(
    demo: Examples, outside: Texts, routes: int, per_route: int, kinds: set[int]
) -> None:
    examples = few(demo, routes, per_route)
    _, features, found, _ = cross_fitted(Lessons(examples, outside), SMALL)
    assert features.shape == (len(found), len(FEATURES))
    assert np.isfinite(features).all()
    assert set(found.tolist()) == kinds
    assert (found == FAR).sum() % (len(outside.texts) // 2) == 0
    assert (found == NEAR).sum() == (len(examples) if routes > 1 else 0)


@pytest.mark.parametrize(("routes", "per_route"), [(1, 1), (1, 5), (4, 1), (2, 2)])
def test_the_smallest_tables_learn_something_that_can_be_asked(
    demo: Examples, outside: Texts, encoder: BundledEncoder, routes: int, per_route: int
) -> None:
    examples = few(demo, routes, per_route)
    model = learn(Lessons(examples, outside))
    own = ranked(model, examples, examples.texts, examples.vectors)
    assert own.owners[:, 0].tolist() == examples.columns.tolist()
    strange = ranked(model, examples, ["the cat sat on the mat"], encoder.encode(["the cat sat on the mat"]))
    assert strange.confidences[0, 0] < own.confidences[:, 0].min()
    assert np.isfinite(own.confidences).all()


def test_without_any_text_from_outside_it_still_learns(demo: Examples, outside: Texts) -> None:
    nothing = outside.part(np.zeros(len(outside.texts), bool))
    assert (list(nothing.texts), nothing.vectors.shape) == ([], (0, outside.vectors.shape[1]))
    examples = few(demo, 3, 4)
    model = learn(Lessons(examples, nothing))
    assert ranked(model, examples, examples.texts, examples.vectors).owners[:, 0].tolist() == examples.columns.tolist()
    single = Lessons(few(demo, 1, 1), nothing)
    with_kernel, features, kinds, _ = cross_fitted(single, SMALL)
    assert (with_kernel, features.shape, len(kinds)) == (False, (0, len(FEATURES)), 0)
    assert np.array_equal(learn(single).gate.in_scope, prior_gate(1, 1).in_scope)


# ------------------------------------------------------------------------------------------------ large tables, compact
@pytest.fixture
def compactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table is learned like the largest."""
    monkeypatch.setattr(lessons_module, "EFFORTS", (COMPACT,))


@pytest.mark.usefixtures("compactly")
def test_without_n_grams_and_with_one_fold_it_still_decides_well(
    demo: Examples, outside: Texts, encoder: BundledEncoder
) -> None:
    model = learn(Lessons(demo, outside))
    assert (len(model.head.ngram_weights), len(model.head.idf), model.kernel) == (0, 0, None)
    assert same(model, learn(Lessons(demo, outside)))
    names = [route.name for route in demo_routes()]
    texts = [text for text, _ in demo_queries()]
    expected = np.array([names.index(name) if name else -1 for _, name in demo_queries()])
    ranking = ranked(model, demo, texts, encoder.encode(texts))
    inside = expected >= 0
    assert (ranking.owners[:, 0] == expected)[inside].mean() >= 0.8
    assert auroc(ranking.confidences[:, 0], inside) >= 0.85
    right = np.where(ranking.confidences[:, 0] >= 0.5, ranking.owners[:, 0], -1) == expected
    assert right.mean() >= 0.7


@pytest.mark.usefixtures("compactly")
def test_no_kernel_is_tried_where_n_grams_are_too_much(
    monkeypatch: pytest.MonkeyPatch, demo: Examples, outside: Texts
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    for room in (cross_fitting, unlabelled):
        monkeypatch.setattr(room, "train_kernel", never)
    spy = Spy(monkeypatch)
    learn(Lessons(few(demo, 4, 8), outside))
    assert len(spy.trained) == 2


# ---------------------------------------------------------------------------------------------------------------- names
def test_names_help_where_there_are_few_utterances(demo: Examples, outside: Texts, names: Texts) -> None:
    # For the encoder trained for routing, the demo's sixty queries are too easy to show it.
    encode = BundledEncoder("minilm").encode
    examples = few(demo, demo.routes, 1)
    order = [route.name for route in demo_routes()]
    inside = [(text, order.index(name)) for text, name in demo_queries() if name]
    texts, expected = [text for text, _ in inside], np.array([column for _, column in inside])
    vectors = encode(texts)

    def found(lessons: Lessons) -> float:
        seen = lessons.seen_by(encode)
        return float((ranked(learn(seen), seen.examples, texts, vectors).owners[:, 0] == expected).mean())

    assert found(Lessons(examples, outside, names)) > found(Lessons(examples, outside))


def test_a_fold_is_told_the_names_of_the_routes_it_knows_and_of_no_others(
    monkeypatch: pytest.MonkeyPatch, demo: Examples, outside: Texts, names: Texts
) -> None:
    spy = Spy(monkeypatch)
    examples = few(demo, 6, 6)
    owner = dict(zip(examples.texts, examples.columns.tolist(), strict=True))
    cross_fitted(Lessons(examples, outside, names.part(np.arange(len(names.texts)) < 6)), SMALL)
    for _, texts, routes in spy.trained:
        present = sorted({owner[text] for text in texts if text in owner})
        assert texts[-routes:] == [names.texts[column] for column in present]


def test_everything_there_is_to_learn_from_by_hand() -> None:
    def vectors(*rows: int) -> Vectors:
        return np.eye(6, dtype=np.float32)[list(rows)]

    examples = Examples(["a", "b", "c"], vectors(0, 1, 2), np.array([0, 0, 1], np.int32), 2)
    lessons = Lessons(examples, Texts(["out"], vectors(3)), Texts(["A", "C"], vectors(4, 5)))
    assert lessons.routes == 2
    texts, rows, columns = lessons.all()
    assert (texts, columns.tolist()) == (["a", "b", "c", "out", "A", "C"], [0, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(rows, vectors(0, 1, 2, 3, 4, 5))
    texts, _, columns = lessons.all((Texts(["q"], vectors(0)), np.array([1], np.int32)))
    assert (texts, columns.tolist()) == (["a", "b", "c", "out", "q", "A", "C"], [0, 0, 1, 2, 1, 0, 1])
    texts, _, columns = replace(lessons, names=None).all()
    assert (texts, columns.tolist()) == (["a", "b", "c", "out"], [0, 0, 1, 2])


# -------------------------------------------------------------------------------------------------------------- threads
class Ended(Exception):  # noqa: N818 - a signal, as the learner's own
    """Raised by a checkpoint."""


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "synaptoroute-train"]


@pytest.mark.parametrize("last", [1, 2, 30])
def test_a_checkpoint_that_raises_ends_learning_and_leaves_no_thread(demo: Examples, outside: Texts, last: int) -> None:
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls >= last:
            raise Ended

    with pytest.raises(Ended):
        learn(Lessons(few(demo, 4, 5), outside), checkpoint)
    # As many threads as were training at that moment.
    assert last <= calls <= last + cross_fitting.THREADS
    assert not thread_names()


@pytest.mark.parametrize("own", [True, False])
def test_a_checkpoint_that_raises_in_one_thread_only_ends_learning(demo: Examples, outside: Texts, own: bool) -> None:
    caller = threading.current_thread()

    def checkpoint() -> None:
        if (threading.current_thread() is caller) is own:
            raise Ended

    with pytest.raises(Ended):
        learn(Lessons(few(demo, 4, 5), outside), checkpoint)
    assert not thread_names()


def test_in_parallel_keeps_the_order_and_stays_within_its_threads() -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    def work(item: int) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.002 * (item % 3))
        with lock:
            at_once -= 1
        return item * item

    assert in_parallel(work, range(20)) == [item * item for item in range(20)]
    assert most == cross_fitting.THREADS
    assert in_parallel(work, []) == []
    assert not thread_names()


def test_after_a_failure_nothing_new_is_begun_and_it_is_raised_where_it_was_asked_for() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        raise KeyError(item)

    with pytest.raises(KeyError):
        in_parallel(work, range(20))
    assert len(begun) <= cross_fitting.THREADS
    assert not thread_names()


WHILE_TRAINING = """
import atexit, threading, time
import numpy as np
from synaptoroute.decision.lessons import Examples, Lessons, Texts
from synaptoroute.decision.unlabelled import learn

begun, stop, outcome = threading.Event(), threading.Event(), []

def checkpoint():
    begun.set()
    time.sleep(0.02)
    if stop.is_set():
        raise InterruptedError

def run():
    try:
        learn(lessons, checkpoint)
        outcome.append("learned")
    except InterruptedError:
        outcome.append("stopped")

@atexit.register
def close():
    stop.set()
    learner.join()
    print(*outcome)

vectors = np.random.default_rng(0).normal(size=(90, 16)).astype(np.float32)
texts = [f"text {number}" for number in range(90)]
columns = np.repeat(np.arange(10, dtype=np.int32), 8)
lessons = Lessons(Examples(texts[:80], vectors[:80], columns, 10), Texts(texts[80:], vectors[80:]))
learner = threading.Thread(target=run, daemon=True)
learner.start()
begun.wait()
"""


def test_the_interpreter_may_end_in_the_middle_of_a_training() -> None:
    """Threads of a pool finished all they had been given before anybody could tell them to stop."""
    ended = subprocess.run([sys.executable, "-c", WHILE_TRAINING], check=True, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("stopped\n", "")


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
    ("utterances", "routes", "effort"),
    [
        (0, 0, None),
        (0, 3, None),
        (1, 1, SMALL),
        (75_000, 1, SMALL),
        (75_001, 1, LARGER),
        (15_000, 150, LARGER),
        (2_500_000, 1, LARGER),
        (2_500_001, 1, COMPACT),
        (60_000, 999, COMPACT),
        (60_000, 1_000, None),
    ],
)
def test_how_a_table_of_a_size_is_learned(utterances: int, routes: int, effort: Effort | None) -> None:
    assert effort_for(utterances, routes) is effort


def test_larger_tables_are_given_no_more_effort_than_smaller_ones() -> None:
    for smaller, larger in pairwise(EFFORTS):
        assert smaller.cells < larger.cells
        assert smaller.used >= larger.used
        assert smaller.reads_ngrams >= larger.reads_ngrams
    assert all(effort.used <= effort.folds for effort in EFFORTS)
