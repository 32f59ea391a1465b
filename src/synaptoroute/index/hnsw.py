"""A navigable graph over many rows (HNSW, Malkov & Yashunin 2018), by the package usearch, as an extra."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from synaptoroute.errors import MissingExtraError, StorageCorruptError
from synaptoroute.index.base import Rows, Vectors

if TYPE_CHECKING:
    from usearch.index import Index

#: Rows from which a graph is worth its build. Exact search of one query on one core takes 0.2 ms at 5,000 rows of 384
#: numbers, 0.8 at 10,000, 1.7 at 20,000 and 16 at 250,000, where with a graph it takes 0.3 ms.
GRAPH_PAYS_FROM = 20_000

#: Links of a row, and how many rows are looked at to find them and to answer a query. At 250,000 rows of 384 numbers
#: (50,000 routes, synthetic) on 2 busy cores: recall@1 after exact scoring 1.000, 0.20 ms a query (p99 0.36), 160 MB,
#: built in 77 s. Looking at 64 when building: 0.992 and 33 s. In float16 instead of int8: 0.998, 0.40 ms, 256 MB, 89 s.
_LINKS = 16
_LOOKED_AT_BUILDING = 128
_LOOKED_AT_SEARCHING = 128
#: Rows up to which that is enough; of more rows more are looked at, see ``looked_at``.
_ENOUGH_FOR = 250_000
#: Rows added between two reports of progress: 100 MB of 384 numbers, some seconds of work.
_ROWS_AT_ONCE = 1 << 16
#: Rounds of joining rows that no path leads to. One was enough at 60,000 rows and 2 threads.
_ROUNDS = 4
#: Rows up to which they are looked for. One search for all takes time with the square of the rows: 0.2 s for 100,000,
#: and for five million it had not ended after six minutes. Looking for each by itself took longer still.
_JOINED = 1_000_000

Progress = Callable[[int, int], object]


class Graph(Protocol):
    """Finds the probable nearest of a fixed set of rows; whoever asks scores them exactly.

    Any number of threads may search at once.
    """

    def search(self, queries: Vectors, count: int) -> Rows:
        """About the ``count`` nearest rows of each query (queries, count), in any order; -1 for none.

        A row may come twice.
        """
        ...


def looked_at(rows: int) -> int:
    """How many rows of so many are looked at to answer a query: beyond 250,000, more with the root of their number.

    At a million rows of 384 numbers (200,000 routes, synthetic), looking at 128 found 91.7 % of the nearest in 1.3 ms
    (p99 2.4), at 256 96.4 % in 1.5 (2.7), at 512 98.2 % in 1.8 (3.5). At five million, looking at 128 found 70 %.
    """
    return math.ceil(_LOOKED_AT_SEARCHING * math.sqrt(max(1.0, rows / _ENOUGH_FOR)))


class HnswGraph:
    """HNSW over rows kept as int8, about 530 bytes a row of 384 numbers.

    Made by ``build``, ``load`` or ``view``. Never give ``load`` or ``view`` a file whose checksum has not just been
    verified: usearch 2.26 accepts flipped bits silently, and answers wrongly or crashes later. A mapped file that
    shrinks kills the process; replacing it by renaming another over it is safe.

    Raises:
        MissingExtraError: The package usearch is not installed.
    """

    def __init__(self, native: Index) -> None:
        self._native = native
        # usearch defines the setter where type checkers do not look for it.
        native.expansion_search = looked_at(len(native))  # type: ignore[misc]

    @staticmethod
    def available() -> bool:
        """Whether the library is installed."""
        return find_spec("usearch") is not None

    @classmethod
    def build(cls, vectors: Vectors, *, threads: int = 1, progress: Progress | None = None) -> Self:
        """The graph over these rows (n, dim), which may be a memory map: it is read once, in order.

        With one thread, the same rows give the same graph, bit for bit. More are faster, but rows added at the same
        time can miss each other and end up with no path to them (usearch issue #735; 5 of 60,000 with 2 threads), so
        such rows are looked for and added again, in graphs of up to a million rows. Of larger ones, a few rows in
        100,000 are found by exact search alone.

        Args:
            vectors: Unit rows.
            threads: Cores to use.
            progress: Called with the number of rows done and of all; whatever it raises ends the build.
        """
        native = _native(vectors.shape[1])
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            part = np.ascontiguousarray(vectors[start : start + _ROWS_AT_ONCE])
            native.add(np.arange(start, start + len(part)), part, threads=threads)
            if progress:
                progress(start + len(part), len(vectors))
        for _ in range(_ROUNDS if len(vectors) <= _JOINED else 0):
            missed = _missed(native, vectors)
            if not len(missed):
                break
            native.add(missed, vectors[missed], threads=1)
        return cls(native)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The graph of a verified file, read into memory. Raises StorageCorruptError where usearch notices damage."""
        return cls(_restored(path, view=False))

    @classmethod
    def view(cls, path: Path) -> Self:
        """The graph of a verified file, mapped: open at once, read from disk as it is searched.

        Raises StorageCorruptError where usearch notices damage.
        """
        return cls(_restored(path, view=True))

    def save(self, path: Path) -> None:
        """Write it to a file; making that durable and atomic is the caller's affair."""
        self._native.save(path)

    @property
    def nbytes(self) -> int:
        """Memory it holds, without what is mapped from a file."""
        return int(self._native.memory_usage)

    def search(self, queries: Vectors, count: int) -> Rows:
        """See ``Graph.search``. One core; a batch goes to usearch as one call."""
        found = self._native.search(np.ascontiguousarray(queries), count, threads=1)
        rows = np.atleast_2d(found.keys).astype(np.int64)
        if hasattr(found, "counts"):
            # usearch fills a batch up with key 0, which is a row.
            rows[np.arange(rows.shape[1]) >= found.counts[:, None]] = -1
        return rows


def _native(dim: int) -> Index:
    # Rows are asked for by nearness only; without a table of keys, a file of 40,000 rows was mapped in 2 ms, not 5.
    return _index()(
        ndim=dim,
        metric="ip",
        dtype="i8",
        connectivity=_LINKS,
        expansion_add=_LOOKED_AT_BUILDING,
        enable_key_lookups=False,
        multi=True,
    )


def _restored(path: Path, *, view: bool) -> Index:
    index = _index()
    try:
        native = index.restore(path, view=view, enable_key_lookups=False)
    except (RuntimeError, ValueError) as exc:
        raise StorageCorruptError(
            f"{path} is no graph that usearch can read ({exc}); delete it and build anew"
        ) from exc
    if native is None:
        raise StorageCorruptError(f"{path} is not there; build the graph anew")
    return native


def _missed(native: Index, vectors: Vectors) -> Rows:
    """The rows to which no path leads: those that even a search for all rows does not find."""
    reached = np.zeros(len(vectors), bool)
    if len(vectors):
        reached[native.search(np.ascontiguousarray(vectors[0]), len(native), threads=1).keys] = True
    return np.flatnonzero(~reached)


def _index() -> type[Index]:
    _load_cxx_library()
    try:
        from usearch.index import Index
    except ImportError as exc:
        raise MissingExtraError("HnswGraph", "hnsw") from exc
    return Index


@functools.cache
def _load_cxx_library() -> None:
    """Have the system's C++ library used by all.

    The wheel of usearch 2.26 has a copy of libstdc++ inside and exports all of it. What uses the system's library and
    is loaded later gets parts of both: importing onnxruntime 1.31 after usearch took one facet of a locale for another
    and killed the process. With the system's library first in the global scope, both orders work.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            ctypes.CDLL("libstdc++.so.6", mode=ctypes.RTLD_GLOBAL)
