"""What can be said about a text and the routes it might belong to: the inputs of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.head import Head
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
#: Weights of the neighbours beside the head that a table may choose between. 0.2 helps where routes are fine-grained
#: (Banking77), none is best where they are not (CLINC150).
BLENDS = (0.0, 0.1, 0.2)

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


@dataclass(frozen=True, slots=True)
class Grouped:
    """Stored vectors ordered by group: group g has the rows ``starts[g]`` to ``ends[g]``."""

    vectors: Vectors
    starts: Rows
    ends: Rows

    def nearest(self, queries: Vectors, groups: Rows) -> Neighbours:
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
        columns: Candidate columns of the head; -1 where there are fewer than k.
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
    head: Head,
    vocabulary: Vocabulary,
    stored: Grouped,
    groups: Rows,
    texts: Sequence[str],
    vectors: Vectors,
    *,
    candidates: int = CANDIDATES,
    allowed: NDArray[np.bool_] | None = None,
    blends: Sequence[float] = (0.0,),
) -> list[Evidence]:
    """Ask the head for candidates and the stored utterances about them.

    Args:
        head: Trained on ``len(groups)`` columns.
        vocabulary: Of the same columns.
        stored: Vectors of the utterances.
        groups: The group of each column in ``stored``; -1 for a column whose route is gone.
        texts: Queries (n).
        vectors: Their unit rows (n, dim).
        candidates: How many columns to look at, at least 1.
        allowed: Columns that may be chosen; None allows all that have a group.
        blends: Weights of the neighbours beside the head in the order of the candidates.

    Returns:
        The evidence with each of the blends.
    """
    logits = head.logits(texts, vectors).astype(np.float64)
    none, logits = logits[:, -1], logits[:, :-1]
    usable = groups >= 0 if allowed is None else allowed & (groups >= 0)
    logits[:, ~usable] = -np.inf
    width = min(max(candidates, 2), int(usable.sum()))
    columns = _top(logits, width)
    chosen = np.take_along_axis(logits, columns, axis=1)
    top = chosen[:, :1]
    log_probabilities = chosen - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    neighbours = stored.nearest(vectors, groups[columns])
    found = []
    for blend in blends:
        order = np.argsort(-(log_probabilities + blend * neighbours.together), axis=1, kind="stable")
        ordered, logit, log_probability, first, second, rows = (
            np.take_along_axis(values, order, axis=1)
            for values in (columns, chosen, log_probabilities, neighbours.first, neighbours.second, neighbours.rows)
        )
        others = first[:, 1:].max(axis=1) if width > 1 else np.zeros(len(texts))
        features = np.column_stack(
            [
                logit[:, 0],
                log_probability[:, 0],
                (first[:, 0] + second[:, 0]) / 2,
                vocabulary.share_known(texts, ordered[:, 0]),
                logit[:, 0] - none,
                first[:, 0] - others,
            ]
        )
        found.append(
            Evidence(columns=ordered, probabilities=np.exp(log_probability), scores=first, rows=rows, features=features)
        )
    return found


def _top(values: Floats, k: int) -> Rows:
    if values.shape[1] > 4 * k:
        some = np.argpartition(values, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
        return np.take_along_axis(some, order, axis=1)
    return np.argsort(-values, axis=1, kind="stable")[:, :k]
