"""What can be said about a text and the routes it might belong to: the inputs of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.lexical import WORD_BITS, words

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Owners = NDArray[np.int32]

#: Routes that are looked at closely. With the runner-up sought among these instead of all, all decisions on 3,200
#: development queries stayed the same.
CANDIDATES = 5

#: Softness of the sum over neighbours; 0.03 to 0.08 did alike on HWU64, Banking77 and CLINC150 development data.
TEMPERATURE = 0.05

#: The gate's inputs, in order: top logit of a route; its log probability among the routes; mean cosine of its two
#: nearest utterances; share of the query's words (by idf) that its utterances know; top logit minus that of "none";
#: nearest cosine of the top route minus that of the other candidates.
FEATURES = ("top_logit", "log_probability", "nearest_two", "words_known", "above_none", "nearer_than_others")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What the rows of k groups say of n queries; arrays are (n, k).

    Attributes:
        first: Cosine of the nearest row.
        second: Cosine of the second nearest.
        rows: The nearest row.
        together: Log of the sum over all rows of exp((cosine - 1) / temperature): one more near row always adds.
    """

    first: Vectors
    second: Vectors
    rows: Rows
    together: Vectors


class Stored(Protocol):
    """Stored vectors that belong to groups: those of an index to owners, for example."""

    def neighbours(self, queries: Vectors, groups: Rows, /) -> Neighbours:
        """See ``Grouped.neighbours``."""
        ...


