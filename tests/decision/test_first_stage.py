"""When the first stage may answer: what it sees, and how much it may differ from the full path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from synaptoroute.decision.evidence import FEATURES, Vocabulary
from synaptoroute.decision.first_stage import (
    BUDGET,
    LOUDER,
    SEEN,
    FirstStage,
    Trials,
    first_choices,
    first_stage,
    train_first,
)
from synaptoroute.decision.gate import FAR, NEAR, RIGHT, WRONG, Gate, prior_gate
from synaptoroute.decision.head import Head, train_head

UTTERANCES = ["pay my bill", "show my bill", "play a song", "play some music", "will it rain", "is it sunny"]
COLUMNS = np.array([0, 0, 1, 1, 2, 2], np.int32)


def vectors_of(texts: list[str], dim: int = 16) -> NDArray[np.float32]:
    """Unit rows that say which words are in a text."""
    rows = np.zeros((len(texts), dim), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.split():
            row[sum(map(ord, word)) % dim] += 1
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def full() -> Head:
    return train_head(UTTERANCES, vectors_of(UTTERANCES), COLUMNS, 3)


@pytest.fixture(scope="module")
def head(full: Head) -> Head:
    return train_first(full, UTTERANCES, vectors_of(UTTERANCES), COLUMNS, 3, steps=20)


@pytest.fixture(scope="module")
def gate() -> Gate:
    return prior_gate(3, 2)


def trials(kinds: list[int], sees: list[float], same: list[bool], full: float = 5.0) -> Trials:
    """Trials of which the first stage sees one number, and the full path is as sure as ``full`` says."""
    first = np.zeros((len(kinds), len(SEEN)))
    first[:, 0] = sees
    # The probability of the route among others, how near it is, and how far above "none".
    path = np.tile([full, -0.01, 0.9, 1.0, full, 0.5], (len(kinds), 1))
    found = np.array(kinds, np.int8)
    return Trials(full=path, first=first, same=np.array(same), right=np.array(same) & (found >= 0), kinds=found)


# ------------------------------------------------------------------------------------------------------------ sees
def test_it_adds_its_own_head_to_the_ngrams_of_the_full_path(full: Head, head: Head) -> None:
    texts = ["show the bill", "some song", "nothing of this"]
    vectors, vocabulary = vectors_of(texts), Vocabulary.of(UTTERANCES, COLUMNS)
    found = first_choices(head, full, vocabulary, texts, vectors, 3)
    logits = head.logits(texts, vectors) + LOUDER * full.spelled(texts)
    routes = logits[:, :-1].astype(np.float64)
    likely = np.exp(routes) / np.exp(routes).sum(axis=1, keepdims=True)
    best = likely.max(axis=1)
    assert len(head.idf) == 0
    np.testing.assert_array_equal(found.spelled, full.spelled(texts))
    np.testing.assert_array_equal(found.columns[:, 0], routes.argmax(axis=1))
    np.testing.assert_allclose(found.probabilities[:, 0], best, rtol=1e-6)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found.seen[:, 0], np.log(best / (1 - best)), rtol=1e-5)
    np.testing.assert_allclose(found.seen[:, 1], routes.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found.seen[:, 2], routes.max(axis=1) - logits[:, -1], rtol=1e-4, atol=1e-6)
    assert found.seen.shape == (3, len(SEEN))
    assert found.seen[2, 3] == 0


def test_its_own_utterances_come_home(full: Head, head: Head) -> None:
    found = first_choices(head, full, Vocabulary.of(UTTERANCES, COLUMNS), UTTERANCES, vectors_of(UTTERANCES), 1)
    assert found.columns[:, 0].tolist() == COLUMNS.tolist()
    assert found.columns.shape == found.probabilities.shape == (6, 1)


def test_a_table_of_one_route_has_odds_that_are_numbers() -> None:
    texts, columns = UTTERANCES[:2], np.zeros(2, np.int32)
    full = train_head(texts, vectors_of(texts), columns, 1)
    head = train_first(full, texts, vectors_of(texts), columns, 1, steps=5)
    found = first_choices(head, full, Vocabulary.of(texts, columns), ["show me"], vectors_of(["show me"]), 5)
    assert found.columns.tolist() == [[0]]
    assert found.probabilities.tolist() == [[1.0]]
    assert np.isfinite(found.seen).all()


def test_it_sees_a_no_that_the_route_does_not_say_itself(full: Head, head: Head) -> None:
    texts = ["pay my bill", "do not pay my bill", "it did not rain", "do not play a song"]
    utterances = [*UTTERANCES[:4], "why has it not been sunny", "it does not rain"]
    found = first_choices(head, full, Vocabulary.of(utterances, COLUMNS), texts, vectors_of(texts))
    assert found.columns[:, 0].tolist() == [0, 0, 2, 1]
    assert found.seen[:, SEEN.index("says_no")].tolist() == [0, 1, 0, 1]


# ---------------------------------------------------------------------------------------------------------- believes
def stage_of(head: Head, gate: Gate, some: Trials) -> FirstStage:
    return first_stage(head, some, gate, 0.5)


def test_a_no_goes_to_the_full_path_whatever_else_is_seen(head: Head, gate: Gate) -> None:
    some = trials([RIGHT] * 1000, list(np.linspace(9, 0, 1000)), [True] * 1000)
    stage = stage_of(head, gate, some)
    denied = some.first.copy()
    denied[:, SEEN.index("says_no")] = 1
    assert (np.column_stack(stage.probabilities(denied)) == 0).all()
    # Refusals that would be mistaken for requests, were they not told by that word, cost nothing.
    refused = trials([FAR] * 100, [9.0] * 100, [False] * 100)
    refused.first[:, SEEN.index("says_no")] = 1
    both = stage_of(head, gate, Trials.together([some, refused]))
    np.testing.assert_allclose(both.weights, stage.weights, rtol=1e-6)
    assert both.least(gate, 0.5) <= stage.least(gate, 0.5) <= 1


def test_it_answers_down_to_where_too_many_would_differ(head: Head, gate: Gate) -> None:
    # 1,000 in scope: from the surest down, the first 900 agree, and then every second one differs.
    same = [True] * 900 + [place % 2 == 0 for place in range(100)]
    some = trials([RIGHT] * 1000, list(np.linspace(9, 0, 1000)), same)
    stage = stage_of(head, gate, some)
    likely, _ = stage.probabilities(some.first)
    assert (np.diff(likely) < 0).all()
    # One of a thousand weighs a thousandth of all queries, as there is nothing out of scope; half a one more counts.
    for budget, differing in ((0.0004, None), (0.0006, 0), (0.0016, 1), (0.0046, 4)):
        least = stage.least(gate, 0.5, budget)
        answered = likely >= least
        if differing is None:
            assert not answered.any()
        else:
            assert (answered & ~np.array(same)).sum() == differing
            # Not one less than it may.
            assert answered.sum() >= 900
    # However large the budget, hardly any of what it answers may differ.
    answered = likely >= stage.least(gate, 0.5, 1.0)
    assert 0.015 < (answered & ~np.array(same)).sum() / answered.sum() <= 0.02


def test_a_few_hundred_utterances_prove_nothing(head: Head, gate: Gate) -> None:
    for count, answers in ((100, False), (120, False), (130, True)):
        some = trials([RIGHT] * count, list(np.linspace(9, 0, count)), [True] * count)
        assert (stage_of(head, gate, some).least(gate, 0.5) <= 1) is answers
    assert BUDGET == 0.004


def test_what_the_full_path_abstains_on_may_not_be_answered(head: Head, gate: Gate) -> None:
    sure = trials([RIGHT] * 1000, list(np.linspace(9, 5, 1000)), [True] * 1000)
    doubtful = trials([NEAR] * 1000, list(np.linspace(4, 0, 1000)), [True] * 1000, full=-100.0)
    some = Trials.together([sure, doubtful])
    assert some.agreed(gate, 0.5).tolist() == [True] * 1000 + [False] * 1000
    stage = stage_of(head, gate, some)
    likely, right = stage.probabilities(some.first)
    answered = likely >= stage.least(gate, 0.5)
    assert answered[:1000].all()
    # Those out of scope are a fifth of all queries.
    assert 0 < answered[1000:].sum() * 0.2 / 1000 <= BUDGET
    assert right[:1000].min() > right[1000:].max()


def test_where_the_full_path_must_be_surer_less_is_answered_and_nothing_is_learned_anew(head: Head, gate: Gate) -> None:
    parts = [trials([RIGHT] * 500, list(np.linspace(9, 5, 500)), [True] * 500, full=9.0)]
    parts.append(trials([RIGHT] * 500, list(np.linspace(5, 0, 500)), [True] * 500, full=1.0))
    parts.append(trials([RIGHT] * 200, list(np.linspace(-1, -3, 200)), [False] * 200))
    some = Trials.together(parts)
    stage = stage_of(head, gate, some)
    confidence = gate.confidence(some.full)
    between = float((confidence[0] + confidence[500]) / 2)
    low, high = stage.least(gate, 0.0), stage.least(gate, between)
    likely, _ = stage.probabilities(some.first)
    assert (likely >= low).sum() >= 1000
    assert 490 <= (likely >= high).sum() < 510
    assert stage.least(gate, 1.0) > 1


def test_equally_likely_texts_are_answered_all_or_none(head: Head, gate: Gate) -> None:
    some = trials([RIGHT] * 1000, [5.0] * 990 + [1.0] * 10, [True] * 980 + [False] * 20)
    stage = stage_of(head, gate, some)
    assert stage.least(gate, 0.5, 0.0104) > 1
    assert (stage.probabilities(some.first)[0] >= stage.least(gate, 0.5, 0.0106)).sum() == 990


def test_more_of_what_it_sees_never_makes_it_less_sure(head: Head, gate: Gate) -> None:
    random = np.random.default_rng(0)
    some = trials([RIGHT] * 300, [0.0] * 300, (random.random(300) < 0.5).tolist())
    some = replace(some, first=random.normal(size=(300, len(SEEN))))
    assert (stage_of(head, gate, some).weights[1:] >= 0).all()


def test_without_trials_nothing_is_ever_answered(head: Head, gate: Gate) -> None:
    stage = stage_of(head, gate, Trials.none())
    assert stage.least(gate, 0.5, 1.0) > 1
    assert Trials.none().full.shape == (0, len(FEATURES))


def test_kinds_weigh_their_assumed_shares_not_their_numbers(head: Head, gate: Gate) -> None:
    """Ten texts from far away are 8 % of all queries, so one of them that is answered is 0.8 %."""
    inside = trials([RIGHT] * 990 + [WRONG] * 10, list(np.linspace(9, 4, 1000)), [True] * 1000)
    near = trials([NEAR] * 1000, list(np.linspace(2, 0, 1000)), [False] * 1000)
    far = trials([FAR] * 10, [6.0] + [0.0] * 9, [False] * 10)
    some = Trials.together([inside, near, far])
    stage = stage_of(head, gate, some)
    likely, _ = stage.probabilities(some.first)
    assert (likely >= stage.least(gate, 0.5, 0.0119)).sum() < 610
    assert (likely >= stage.least(gate, 0.5, 0.0121)).sum() >= 1001


def test_it_is_deterministic(full: Head, head: Head, gate: Gate) -> None:
    again = train_first(full, UTTERANCES, vectors_of(UTTERANCES), COLUMNS, 3, steps=20)
    np.testing.assert_array_equal(head.vector_weights, again.vector_weights)
    some = trials([RIGHT] * 50, list(np.linspace(9, 0, 50)), [True] * 40 + [False] * 10)
    np.testing.assert_array_equal(stage_of(head, gate, some).weights, stage_of(head, gate, some).weights)
