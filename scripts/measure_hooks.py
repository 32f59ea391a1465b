"""What hooks cost queries: processor time of a call with nothing attached and with each of the hooks that come along.

    python scripts/measure_hooks.py [--output benchmarks/results/hooks.json]

Rounds take turns, so that whatever else the machine does falls on all alike; the least of each is the figure, in
microseconds of processor time of all threads.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from prometheus_client import CollectorRegistry

from synaptoroute import AdaptiveRouter
from synaptoroute.bench.machine import git, machine, software
from synaptoroute.bench.manifest import now
from synaptoroute.observability.otel import OpenTelemetryHook
from synaptoroute.observability.prometheus import PrometheusMetrics
from synaptoroute.observability.records import DecisionLog
from synaptoroute.route_files import read_routes

ROUNDS, TEXTS = 6, 32
VARIANTS = ("nothing", "prometheus", "records", "opentelemetry")

_numbers = itertools.count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/hooks.json"))
    arguments = parser.parse_args()
    with (resources.files("synaptoroute") / "demo" / "routes.json").open("rb") as file:
        routes = read_routes(file, "json")
    with AdaptiveRouter() as router, tempfile.TemporaryDirectory(prefix="synaptoroute-hooks-") as folder:
        router.add_routes(routes)
        router.warm_up()
        figures = asyncio.run(measured(router, Path(folder)))
    state = git()
    content = {
        "schema": 1,
        "benchmark": "hooks",
        "command": "python scripts/measure_hooks.py",
        "created_at": now().isoformat(),
        "git": state.model_dump() if state else None,
        "machine": machine().model_dump(),
        "software": software() | {name: version(name) for name in ("prometheus-client", "opentelemetry-sdk")},
        "rounds": ROUNDS,
        "texts": TEXTS,
        "cpu_us": figures,
    }
    print(json.dumps(figures, indent=2))
    arguments.output.write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def attached(router: AdaptiveRouter, variant: str, folder: Path) -> Iterator[Callable[[], object]]:
    """With this hook, and after it without. Gives what ends its work on the calls so far."""
    hook: PrometheusMetrics | DecisionLog | OpenTelemetryHook | None = None
    finish: Callable[[], object] = int
    if variant == "prometheus":
        hook = PrometheusMetrics(router, registry=CollectorRegistry())
    elif variant == "records":
        hook = DecisionLog(folder / "decisions.jsonl", waiting=1_000_000)
        router.add_hook(hook)
        finish = hook.flush
    elif variant == "opentelemetry":
        # As services do it: one call in a hundred is traced.
        provider = TracerProvider(sampler=TraceIdRatioBased(0.01))
        hook = OpenTelemetryHook(router, tracer_provider=provider, metrics=False)
    try:
        yield finish
    finally:
        if hook is not None:
            router.remove_hook(hook)
            hook.close()


async def measured(router: AdaptiveRouter, folder: Path) -> dict[str, dict[str, float]]:
    """Variant -> least processor time in microseconds of each kind of call."""
    known = [f"where is parcel number {number}" for number in range(TEXTS)]

    async def one_known() -> None:
        router.route(known[0])

    async def many_known() -> None:
        await router.aquery_many(known)

    async def many_new() -> None:
        await router.aquery_many([f"where is parcel number {next(_numbers)} of my order" for _ in range(TEXTS)])

    kinds: dict[str, tuple[Callable[[], Awaitable[Any]], int]] = {
        "route, known": (one_known, 10_000),
        f"aquery_many of {TEXTS}, known": (many_known, 1_000),
        f"aquery_many of {TEXTS}, new": (many_new, 4),
    }
    found: dict[str, dict[str, list[float]]] = {variant: {kind: [] for kind in kinds} for variant in VARIANTS}
    await many_known()
    for _ in range(ROUNDS):
        for variant in VARIANTS:
            with attached(router, variant, folder) as finish:
                for kind, (ask, times) in kinds.items():
                    began = time.process_time()
                    for _ in range(times):
                        await ask()
                    finish()
                    found[variant][kind].append((time.process_time() - began) / times * 1e6)
    return {variant: {kind: round(min(each), 2) for kind, each in kinds.items()} for variant, kinds in found.items()}


if __name__ == "__main__":
    main()