@dataclass(frozen=True, slots=True)
class Grouped:
    """Stored vectors ordered by group: group g has the rows ``starts[g]`` to ``ends[g]``."""

    vectors: Vectors
    starts: Rows
    ends: Rows

    def neighbours(self, queries: Vectors, groups: Rows) -> Neighbours:
        """For each query and each of its groups, what its rows say.

        Args:
            queries: Unit rows (n, dim).
            groups: Group numbers (n, k); -1 for none.

        Returns:
            Arrays (n, k). Without a second row, the first counts twice; without a group, scores and row are -1.
        """
        first = np.full(groups.shape, -1, np.float32)
        second = np.full(groups.shape, -1, np.float32)
        rows = np.full(groups.shape, -1, np.int64)
        together = np.full(groups.shape, -np.inf, np.float32)
        flat = groups.ravel()
        order = np.argsort(flat, kind="stable")
        present, bounds = np.unique(flat[order], return_index=True)
        for group, pairs in zip(present, np.split(order, bounds)[1:], strict=True):
            if group < 0:
                continue
            start, end = self.starts[group], self.ends[group]
            scores = queries[pairs // groups.shape[1]] @ self.vectors[start:end].T
            best = scores.argmax(axis=1)
            best_scores = scores[np.arange(len(pairs)), best]
            first.flat[pairs], rows.flat[pairs] = best_scores, start + best
            second.flat[pairs] = np.partition(scores, -2, axis=1)[:, -2] if end - start > 1 else best_scores
            together.flat[pairs] = np.log(np.exp((scores - 1) / TEMPERATURE).sum(axis=1) + 1e-30)
        return Neighbours(first, second, rows, together)


def summed(scores: Vectors, rows: Rows, pairs: Rows, shape: tuple[int, ...]) -> Neighbours:
    """What the rows of each pair of query and owner say; ``pairs`` ascend, and some may have no row."""
    found = Neighbours(
        np.full(shape, -1, np.float32),
        np.full(shape, -1, np.float32),
        np.full(shape, -1, np.int64),
        np.full(shape, -np.inf, np.float32),
    )
    if not len(rows):
        return found
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    counts = np.diff(starts, append=len(pairs))
    first = np.maximum.reduceat(scores, starts)
    together = np.log(np.add.reduceat(np.exp((scores - 1) / TEMPERATURE), starts) + 1e-30)
    ties = np.flatnonzero(scores == np.repeat(first, counts))
    nearest = ties[np.searchsorted(ties, starts)]
    scores[nearest] = -np.inf
    second = np.where(counts > 1, np.maximum.reduceat(scores, starts), first)
    told = pairs[starts]
    found.first.flat[told], found.second.flat[told] = first, second
    found.rows.flat[told], found.together.flat[told] = rows[nearest], together
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Which words the utterances of each route know.

    Attributes:
        idf: Weight of each word bucket.
        known: Sorted column * 2**17 + bucket of every word of every route.
    """

    idf: Vectors
    known: Rows

    @classmethod
    def of(cls, texts: Sequence[str], columns: Owners) -> Vocabulary:
        """The vocabulary of texts that belong to these columns."""
        bags = words(texts)
        # A text may repeat a word; no word weighs less than one that every text has.
        frequency = np.minimum(np.bincount(bags.buckets, minlength=1 << WORD_BITS), len(texts))
        idf = (np.log((1 + len(texts)) / (1 + frequency)) + 0.1).astype(np.float32)
        owners = columns[bags.rows].astype(np.int64)
        return cls(idf=idf, known=np.unique((owners << WORD_BITS) | bags.buckets))

    def share_known(self, texts: Sequence[str], columns: Rows) -> Floats:
        """How much of each text's idf mass its column knows, in [0, 1] (n,)."""
        bags = words(texts)
        rows = bags.rows
        weights = self.idf[bags.buckets]
        keys = (columns[rows] << WORD_BITS) | bags.buckets
        place = np.minimum(np.searchsorted(self.known, keys), max(len(self.known) - 1, 0))
        known = self.known[place] == keys if len(self.known) else np.zeros(len(keys), bool)
        count = len(texts)
        return np.bincount(rows, weights * known, count) / (np.bincount(rows, weights, count) + 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the head and the neighbours say of n texts; arrays are (n, k) over candidates, best first.

    Attributes:
        columns: Candidate columns of the head; k is smaller where fewer may be chosen.
        probabilities: Softmax over all allowed routes.
        scores: Cosine of each candidate's nearest utterance.
        rows: That utterance's row in the ``Grouped`` vectors.
        features: The gate's inputs (n, 6), see ``FEATURES``.
    """

    columns: Rows
    probabilities: Floats
    scores: Vectors
    rows: Rows
    features: Floats


def gather(
    logits: Vectors,
    vocabulary: Vocabulary,
    stored: Stored,
    groups: Rows,
    texts: Sequence[str],
    vectors: Vectors,
    *,
    lift: Vectors | None = None,
    candidates: int = CANDIDATES,
    allowed: NDArray[np.bool_] | None = None,
) -> Evidence:
    """Take the head's candidates and ask the stored utterances about them.

    Args:
        logits: What the head says (n, columns + 1), the last one for "none".
        vocabulary: Of the same columns.
        stored: The utterances.
        groups: Which of ``stored`` belong to each column; -1 for a column whose route is gone.
        texts: Queries (n).
        vectors: Their unit rows (n, dim).
        lift: Added to the logits of the routes where they are compared with each other (n, columns).
        candidates: How many columns to look at, at least 1.
        allowed: Columns that may be chosen; None allows all that have a group.
    """
    none, logits = logits[:, -1], logits[:, :-1].astype(np.float64)
    compared: Floats = np.add(logits, 0.0 if lift is None else lift, dtype=np.float64)
    usable = groups >= 0 if allowed is None else allowed & (groups >= 0)
    compared[:, ~usable] = -np.inf
    width = min(max(candidates, 2), int(usable.sum()))
    columns = _top(compared, width)
    chosen = np.take_along_axis(compared, columns, axis=1)
    top = chosen[:, :1]
    log_probabilities = chosen - top - np.log(np.exp(compared - top).sum(axis=1, keepdims=True))
    neighbours = stored.neighbours(vectors, groups[columns])
    nearest = neighbours.first
    top_logit = np.take_along_axis(logits, columns[:, :1], axis=1)[:, 0]
    features = np.column_stack(
        [
            top_logit,
            log_probabilities[:, 0],
            (nearest[:, 0] + neighbours.second[:, 0]) / 2,
            vocabulary.share_known(texts, columns[:, 0]),
            top_logit - none,
            nearest[:, 0] - (nearest[:, 1:].max(axis=1) if width > 1 else 0),
        ]
    )
    return Evidence(
        columns=columns,
        probabilities=np.exp(log_probabilities),
        scores=nearest,
        rows=neighbours.rows,
        features=features,
    )


def _top(values: Floats, k: int) -> Rows:
    if values.shape[1] > 4 * k:
        some = np.argpartition(values, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
        return np.take_along_axis(some, order, axis=1)
    return np.argsort(-values, axis=1, kind="stable")[:, :k]
