"""``bench cascade``: the static first stage beside the full path: where they agree, and how much faster it is.

Routes are made from the train split; the test queries are asked once of each router, and nothing is chosen by them. All
routers have the profile THROUGHPUT and no cache; they differ in the first stage alone, and the third has the static
encoder in place of the bundled one.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

import numpy as np

from synaptoroute.bench.accuracy import used_seeds
from synaptoroute.bench.cascade_results import CascadeManifest, CascadeRow, Learning, Rate, Shares
from synaptoroute.bench.datasets import Dataset, Labelled, few_shot
from synaptoroute.bench.load.callers import batches, coroutines
from synaptoroute.bench.load.manifest import Rounds
from synaptoroute.bench.machine import git, machine, software
from synaptoroute.bench.manifest import Accuracy, DataInfo, EncoderInfo, now
from synaptoroute.bench.measures import Flags, accuracy
from synaptoroute.encoder.base import BaseEncoder, Vectors, encode_checked
from synaptoroute.encoder.static import StaticEncoder
from synaptoroute.errors import InvalidInputError
from synaptoroute.models import Decision, Route, Stage
from synaptoroute.profile import OptimizationProfile
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage.sqlite import SQLiteStorage

NAMES = ("clinc150", "banking77")
SHOTS: tuple[int | None, ...] = (None, 10, 5)
#: How the speeds are measured: so many coroutines in flight, so many queries in a batch.
IN_FLIGHT, IN_A_BATCH = 256, 1_000

Run = Callable[[AdaptiveRouter, Sequence[str], int], object]
#: Told how many of how many steps are done.
Progress = Callable[[int, int], None]


def measure(
    datasets: Sequence[Dataset],
    *,
    shots: Sequence[int | None],
    seeds: Sequence[int],
    rounds: int,
    encoder: BaseEncoder,
    command: str,
    limit: int | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Iterator[CascadeManifest]:
    """The manifest after each row, so that what was measured survives an interruption; the last one has it all.

    Args:
        datasets: Whole ones; ``limit`` is applied here, so that it is marked.
        shots: Each data set is measured with so many utterances a route; None takes all.
        seeds: Draws of utterances where they are few.
        rounds: How often each speed is measured.
        encoder: Of the full path.
        command: How to repeat it, without paths of this machine.
        limit: Only so many test queries.
        progress: Told after each row.

    Raises:
        InvalidInputError: There is nothing to measure.
    """
    if not datasets or not shots or not seeds:
        raise InvalidInputError("no data set, no number of utterances or no seed to measure")
    if limit is not None:
        datasets = [dataset.limited(limit) for dataset in datasets]
    first = StaticEncoder()
    manifest = CascadeManifest(
        command=command,
        created_at=now(),
        git=git(),
        limit=limit,
        rounds=rounds,
        encoder=EncoderInfo(name=encoder.name, fingerprint=encoder.fingerprint, dim=encoder.dim),
        first_encoder=EncoderInfo(name=first.name, fingerprint=first.fingerprint, dim=first.dim),
        machine=machine(),
        software=software(),
        datasets=tuple(DataInfo.of(dataset) for dataset in datasets),
        rows=(),
    )
    cases = [(dataset, count) for dataset in datasets for count in shots]
    for done, (dataset, count) in enumerate(cases, start=1):
        row = _row(dataset, count, used_seeds(count, seeds), rounds, encoder)
        manifest = manifest.model_copy(update={"rows": (*manifest.rows, row)})
        progress(done, len(cases))
        yield manifest


@dataclass(slots=True)
class _Found:
    """What the draws of one case came to, a row of flags for each."""

    agreed: list[Flags] = field(default_factory=list)
    answered: list[Flags] = field(default_factory=list)
    right: dict[str, list[Flags]] = field(default_factory=lambda: {"full": [], "cascade": [], "static": []})


def _row(dataset: Dataset, shots: int | None, seeds: tuple[int, ...], rounds: int, encoder: BaseEncoder) -> CascadeRow:
    found, learning, rates = _Found(), dict[str, Learning](), tuple[Rate, ...]()
    inside = np.array([item.label is not None for item in dataset.test])
    texts = [item.text for item in dataset.test]
    utterances = few_shot(dataset.train, shots, seeds[0])
    for seed in seeds:
        drawn = _routes(few_shot(dataset.train, shots, seed))
        # The same for both, and encoded once.
        vectors = encode_checked(encoder, [text for route in drawn for text in route.utterances])
        with _router(encoder, first_stage=False) as full, _router(encoder, first_stage=True) as cascade:
            taken = {"full": _learned(full, drawn, vectors), "cascade": _learned(cascade, drawn, vectors)}
            by_full, by_cascade = full.route_many(texts), cascade.route_many(texts)
            if seed == seeds[0]:
                learning, rates = taken, _rates(full, cascade, texts, rounds)
        with _router(StaticEncoder(), first_stage=False) as static:
            _learned(static, drawn)
            by_static = static.route_many(texts)
        found.agreed.append(_flags(one.name == other.name for one, other in zip(by_full, by_cascade, strict=True)))
        found.answered.append(_flags(decision.stage is Stage.STATIC for decision in by_cascade))
        for name, decisions in (("full", by_full), ("cascade", by_cascade), ("static", by_static)):
            found.right[name].append(_right(dataset.test, decisions))
    return CascadeRow(
        dataset=dataset.name,
        shots=shots,
        seeds=seeds,
        routes=len(utterances),
        utterances=sum(map(len, utterances.values())),
        agreement=_shares(found.agreed, inside),
        answered=_shares(found.answered, inside),
        top1={name: _there(accuracy(flags)) for name, flags in found.right.items()},
        learning=learning,
        rates=rates,
    )


def _router(encoder: BaseEncoder, *, first_stage: bool) -> AdaptiveRouter:
    return AdaptiveRouter(
        encoder,
        SQLiteStorage(":memory:"),
        profile=OptimizationProfile.THROUGHPUT,
        first_stage=first_stage,
        cache_bytes=0,
    )


def _routes(utterances: dict[str, list[str]]) -> list[Route]:
    return [Route(name=name, utterances=texts) for name, texts in utterances.items()]


def _learned(router: AdaptiveRouter, routes: list[Route], vectors: Vectors | None = None) -> Learning:
    """Add the routes and wait until everything is learned; gives what learning took."""
    router.add_routes(routes, vectors=vectors)
    wall, cpu = perf_counter(), _cpu_s()
    router.wait_until_fitted()
    wall_s, cpu_s = perf_counter() - wall, _cpu_s() - cpu
    kept = router.storage.load_learned()
    return Learning(wall_s=round(wall_s, 3), cpu_s=round(cpu_s, 3), kept_bytes=len(kept or b""))


def _rates(full: AdaptiveRouter, cascade: AdaptiveRouter, texts: Sequence[str], rounds: int) -> tuple[Rate, ...]:
    # Upstream sorts by intent, with what is out of scope at the end: any stretch of queries shall be a fair sample.
    asked = random.Random(0).sample(texts, len(texts))  # noqa: S311
    return (
        asyncio.run(_rate("coroutines", IN_FLIGHT, full, cascade, asked, rounds)),
        asyncio.run(_rate("batches", IN_A_BATCH, full, cascade, asked, rounds)),
    )


async def _rate(
    callers: Literal["coroutines", "batches"],
    size: int,
    full: AdaptiveRouter,
    cascade: AdaptiveRouter,
    texts: Sequence[str],
    rounds: int,
) -> Rate:
    run = coroutines if callers == "coroutines" else batches
    taken: dict[str, list[float]] = {"full": [], "cascade": []}
    for number in range(rounds):
        # The second of a round must not always be the same.
        order = [("full", full), ("cascade", cascade)][:: 1 if number % 2 == 0 else -1]
        for name, router in order:
            gc.collect()
            started = perf_counter()
            await run(router, texts, size)
            taken[name].append(len(texts) / (perf_counter() - started))
    ratios = [one / other for one, other in zip(taken["cascade"], taken["full"], strict=True)]
    return Rate(
        callers=callers,
        size=size,
        full_per_s=Rounds.of(taken["full"]),
        cascade_per_s=Rounds.of(taken["cascade"]),
        ratio=Rounds.of(ratios),
    )


def _right(queries: Sequence[Labelled], decisions: Sequence[Decision]) -> Flags:
    return _flags(query.label == decision.name for query, decision in zip(queries, decisions, strict=True))


def _flags(each: Iterator[bool]) -> Flags:
    return np.array(list(each), bool)


def _shares(by_seed: list[Flags], inside: Flags) -> Shares:
    return Shares(
        all=_there(accuracy(by_seed)),
        in_scope=accuracy([flags[inside] for flags in by_seed]),
        oos=accuracy([flags[~inside] for flags in by_seed]),
    )


def _there(found: Accuracy | None) -> Accuracy:
    assert found is not None  # noqa: S101 - every data set has test queries
    return found


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system
