"""Exact search: one matrix product over all rows. The default; fast to some tens of thousands of rows."""

from __future__ import annotations

from functools import cached_property
from typing import Self

import numpy as np

from synaptoroute.decision.evidence import Grouped
from synaptoroute.index.base import Mask, Nearest, Owners, Rows, Vectors

#: Scores held at once, so that a large batch over a large table stays within 64 MiB.
_SCORES_AT_ONCE = 1 << 24
#: Up to this many owners are simply sorted; beyond, finding the k largest first is faster.
_SORTED_OWNERS = 512


class ExactIndex:
    """All rows in one float32 array, ordered by owner, so that an owner's rows are one slice of it.

    Args:
        vectors: Unit rows (n, dim).
        owners: The owner of each row (n,).
    """

    def __init__(self, vectors: Vectors, owners: Owners) -> None:
        if (np.diff(owners) < 0).any():
            order = np.argsort(owners, kind="stable")
            vectors, owners = vectors[order], owners[order]
        self._vectors = vectors
        self._owners = owners

    @classmethod
    def empty(cls, dim: int) -> Self:
        """An index without rows."""
        return cls(np.empty((0, dim), np.float32), np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """See ``BaseIndex.dim``."""
        return int(self._vectors.shape[1])

    @property
    def vectors(self) -> Vectors:
        """All rows (n, dim); not to be written to."""
        return self._vectors

    @property
    def owners(self) -> Owners:
        """The owner of each row (n,); not to be written to."""
        return self._owners

    @cached_property
    def present(self) -> Owners:
        """The owners that have rows, ascending (g,)."""
        return np.unique(self._owners)

    @cached_property
    def grouped(self) -> Grouped:
        """The rows as groups, group g being those of the owner ``present[g]``."""
        starts = np.searchsorted(self._owners, self.present)
        return Grouped(self._vectors, starts, np.append(starts[1:], len(self)))

    def search(self, queries: Vectors, k: int, allow: Mask | None = None) -> Nearest:
        """See ``BaseIndex.search``. Takes about 0.1 ms a query for 10,000 rows in batches of 32."""
        count = len(queries)
        found = Nearest(
            np.full((count, k), -1, np.int32),
            np.full((count, k), -np.inf, np.float32),
            np.full((count, k), -1, np.int64),
        )
        if not len(self):
            return found
        step = max(1, _SCORES_AT_ONCE // len(self))
        for first in range(0, count, step):
            self._search_into(found, slice(first, first + step), queries[first : first + step], k, allow)
        return found

    def _search_into(self, found: Nearest, at: slice, queries: Vectors, k: int, allow: Mask | None) -> None:
        present, starts, ends = self.present, self.grouped.starts, self.grouped.ends
        scores = queries @ self._vectors.T
        best = np.maximum.reduceat(scores, starts, axis=1)
        if allow is not None:
            best[:, ~allow[present]] = -np.inf
        chosen = _largest(best, min(k, len(present)))
        chosen_scores = np.take_along_axis(best, chosen, axis=1)
        usable = np.isfinite(chosen_scores)
        width = chosen.shape[1]
        found.owners[at, :width] = np.where(usable, present[chosen], -1)
        found.scores[at, :width] = np.clip(chosen_scores, -1, 1, where=usable, out=chosen_scores)
        rows = found.rows[at, :width]
        for query, slot in zip(*np.nonzero(usable), strict=True):
            group = chosen[query, slot]
            rows[query, slot] = starts[group] + scores[query, starts[group] : ends[group]].argmax()

    def rows_of(self, owner: int) -> Rows:
        """See ``BaseIndex.rows_of``."""
        return np.arange(*np.searchsorted(self._owners, [owner, owner + 1]))

    def vectors_of(self, rows: Rows) -> Vectors:
        """See ``BaseIndex.vectors_of``."""
        return self._vectors[rows]

    def extended(self, vectors: Vectors, owners: Owners) -> Self:
        """See ``BaseIndex.extended``. Copies all rows."""
        return type(self)(np.concatenate([self._vectors, vectors]), np.concatenate([self._owners, owners]))

    def without(self, rows: Rows) -> Self:
        """See ``BaseIndex.without``. Copies all rows."""
        return type(self)(np.delete(self._vectors, rows, axis=0), np.delete(self._owners, rows))


def _largest(values: Vectors, k: int) -> Rows:
    """Columns of the k largest values of each row, largest first; equal values keep column order."""
    if values.shape[1] <= _SORTED_OWNERS or k >= values.shape[1]:
        return np.argsort(-values, axis=1, kind="stable")[:, :k]
    least = np.partition(values, -k, axis=1)[:, -k]
    chosen = np.empty((len(values), k), np.int64)
    for row, bound in enumerate(least):
        candidates = np.flatnonzero(values[row] >= bound)
        chosen[row] = candidates[np.argsort(-values[row, candidates], kind="stable")[:k]]
    return chosen
