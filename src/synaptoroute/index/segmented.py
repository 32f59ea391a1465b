"""An index for large tables that change: a sealed segment, perhaps with a graph, a tail of new rows, and tombstones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from synaptoroute.decision.evidence import Neighbours, summed
from synaptoroute.index.base import Mask, Nearest, Owners, Rows, Vectors
from synaptoroute.index.exact import SCORES_AT_ONCE, allowing, best_groups, spread
from synaptoroute.index.hnsw import Graph

#: Rows compared at once with a block of queries: 25 MB of 384 numbers where they have to be gathered.
_ROWS_AT_ONCE = 1 << 14
#: Rows the graph is asked for at least, and for each owner wanted, since an owner has several rows.
_LEAST_ASKED = 32
_ASKED_PER_OWNER = 4
#: Rows that are scored exactly in the time in which the graph finds one more (0.13 and 1 to 2 microseconds). Where so
#: few rows may be returned that the graph would pass over most of what it finds, they are all scored instead.
_SCORED_PER_ASKED = 8
#: Room for new rows, 12 MB of 384 numbers; untouched pages take no memory.
_FIRST_ROOM = 1 << 13
#: Compaction pays when every query scores so many new rows, or when so much of what is found is dropped again.
_TAIL_ROWS, _TAIL_SHARE, _DEAD_SHARE = 4_096, 0.02, 0.2
#: How far two ways to sum the same products may differ.
_ROUNDING = 1e-6


class SegmentedIndex:
    """Sealed rows that never change, rows added since, and which of both were removed.

    A change costs as much as it changes, plus one byte a sealed row to copy: 0.05 ms at 250,000 rows. Row numbers are
    stable: sealed rows are 0 to n - 1, new rows follow in the order they were added, and a removed row's number is not
    used again until compaction.

    Successive views share one growing buffer of new rows; a view sees only the start of it, so writing behind that
    does not disturb older views. One thread at a time may call ``extended``; any number may search.

    With a graph, ``search`` is approximate in which rows it looks at, but every score is an exact cosine.

    Args:
        vectors: Unit rows (n, dim), ordered by owner; may be a memory map.
        owners: The owner of each row (n,), ascending.
        graph: Finds rows of ``vectors``; without it, search compares with all of them.

    Raises:
        ValueError: The owners are not ascending.
    """

    def __init__(self, vectors: Vectors, owners: Owners, graph: Graph | None = None) -> None:
        self._sealed = _Sealed(np.asarray(vectors), np.asarray(owners), graph)
        self._live = _Live(self._sealed, np.zeros(len(owners), bool))
        self._tail = _Tail.empty(self.dim)

    def _with(self, live: _Live, tail: _Tail) -> Self:
        changed = object.__new__(type(self))
        changed._sealed, changed._live, changed._tail = self._sealed, live, tail
        return changed

    @property
    def _dead(self) -> Mask:
        return self._live.dead

    # ------------------------------------------------------------------------------------------------- content
    def __len__(self) -> int:
        return len(self._dead) - self._live.dead_rows + len(self._tail.order)

    @property
    def dim(self) -> int:
        """See ``BaseIndex.dim``."""
        return int(self._sealed.vectors.shape[1])

    @property
    def graph(self) -> Graph | None:
        """The graph over the sealed rows."""
        return self._sealed.graph

    @cached_property
    def present(self) -> Owners:
        """See ``BaseIndex.present``."""
        sealed = np.flatnonzero(self._live.counts).astype(np.int32)
        return np.union1d(sealed, self._tail.ordered_owners) if len(self._tail.order) else sealed

    def rows_of(self, owner: int) -> Rows:
        """See ``BaseIndex.rows_of``."""
        start, end = map(int, self._sealed.ranges(np.array(owner)))
        rows = np.arange(start, end)
        added = np.flatnonzero(self._tail.owners == owner) + len(self._dead)
        return np.concatenate([rows[~self._dead[start:end]], added])

    def positions(self, owners: Rows, rows: Rows) -> Rows:
        """See ``BaseIndex.positions``."""
        starts, _ = self._sealed.ranges(owners)
        positions = rows - starts
        # Counting is only needed where an owner's rows are not one range without gaps.
        changed = (rows >= len(self._dead)) | (np.isin(owners, self._live.owners_with_dead) & (rows >= 0))
        for place in zip(*np.nonzero(changed), strict=True):
            positions[place] = self.rows_of(int(owners[place])).searchsorted(rows[place])
        return positions

    def vectors_of(self, rows: Rows) -> Vectors:
        """See ``BaseIndex.vectors_of``."""
        added = rows >= len(self._dead)
        if not added.any():
            return self._sealed.vectors[rows]
        vectors = np.empty((len(rows), self.dim), np.float32)
        vectors[~added] = self._sealed.vectors[rows[~added]]
        vectors[added] = self._tail.vectors[rows[added] - len(self._dead)]
        return vectors

    # ------------------------------------------------------------------------------------------------- changing
    def extended(self, vectors: Vectors, owners: Owners) -> Self:
        """See ``BaseIndex.extended``. Rows that are there keep their numbers."""
        return self._with(self._live, self._tail.extended(vectors, owners))

    def without(self, rows: Rows) -> Self:
        """See ``BaseIndex.without``. Rows that stay keep their numbers."""
        owners, added = self._tail.owners.copy(), rows >= len(self._dead)
        owners[rows[added] - len(self._dead)] = -1
        return self._with(self._live.without(rows[~added]), _Tail(self._tail.buffer, owners))

    # ----------------------------------------------------------------------------------------------- compaction
    @property
    def needs_compaction(self) -> bool:
        """Whether so much was added (4,096 rows and 2 %) or removed (20 %) that queries notice."""
        sealed = len(self._dead)
        return (
            len(self._tail.owners) > max(_TAIL_ROWS, _TAIL_SHARE * sealed)
            or self._live.dead_rows > _DEAD_SHARE * sealed
        )

    def sealed(self) -> tuple[Vectors, Owners]:
        """All rows as those of a new sealed segment: vectors (len(self), dim) and owners, ordered by owner."""
        parts = [np.empty((0, self.dim), np.float32), *self.sealed_in_parts()]
        return np.concatenate(parts), self._owners_of(self._live_by_owner)

    def sealed_in_parts(self) -> Iterator[Vectors]:
        """The vectors that ``sealed`` gives, 25 MB at a time."""
        rows = self._live_by_owner
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            yield self.vectors_of(rows[start : start + _ROWS_AT_ONCE])

    # ---------------------------------------------------------------------------------------------------- search
    def search(self, queries: Vectors, k: int, allow: Mask | None = None, *, exact: bool = False) -> Nearest:
        """See ``BaseIndex.search``. With a graph, about 0.3 ms a query at 250,000 rows, and a nearer row may be missed.

        Scores are exact cosines in any case. A large batch is cut so that at most 64 MiB of scores are held.
        """
        step = max(1, SCORES_AT_ONCE // max(_ROWS_AT_ONCE, len(self._tail.owners)))
        blocks = [queries[first : first + step] for first in range(0, len(queries), step)]
        return Nearest.stacked([self._search(block, k, allow, exact=exact) for block in blocks or [queries]])

    def _search(self, queries: Vectors, k: int, allow: Mask | None, *, exact: bool) -> Nearest:
        if self.graph is None or exact:
            found = self._scan(queries, k, allow)
        else:
            found = self._ask(self.graph, queries, k, allow)
        tail = self._tail
        if not len(tail.order):
            return found
        scores = (queries @ tail.vectors.T)[:, tail.order]
        added = _nearest(scores, tail.ordered_owners, tail.order + len(self._dead), k, allow)
        return Nearest.merged([found, added], k)

    def _ask(self, graph: Graph, queries: Vectors, k: int, allow: Mask | None) -> Nearest:
        """The nearest sealed rows of those the graph finds, which is asked for more until they have k owners."""
        found, left = Nearest.nothing(len(queries), k), np.arange(len(queries))
        owners, rows = self._within(allow)
        count = max(_LEAST_ASKED, _ASKED_PER_OWNER * k) * len(self._dead) // max(rows, 1)
        while len(left) and rows > _SCORED_PER_ASKED * count:
            nearest = self._scored(queries[left], graph.search(queries[left], count), k, allow)
            found.put(left, nearest)
            left = left[np.count_nonzero(nearest.owners >= 0, axis=1) < min(k, owners)]
            count *= 2
        if len(left):
            found.put(left, self._scan(queries[left], k, allow))
        return found

    def _scored(self, queries: Vectors, rows: Rows, k: int, allow: Mask | None) -> Nearest:
        """The nearest of these sealed rows (queries, c); -1 for none."""
        owners = self._sealed.owners[rows]
        usable = (rows >= 0) & ~self._dead[rows]
        if allow is not None:
            usable &= allowing(allow, owners)
        scores = np.full(rows.shape, -np.inf, np.float32)
        scores[usable] = self._cosines(queries, np.nonzero(usable)[0], rows[usable])
        return Nearest.among(owners, scores, rows, k)

    def _scan(self, queries: Vectors, k: int, allow: Mask | None) -> Nearest:
        """The nearest of all sealed rows, or of all that are allowed."""
        chosen = np.arange(len(self._dead)) if allow is None else self._rows_allowed(allow)
        parts = [Nearest.nothing(len(queries), k)]
        for start in range(0, len(chosen), _ROWS_AT_ONCE):
            rows = chosen[start : start + _ROWS_AT_ONCE]
            # Without a mask the rows follow each other, and a slice of them need not be copied.
            at = slice(start, start + len(rows)) if allow is None else rows
            scores = queries @ self._sealed.vectors[at].T
            scores[:, self._dead[at]] = -np.inf
            parts.append(_nearest(scores, self._sealed.owners[at], rows, k))
        return Nearest.merged(parts, k)

    def _within(self, allow: Mask | None) -> tuple[int, int]:
        """How many owners, and how many rows of them, are sealed, live and allowed."""
        if allow is None:
            return self._live.all
        counts = self._live.counts[: len(allow)][allow[: len(self._live.counts)]]
        return int(np.count_nonzero(counts)), int(counts.sum())

    def _rows_allowed(self, allow: Mask) -> Rows:
        """The sealed rows of allowed owners, ascending."""
        rows, _ = spread(*self._sealed.ranges(np.flatnonzero(allow)))
        return rows

    # ------------------------------------------------------------------------------------------------ neighbours
    def members(self, owners: Rows) -> tuple[Rows, Rows]:
        """See ``BaseIndex.members``."""
        # An owner's rows are two ranges: one of the sealed rows, one of the tail's when these are ordered by owner.
        sealed, tail = len(self._dead), self._tail
        ranges = np.stack([self._sealed.ranges(owners), np.add(tail.ranges(owners), sealed)], axis=-1)
        rows, places = spread(*ranges.reshape(2, -1))
        places //= 2
        added = rows >= sealed
        rows[added] = tail.order[rows[added] - sealed] + sealed
        live = added.copy()
        live[~added] = ~self._dead[rows[~added]]
        return rows[live], places[live]

    def neighbours(self, queries: Vectors, owners: Rows) -> Neighbours:
        """See ``BaseIndex.neighbours``."""
        rows, places = self.members(owners)
        return summed(self._cosines(queries, places // owners.shape[1], rows), rows, places, owners.shape)

    def recall(self, sample: int = 256) -> float:
        """Share of queries for which ``search`` finds the nearest row that exact search finds; 1 without a graph.

        The queries are stored rows with noise, at a cosine of about 0.8 to the row; always the same for the same index.
        Compares each of them with all rows.
        """
        random = np.random.default_rng(sample)
        rows = random.choice(self._live_by_owner, min(sample, len(self)), replace=False)
        noise = random.normal(scale=0.75 / np.sqrt(self.dim), size=(len(rows), self.dim))
        queries = (self.vectors_of(rows) + noise).astype(np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        missed = self.search(queries, 1).scores < self.search(queries, 1, exact=True).scores - _ROUNDING
        return 1 - float(missed.mean()) if len(rows) else 1.0

    # -------------------------------------------------------------------------------------------------- internal
    @cached_property
    def _live_by_owner(self) -> Rows:
        """All rows, ordered by owner, then row."""
        rows = np.concatenate([np.flatnonzero(~self._dead), np.sort(self._tail.order) + len(self._dead)])
        return rows[np.argsort(self._owners_of(rows), kind="stable")]

    def _owners_of(self, rows: Rows) -> Owners:
        """The owner of each row; -1 for a removed one."""
        owners = np.empty(len(rows), np.int32)
        added = rows >= len(self._dead)
        owners[added] = self._tail.owners[rows[added] - len(self._dead)]
        kept = rows[~added]
        owners[~added] = np.where(self._dead[kept], -1, self._sealed.owners[kept])
        return owners

    def _cosines(self, queries: Vectors, at: Rows, rows: Rows) -> Vectors:
        """Cosine of each row and the query at that place."""
        scores = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            np.einsum("ij,ij->i", self.vectors_of(rows[part]), queries[at[part]], out=scores[part])
        return scores


@dataclass(frozen=True, eq=False)
class _Sealed:
    """Rows ordered by owner, perhaps with a graph over them."""

    vectors: Vectors
    owners: Owners
    graph: Graph | None

    def __post_init__(self) -> None:
        if (self.owners[1:] < self.owners[:-1]).any():
            raise ValueError("the rows of a sealed segment must be ordered by owner; sort them first")

    @cached_property
    def bounds(self) -> Rows:
        """The first row of each owner number, and the end of the last."""
        numbers = int(self.owners[-1]) + 1 if len(self.owners) else 0
        return np.searchsorted(self.owners, np.arange(numbers + 1, dtype=self.owners.dtype))

    def ranges(self, owners: Rows) -> tuple[Rows, Rows]:
        """Where the rows of each owner start and end; the same where it has none."""
        last = len(self.bounds) - 1
        owners = np.where((owners < 0) | (owners > last), last, owners)
        return self.bounds[owners], self.bounds[np.minimum(owners + 1, last)]


@dataclass(frozen=True, eq=False)
class _Live:
    """Which sealed rows are left; shared by views between which none was removed, with what was derived from it.

    Attributes:
        dead: True for a removed row.
    """

    sealed: _Sealed
    dead: Mask

    def without(self, rows: Rows) -> Self:
        """When these rows are removed too."""
        if not len(rows):
            return self
        dead = self.dead.copy()
        dead[rows] = True
        return type(self)(self.sealed, dead)

    @cached_property
    def dead_rows(self) -> int:
        """How many were removed."""
        return int(np.count_nonzero(self.dead))

    @cached_property
    def owners_with_dead(self) -> Owners:
        """Owners of removed rows, ascending."""
        return np.unique(self.sealed.owners[self.dead]) if self.dead_rows else np.empty(0, np.int32)

    @cached_property
    def counts(self) -> Rows:
        """Rows left of each owner, up to the highest."""
        bounds = self.sealed.bounds
        return np.diff(bounds) - np.bincount(self.sealed.owners[self.dead], minlength=len(bounds) - 1)

    @cached_property
    def all(self) -> tuple[int, int]:
        """How many owners have rows left, and how many rows are left."""
        return int(np.count_nonzero(self.counts)), len(self.dead) - self.dead_rows


class _Buffer:
    """Room for new rows that successive views share. All but the newest see only a part of what is used."""

    def __init__(self, room: int, dim: int) -> None:
        self.rows = np.empty((room, dim), np.float32)
        self.used = 0


@dataclass(frozen=True, eq=False)
class _Tail:
    """New rows as one view sees them: the first ones of the buffer.

    Attributes:
        owners: The owner of each row; -1 for a removed one.
    """

    buffer: _Buffer
    owners: Owners

    @classmethod
    def empty(cls, dim: int) -> Self:
        return cls(_Buffer(0, dim), np.empty(0, np.int32))

    @property
    def vectors(self) -> Vectors:
        return self.buffer.rows[: len(self.owners)]

    @cached_property
    def order(self) -> Rows:
        """The rows that were not removed, ordered by owner."""
        return np.argsort(self.owners, kind="stable")[np.count_nonzero(self.owners < 0) :]

    @cached_property
    def ordered_owners(self) -> Owners:
        """Their owners."""
        return self.owners[self.order]

    def ranges(self, owners: Rows) -> tuple[Rows, Rows]:
        """Where in ``order`` the rows of each owner start and end."""
        return np.searchsorted(self.ordered_owners, owners), np.searchsorted(self.ordered_owners, owners, side="right")

    def extended(self, vectors: Vectors, owners: Owners) -> Self:
        """With rows behind the ones it has, written in place unless another view has already used that place."""
        seen, used = len(self.owners), len(self.owners) + len(owners)
        buffer = self.buffer
        if buffer.used != seen or used > len(buffer.rows):
            buffer = _Buffer(max(2 * used, _FIRST_ROOM), vectors.shape[1])
            buffer.rows[:seen] = self.vectors
        buffer.rows[seen:used] = vectors
        buffer.used = used
        return type(self)(buffer, np.concatenate([self.owners, owners]))


def _nearest(scores: Vectors, owners: Owners, rows: Rows, k: int, allow: Mask | None = None) -> Nearest:
    """The nearest owners, from the scores (queries, n) of rows that are ordered by owner."""
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    present = owners[starts]
    allowed = None if allow is None else allowing(allow, present)
    groups, best, columns = best_groups(scores, starts, k, allowed)
    return Nearest.padded(present[groups], best, rows[columns], k)
