"""What all systems are asked in a comparison: routes and queries of a data set, or a synthetic table of any size."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synaptoroute.bench.datasets import Dataset, Labelled, few_shot
from synaptoroute.bench.peer_results import Scale
from synaptoroute.encoder.base import Vectors
from synaptoroute.encoder.bundled import DEFAULT, WEIGHTS, BundledEncoder
from synaptoroute.profile import usable_cores

#: Queries that are asked before any is timed.
WARM_UP = 64
#: Of the queries of a round, one in so many is asked alone, the rest concurrently.
_ALONE = 5
#: Synthetic queries, and how far they lie from the utterance each was made of, and utterances from their route.
_SCALE_QUERIES = 10_000
_QUERY_NOISE, _UTTERANCE_NOISE = 0.3, 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Queries that are asked in one way, by their numbers.

    Attributes:
        prefix: Of the figures.
        costly: Encoding takes what it takes; otherwise no time.
        together: Asked concurrently.
        alone: Asked one after the other.
    """

    prefix: str
    costly: bool
    together: range
    alone: range


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What all systems are given, written to a folder that the workers read.

    Attributes:
        folder: With ``task.json`` and, where vectors are given, ``utterances.npy`` and ``queries.npy``.
        labels: The right route of each query.
        timed: How many of the queries, from the first, may be timed.
        synthetic: The vectors are given, and the query encoder is one that takes no time and then one that does.
    """

    folder: Path
    labels: tuple[str | None, ...]
    timed: int
    synthetic: bool = False

    @property
    def shares(self) -> tuple[Share, ...]:
        """What is asked in a round, no query twice."""
        ways = (("given_", False), ("", True)) if self.synthetic else (("", True),)
        size = self.timed // len(ways)
        split = size - size // _ALONE
        return tuple(
            Share(
                prefix=prefix,
                costly=costly,
                together=range(place * size, place * size + split),
                alone=range(place * size + split, (place + 1) * size),
            )
            for place, (prefix, costly) in enumerate(ways)
        )


def real_task(dataset: Dataset, folder: Path, *, shots: int | None = None) -> Task:
    """The routes of the train split, asked the test split; queries that repeat another text are not timed."""
    utterances = few_shot(dataset.train, shots, 0)
    labelled = [(item.text, item.label) for item in dataset.validation]
    warm_up = [text for text, _ in labelled][:: max(len(labelled) // WARM_UP, 1)][:WARM_UP]
    seen = {text for texts in utterances.values() for text in texts} | set(warm_up)
    order = list(dataset.test)
    # Upstream sorts by intent: any stretch of queries shall be a fair sample.
    random.Random(0).shuffle(order)  # noqa: S311
    fresh: list[Labelled] = []
    repeated: list[Labelled] = []
    for item in order:
        (repeated if item.text in seen else fresh).append(item)
        seen.add(item.text)
    queries = [*fresh, *repeated]
    _write(folder, utterances=utterances, queries=[item.text for item in queries], warm_up=warm_up, labelled=labelled)
    return Task(folder=folder, labels=tuple(item.label for item in queries), timed=len(fresh))


def synthetic_task(dataset: Dataset, folder: Path, scale: Scale) -> Task:
    """Routes at random places, utterances around them, queries each near one utterance, whose route is right."""
    draws = np.random.default_rng(0)
    dim = BundledEncoder().dim

    def near(vectors: Vectors, noise: float) -> Vectors:
        moved = vectors + draws.standard_normal(vectors.shape, np.float32) * np.float32(noise / dim**0.5)
        return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True))

    centres = near(np.zeros((scale.routes, dim), np.float32), 1.0)
    vectors = near(np.repeat(centres, scale.utterances, axis=0), _UTTERANCE_NOISE)
    asked = draws.integers(0, len(vectors), _SCALE_QUERIES + WARM_UP)
    np.save(folder / "utterances.npy", vectors)
    np.save(folder / "queries.npy", near(vectors[asked], _QUERY_NOISE))
    numbers = [range(route * scale.utterances, (route + 1) * scale.utterances) for route in range(scale.routes)]
    queries = [f"q{row}" for row in range(len(asked))]
    _write(
        folder,
        utterances={f"route-{route}": [f"u{row}" for row in rows] for route, rows in enumerate(numbers)},
        queries=queries[:_SCALE_QUERIES],
        warm_up=queries[_SCALE_QUERIES:],
        texts=list(dict.fromkeys(item.text for item in dataset.test)),
    )
    labels = tuple(f"route-{row // scale.utterances}" for row in asked[:_SCALE_QUERIES])
    return Task(folder=folder, labels=labels, timed=_SCALE_QUERIES, synthetic=True)


def _write(
    folder: Path,
    *,
    utterances: Mapping[str, Sequence[str]],
    queries: Sequence[str],
    warm_up: Sequence[str],
    labelled: Sequence[tuple[str, str | None]] = (),
    texts: Sequence[str] = (),
) -> None:
    content = {
        "model": str(WEIGHTS / DEFAULT),
        "cores": usable_cores(),
        "utterances": utterances,
        "queries": queries,
        "warm_up": warm_up,
        "labelled": labelled,
        "texts": texts,
        "vectors": bool(texts),
    }
    (folder / "task.json").write_text(json.dumps(content), encoding="utf-8")
