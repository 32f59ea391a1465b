"""Which routes come first, and how sure that is: by the head, by neighbours alone, or by both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.calibration import Calibration
from synaptoroute.decision.evidence import Evidence
from synaptoroute.decision.gate import Gate

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best routes of n queries, best first; every array is (n, k).

    Confidence never rises along a row. Where there are fewer than k routes, the rest is owner -1, row -1, score -inf
    and confidence 0.

    Attributes:
        owners: Routes, by the number that owns their rows.
        scores: Cosine of each route's nearest utterance.
        rows: That utterance's row.
        confidences: Probability that the route is right.
        reranked: Which queries a reranker has decided (n,); None if it was asked about none.
    """

    owners: Ints
    scores: Floats
    rows: Ints
    confidences: Floats
    reranked: NDArray[np.bool_] | None = None


def by_neighbours(owners: Ints, scores: Floats, rows: Ints, calibration: Calibration) -> Ranking:
    """Nearest utterance first. One more good example never hurts a route, and a new route takes part at once."""
    margins = np.maximum(scores, -1) - np.maximum(scores[:, :1], 0)
    # A score below zero is no rival.
    margins[:, 0] = np.maximum(scores[:, 0], -1) - (np.maximum(scores[:, 1], 0) if scores.shape[1] > 1 else 0)
    confidences = np.where(owners >= 0, calibration.confidence(scores, margins), 0.0)
    return Ranking(owners, scores, rows, _falling(confidences))


def by_model(evidence: Evidence, gate: Gate, owners: Ints) -> Ranking:
    """In the order of the head's logits.

    Args:
        evidence: Of n queries.
        gate: Says how far to believe the first candidate; what is left goes to the others by their probabilities.
        owners: The owner of each column of the head.
    """
    return Ranking(
        owners[evidence.columns],
        evidence.scores.astype(np.float64),
        evidence.rows,
        shared_confidences(gate, evidence.features, evidence.probabilities),
    )


def shared_confidences(gate: Gate, features: Floats, probabilities: Floats) -> Floats:
    """Confidences of the candidates of n texts (n, k).

    Args:
        gate: Says how far to believe the first candidate; what is left goes to the others by their probabilities.
        features: The gate's inputs (n, 6).
        probabilities: The head's, best first (n, k).
    """
    in_scope, right = gate.probabilities(features)
    confidences = [shared(*row) for row in zip(in_scope.tolist(), right.tolist(), probabilities.tolist(), strict=True)]
    return np.array(confidences).reshape(probabilities.shape)


def shared(in_scope: float, right: float, probabilities: list[float]) -> list[float]:
    """Confidences of candidates of these probabilities, never rising."""
    confidences = [in_scope * right]
    rest = in_scope * (1 - right) / max(1 - probabilities[0], 1e-12)
    for probability in probabilities[1:]:
        confidences.append(min(confidences[-1], rest * probability))
    return confidences


def challenged(learned: Ranking, newcomers: Ranking, calibration: Calibration) -> Ranking:
    """Routes that the head does not know yet beside those it knows.

    The nearest newcomer wins where it is nearer than the head's choice, with the confidence that neighbours give it;
    the others stand by confidence.
    """
    best, rival = newcomers.scores[:, 0], learned.scores[:, 0]
    wins = best > rival
    margins = np.maximum(best, -1) - np.maximum(rival, 0)
    confidence = np.where(newcomers.owners[:, 0] >= 0, calibration.confidence(best, margins), 0.0)
    newcomer_confidences = np.minimum(newcomers.confidences, confidence[:, None])
    confidences = np.concatenate([learned.confidences, newcomer_confidences], axis=1)
    owners = np.concatenate([learned.owners, newcomers.owners], axis=1)
    key = np.where(owners >= 0, confidences, -1.0)
    key[np.arange(len(key)), np.where(wins, learned.owners.shape[1], 0)] = 2.0
    order = np.argsort(-key, axis=1, kind="stable")

    def sorted_rows(left: NDArray[np.generic], right: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.take_along_axis(np.concatenate([left, right], axis=1), order, axis=1)

    return Ranking(
        np.take_along_axis(owners, order, axis=1),
        sorted_rows(learned.scores, newcomers.scores).astype(np.float64),
        sorted_rows(learned.rows, newcomers.rows).astype(np.int64),
        _falling(np.take_along_axis(confidences, order, axis=1)),
    )


def _falling(confidences: Floats) -> Floats:
    """Lowered so that none is above one before it. Each was calibrated alone; that two are right at once cannot be."""
    confidences[:, 1:] = np.minimum(confidences[:, 1:], 1 - confidences[:, :1])
    return np.minimum.accumulate(confidences, axis=1)
