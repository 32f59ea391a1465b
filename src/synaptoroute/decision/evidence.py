"""What can be said about a text and the routes it might belong to: the inputs of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.lexical import WORD_BITS, Bags, words
from synaptoroute.decision.refusals import negated

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Owners = NDArray[np.int32]

#: Routes that are looked at closely. With the runner-up sought among these instead of all, all decisions on 3,200
#: development queries stayed the same.
CANDIDATES = 5
#: Up to so many columns are simply sorted; beyond, finding the largest first is faster.
_SORTED = 256

#: The gate's inputs, in order: top logit of a route; its log probability among the routes; mean cosine of its two
#: nearest utterances; share of the query's words (by idf) that its utterances know; top logit minus that of "none";
#: nearest cosine of the top route minus that of the other candidates.
FEATURES = ("top_logit", "log_probability", "nearest_two", "words_known", "above_none", "nearer_than_others")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What the rows of k groups say of n queries.

    Attributes:
        first: Cosine of each group's nearest row (n, k).
        second: Cosine of the second nearest row of the query's first group (n,).
        rows: Each group's nearest row (n, k).
    """

    first: Vectors
    second: Vectors
    rows: Rows


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
            Without a second row, the first counts twice; without a group, scores and row are -1.
        """
        first, second, rows = [], [], []
        starts, ends = self.starts.take(groups).tolist(), self.ends.take(groups).tolist()
        # One by one: queries that share a group are rare, and what NumPy needs to put them together takes longer.
        for query, its_groups, its_starts, its_ends in zip(queries, groups.tolist(), starts, ends, strict=True):
            runner_up = None
            for group, start, end in zip(its_groups, its_starts, its_ends, strict=True):
                best = score = -1
                if group >= 0 and start < end:
                    scores = self.vectors[start:end] @ query
                    place = int(scores.argmax())
                    best, score = start + place, scores.item(place)
                if runner_up is None:
                    runner_up = score
                    if best >= 0 and len(scores) > 1:
                        scores[place] = -2
                        runner_up = scores.max()
                first.append(score)
                rows.append(best)
            second.append(runner_up)
        shape = groups.shape
        return Neighbours(
            np.array(first, np.float32).reshape(shape),
            np.array(second, np.float32),
            np.array(rows, np.int64).reshape(shape),
        )


def summed(scores: Vectors, rows: Rows, pairs: Rows, shape: tuple[int, ...]) -> Neighbours:
    """What the rows of each pair of query and owner say; ``pairs`` ascend, and some may have no row."""
    first_of, second_of = np.full(shape, -1, np.float32), np.full(shape, -1, np.float32)
    row_of = np.full(shape, -1, np.int64)
    found = Neighbours(first_of, second_of[:, 0], row_of)
    if not len(rows):
        return found
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    counts = np.diff(starts, append=len(pairs))
    first = np.maximum.reduceat(scores, starts)
    ties = np.flatnonzero(scores == np.repeat(first, counts))
    nearest = ties[np.searchsorted(ties, starts)]
    scores[nearest] = -np.inf
    second = np.where(counts > 1, np.maximum.reduceat(scores, starts), first)
    told = pairs[starts]
    first_of.flat[told], second_of.flat[told] = first, second
    row_of.flat[told] = rows[nearest]
    return found


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Which words the utterances of each route know.

    Attributes:
        idf: Weight of each word bucket.
        known: Sorted column * 2**17 + bucket of every word of every route.
        negated: Whether a word says no in most of a route's utterances (columns,).
    """

    idf: Vectors
    known: Rows
    negated: NDArray[np.bool_]

    @classmethod
    def of(cls, texts: Sequence[str], columns: Owners) -> Vocabulary:
        """The vocabulary of texts that belong to these columns."""
        bags = words(texts)
        # A text may repeat a word; no word weighs less than one that every text has.
        frequency = np.minimum(np.bincount(bags.buckets, minlength=1 << WORD_BITS), len(texts))
        idf = (np.log((1 + len(texts)) / (1 + frequency)) + 0.1).astype(np.float32)
        owners = columns[bags.rows].astype(np.int64)
        no = np.fromiter(map(negated, texts), bool, len(texts))
        return cls(
            idf=idf,
            known=np.unique((owners << WORD_BITS) | bags.buckets),
            negated=2 * np.bincount(columns, no) > np.bincount(columns),
        )

    def share_known(self, bags: Bags, columns: Rows) -> Floats:
        """How much of the idf mass of each text's words its column knows, in [0, 1] (n,)."""
        known = self._known
        weights, buckets = self.idf.take(bags.buckets).tolist(), bags.buckets.tolist()
        shares = []
        for column, of_text in zip((columns << WORD_BITS).tolist(), bags.slices, strict=True):
            its_weights = weights[of_text]
            its_buckets = zip(its_weights, buckets[of_text], strict=True)
            mass = sum([weight for weight, bucket in its_buckets if column | bucket in known])
            shares.append(mass / (sum(its_weights) + 1e-6))
        return np.array(shares)

    def says_no(self, texts: Sequence[str], columns: Rows) -> NDArray[np.bool_]:
        """Whether a word of each text says no, where most utterances of its column have none that does (n,)."""
        return np.fromiter(map(negated, texts), bool, len(texts)) & ~self.negated[columns]

    @cached_property
    def _known(self) -> frozenset[int]:
        # For the ten words of a query, looking them up one by one is three times as fast as searching arrays.
        return frozenset(self.known.tolist())


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
    compared: Floats = logits[:, :-1].astype(np.float64)
    if lift is not None:
        compared += lift
    usable = groups >= 0 if allowed is None else allowed & (groups >= 0)
    width = int(np.count_nonzero(usable))
    if width < len(usable):
        compared[:, ~usable] = -np.inf
    columns, chosen = best(compared, min(max(candidates, 2), width))
    top = chosen[:, :1]
    log_probabilities = chosen - top - np.log(np.exp(compared - top).sum(axis=1, keepdims=True))
    neighbours = stored.neighbours(vectors, groups[columns])
    first = columns[:, 0]
    measured = zip(
        logits[np.arange(len(first)), first].tolist(),
        logits[:, -1].tolist(),
        log_probabilities[:, 0].tolist(),
        neighbours.first.tolist(),
        neighbours.second.tolist(),
        vocabulary.share_known(words(texts), first).tolist(),
        strict=True,
    )
    # As Python numbers: for a few queries, six columns of an array take longer.
    features = [
        (logit, log_probability, (scores[0] + second) / 2, known, logit - none, scores[0] - max(scores[1:], default=0))
        for logit, none, log_probability, scores, second, known in measured
    ]
    return Evidence(
        columns=columns,
        probabilities=np.exp(log_probabilities),
        scores=neighbours.first,
        rows=neighbours.rows,
        features=np.array(features).reshape(-1, len(FEATURES)),
    )


def best(values: Floats, k: int) -> tuple[Rows, Floats]:
    """Columns of the k largest values of each row, largest first, and the values."""
    rows = np.arange(len(values))[:, None]
    if values.shape[1] > max(_SORTED, k):
        some = np.sort(values.argpartition(-k, axis=1)[:, -k:])
        columns = some[rows, (-values[rows, some]).argsort(axis=1, kind="stable")]
    else:
        columns = (-values).argsort(axis=1, kind="stable")[:, :k]
    return columns, values[rows, columns]
