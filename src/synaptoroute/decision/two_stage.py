"""Decisions over tables too large for a head: neighbours propose, a model of what near means here decides.

Nothing in the model belongs to one route, so it stays valid while routes come and go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.evidence import summed
from synaptoroute.decision.gate import maximum_a_posteriori
from synaptoroute.decision.head import Checkpoint, no_checkpoint
from synaptoroute.decision.ranking import Ranking

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]
Owners = NDArray[np.int32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

#: Routes that neighbours propose. The right one was among 16 for 98.5 to 99.9 % of development queries.
CANDIDATES = 16
#: Utterances asked while learning, routes whose spread is measured, and queries at a time.
ASKED, SPREAD_OVER, AT_ONCE = 2_048, 4_096, 64
#: Softness of the sum over neighbours; 0.03 to 0.08 did alike on HWU64, Banking77 and CLINC150 development data.
TEMPERATURE = 0.05
#: Share of the spread that is taken as equal in all directions; 0.3 to 0.6 did alike on HWU64, Banking77, CLINC150.
SHRINKAGE = 0.5
#: Weights of (nearest, soft nearest, centre) before any evidence, and how firmly they hold, in queries.
PRIOR, STRENGTH = np.array([5.0, 5.0, 60.0]), 0.001
#: Share of queries assumed to be out of scope, and of those, of such as are near the routes' matters.
OUT_OF_SCOPE, NEAR = 0.2, 0.6
_SEED = 0


class Proposing(Protocol):
    """The part of an index that this needs; see ``index.base.BaseIndex``."""

    @property
    def present(self) -> Owners:
        """Owners that have rows."""
        ...

    def search(self, queries: Vectors, k: int, allow: Mask | None = None, *, exact: bool = False) -> Proposals:
        """The nearest owners of each query."""
        ...

    def members(self, owners: Rows) -> tuple[Rows, Rows]:
        """All rows of the owners, and the place each is listed for."""
        ...

    def rows_of(self, owner: int) -> Rows:
        """The owner's rows."""
        ...

    def vectors_of(self, rows: Rows) -> Vectors:
        """Their vectors."""
        ...


