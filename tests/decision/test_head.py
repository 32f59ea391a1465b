"""The learned head: linear, deterministic, one column a route and one for texts that belong to none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import sparse

from synaptoroute.decision import head as head_module
from synaptoroute.decision.head import STEPS, Head, Owners, Vectors, train_head
from synaptoroute.decision.lexical import NGRAM_BITS, inverse_document_frequency, ngrams

DIM = 8
MONEY = ["what do I owe", "show my balance", "pay my bill", "how much is my invoice"]
SKY = ["will it rain", "is it sunny outside", "weather for tomorrow", "how cold is it"]
OUTSIDE = ["tell me a joke", "who painted this", "my dog is asleep", "seven times eight"]
TEXTS = [*MONEY, *SKY, *OUTSIDE]
COLUMNS = np.repeat(np.arange(3, dtype=np.int32), 4)


def vectors_of(columns: Sequence[int] | Owners, seed: int = 0, spread: float = 0.3) -> Vectors:
    """Unit rows around one axis a column."""
    rows = np.eye(DIM)[np.asarray(columns)]
    rows = rows + np.random.default_rng(seed).normal(scale=spread, size=rows.shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


VECTORS = vectors_of(COLUMNS)


@pytest.fixture(scope="module")
def head() -> Head:
    return train_head(TEXTS, VECTORS, COLUMNS, routes=2)


def parts(head: Head) -> list[Vectors]:
    return [head.mean, head.vector_weights, head.ngram_weights, head.bias, head.idf]


def objective(head: Head) -> float:
    """What training makes small: cross-entropy with an L2 penalty."""
    logits = head.logits(TEXTS, VECTORS).astype(np.float64)
    cross_entropy = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(TEXTS)), COLUMNS]
    # Four texts a route: words count half, see train_head.
    penalty = np.square(head.vector_weights).sum() + np.square(head.ngram_weights / 0.5).sum()
    return float(cross_entropy.mean() + 0.5 / head_module.C * penalty / len(TEXTS))


# -------------------------------------------------------------------------------------------------------- learning
def test_it_learns_its_examples_and_texts_it_has_not_seen(head: Head) -> None:
    assert head.logits(TEXTS, VECTORS).argmax(axis=1).tolist() == COLUMNS.tolist()
    unseen = ["please pay my invoice", "is rain expected", "tell me who painted it"]
    assert head.logits(unseen, vectors_of([0, 1, 2], seed=1)).argmax(axis=1).tolist() == [0, 1, 2]


def test_the_last_column_wins_on_texts_that_belong_to_no_route(head: Head) -> None:
    logits = head.logits(["another joke", "asleep again", "whatever"], vectors_of([2, 2, 2], seed=2))
    assert (logits[:, -1] > logits[:, :-1].max(axis=1)).all()


def test_vector_and_letters_each_say_something_alone(head: Head) -> None:
    nowhere = np.tile(head.mean, (2, 1))
    assert head.logits(["pay the bill", "rain tomorrow"], nowhere)[:, :2].argmax(axis=1).tolist() == [0, 1]
    assert head.logits(["?", "?"], vectors_of([0, 1], seed=3))[:, :2].argmax(axis=1).tolist() == [0, 1]


def test_a_head_is_float32_with_a_column_for_none(head: Head) -> None:
    assert [part.shape for part in parts(head)] == [(DIM,), (DIM, 3), (1 << NGRAM_BITS, 3), (3,), (1 << NGRAM_BITS,)]
    assert {part.dtype for part in parts(head)} == {np.dtype(np.float32)}
    assert head.logits(TEXTS, VECTORS).dtype == np.float32
    assert head.logits([], np.empty((0, DIM), np.float32)).shape == (0, 3)


def test_the_mean_is_that_of_the_routes_texts_and_the_idf_that_of_all(head: Head) -> None:
    np.testing.assert_array_equal(head.mean, VECTORS[:8].mean(axis=0))
    np.testing.assert_array_equal(head.idf, inverse_document_frequency(ngrams(TEXTS)))


def test_training_twice_gives_the_same_bits(head: Head) -> None:
    again = train_head(list(TEXTS), VECTORS.copy(), COLUMNS.copy(), routes=2)
    assert all(np.array_equal(left, right) for left, right in zip(parts(head), parts(again), strict=True))


def test_each_text_alone_has_the_logits_it_has_in_a_batch(head: Head) -> None:
    texts = [*TEXTS, "", "?!", "日本語", "long " * 2_000]
    vectors = vectors_of([0] * len(texts), seed=4, spread=1)
    together = head.logits(texts, vectors)
    alone = np.concatenate([head.logits([text], vectors[[row]]) for row, text in enumerate(texts)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_was_handed_on_is_taken_once_and_nothing_is_made_up_for_others(head: Head) -> None:
    spelled = head.spelled(TEXTS[:3])
    told = np.arange(2 * 3, dtype=np.float32).reshape(2, 3)
    head.hand_on(TEXTS[:2], told)
    np.testing.assert_array_equal(head.spelled([TEXTS[1]]), told[1:])
    # One that nobody told of: all are found anew.
    np.testing.assert_array_equal(head.spelled(TEXTS[:3]), spelled)
    np.testing.assert_array_equal(head.spelled(TEXTS[:2]), spelled[:2])
    assert head.spelled([]).shape == (0, 3)


def test_what_was_handed_on_and_never_asked_is_forgotten(head: Head) -> None:
    for number in range(5_000):
        head.hand_on([f"text {number}"], np.zeros((1, 3), np.float32))
    assert len(head._handed_on) <= 1_024
    head._handed_on.clear()


@pytest.mark.parametrize("routes", [1, 2])
def test_one_route_without_any_outside_text_and_one_text_a_route_are_enough(routes: int) -> None:
    head = train_head(MONEY[:routes], VECTORS[[0, 4][:routes]], np.arange(routes, dtype=np.int32), routes)
    logits = head.logits(MONEY[:routes], VECTORS[[0, 4][:routes]])
    assert np.isfinite(logits).all()
    assert logits.argmax(axis=1).tolist() == list(range(routes))


# ---------------------------------------------------------------------------------------------------------- the loss
def test_the_gradient_is_that_of_the_loss() -> None:
    random = np.random.default_rng(0)
    lexical = sparse.csr_matrix(random.normal(size=(12, 20)).astype(np.float32) * (random.random((12, 20)) < 0.3))
    loss = head_module._loss(VECTORS, lexical, COLUMNS, 3)
    weights = random.normal(size=(DIM + 20 + 1) * 3)
    _, gradient = loss(weights)
    for _ in range(20):
        direction = random.normal(size=weights.shape)
        direction *= 0.02 / np.abs(direction).max()
        slope = loss(weights + direction)[0] - loss(weights - direction)[0]
        assert slope == pytest.approx(2 * gradient @ direction, abs=2e-4)


def test_the_loss_by_hand() -> None:
    """Without weights every column is as likely; the penalty spares the bias."""
    lexical = sparse.csr_matrix(np.zeros((12, 20), np.float32))
    loss = head_module._loss(VECTORS, lexical, COLUMNS, 3)
    weights = np.zeros((DIM + 20 + 1, 3))
    assert loss(weights.ravel())[0] == pytest.approx(np.log(3))
    weights[-1] = 5
    assert loss(weights.ravel())[0] == pytest.approx(np.log(3), abs=1e-6)
    weights[DIM] = 2
    assert loss(weights.ravel())[0] == pytest.approx(np.log(3) + 0.5 / head_module.C * 3 * 4 / 12, abs=1e-6)


# -------------------------------------------------------------------------------------------------- going on, ending
def test_continuing_keeps_mean_and_idf_and_goes_on_from_there() -> None:
    start = train_head(TEXTS, VECTORS, COLUMNS, routes=2, steps=3)
    further = train_head(TEXTS, VECTORS, COLUMNS, routes=2, steps=3, start=start)
    afresh = train_head(TEXTS, VECTORS, COLUMNS, routes=2, steps=1)
    assert objective(further) < objective(start) < objective(afresh)
    other = train_head(TEXTS[4:], VECTORS[4:], COLUMNS[4:], routes=2, steps=1, start=start)
    for continued in (further, other):
        np.testing.assert_array_equal(continued.mean, start.mean)
        np.testing.assert_array_equal(continued.idf, start.idf)


def test_a_head_that_is_done_hardly_moves_when_continued() -> None:
    done = train_head(TEXTS, VECTORS, COLUMNS, routes=2, steps=200)
    same = train_head(TEXTS, VECTORS, COLUMNS, routes=2, steps=1, start=done)
    np.testing.assert_allclose(same.logits(TEXTS, VECTORS), done.logits(TEXTS, VECTORS), atol=0.02)


def test_a_checkpoint_is_called_at_every_step_and_what_it_raises_ends_the_training() -> None:
    calls = 0

    def stop_at_the_third() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        train_head(TEXTS, VECTORS, COLUMNS, routes=2, checkpoint=stop_at_the_third)
    assert calls == 3
    calls = 3
    train_head(TEXTS, VECTORS, COLUMNS, routes=2, checkpoint=stop_at_the_third)
    assert 3 < calls <= 3 + STEPS


# -------------------------------------------------------------------------------------------------- without n-grams
@pytest.fixture(scope="module")
def compact() -> Head:
    return train_head(TEXTS, VECTORS, COLUMNS, routes=2, reads_ngrams=False)


def test_a_head_without_n_grams_has_none_of_their_weights_and_decides_by_the_vector(compact: Head) -> None:
    assert [part.shape for part in parts(compact)] == [(DIM,), (DIM, 3), (0, 3), (3,), (0,)]
    assert {part.dtype for part in parts(compact)} == {np.dtype(np.float32)}
    assert compact.logits(TEXTS, VECTORS).argmax(axis=1).tolist() == COLUMNS.tolist()
    unseen = vectors_of(COLUMNS, seed=5)
    logits = compact.logits(TEXTS, unseen)
    assert (logits.argmax(axis=1) == COLUMNS).mean() > 0.9
    np.testing.assert_array_equal(compact.logits(["日本語"] * len(TEXTS), unseen), logits)
    assert logits.dtype == np.float32
    assert compact.logits([], np.empty((0, DIM), np.float32)).shape == (0, 3)


def test_without_n_grams_training_twice_gives_the_same_bits(compact: Head) -> None:
    again = train_head(TEXTS, VECTORS.copy(), COLUMNS.copy(), routes=2, reads_ngrams=False)
    assert all(np.array_equal(left, right) for left, right in zip(parts(compact), parts(again), strict=True))


@pytest.mark.parametrize("asked_for", [True, False])
def test_what_is_continued_decides_whether_n_grams_are_read(head: Head, compact: Head, asked_for: bool) -> None:
    for start in (head, compact):
        further = train_head(TEXTS, VECTORS, COLUMNS, routes=2, steps=2, start=start, reads_ngrams=asked_for)
        assert [part.shape for part in parts(further)] == [part.shape for part in parts(start)]
        assert further.logits(TEXTS, VECTORS).argmax(axis=1).tolist() == COLUMNS.tolist()
