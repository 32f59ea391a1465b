"""The accuracy benchmark: build a router as a user would, ask it the test queries, write down what came out.

Protocol: routes are made from the train split, all of it or ``shots`` utterances a route drawn by a seed. The row
"default" is the router as it then is. The row "tuned" has seen the validation queries through ``fit``; there is one
only where upstream has a validation split with queries in and out of scope, and only with all of train: thousands of
labelled queries beside five utterances a route would not be few-shot. Nothing is ever chosen by looking at test.
Beside "default" stands what the nearest utterance alone would have answered, of the same utterances.
"""

from __future__ import annotations

import math
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from synaptoroute.bench import measures
from synaptoroute.bench.datasets import Dataset, Labelled, few_shot
from synaptoroute.bench.machine import git, machine, software
from synaptoroute.bench.manifest import Cost, DataInfo, EncoderInfo, Manifest, Result, now
from synaptoroute.bench.measures import Answers
from synaptoroute.bench.nearest import by_nearest_utterance
from synaptoroute.encoder.base import BaseEncoder, encode_checked
from synaptoroute.errors import InvalidInputError
from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter

#: Queries timed one at a time, and texts timed without their encoding in batches of 32.
SINGLES = 300
DECIDED, BATCH = 2_048, 32
#: Queries asked before any is timed.
WARM_UP = 32
PERCENTILES = (50, 90, 95, 99)
#: Lists of a FitReport longer than this are plots, which the manifest has of the test queries already.
_LONG = 12

#: Told how many of how many routers have been asked.
Progress = Callable[[int, int], None]


def tunable(dataset: Dataset, shots: int | None) -> bool:
    """Whether there is a row "tuned"."""
    return shots is None and {item.label is None for item in dataset.validation} == {True, False}


def steps(dataset: Dataset, shots: int | None, seeds: Sequence[int], *, tuned: bool) -> int:
    """How many routers ``run`` will ask."""
    return len(used_seeds(shots, seeds)) + (tuned and tunable(dataset, shots))