class Proposals(Protocol):
    """See ``index.base.Nearest``."""

    @property
    def owners(self) -> Owners:
        """(queries, k); -1 for none."""
        ...

    @property
    def scores(self) -> Vectors:
        """Of the nearest row of each."""
        ...

    @property
    def rows(self) -> Rows:
        """That row."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoStage:
    """Ranks proposed routes by a weighted sum of three measures, and says how sure that is.

    The measures of a route are the cosine of its nearest utterance; that of all its utterances, softly, so that one
    more near utterance always adds; and how near the query is to the middle of its utterances, with directions in which
    utterances of one route differ anyway counting less (linear discriminant analysis).

    Attributes:
        precision: Inverse of the covariance within routes (dim, dim).
        weights: Of the three measures (3,).
        gate: Offset and weights of the standardised inputs of the confidence (4,): the nearest cosine, the log
            probability among the proposed, and the lead of the nearest cosine over the others'.
        standard: Mean and deviation of these inputs (2, 3).
    """

    precision: Vectors
    weights: Floats
    gate: Floats
    standard: Floats

    def rank(
        self, index: Proposing, vectors: Vectors, k: int, allow: Mask | None = None, *, exact: bool = False
    ) -> Ranking:
        """The k best routes of each query.

        Args:
            index: Where the utterances are.
            vectors: Unit rows (n, dim).
            k: At least 1; at most ``CANDIDATES`` are ranked this way, and more come in the order of their nearest.
            allow: Owners that may be returned; None allows all.
            exact: Compare with every row even where the index would approximate.
        """
        parts = [
            self._rank(index, vectors[start : start + AT_ONCE], k, allow, exact=exact)
            for start in range(0, len(vectors), AT_ONCE)
        ]
        return Ranking(
            owners=np.concatenate([part.owners for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            rows=np.concatenate([part.rows for part in parts]),
            confidences=np.concatenate([part.confidences for part in parts]),
        )

    def _rank(self, index: Proposing, vectors: Vectors, k: int, allow: Mask | None, *, exact: bool) -> Ranking:
        nearest = index.search(vectors, max(k, CANDIDATES), allow, exact=exact)
        owners = nearest.owners[:, :CANDIDATES].astype(np.int64)
        asked = _ask(index, vectors, owners, self.precision)
        order, log_probabilities, inputs = _ordered(asked, self.weights)
        confidence = self._confidence(inputs)[:, None]
        # Where no route may be returned, not even the first has a probability.
        behind = log_probabilities - np.maximum(log_probabilities[:, :1], -1e9)
        others = np.minimum(confidence * np.exp(behind), 1 - confidence)
        confidences = np.concatenate([confidence, others[:, 1:]], axis=1)
        found = np.take_along_axis(owners, order, axis=1)
        there = found >= 0
        # Only these share the probability, so that asking for more routes does not change what is said of the first.
        rest = slice(CANDIDATES, k)
        return Ranking(
            np.hstack([found[:, :k], nearest.owners[:, rest]]).astype(np.int64),
            np.hstack(
                [
                    np.where(there, np.take_along_axis(asked.first, order, axis=1), -np.inf)[:, :k],
                    nearest.scores[:, rest],
                ]
            ).astype(np.float64),
            np.hstack([np.take_along_axis(asked.rows, order, axis=1)[:, :k], nearest.rows[:, rest]]),
            np.hstack(
                [
                    np.minimum.accumulate(np.where(there, confidences, 0.0), axis=1)[:, :k],
                    np.zeros_like(nearest.scores[:, rest], np.float64),
                ]
            ),
        )

    def _confidence(self, inputs: Floats) -> Floats:
        mean, deviation = self.standard
        z = self.gate[0] + (inputs - mean) / deviation @ self.gate[1:]
        return np.asarray(1 / (1 + np.exp(-np.clip(z, -60, 60))))


def learn_two_stage(index: Proposing, background: Vectors, checkpoint: Checkpoint = no_checkpoint) -> TwoStage:
    """Learn from utterances that are asked as if they were new queries; deterministic, a few seconds.

    Each is asked once without itself, and then the best route is right or wrong; and once without its whole route,
    and then every answer is wrong.

    Args:
        index: Where the utterances are; at least one.
        background: Unit rows of texts that belong to no route (m, dim).
        checkpoint: Called now and then; whatever it raises ends the learning.
    """
    random = np.random.default_rng(_SEED)
    precision = _precision(index, random)
    checkpoint()
    own = random.permutation(index.present)[:ASKED].astype(np.int64)
    rows = np.array([random.choice(index.rows_of(int(owner))) for owner in own], np.int64)
    vectors = index.vectors_of(rows)
    owners = index.search(vectors, CANDIDATES + 1).owners.astype(np.int64)
    checkpoint()
    without_itself = _ask(index, vectors, owners, precision, left_out=rows)
    there = (owners == own[:, None]) & (without_itself.rows >= 0)
    weights = _weights(without_itself, there)
    checkpoint()
    is_own = owners == own[:, None]
    # Where the own route was not even proposed, the last one goes, so that every query keeps as many.
    is_own[~is_own.any(axis=1), -1] = True
    strangers = _ask(index, vectors, owners[~is_own].reshape(len(owners), CANDIDATES), precision)
    far = _ask(index, background, index.search(background, CANDIDATES).owners.astype(np.int64), precision)
    inputs, outcomes, shares = [], [], []
    for asked, right, share in (
        (without_itself, there, 1 - OUT_OF_SCOPE),
        (strangers, None, OUT_OF_SCOPE * NEAR),
        (far, None, OUT_OF_SCOPE * (1 - NEAR)),
    ):
        order, _, found = _ordered(asked, weights)
        usable = asked.rows.max(axis=1, initial=-1) >= 0
        inputs.append(found[usable])
        best = np.zeros(len(found), bool) if right is None else np.take_along_axis(right, order[:, :1], axis=1)[:, 0]
        outcomes.append(best[usable])
        shares.append(np.full(int(usable.sum()), share / max(int(usable.sum()), 1)))
    features = np.concatenate(inputs)
    standard = np.stack([features.mean(axis=0), features.std(axis=0) + 1e-6])
    gate = maximum_a_posteriori(
        np.zeros(4), (features - standard[0]) / standard[1], np.concatenate(outcomes), np.concatenate(shares), ASKED
    )
    return TwoStage(precision=precision, weights=weights, gate=gate, standard=standard)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The measures of every proposed route (n, c), -inf where there is none; and its nearest row."""

    first: Floats
    soft: Floats
    centre: Floats
    rows: Rows


