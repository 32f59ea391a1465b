"""Kernel ridge regression on landmarks: what it follows that a linear head cannot, and what could break it."""

from __future__ import annotations

import numpy as np
import pytest

from synaptoroute.decision import kernel as module
from synaptoroute.decision.head import train_head
from synaptoroute.decision.kernel import Owners, Vectors, train_kernel

DIM = 16


def unit(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def clusters(routes: int, per_route: int, spread: float = 0.1, seed: int = 0) -> tuple[Vectors, Owners]:
    """Routes around directions of their own, ordered by column."""
    random = np.random.default_rng(seed)
    columns = np.repeat(np.arange(routes, dtype=np.int32), per_route)
    centres = np.random.default_rng(99).normal(size=(routes, DIM))
    return unit(centres[columns] + random.normal(scale=spread, size=(len(columns), DIM))), columns


def interleaved(per_corner: int, seed: int) -> tuple[Vectors, Owners]:
    """Two routes in opposite corners of a square on the sphere, as in XOR; ordered by column."""
    random = np.random.default_rng(seed)
    corners = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]]).repeat(per_corner, axis=0)
    rows = np.column_stack([corners, np.ones(len(corners)), np.zeros((len(corners), DIM - 3))])
    columns = np.repeat(np.arange(2, dtype=np.int32), 2 * per_corner)
    return unit(rows + random.normal(scale=0.1, size=rows.shape)), columns


# ------------------------------------------------------------------------------------------------- what it is good for
def test_it_follows_two_routes_that_no_linear_head_can_tell_apart() -> None:
    vectors, columns = interleaved(20, seed=0)
    unseen, expected = interleaved(20, seed=1)
    kernel = train_kernel(vectors, columns, 2)
    assert (kernel.scores(unseen).argmax(axis=1) == expected).all()
    nothing = [""] * len(columns)
    head = train_head(nothing, vectors, columns, 2, steps=200, reads_ngrams=False)
    assert (head.logits(nothing, unseen)[:, :2].argmax(axis=1) == expected).mean() < 0.8


def test_the_right_route_scores_about_one_more_than_the_others() -> None:
    vectors, columns = clusters(5, 30)
    unseen, expected = clusters(5, 10, seed=1)
    scores = train_kernel(vectors, columns, 5).scores(unseen)
    right = scores[np.arange(len(unseen)), expected]
    wrong = np.delete(scores.ravel(), np.arange(len(unseen)) * 5 + expected)
    assert right == pytest.approx(1 - 1 / 5, abs=0.15)
    assert wrong == pytest.approx(-1 / 5, abs=0.15)
    assert scores.sum(axis=1) == pytest.approx(0, abs=1e-3)


def test_a_text_far_from_everything_scores_hardly_anything() -> None:
    vectors, columns = clusters(5, 30)
    mean = vectors.mean(axis=0)
    scores = train_kernel(vectors, columns, 5).scores(unit(-mean[None].astype(np.float64)))
    assert np.abs(scores).max() < 0.2


def test_with_one_route_there_is_nothing_to_tell() -> None:
    vectors, columns = clusters(1, 6)
    assert train_kernel(vectors, columns, 1).scores(vectors) == pytest.approx(0, abs=1e-6)


# ------------------------------------------------------------------------------------------------------------ landmarks
def test_few_vectors_are_all_landmarks_and_nearly_interpolated() -> None:
    vectors, columns = clusters(20, 3)
    kernel = train_kernel(vectors, columns, 20)
    np.testing.assert_array_equal(kernel.points, vectors)
    assert kernel.weights.shape == (60, 20)
    assert kernel.scores(vectors) == pytest.approx(np.eye(20)[columns] - 1 / 20, abs=0.15)


def test_the_fewer_the_penalty_the_closer_to_the_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, columns = clusters(20, 3)
    monkeypatch.setattr(module, "PENALTY", 1e-6)
    scores = train_kernel(vectors, columns, 20).scores(vectors)
    assert scores == pytest.approx(np.eye(20)[columns] - 1 / 20, abs=1e-3)


