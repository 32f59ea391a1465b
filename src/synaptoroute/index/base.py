"""What an index is: rows of unit vectors with owners, searched for the nearest row of each of the nearest owners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.evidence import Neighbours

Vectors = NDArray[np.float32]
Owners = NDArray[np.int32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest owners of each query, best first, each by its nearest row; every array is (queries, k).

    Where fewer than k owners exist, the rest is owner -1, row -1, score -inf.

    Attributes:
        owners: int32.
        scores: Cosine similarity of the query and that row, float32 in [-1, 1].
        rows: int64 positions in the index that was searched.
    """

    owners: Owners
    scores: Vectors
    rows: Rows

    @classmethod
    def nothing(cls, queries: int, k: int) -> Self:
        """No owner for any of the queries."""
        return cls(
            np.full((queries, k), -1, np.int32),
            np.full((queries, k), -np.inf, np.float32),
            np.full((queries, k), -1, np.int64),
        )

    @classmethod
    def among(cls, owners: Owners, scores: Vectors, rows: Rows, k: int) -> Self:
        """The k nearest owners among candidates; equal scores go to the lower owner, then row.

        Args:
            owners: Of each candidate (queries, c).
            scores: Its score; -inf for none.
            rows: Its row; one that is given twice counts once.
            k: How many owners.
        """
        query = np.arange(len(scores))[:, None]
        order = np.lexsort((rows, -scores, owners))
        owners, scores, rows = owners[query, order], scores[query, order], rows[query, order]
        scores[:, 1:][owners[:, 1:] == owners[:, :-1]] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return cls.padded(owners[query, order], scores[query, order], rows[query, order], k)

    @classmethod
    def padded(cls, owners: Owners, scores: Vectors, rows: Rows, k: int) -> Self:
        """The k owners of each query from at most k columns, best first; those with a score of -inf are none."""
        found, width = cls.nothing(len(scores), k), scores.shape[1]
        usable = scores > -np.inf
        np.copyto(found.owners[:, :width], owners, where=usable, casting="same_kind")
        np.clip(scores, -1, 1, out=found.scores[:, :width], where=usable)
        np.copyto(found.rows[:, :width], rows, where=usable)
        return found

    @classmethod
    def merged(cls, parts: Sequence[Self], k: int) -> Self:
        """The k nearest owners of several searches with the same queries."""
        return cls.among(*_joined(parts, axis=1), k)

    def put(self, queries: Rows, part: Self) -> None:
        """Overwrite the results of these queries; for whoever is still making them."""
        self.owners[queries], self.scores[queries], self.rows[queries] = part.owners, part.scores, part.rows

    @classmethod
    def stacked(cls, parts: Sequence[Self]) -> Self:
        """The queries of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        return cls(*_joined(parts, axis=0))


def _joined(parts: Sequence[Nearest], axis: int) -> tuple[Owners, Vectors, Rows]:
    return (
        np.concatenate([part.owners for part in parts], axis),
        np.concatenate([part.scores for part in parts], axis),
        np.concatenate([part.rows for part in parts], axis),
    )


class BaseIndex(Protocol):
    """An immutable set of rows. A row is a unit vector and belongs to an owner, a small non-negative integer.

    Changes return a new index and leave this one as it is, so a query that holds it never sees a half-made change.
    Any number of threads may search at once; only one at a time may change.
    """

    def __len__(self) -> int: ...

    @property
    def dim(self) -> int:
        """Length of every row."""
        ...

    @property
    def present(self) -> Owners:
        """The owners that have rows, ascending."""
        ...

    def search(self, queries: Vectors, k: int, allow: Mask | None = None, *, exact: bool = False) -> Nearest:
        """The k nearest owners of each query, each by its best row; equal scores go to the lower owner, then row.

        Args:
            queries: Unit rows (queries, dim).
            k: How many owners, at least 1.
            allow: True for owners that may be returned, indexed by owner, False for those past its end; None allows
                all.
            exact: Compare with every row even where the index would approximate.
        """
        ...

    def neighbours(self, queries: Vectors, owners: Rows) -> Neighbours:
        """What all rows of the given owners say of each query, always exact.

        Args:
            queries: Unit rows (n, dim).
            owners: The owners to ask for each query (n, k); -1 for none.

        Returns:
            Arrays (n, k). With one row, it is also the second; with none, scores and row are -1.
        """
        ...

    def members(self, owners: Rows) -> tuple[Rows, Rows]:
        """All rows of the given owners, place after place.

        Args:
            owners: Of any shape; -1 for none. An owner that is given twice has its rows listed twice.

        Returns:
            Rows, ascending within a place, and for each the place in ``owners`` (flattened) it is listed for.
        """
        ...

    def positions(self, owners: Rows, rows: Rows) -> Rows:
        """The place of each row among its owner's rows, from 0; any number where the owner is -1. Same shapes."""
        ...

    def rows_of(self, owner: int) -> Rows:
        """The owner's rows, ascending, which is the order they were added in; empty if it has none."""
        ...

    def vectors_of(self, rows: Rows) -> Vectors:
        """The vectors of those rows (len(rows), dim)."""
        ...

    def extended(self, vectors: Vectors, owners: Owners) -> Self:
        """An index with these rows added, each after the rows its owner has; all row numbers may change."""
        ...

    def without(self, rows: Rows) -> Self:
        """An index without these rows; an owner's other rows keep their order; all row numbers may change."""
        ...
