"""The learned head: a linear model from a text's vector and n-grams to one logit a route, and one for "none"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.lexical import NGRAM_BITS, Weighted, inverse_document_frequency, ngrams

Vectors = NDArray[np.float32]
Owners = NDArray[np.int32]

#: Called now and then by what takes long; may raise to end it.
Checkpoint = Callable[[], None]

#: Inverse strength of the L2 penalty, and steps of L-BFGS; chosen on HWU64 and on splits of the train sets of
#: Banking77 and CLINC150. The head is regularised by stopping as much as by the penalty.
C = 10.0
STEPS = 25

#: Texts whose n-grams are kept until they are asked for: as many as wait for an encoder.
_HANDED_ON = 1_024


def no_checkpoint() -> None:
    """Never ends anything."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """Logits = (vector - mean) · vector_weights + n-grams · ngram_weights + bias, float32 (texts, routes + 1).

    The last column is "none": trained on texts that belong to no route. A head that does not read n-grams has no rows
    in ``ngram_weights`` and ``idf``.
    """

    mean: Vectors
    vector_weights: Vectors
    ngram_weights: Vectors
    bias: Vectors
    idf: Vectors

    def logits(self, texts: Sequence[str], vectors: Vectors) -> Vectors:
        """One row a text: a logit for every route, then the one for "none"."""
        logits: Vectors = vectors @ self.vector_weights
        logits += self._offset
        if len(self.idf):
            logits += self.spelled(texts)
        return logits

    def spelled(self, texts: Sequence[str]) -> Vectors:
        """The part of the logits that the n-grams make, for a head that reads them."""
        if self._handed_on:
            rows = [self._handed_on.pop(text, None) for text in texts]
            if rows and all(row is not None for row in rows):
                return np.array(rows)
        return Weighted.of(ngrams(texts), self.idf).times(self.ngram_weights)

    def hand_on(self, texts: Sequence[str], spelled: Vectors) -> None:
        """Keep what is ``spelled`` of texts (n, routes + 1) until this head is asked about them soon."""
        if len(self._handed_on) >= _HANDED_ON:
            # Whoever asked has left, or was turned away.
            self._handed_on.clear()
        # Copies: a row that is part of an array would keep all of it.
        self._handed_on.update(zip(texts, map(np.copy, spelled), strict=True))

    @cached_property
    def _handed_on(self) -> dict[str, Vectors]:
        return {}

    @cached_property
    def _offset(self) -> Vectors:
        """What the logits of the vector 0 are."""
        return np.asarray(self.bias - self.mean @ self.vector_weights, np.float32)


def train_head(
    texts: Sequence[str],
    vectors: Vectors,
    columns: Owners,
    routes: int,
    *,
    start: Head | None = None,
    steps: int = STEPS,
    reads_ngrams: bool = True,
    given: Vectors | None = None,
    checkpoint: Checkpoint = no_checkpoint,
) -> Head:
    """Multinomial logistic regression over vector and n-grams together, by L-BFGS in float32; deterministic.

    Args:
        texts: All examples (n).
        vectors: Their unit rows (n, dim).
        columns: The right column of each (n,); ``routes`` for texts that belong to none.
        routes: How many routes there are; columns 0 to routes - 1.
        start: A head of the same routes to continue from; its mean and idf are kept.
        steps: L-BFGS iterations.
        reads_ngrams: Whether n-grams take part; without them a step costs a quarter. ``start`` decides if given.
        given: Logits that somebody else adds to those of the head (n, routes + 1); 0 unless given.
        checkpoint: Called at every iteration; whatever it raises ends the training.
    """
    from scipy import optimize, sparse

    per_route = max(1.0, float((columns < routes).sum()) / routes)
    # Few examples say little about which words matter: weigh words less there (Banking77, 5 shots: 2 points).
    share = np.float32(0.75 * per_route / (per_route + 2))
    mean = start.mean if start else vectors[columns < routes].mean(axis=0)
    if len(start.idf) if start else reads_ngrams:
        bags = ngrams(texts)
        idf = start.idf if start else inverse_document_frequency(bags)
        weighted = Weighted.of(bags, idf)
        shape = (len(texts), 1 << NGRAM_BITS)
        lexical = sparse.csr_matrix((weighted.values * share, (bags.rows, bags.buckets)), shape=shape)
    else:
        idf = np.empty(0, np.float32)
        lexical = sparse.csr_matrix((len(texts), 0), dtype=np.float32)
    dense = vectors - mean
    width, dim = routes + 1, vectors.shape[1]
    loss = _loss(dense, lexical, columns, width, given)
    weights = np.zeros((dim + lexical.shape[1] + 1, width))
    if start is not None:
        weights[:dim], weights[-1] = start.vector_weights, start.bias
        weights[dim:-1] = start.ngram_weights / share
    found, _, _ = optimize.fmin_l_bfgs_b(
        loss, weights.ravel(), maxiter=steps, m=6, factr=1e9, pgtol=1e-6, callback=lambda _: checkpoint()
    )
    found = found.reshape(weights.shape).astype(np.float32)
    return Head(mean=mean, vector_weights=found[:dim], ngram_weights=found[dim:-1] * share, bias=found[-1], idf=idf)


def _loss(dense: Vectors, lexical: Any, columns: Owners, width: int, given: Vectors | None = None) -> Any:
    """Mean cross-entropy with its gradient, as SciPy wants it; the bias is not penalised."""
    count, dim = dense.shape
    transposed = lexical.T.tocsr()
    target = np.arange(count), columns

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.astype(np.float32).reshape(-1, width)
        logits = dense @ weights[:dim] + lexical @ weights[dim:-1] + weights[-1]
        if given is not None:
            logits += given
        logits -= logits.max(axis=1, keepdims=True)
        right = logits[target]
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, keepdims=True)
        cross_entropy = float((np.log(total[:, 0]) - right).sum(dtype=np.float64))
        logits /= total
        logits[target] -= 1
        gradient = np.empty_like(weights)
        gradient[:dim] = dense.T @ logits
        gradient[dim:-1] = transposed @ logits
        gradient[-1] = logits.sum(axis=0)
        gradient[:-1] += weights[:-1] / C
        penalty = 0.5 / C * float(np.square(flat[:-width]).sum())
        return (cross_entropy + penalty) / count, (gradient.ravel() / count).astype(np.float64)

    return loss
