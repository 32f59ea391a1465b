"""``bench mutation``: how long durable changes take while queries go on, and what they do to the queries."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from synaptoroute.bench.load.manifest import MutationRow, Rounds, Times
from synaptoroute.bench.load.scale import build, settle
from synaptoroute.bench.load.search import TEXT
from synaptoroute.bench.load.stored import STORE
from synaptoroute.bench.load.synthetic import UTTERANCES, Synthetic
from synaptoroute.bench.load.timing import Steps, since_ms
from synaptoroute.encoder.base import BaseEncoder, Vectors
from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage.sqlite import SQLiteStorage
from synaptoroute.table import SEGMENTED_FROM

_QUERIES = 1_000
_WARM_UP = 20
#: Routes added to make a compaction due: at least 10,000 utterances, or a tenth of the table.
_LEAST_ADDED, _ADDED_AT_ONCE = 2_000, 500


def steps(counts: Sequence[int], rounds: int, dim: int) -> int:
    """How many steps ``measure`` has."""
    return sum(len(Synthetic(count, dim=dim)) + rounds for count in counts)


def measure(
    counts: Sequence[int], *, rounds: int, changes: int, encoder: BaseEncoder, step: Steps
) -> Iterator[MutationRow]:
    """One row for each number of routes.

    Args:
        counts: Numbers of routes.
        rounds: Each makes the changes beside a reader, then lets it read alone for as long.
        changes: In each round, so many routes are added and so many old ones deleted, in turns.
        encoder: The vectors' dimension and identity are its own.
        step: Called ``steps`` times.
    """
    for routes in counts:
        with TemporaryDirectory(prefix="synaptoroute-bench-") as folder:
            store, table = Path(folder) / STORE, Synthetic(routes, dim=encoder.dim)
            build(store, table, encoder, step)
            with AdaptiveRouter(encoder, SQLiteStorage(store)) as router:
                yield _measured(router, table, rounds, changes, step)


def _measured(router: AdaptiveRouter, table: Synthetic, rounds: int, changes: int, step: Steps) -> MutationRow:
    queries = table.queries(_QUERIES)
    for query in queries[:_WARM_UP]:
        router.snapshot.decide([TEXT], query[None])
    more = table.more()
    added: list[float] = []
    deleted: list[float] = []
    besides: list[list[float]] = []
    alones: list[list[float]] = []
    oldest = (table.route(number).name for number in count())
    for _ in range(rounds):
        new = list(islice(more, changes))
        with _reading(router, queries) as beside:
            round_started = perf_counter()
            for route, vectors in new:
                started = perf_counter()
                router.add_routes([route], vectors=vectors)
                added.append(since_ms(started))
                leaving = next(oldest)
                started = perf_counter()
                router.delete_route(leaving)
                deleted.append(since_ms(started))
            taken_s = perf_counter() - round_started
        with _reading(router, queries) as alone:
            threading.Event().wait(taken_s)
        besides.append(beside)
        alones.append(alone)
        step()
    return MutationRow(
        routes=table.routes,
        utterances=UTTERANCES * table.routes,
        add=Times.of(added),
        delete=Times.of(deleted),
        alone=Times.of([taken for alone in alones for taken in alone]),
        beside=Times.of([taken for beside in besides for taken in beside]),
        p99_ratio=Rounds.of(
            [Times.of(beside).p99_ms / Times.of(alone).p99_ms for beside, alone in zip(besides, alones, strict=True)]
        ),
        compacting=_compacting(router, queries, more, table.routes),
    )


def _compacting(
    router: AdaptiveRouter, queries: Vectors, more: Iterator[tuple[Route, Vectors]], routes: int
) -> Times | None:
    """The queries from when enough routes were added until the index is compact again; None if it stays too small."""
    adding = max(_LEAST_ADDED, routes // 10)
    if (routes + adding) * UTTERANCES <= SEGMENTED_FROM:
        return None
    for _ in range(0, adding, _ADDED_AT_ONCE):
        added, vectors = zip(*islice(more, _ADDED_AT_ONCE), strict=True)
        router.add_routes(added, vectors=np.concatenate(vectors))
        if not router.settled:
            with _reading(router, queries) as taken:
                settle(router)
            return Times.of(taken)
    return None


@contextmanager
def _reading(router: AdaptiveRouter, queries: Vectors) -> Iterator[list[float]]:
    """A thread that queries without a pause; gives the list of its milliseconds."""
    taken: list[float] = []
    stopped = threading.Event()

    def read() -> None:
        for query in cycle(queries):
            started = perf_counter()
            router.snapshot.decide([TEXT], query[None])
            taken.append(since_ms(started))
            if stopped.is_set():
                return

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            yield taken
        finally:
            stopped.set()
        reader.result()