def test_many_vectors_are_reduced_and_every_route_has_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LANDMARKS", 30)
    sizes = [1, 2, 400, 5, 100]
    vectors, columns = clusters(5, 400, spread=0.02)
    kept = np.concatenate([np.flatnonzero(columns == column)[:size] for column, size in enumerate(sizes)])
    vectors, columns = vectors[kept], columns[kept]
    kernel = train_kernel(vectors, columns, 5)
    assert kernel.points.shape == (30, DIM)
    assert np.linalg.norm(kernel.points, axis=1) == pytest.approx(1, abs=1e-5)
    centres = np.stack([vectors[columns == column].mean(axis=0) for column in range(5)])
    owners = (kernel.points @ centres.T).argmax(axis=1)
    assert set(owners.tolist()) == set(range(5))
    assert (kernel.scores(vectors).argmax(axis=1) == columns).all()


def test_landmarks_move_to_where_the_vectors_are(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, columns = clusters(4, 100, spread=0.3)
    monkeypatch.setattr(module, "LANDMARKS", 8)
    moved = train_kernel(vectors, columns, 4).points
    monkeypatch.setattr(module, "ROUNDS", 0)
    drawn = train_kernel(vectors, columns, 4).points
    assert {row.tobytes() for row in drawn} <= {row.tobytes() for row in vectors}
    assert (vectors @ moved.T).max(axis=1).mean() > (vectors @ drawn.T).max(axis=1).mean()


def test_more_routes_than_landmarks_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LANDMARKS", 8)
    kernel = train_kernel(*clusters(20, 3), 20)
    assert kernel.points.shape == (8, DIM)
    assert np.isfinite(kernel.weights).all()


# --------------------------------------------------------------------------------------------------------------- limits
def test_training_twice_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, columns = clusters(6, 20)
    for landmarks in (2_048, 40):
        monkeypatch.setattr(module, "LANDMARKS", landmarks)
        first, again = (train_kernel(vectors.copy(), columns.copy(), 6) for _ in range(2))
        np.testing.assert_array_equal(first.points, again.points)
        np.testing.assert_array_equal(first.weights, again.weights)
        assert {first.points.dtype, first.weights.dtype, first.scores(vectors).dtype} == {np.dtype(np.float32)}


def test_how_many_rows_are_looked_at_at_once_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, columns = clusters(6, 20)
    monkeypatch.setattr(module, "LANDMARKS", 40)
    at_once = train_kernel(vectors, columns, 6).scores(vectors)
    monkeypatch.setattr(module, "BLOCK", 7)
    assert train_kernel(vectors, columns, 6).scores(vectors) == pytest.approx(at_once, abs=1e-4)


@pytest.mark.parametrize("spread", [0.0, 1e-4, 0.005])
def test_hundreds_of_utterances_that_say_nearly_the_same_are_no_singular_matrix(spread: float) -> None:
    """In float32 the normal equations of these lost their positive definiteness, and with it the whole training."""
    centres = np.random.default_rng(0).normal(size=(5, 384)).repeat(200, axis=0)
    vectors = unit(unit(centres) + np.random.default_rng(1).normal(scale=spread, size=centres.shape))
    columns = np.repeat(np.arange(5, dtype=np.int32), 200)
    kernel = train_kernel(vectors, columns, 5)
    assert (kernel.scores(vectors).argmax(axis=1) == columns).all()
    torn = np.sort(np.arange(1_000, dtype=np.int32) % 2)
    assert np.isfinite(train_kernel(vectors[np.random.default_rng(2).permutation(1_000)], torn, 2).weights).all()


def test_no_text_has_no_scores() -> None:
    kernel = train_kernel(*clusters(3, 4), 3)
    assert kernel.scores(np.empty((0, DIM), np.float32)).shape == (0, 3)