def run(
    dataset: Dataset,
    *,
    shots: int | None,
    seeds: Sequence[int],
    encoder: BaseEncoder,
    tuned: bool,
    asked: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Measure one data set with so many utterances a route.

    Args:
        dataset: What to build from and ask.
        shots: Utterances a route, fewer where it has fewer; None takes all, for which one seed is enough.
        seeds: Draws of utterances, at least one.
        encoder: For all routers.
        tuned: Also measure after ``fit``, where ``tunable``.
        asked: Called after each router that was asked.

    Returns:
        The row "default" and, where there is one, the row "tuned". Cost and curves are those of the first seed.
    """
    seeds = used_seeds(shots, seeds)
    by_seed: list[Answers] = []
    nearest: list[Answers] = []
    rows: list[Result] = []

    def row(answers: Sequence[Answers], cost: Cost, fit: dict[str, Any] | None = None) -> Result:
        return Result(
            dataset=dataset.name,
            shots=shots,
            tuned=fit is not None,
            seeds=seeds,
            routes=len(utterances),
            utterances=sum(map(len, utterances.values())),
            figures=measures.figures(answers, negated=dataset.negated),
            cost=cost,
            fit=fit,
            curves=measures.curves(answers[0], negated=dataset.negated),
            nearest=measures.baseline(nearest) if fit is None and not dataset.negated else None,
            languages=measures.by_language(answers, dataset.test),
        )

    # The first seed comes last: when its router is measured further, the answers of all seeds are there.
    for seed in reversed(seeds):
        utterances = few_shot(dataset.train, shots, seed)
        nearest.insert(0, by_nearest_utterance(encoder, utterances, dataset.test))
        # What was asked before must not be faster when it is timed.
        with AdaptiveRouter(encoder, cache_bytes=0) as router:
            built = _build(router, utterances)
            answers, per_s = _ask(router, dataset.test)
            by_seed.insert(0, answers)
            asked()
            if seed != seeds[0]:
                continue
            rows.append(row(by_seed, _cost(router, dataset.test, per_s, built)))
            if tuned and tunable(dataset, shots):
                timer = _Timer()
                report = router.fit(
                    [item.text for item in dataset.validation], [item.label for item in dataset.validation]
                )
                fitting = {"fit_s": timer.wall_s, "fit_cpu_s": timer.cpu_s}
                answers, per_s = _ask(router, dataset.test)
                cost = _cost(router, dataset.test, per_s, built | fitting)
                rows.append(row([answers], cost, _brief(report.to_dict())))
                asked()
    return rows


def measure(
    datasets: Sequence[Dataset],
    *,
    shots: Sequence[int | None],
    seeds: Sequence[int],
    encoder: BaseEncoder,
    tuned: bool,
    command: str,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Manifest]:
    """The manifest after each run, so that what was measured survives an interruption; the last one has it all.

    Args:
        datasets: Whole ones; ``limit`` is applied here, so that it is marked.
        shots: Each data set is run with each of these.
        seeds: See ``run``.
        encoder: For all routers.
        tuned: See ``run``.
        command: How to repeat it, without paths of this machine.
        limit: Only so many test and validation queries.
        progress: Told how many of how many routers have been asked.
    """
    if limit is not None:
        datasets = [dataset.limited(limit) for dataset in datasets]
    manifest = Manifest(
        command=command,
        created_at=now(),
        git=git(),
        limit=limit,
        seeds=tuple(seeds),
        encoder=EncoderInfo(name=encoder.name, fingerprint=encoder.fingerprint, dim=encoder.dim),
        machine=machine(),
        software=software(),
        datasets=tuple(DataInfo.of(dataset) for dataset in datasets),
        results=(),
    )
    total = sum(steps(dataset, count, seeds, tuned=tuned) for dataset in datasets for count in shots)
    done = 0

    def asked() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for dataset in datasets:
        for count in shots:
            rows = run(dataset, shots=count, seeds=seeds, encoder=encoder, tuned=tuned, asked=asked)
            manifest = manifest.model_copy(update={"results": (*manifest.results, *rows)})
            yield manifest


class _Timer:
    """Seconds since it was made, on the wall and of the CPU: all threads of this process and its finished children."""

    def __init__(self) -> None:
        self._wall, self._cpu = perf_counter(), _cpu_s()

    @property
    def wall_s(self) -> float:
        return round(perf_counter() - self._wall, 3)

    @property
    def cpu_s(self) -> float:
        return round(_cpu_s() - self._cpu, 3)


def _build(router: AdaptiveRouter, utterances: dict[str, list[str]]) -> dict[str, float]:
    """Add the routes and wait for the learned head; gives the seconds."""
    timer = _Timer()
    router.add_routes([Route(name=name, utterances=texts) for name, texts in utterances.items()])
    build_s, training = timer.wall_s, _Timer()
    router.wait_until_fitted()
    return {"build_s": build_s, "training_s": training.wall_s, "training_cpu_s": training.cpu_s}


def _ask(router: AdaptiveRouter, queries: Sequence[Labelled]) -> tuple[Answers, float]:
    """The answers, and queries per second."""
    texts = [query.text for query in queries]
    router.route_many(texts[:WARM_UP])
    timer = _Timer()
    decisions = router.route_many(texts)
    return Answers.of(queries, decisions), round(len(texts) / max(timer.wall_s, 1e-3), 1)


def _cost(router: AdaptiveRouter, queries: Sequence[Labelled], per_s: float, seconds: dict[str, float]) -> Cost:
    texts = [query.text for query in queries]
    singles = texts[:: max(len(texts) // SINGLES, 1)][:SINGLES]
    alone = [_milliseconds(partial(router.route, text)) for text in singles]
    decided = texts[:DECIDED]
    vectors = encode_checked(router.encoder, decided, queries=True)
    batches = [(decided[at : at + BATCH], vectors[at : at + BATCH]) for at in range(0, len(decided), BATCH)]
    full = [batch for batch in batches if len(batch[0]) == BATCH] or batches
    snapshot = router.snapshot
    snapshot.decide(*full[0])
    deciding = [_milliseconds(partial(snapshot.decide, *batch)) / len(batch[0]) for batch in full]
    return Cost(
        fit_s=seconds.get("fit_s"),
        fit_cpu_s=seconds.get("fit_cpu_s"),
        build_s=seconds["build_s"],
        training_s=seconds["training_s"],
        training_cpu_s=seconds["training_cpu_s"],
        latency_ms={f"p{p}": round(float(np.percentile(alone, p)), 3) for p in PERCENTILES},
        queries_per_s=per_s,
        decision_ms=round(float(np.median(deciding)), 4),
        peak_memory_bytes=_peak_memory_bytes(),
    )


def _milliseconds(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return (perf_counter() - started) * 1000


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes everywhere but on macOS.
    return peak if sys.platform == "darwin" else peak * 1024


def used_seeds(shots: int | None, seeds: Sequence[int]) -> tuple[int, ...]:
    """Where all utterances are taken, there is nothing to draw."""
    if not seeds:
        raise InvalidInputError("at least one seed is wanted")
    return (0,) if shots is None else tuple(seeds)


def _brief(value: Any) -> Any:
    """A report as JSON without its long lists; NaN is null."""
    if isinstance(value, dict):
        return {key: _brief(item) for key, item in value.items() if not (isinstance(item, tuple) and len(item) > _LONG)}
    if isinstance(value, tuple):
        return [_brief(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 5)
    return value
