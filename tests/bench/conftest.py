"""The public data sets where they are, and a manifest to report on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from synaptoroute.bench.datasets import Dataset, Labelled
from synaptoroute.bench.machine import machine, software
from synaptoroute.bench.manifest import Cost, DataInfo, EncoderInfo, Manifest, Result, now
from synaptoroute.bench.measures import Answers, baseline, curves, figures
from synaptoroute.bench.sources import DATA_VARIABLE


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with the public data sets; skips where there is none."""
    folder = Path(os.environ.get(DATA_VARIABLE) or Path(__file__).parents[3] / "shared" / "data")
    if not (folder / "clinc150").is_dir():
        pytest.skip(f"no public data: {DATA_VARIABLE} is not set, and there is none beside the repository")
    return folder


TINY = Dataset(
    name="tiny",
    train=tuple(
        Labelled(text, label)
        for label, texts in {
            "weather": ["will it rain", "is it sunny outside", "how cold is it", "weather forecast for tomorrow"],
            "billing": ["what do I owe", "show my balance", "pay my bill", "how much is my invoice"],
            "music": ["play some jazz", "skip this song", "turn up the music", "play my favourite album"],
        }.items()
        for text in texts
    ),
    validation=tuple(
        Labelled(text, label)
        for label, texts in {
            "weather": ["do I need an umbrella", "is it going to snow", "how hot will it get", "is a storm coming"],
            "billing": ["what is left to pay", "send me the invoice", "settle my account", "how much is due"],
            "music": ["put on a rock song", "next track please", "make it louder", "play the new album"],
            None: [
                "how tall is the Eiffel tower",
                "translate good morning into French",
                "who wrote Hamlet",
                "book a table for two",
                "what is the capital of Peru",
                "my car does not start",
                "tell me a joke",
                "how do I bake bread",
            ],
        }.items()
        for text in texts
    ),
    test=(
        Labelled("will there be rain today", "weather"),
        Labelled("how much money do I owe you", "billing"),
        Labelled("play a song by Miles Davis", "music"),
        Labelled("when was the moon landing", None),
        Labelled("my knee hurts", None),
    ),
    reading="made for the tests",
    licence="MIT",
    files={"tiny/all.txt": "0" * 64},
)

COST = Cost(
    build_s=1.5,
    training_s=2.25,
    training_cpu_s=4.0,
    fit_s=None,
    fit_cpu_s=None,
    latency_ms={"p50": 1.0, "p90": 2.0, "p95": 2.5, "p99": 4.0},
    queries_per_s=1000.0,
    decision_ms=0.05,
    peak_memory_bytes=400_000_000,
)


def answers(seed: int, *, queries: int = 400, routes: int = 40, outside: int = 100) -> Answers:
    """Simulated: right answers are more confident, the last ``outside`` queries belong to no route."""
    random = np.random.default_rng(seed)
    names = [f"route<{number}> & more" for number in range(routes)]
    labels = [names[number] for number in random.integers(0, routes, queries - outside)] + [None] * outside
    right = random.random(queries) < 0.8
    ranked = []
    for label, is_right in zip(labels, right, strict=True):
        others = [names[number] for number in random.permutation(routes)[:6] if names[number] != label][:4]
        ranked.append((label, *others) if label and is_right else (*others, label or "none of these"))
    inside = np.array([label is not None for label in labels])
    confidence = np.clip(random.normal(0.2 + 0.5 * (right & inside), 0.2), 0, 1)
    chosen = [best[0] if sure >= 0.5 else None for best, sure in zip(ranked, confidence, strict=True)]
    return Answers(tuple(labels), tuple(ranked), tuple(chosen), confidence)


def result(dataset: str, shots: int | None, *, tuned: bool = False, negated: bool = False) -> Result:
    seeds = (0,) if shots is None else (0, 1, 2)
    by_seed = [answers(seed + (shots or 0)) for seed in seeds]
    return Result(
        dataset=dataset,
        shots=shots,
        tuned=tuned,
        seeds=seeds,
        routes=40,
        utterances=40 * (shots or 100),
        figures=figures(by_seed, negated=negated),
        cost=COST.model_copy(update={"fit_s": 3.0, "fit_cpu_s": 5.5}) if tuned else COST,
        fit={"applied": True} if tuned else None,
        curves=curves(by_seed[0], negated=negated),
        nearest=None if tuned or negated else baseline(by_seed),
    )


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    """As the reference run would write it, from simulated answers."""
    info = DataInfo.of(TINY)
    names = ("clinc150", "banking77", "clinc150-negation")
    return Manifest(
        command="synaptoroute bench accuracy --data DIR",
        created_at=now(),
        git=None,
        limit=None,
        seeds=(0, 1, 2),
        encoder=EncoderInfo(name="all-MiniLM-L6-v2", fingerprint="minilm-0123456789abcdef", dim=384),
        machine=machine(),
        software=software(),
        datasets=tuple(info.model_copy(update={"name": name}) for name in names),
        results=(
            *(result("clinc150", shots) for shots in (5, 10, None)),
            result("clinc150", None, tuned=True),
            *(result("banking77", shots) for shots in (5, None)),
            result("clinc150-negation", None, negated=True),
        ),
    )
