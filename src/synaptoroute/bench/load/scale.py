"""``bench scale``: how a table of so many routes is built, opened, searched, and what it holds in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from synaptoroute.bench.load.manifest import Memory, Rounds, ScaleRow, Times, rounded
from synaptoroute.bench.load.spawn import Opened, Order, opened
from synaptoroute.bench.load.stored import STORE
from synaptoroute.bench.load.synthetic import UTTERANCES, Synthetic
from synaptoroute.bench.load.timing import MeasurementError, Steps
from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage.sqlite import SQLiteStorage

_SETTLING_TIMEOUT_S = 7_200


def steps(counts: Sequence[int], rounds: int, dim: int) -> int:
    """How many steps ``measure`` has."""
    return sum(len(Synthetic(count, dim=dim)) + rounds for count in counts)


def measure(
    counts: Sequence[int], *, rounds: int, queries: int, encoder: BaseEncoder, step: Steps
) -> Iterator[ScaleRow]:
    """One row for each number of routes.

    Args:
        counts: Numbers of routes.
        rounds: Fresh processes that open each table.
        queries: Asked by each of them; the first also searches exactly.
        encoder: The vectors' dimension and identity are its own.
        step: Called ``steps`` times.

    Raises:
        MeasurementError: A fresh process failed.
    """
    for count in counts:
        with TemporaryDirectory(prefix="synaptoroute-bench-") as folder:
            yield _measured(Path(folder) / STORE, Synthetic(count, dim=encoder.dim), rounds, queries, encoder, step)


def build(store: Path, table: Synthetic, encoder: BaseEncoder, step: Steps) -> float:
    """Add all routes, wait for the index, and close; seconds, without those it takes to make up the vectors."""
    router = AdaptiveRouter(encoder, SQLiteStorage(store))
    taken = 0.0
    with router.loading():
        for routes, vectors in table.blocks():
            started = perf_counter()
            router.add_routes(routes, vectors=vectors)
            taken += perf_counter() - started
            step()
    started = perf_counter()
    settle(router)
    router.close()
    return taken + perf_counter() - started


def settle(router: AdaptiveRouter) -> None:
    """Wait until the index is compact. Raises MeasurementError if it never is."""
    if not router.wait_until_fitted(_SETTLING_TIMEOUT_S):
        raise MeasurementError(f"after {_SETTLING_TIMEOUT_S} s the table still waits for its compaction")


def _measured(store: Path, table: Synthetic, rounds: int, queries: int, encoder: BaseEncoder, step: Steps) -> ScaleRow:
    build_s = build(store, table, encoder, step)
    processes: list[Opened] = []
    for number in range(rounds):
        processes.append(opened(Order(store=store, routes=table.routes, queries=queries, exact=number == 0)))
        step()
    sizes = {path: path.stat().st_size for path in store.parent.rglob("*") if path.is_file()}
    of_store = sum(size for path, size in sizes.items() if path.name in {STORE, f"{STORE}-wal", f"{STORE}-shm"})
    return ScaleRow(
        routes=table.routes,
        utterances=UTTERANCES * table.routes,
        build_s=rounded(build_s),
        store_bytes=of_store,
        index_bytes=sum(sizes.values()) - of_store,
        open_s=Rounds.of([process.steps_s["open"] for process in processes]),
        first_s=Rounds.of([process.steps_s["open"] + process.steps_s["decision"] for process in processes]),
        decide=Times.of([taken for process in processes for taken in process.decide_ms]),
        queries=queries,
        recall=_share(process.recall for process in processes),
        agreement=_share(process.agreement for process in processes),
        memory=Memory.median([process.memory.over(process.baseline) for process in processes]),
    )


def _share(of_processes: Iterable[float | None]) -> float:
    return float(np.mean([share for share in of_processes if share is not None]))
