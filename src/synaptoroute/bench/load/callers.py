"""The ways in which many callers route: coroutines, threads, batches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from synaptoroute.bench.load.timing import since_ms
from synaptoroute.router import AdaptiveRouter


async def coroutines(router: AdaptiveRouter, texts: Iterable[str], size: int) -> list[float]:
    """Milliseconds of each ``aquery``, so many of them in flight until there are no more texts."""
    remaining, taken = iter(texts), list[float]()

    async def ask() -> None:
        for text in remaining:
            started = perf_counter()
            await router.aquery(text)
            taken.append(since_ms(started))

    async with asyncio.TaskGroup() as group:
        for _ in range(size):
            group.create_task(ask())
    return taken


async def threads(router: AdaptiveRouter, texts: Sequence[str], size: int) -> list[float]:
    """Milliseconds of each ``route``, from so many threads."""

    def ask(text: str) -> float:
        started = perf_counter()
        router.route(text)
        return since_ms(started)

    with ThreadPoolExecutor(size) as pool:
        return await asyncio.to_thread(lambda: list(pool.map(ask, texts)))


async def batches(router: AdaptiveRouter, texts: Sequence[str], size: int) -> list[float]:
    """Milliseconds of each ``route_many`` with so many texts."""

    def ask() -> list[float]:
        taken = []
        for start in range(0, len(texts), size):
            started = perf_counter()
            router.route_many(texts[start : start + size])
            taken.append(since_ms(started))
        return taken

    return await asyncio.to_thread(ask)
