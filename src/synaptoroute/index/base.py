"""What an index is: rows of unit vectors with owners, searched for the nearest row of each of the nearest owners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

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


class BaseIndex(Protocol):
    """An immutable set of rows. A row is a unit vector and belongs to an owner, a small non-negative integer.

    Changes return a new index and leave this one as it is, so a query that holds it never sees a half-made change.
    """

    def __len__(self) -> int: ...

    @property
    def dim(self) -> int:
        """Length of every row."""
        ...

    def search(self, queries: Vectors, k: int, allow: Mask | None = None) -> Nearest:
        """The k nearest owners of each query, each by its best row; equal scores go to the lower owner, then row.

        Args:
            queries: Unit rows (queries, dim).
            k: How many owners, at least 1.
            allow: True for owners that may be returned, indexed by owner; None allows all.
        """
        ...

    def rows_of(self, owner: int) -> Rows:
        """The owner's rows in the order they were added; empty if it has none."""
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
