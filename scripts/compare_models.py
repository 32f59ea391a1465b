"""Hold the bundled models against each other, as the product runs them: 8 bits, one text at a time.

    python scripts/compare_models.py --data DIR [--output benchmarks/results/encoders.json]

Routes are made from the train splits, queries are the test splits; nothing is tuned. "lr" is a logistic regression on
the vectors (C 10), "nearest" the nearest utterance. Of refusals (CLINC150's test queries rewritten so that nobody wants
the intent) the figure is how many a threshold rejects that loses 2 % of CLINC150's test queries in scope, by three
scores: the nearest utterance's cosine, the largest probability of the logistic regression, and the confidence of
the router. The utterances are all of train.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from synaptoroute.bench import measures
from synaptoroute.bench.datasets import Dataset, Labelled, few_shot, load
from synaptoroute.bench.machine import git, machine, software
from synaptoroute.decision import metrics
from synaptoroute.encoder.bundled import MODELS, BundledEncoder
from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from training.similarity import read_pairs, spearman

Vectors = NDArray[np.float32]
Scores = NDArray[np.float64]
SEEDS = range(5)
SHOTS: dict[str, tuple[int | None, ...]] = {
    "clinc150": (3, 5, 10, 20, None),
    "banking77": (3, 5, 10, 20, None),
    "metatool": (20,),
}
#: Share of the queries in scope that rejecting may cost.
LOST = 0.02
RESAMPLES = 200
#: Texts of a round of the speed contest, and rounds.
SLICE, ROUNDS = 300, 25


class Remembering:
    """An encoder that encodes each text once."""

    def __init__(self, encoder: BundledEncoder) -> None:
        self._encode = encoder.encode
        self._rows: dict[str, Vectors] = {}

    def __call__(self, texts: Sequence[str]) -> Vectors:
        missing = [text for text in dict.fromkeys(texts) if text not in self._rows]
        self._rows.update(zip(missing, self._encode(missing), strict=True))
        return np.stack([self._rows[text] for text in texts])


def accuracies(dataset: Dataset, encode: Remembering) -> dict[str, Any]:
    """Share of queries in scope that are answered right, by utterances a route."""
    queries = [item for item in dataset.test if item.label is not None]
    asked, labels = encode([item.text for item in queries]), np.array([item.label for item in queries])
    found = {}
    for shots in SHOTS[dataset.name]:
        right: dict[str, list[measures.Flags]] = {"lr": [], "nearest": []}
        for seed in SEEDS if shots is not None else [0]:
            stored, routes = _stored(few_shot(dataset.train, shots, seed), encode)
            head = LogisticRegression(C=10, max_iter=1_000).fit(stored, routes)
            right["lr"].append(head.predict(asked) == labels)
            right["nearest"].append(routes[(asked @ stored.T).argmax(axis=1)] == labels)
        found[str(shots or "all")] = {name: _dump(measures.accuracy(flags)) for name, flags in right.items()}
    return found


def rejections(
    clinc: Dataset, refused: Sequence[Labelled], encoder: BundledEncoder, encode: Remembering
) -> dict[str, Any]:
    """How well queries out of scope, and refusals, are told from queries in scope, by three scores."""
    groups = {
        "inside": [item.text for item in clinc.test if item.label is not None],
        "outside": [item.text for item in clinc.test if item.label is None],
        "refused": [item.text for item in refused],
    }
    stored, routes = _stored(few_shot(clinc.train, None, 0), encode)
    head = LogisticRegression(C=10, max_iter=1_000).fit(stored, routes)
    vectors = {name: encode(texts) for name, texts in groups.items()}
    by_score: dict[str, dict[str, Scores]] = {
        "nearest": {name: (rows @ stored.T).max(axis=1).astype(np.float64) for name, rows in vectors.items()},
        "lr": {name: head.predict_proba(rows).max(axis=1) for name, rows in vectors.items()},
    }
    with AdaptiveRouter(encoder, cache_bytes=0) as router:
        utterances = few_shot(clinc.train, None, 0)
        router.add_routes([Route(name=name, utterances=texts) for name, texts in utterances.items()])
        router.wait_until_fitted()
        decisions = {name: router.route_many(texts) for name, texts in groups.items()}
    by_score["router"] = {
        name: np.array([decision.confidence for decision in each]) for name, each in decisions.items()
    }
    answers = measures.Answers.of(clinc.test, _in_order(clinc.test, decisions))
    return {
        "top1_5500": _dump(measures.accuracy([answers.chosen_is_label])),
        "router_abstains_from_refused": round(float(np.mean([not each for each in decisions["refused"]])), 5),
        **{name: _separations(scores) for name, scores in by_score.items()},
    }


def _in_order(test: Sequence[Labelled], decisions: dict[str, list[Any]]) -> list[Any]:
    inside, outside = iter(decisions["inside"]), iter(decisions["outside"])
    return [next(outside) if item.label is None else next(inside) for item in test]


def _separations(scores: dict[str, Scores]) -> dict[str, Any]:
    return {
        f"{other}_{what}": _with_interval(scores["inside"], scores[other], figure)
        for other in ("outside", "refused")
        for what, figure in {"auroc": _auroc, "rejected": _rejected}.items()
    }


def _auroc(inside: Scores, others: Scores) -> float:
    return metrics.auroc(np.r_[inside, others], np.r_[np.ones(len(inside), bool), np.zeros(len(others), bool)])


def _rejected(inside: Scores, others: Scores) -> float:
    """Share of the others below the score that 2 % of inside are below."""
    return float(np.mean(others < np.quantile(inside, LOST)))


def _with_interval(inside: Scores, others: Scores, figure: Callable[[Scores, Scores], float]) -> dict[str, float]:
    """The figure and its percentile bootstrap interval over queries of both groups."""
    random = np.random.default_rng(0)
    drawn = [figure(random.choice(inside, len(inside)), random.choice(others, len(others))) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        name: round(float(value), 5)
        for name, value in (("value", figure(inside, others)), ("low", low), ("high", high))
    }


def speed(encoders: dict[str, BundledEncoder], texts: Sequence[str]) -> dict[str, Any]:
    """Texts a second in turns, so that a machine that slows down slows both, and the ratio of each turn."""
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    for turn in range(ROUNDS):
        part = texts[turn * SLICE % len(texts) :][:SLICE]
        for name, encoder in encoders.items():
            started = time.perf_counter()
            encoder.encode(part)
            rates[name].append(len(part) / (time.perf_counter() - started))
    first, second = (np.array(values) for values in rates.values())
    return {
        "texts_per_s": {name: round(statistics.median(values)) for name, values in rates.items()},
        "ratio_quartiles": [round(float(value), 3) for value in np.percentile(second / first, [25, 50, 75])],
        "rounds": ROUNDS,
    }


def _stored(utterances: dict[str, list[str]], encode: Remembering) -> tuple[Vectors, NDArray[np.str_]]:
    texts = [text for some in utterances.values() for text in some]
    return encode(texts), np.array([route for route, some in utterances.items() for _ in some])


def _dump(value: Any) -> Any:
    return value.model_dump(mode="json") if value is not None else None


def _write(report: dict[str, Any], output: Path | None) -> None:
    """After each model, so that what was measured survives an interruption."""
    if output:
        output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the bundled models.")
    parser.add_argument("--data", type=Path, default=os.environ.get("SYNAPTOROUTE_DATA"), required=False)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data folder with --data or SYNAPTOROUTE_DATA")
    data = Path(options.data)
    datasets = {name: load(name, data=data) for name in SHOTS}
    refused = load("clinc150-negation", data=data)
    encoders = {name: BundledEncoder(name) for name in reversed(MODELS)}
    report: dict[str, Any] = {
        "schema": 1,
        "benchmark": "encoders",
        "command": "python scripts/compare_models.py --data DIR",
        "git": _dump(git()),
        "machine": _dump(machine()),
        "software": software(),
        "data_sha256": {path: sha for each in (*datasets.values(), refused) for path, sha in each.files.items()},
        "trained_on": {"minilm-routing": "metatool's train split among others; see its MODEL_CARD.md"},
        "models": {},
    }
    for name, encoder in encoders.items():
        encode = Remembering(encoder)
        found: dict[str, Any] = {"fingerprint": encoder.fingerprint}
        for dataset in datasets.values():
            found[dataset.name] = accuracies(dataset, encode)
            print(
                name,
                dataset.name,
                {shots: each["lr"]["value"] for shots, each in found[dataset.name].items()},
                flush=True,
            )
        found["clinc150_rejection"] = rejections(datasets["clinc150"], refused.test, encoder, encode)
        found["similarity_spearman"] = round(spearman(encode, read_pairs()), 4)
        print(json.dumps({key: found[key] for key in ("clinc150_rejection", "similarity_spearman")}), flush=True)
        report["models"][name] = found
        _write(report, options.output)
    report["speed"] = speed(encoders, [item.text for item in datasets["clinc150"].test])
    print(json.dumps(report["speed"]))
    _write(report, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
