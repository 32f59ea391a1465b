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
#: Coefficients of (score, margin, 1) before any evidence. Fitted on simulated tables of 1 to 32 routes with 3 to 20
#: utterances from HWU64 and MetaTool, with the bundled encoder.
PRIOR = np.array([6.62, 10.17, -3.78])
#: How firmly the prior holds, against evidence that weighs as much as this many queries in all.
PRIOR_STRENGTH = 0.3
EVIDENCE = 100.0
#: Share of queries assumed to be out of scope, and of those, of such as are near the routes' own matters.
OUT_OF_SCOPE = 0.25
NEAR = 0.5
_NEWTON_STEPS = 50


@dataclass(frozen=True, slots=True)
class Calibration:
    """Confidence = sigmoid(weights · (score, margin, 1))."""

    weights: Floats

    def confidence(self, scores: Floats, margins: Floats) -> Floats:
        """Probability in [0, 1] that a route with this score and margin is right; elementwise, -inf counts as least."""
        scores, margins = np.maximum(scores, -1), np.maximum(margins, -2)
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
    near = _features(best) if len(present) > 1 else np.empty((0, 2))
    far = _features(np.maximum.reduceat((background @ vectors.T)[:, order], starts, axis=1))
    near_share = OUT_OF_SCOPE * (NEAR if len(near) else 0)
    shares = (1 - OUT_OF_SCOPE, near_share, OUT_OF_SCOPE - near_share)
    groups = (left_out, near, far)
    weights = np.concatenate(
        [np.full(len(rows), share / max(len(rows), 1)) for rows, share in zip(groups, shares, strict=True)]
    )
    outcome = np.concatenate([correct, np.zeros(len(near) + len(far), bool)])
    return Calibration(_logistic(np.concatenate(groups), outcome, weights * min(EVIDENCE, len(outcome))))


def _features(best: Vectors) -> Floats:
    """Score and margin of the nearest route, from the best score of every route (queries, routes)."""
    if best.shape[1] == 1:
        return np.column_stack([best[:, 0], np.maximum(best[:, 0], 0)]).astype(np.float64)
    top = np.partition(best, -2, axis=1)[:, -2:]
    return np.column_stack([top[:, 1], top[:, 1] - np.maximum(top[:, 0], 0)]).astype(np.float64)


def _logistic(features: Floats, outcome: NDArray[np.bool_], weights: Floats) -> Floats:
    """Maximum a posteriori logistic regression around ``PRIOR``, with no negative coefficient of a feature.

    Newton's method with projection; more score or margin must never lower the confidence.
    """
    x = np.column_stack([features, np.ones(len(features))])
    least = np.array([0.0, 0.0, -np.inf])
    found = PRIOR.copy()
    for _ in range(_NEWTON_STEPS):
        p = _sigmoid(x @ found)
        gradient = x.T @ (weights * (p - outcome)) + PRIOR_STRENGTH * (found - PRIOR)
        free = (found > least) | (gradient < 0)
        curvature = (x * (weights * p * (1 - p))[:, None]).T @ x + PRIOR_STRENGTH * np.eye(3)
        step = np.zeros(3)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        moved = np.maximum(found - step, least)
        if np.abs(moved - found).max() < 1e-9:
            break
        found = moved
    return found


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -60, 60))), np.float64)