def _ask(index: Proposing, vectors: Vectors, owners: Rows, precision: Vectors, left_out: Rows | None = None) -> _Asked:
    """What the rows of the proposed owners say.

    Args:
        index: Where the rows are.
        vectors: Unit rows (n, dim).
        owners: Proposed for each (n, c); -1 for none.
        precision: See ``TwoStage``.
        left_out: A row that each query must not see (n,).
    """
    rows, pairs = index.members(owners)
    queries = pairs // owners.shape[1]
    if left_out is not None:
        seen = rows != left_out[queries]
        rows, pairs, queries = rows[seen], pairs[seen], queries[seen]
    first, soft, centre = (np.full(owners.shape, -np.inf) for _ in range(3))
    nearest = np.full(owners.shape, -1, np.int64)
    if not len(rows):
        return _Asked(first, soft, centre, nearest)
    stored = index.vectors_of(rows)
    cosines = np.einsum("ij,ij->i", stored, vectors[queries])
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    counts = np.diff(np.append(starts, len(pairs)))
    soft.flat[pairs[starts]] = 1 + TEMPERATURE * np.log(
        np.add.reduceat(np.exp((cosines - 1) / TEMPERATURE), starts) + 1e-30
    )
    found = summed(cosines, rows, pairs, owners.shape)
    there = found.rows >= 0
    first[there] = found.first[there]
    middles = np.add.reduceat(stored, starts, axis=0) / counts[:, None]
    towards = middles @ precision
    at = pairs[starts]
    scores = np.einsum("ij,ij->i", towards, vectors[at // owners.shape[1]] - middles / 2)
    # In units of the average direction, so that it is of the size of a cosine.
    centre.flat[at] = scores * (precision.shape[0] / np.trace(precision))
    return _Asked(first, soft, centre, found.rows)


def _ordered(asked: _Asked, weights: Floats) -> tuple[Rows, Floats, Floats]:
    """Order of the proposed, best first; their log probabilities in it (n, c); and the inputs of the gate (n, 3)."""
    there = np.isfinite(asked.first)
    measures = np.stack([asked.first, asked.soft, asked.centre], axis=-1)
    totals = np.where(there, np.where(there[..., None], measures, 0) @ weights, -np.inf)
    order = np.argsort(-totals, axis=1, kind="stable")
    ordered = np.take_along_axis(totals, order, axis=1)
    best = np.maximum(ordered[:, :1], -1e9)
    log_probabilities = ordered - best - np.log(np.maximum(np.exp(ordered - best).sum(axis=1, keepdims=True), 1e-300))
    nearest = np.maximum(np.take_along_axis(asked.first, order, axis=1), -1)
    rival = nearest[:, 1:].max(axis=1, initial=-1) if nearest.shape[1] > 1 else np.full(len(nearest), -1.0)
    inputs = np.column_stack(
        [nearest[:, 0], np.maximum(log_probabilities[:, 0], -20), nearest[:, 0] - np.maximum(rival, 0)]
    )
    return order, log_probabilities, inputs


def _precision(index: Proposing, random: np.random.Generator) -> Vectors:
    """The inverse of the pooled covariance within routes, shrunk towards equal spread."""
    owners = random.permutation(index.present)[:SPREAD_OVER].astype(np.int64)
    rows, pairs = index.members(owners[:, None])
    # Of routes with very many utterances, a part is enough.
    some = np.sort(random.permutation(len(rows))[: 8 * SPREAD_OVER])
    stored, _, place = index.vectors_of(rows[some]), *np.unique(pairs[some], return_inverse=True)
    counts = np.bincount(place)
    middles = np.zeros((len(counts), stored.shape[1]), np.float32)
    np.add.at(middles, place, stored)
    spread = stored - (middles / counts[:, None])[place]
    freedom, dim = max(len(stored) - len(counts), 0), stored.shape[1]
    covariance = spread.T @ spread / max(freedom, 1)
    # Without enough pairs of utterances to tell directions apart, none is preferred.
    shrinkage = max(SHRINKAGE, dim / (dim + freedom))
    scale = max(float(np.trace(covariance)) / dim, 1e-6)
    shrunk = (1 - shrinkage) * covariance + shrinkage * scale * np.eye(dim)
    return np.linalg.inv(shrunk).astype(np.float32)


def _weights(asked: _Asked, there: Mask) -> Floats:
    """The weights under which the right route is likeliest; none is negative."""
    from scipy import optimize

    usable = there.any(axis=1)
    right = there[usable].argmax(axis=1)
    measures = np.stack([asked.first, asked.soft, asked.centre], axis=-1)[usable]
    absent = ~np.isfinite(measures[..., 0])
    measures[absent] = 0
    at = np.arange(len(right)), right

    def loss(weights: Floats) -> tuple[float, Floats]:
        totals = np.where(absent, -np.inf, measures @ weights)
        totals -= totals.max(axis=1, keepdims=True)
        probabilities = np.exp(totals)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        moved = weights - PRIOR
        wrong = -np.log(probabilities[at] + 1e-12).sum() + 0.5 * STRENGTH * (moved * moved).sum()
        gradient = np.einsum("nc,ncf->f", probabilities, measures) - measures[at].sum(axis=0) + STRENGTH * moved
        return float(wrong), gradient

    if not len(right):
        return PRIOR
    return np.asarray(optimize.minimize(loss, PRIOR, jac=True, method="L-BFGS-B", bounds=[(0, None)] * 3).x)
