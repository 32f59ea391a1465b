"""Ties: what a second opinion on the first routes is worth, learned from utterances that were held out.

A reranker scores a query against texts on a scale of its own. How much that says of which route is right is not known
beforehand, so it is learned for each table: a conditional logit (McFadden 1974) over the candidates of held-out
utterances, on the logarithm of the confidence they had and on the score. Where the score does not help there, its
weight is 0, and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

#: Fewer held-out ties than this teach nothing.
FEWEST = 20
#: How firmly "the score says nothing" holds, in queries.
STRENGTH = 1.0
_FOLDS, _SEED = 5, 0
_NEWTON_STEPS = 50
#: Least confidence of which a logarithm is taken.
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Choices:
    """What a head made of utterances it had not seen; arrays are (n, k) over its candidates, best first.

    Attributes:
        texts: The utterances (n).
        vectors: Their unit rows (n, dim).
        expected: The column of each one's route (n,).
        columns: Candidates, by the same numbers.
        probabilities: The head's.
        features: The gate's inputs (n, 6).
    """

    texts: Sequence[str]
    vectors: Vectors
    expected: Rows
    columns: Rows
    probabilities: Floats
    features: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class TieWeights:
    """How confidences and a reranker's scores go together, for one table and one tie-break.

    Attributes:
        fingerprint: Of the tie-break it was learned with.
        prior: Weight of the logarithm of the confidence.
        score: Weight of the score; 0 if it does not help, or there was too little to learn from.
        ties: Held-out ties it was learned from.
        failed: The reranker failed while this was being learned.
    """

    fingerprint: str
    prior: float = 1.0
    score: float = 0.0
    ties: int = 0
    failed: bool = False

    def shared(self, confidences: Floats, scores: Floats) -> Floats:
        """The confidences of the candidates of one query (m,) in the light of their scores (m,); their sum stays."""
        z = self.prior * np.log(np.maximum(confidences, _LEAST)) + self.score * scores
        shares = np.exp(z - z.max())
        return np.asarray(confidences.sum() * shares / shares.sum(), np.float64)


def learned_weights(fingerprint: str, confidences: Floats, scores: Floats, right: Rows) -> TieWeights:
    """The weights that make the right candidates of held-out ties most likely; deterministic.

    The score gets a weight only if, in cross-validation, it makes the right candidates more likely than the confidences
    alone do, and puts so many more of them first that chance would rarely do it.

    Args:
        fingerprint: Of the tie-break.
        confidences: Of the candidates of n ties, best first (n, m); 0 for none.
        scores: The reranker's (n, m); any number where there is no candidate.
        right: The place of the right candidate (n,); -1 where it is not among them.
    """
    usable = right >= 0
    confidences, scores, right = confidences[usable], scores[usable], right[usable]
    if len(right) < FEWEST:
        return TieWeights(fingerprint=fingerprint, ties=len(right))
    there = confidences > 0
    # Only what sets the candidates of one query apart counts, measured in deviations.
    centred = np.where(there, scores - _mean(scores, there), 0.0)
    deviation = float(np.sqrt((centred**2).sum() / there.sum()))
    if not deviation > 0:
        return TieWeights(fingerprint=fingerprint, ties=len(right))
    inputs = np.stack([np.log(np.maximum(confidences, _LEAST)), centred / deviation], axis=2)
    if not _helps(inputs, there, right):
        return TieWeights(fingerprint=fingerprint, ties=len(right))
    prior, score = _fitted(inputs, there, right)
    return TieWeights(fingerprint=fingerprint, prior=prior, score=score / deviation, ties=len(right))


def _mean(scores: Floats, there: NDArray[np.bool_]) -> Floats:
    return np.asarray(np.where(there, scores, 0).sum(axis=1, keepdims=True) / there.sum(axis=1, keepdims=True))


def _helps(inputs: Floats, there: NDArray[np.bool_], right: Rows) -> bool:
    fold = np.random.default_rng(_SEED).permutation(len(right)) % _FOLDS
    gained = lost = 0
    likelier = 0.0
    for number in range(_FOLDS):
        rest, held_out = fold != number, np.flatnonzero(fold == number)
        hit, log_share = [], []
        for scored in (True, False):
            weights = np.array(_fitted(inputs[rest], there[rest], right[rest], scored=scored))
            shares = _shares(inputs[held_out], there[held_out], weights)
            hit.append(shares.argmax(axis=1) == right[held_out])
            log_share.append(np.log(shares[np.arange(len(held_out)), right[held_out]]).sum())
        gained += int((hit[0] & ~hit[1]).sum())
        lost += int((hit[1] & ~hit[0]).sum())
        likelier += float(log_share[0] - log_share[1])
    # By more than the deviation of as many coins.
    return gained - lost > np.sqrt(gained + lost) and likelier > 0


def _shares(inputs: Floats, there: NDArray[np.bool_], weights: Floats) -> Floats:
    z = np.where(there, inputs @ weights, -np.inf)
    shares = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _fitted(inputs: Floats, there: NDArray[np.bool_], right: Rows, *, scored: bool = True) -> tuple[float, float]:
    """Maximum a posteriori around (1, 0), none negative, by Newton's method with projection."""
    found, prior = np.array([1.0, 0.0]), np.array([1.0, 0.0])
    for _ in range(_NEWTON_STEPS):
        shares = _shares(inputs, there, found)
        expected = np.einsum("nm,nmd->nd", shares, inputs)
        gradient = (expected - inputs[np.arange(len(right)), right]).sum(axis=0) + STRENGTH * (found - prior)
        curvature = np.einsum("nm,nmd,nme->de", shares, inputs, inputs) - expected.T @ expected + STRENGTH * np.eye(2)
        free = np.array([True, scored]) & ((found > 0) | (gradient < 0))
        step = np.zeros(2)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        moved = np.maximum(found - np.clip(step, -2, 2), 0)
        if np.abs(moved - found).max() < 1e-9:
            break
        found = moved
    return float(found[0]), float(found[1])
