"""What a fresh process asks of the synthetic table it has opened, beside exact search of the same table."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from synaptoroute.bench.load.timing import since_ms
from synaptoroute.encoder.base import Vectors
from synaptoroute.table import RouteTable

#: Of every query whose vector is given; with no head learned, decisions do not read it.
TEXT = "a query"
_EXACT_AT_ONCE = 32
_WARM_UP = 20


def asked(table: RouteTable, queries: Vectors) -> tuple[list[float], list[str]]:
    """Milliseconds to search and decide each query (of n, dim), one after the other, and the best route of each."""
    for query in queries[:_WARM_UP]:
        table.decide([TEXT], query[None])
    taken: list[float] = []
    best: list[str] = []
    for query in queries:
        started = perf_counter()
        (decision,) = table.decide([TEXT], query[None])
        taken.append(since_ms(started))
        best.append(decision.matches[0].name)
    return taken, best


def compared(table: RouteTable, queries: Vectors, best: Sequence[str]) -> tuple[float, float]:
    """Recall of the nearest utterance, and share of the best routes that are those of exact search."""
    same_rows, same_routes = 0, 0
    for start in range(0, len(queries), _EXACT_AT_ONCE):
        part = queries[start : start + _EXACT_AT_ONCE]
        exact = table.index.search(part, 1, exact=True)
        # One by one, as they were asked.
        found = np.concatenate([table.index.search(query[None], 1).rows for query in part])
        same_rows += int((found == exact.rows).sum())
        names = [table.catalog.name(int(owner)) for owner in exact.owners[:, 0]]
        same_routes += sum(ours == theirs for ours, theirs in zip(best[start:], names, strict=False))
    return same_rows / len(queries), same_routes / len(queries)
