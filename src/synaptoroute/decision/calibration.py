"""How likely the nearest route is right, learned from the stored utterances alone.

Every utterance is asked twice, as if it were a query that had never been stored:

* with its route still there but itself left out: is its nearest neighbour of its own route?
* with its whole route left out: whatever is nearest now is wrong, and shows how near a text that belongs to none of
  these routes may come.

A logistic regression on two numbers, the score of the nearest route and its margin over the second, turns those
answers into a probability. Background sentences about everyday matters, which belong to nearly no table, stand in
for the rest of the world; they are all a table of a single route has to be compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
Owners = NDArray[np.int32]

#: Utterances asked at most; more would not move three coefficients.
SAMPLE = 2_048
#: Coefficients of (score, margin, 1) before any evidence, fitted on the train split of HWU64, and how firmly they
#: hold: as that many observations.
PRIOR = np.array([12.0, 6.0, -6.0])
PRIOR_STRENGTH = np.array([0.02, 0.02, 0.1])
_NEWTON_STEPS = 30


@dataclass(frozen=True, slots=True)
class Calibration:
    """Confidence = sigmoid(weights · (score, margin, 1))."""

    weights: Floats

    def confidence(self, scores: Vectors, margins: Vectors) -> Floats:
        """Probability in [0, 1] that a route with this score and margin is right; elementwise."""
        z = self.weights[0] * scores + self.weights[1] * margins + self.weights[2]
        return np.asarray(_sigmoid(z), np.float64)


UNCALIBRATED = Calibration(PRIOR)


def calibrate(vectors: Vectors, owners: Owners, background: Vectors) -> Calibration:
    """Fit the two coefficients and the offset; deterministic.

    Args:
        vectors: Unit rows of the stored utterances (n, dim).
        owners: The route of each (n,).
        background: Unit rows of texts that belong to no route (m, dim).
    """
    if not len(vectors):
        return UNCALIBRATED
    asked = np.unique(np.linspace(0, len(vectors) - 1, SAMPLE).astype(np.int64))
    order = np.argsort(owners, kind="stable")
    present, starts = np.unique(owners[order], return_index=True)
    own_group = np.searchsorted(present, owners[asked])
    scores = vectors[asked] @ vectors.T
    scores[np.arange(len(asked)), asked] = -1.0
    best = np.maximum.reduceat(scores[:, order], starts, axis=1)
    alone = np.bincount(owners, minlength=int(present[-1]) + 1)[present[own_group]] == 1

    left_out = _features(best[~alone])
    correct = best[~alone].argmax(axis=1) == own_group[~alone]
    best[np.arange(len(asked)), own_group] = -1.0
    without_route = _features(best) if len(present) > 1 else np.empty((0, 2))
    elsewhere = _features(np.maximum.reduceat((background @ vectors.T)[:, order], starts, axis=1))
    features = np.concatenate([left_out, without_route, elsewhere])
    outcome = np.concatenate([correct, np.zeros(len(without_route) + len(elsewhere), bool)])
    return Calibration(_logistic(features, outcome))


def _features(best: Vectors) -> Floats:
    """Score and margin of the nearest route, from the best score of every route (queries, routes)."""
    if best.shape[1] == 1:
        return np.column_stack([best[:, 0], np.maximum(best[:, 0], 0)]).astype(np.float64)
    top = np.partition(best, -2, axis=1)[:, -2:]
    return np.column_stack([top[:, 1], top[:, 1] - np.maximum(top[:, 0], 0)]).astype(np.float64)


def _logistic(features: Floats, outcome: NDArray[np.bool_]) -> Floats:
    """Maximum a posteriori logistic regression by Newton's method, around ``PRIOR``."""
    x = np.column_stack([features, np.ones(len(features))])
    weights = PRIOR.copy()
    for _ in range(_NEWTON_STEPS):
        p = _sigmoid(x @ weights)
        gradient = x.T @ (p - outcome) + PRIOR_STRENGTH * (weights - PRIOR)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(PRIOR_STRENGTH)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -60, 60))), np.float64)
