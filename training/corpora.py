"""The data sets an encoder may learn from; CLINC150, Banking77 and what is derived from them are not among them.

Splits are those of the benchmark, so what it asks (MetaTool's and Snips' held-out queries, NLU++'s folds 10 to 19,
HWU64's test) is never learned from either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synaptoroute.bench.datasets import load
from synaptoroute.decision.refusals import negate
from training.examples import Example, example

_DENIAL = re.compile(
    r"^(?:no_need_to|no_need|dont_have_to|dont_need_to|dont_have|dont|mistakenly|do_not|not|negate|deny|never)_"
)
_FOLDS = 10


def hwu64(data: Path) -> list[Example]:
    """Requests to an assistant, 64 routes."""
    return [example(item.text, str(item.label), "hwu64") for item in load("hwu64", data=data).train]


def snips(data: Path, most: int, random: np.random.Generator) -> list[Example]:
    """Requests to an assistant, 7 routes, at most so many of each."""
    return _capped([example(i.text, str(i.label), "snips") for i in load("snips", data=data).train], most, random)


def metatool(data: Path, most: int, random: np.random.Generator) -> list[Example]:
    """Questions for 199 tools, at most so many for each: a few tools have a thousand, of anything about money."""
    train = load("metatool", data=data).train
    return _capped([example(item.text, str(item.label), "metatool") for item in train], most, random)


def nluplusplus(data: Path) -> list[Example]:
    """Banking requests with all their intents, of the folds the benchmark makes routes from."""
    folds = (data / "nluplusplus" / f"banking_fold{fold}.json" for fold in range(_FOLDS))
    entries = [entry for fold in folds for entry in json.loads(fold.read_text(encoding="utf-8"))]
    return [
        Example(text=entry["text"], routes=frozenset(entry["intents"]), source="nluplusplus")
        for entry in entries
        if entry.get("intents")
    ]


def published_refusals(data: Path) -> list[Example]:
    """HWU64's requests rewritten by its authors into refusals.

    Which of HWU64's routes they deny is not said; see ``trainer`` for how it is found.
    """
    files = (data / "hwu64" / f"negation_dev.{ending}" for ending in ("in", "label"))
    texts, labels = (file.read_text(encoding="utf-8").splitlines() for file in files)
    return [
        example(text, f"not {denied(label)}", "hwu64 refused", denies="")
        for text, label in zip(texts, labels, strict=True)
    ]


def denied(label: str) -> str:
    """The route in a label such as ``no_need_to_check_email``."""
    return _DENIAL.sub("", label)


def rewritten_refusals(examples: Sequence[Example], share: float, random: np.random.Generator) -> list[Example]:
    """Refusals made by rule of a share of the examples, of those that can be."""
    return [
        example(text, f"not {item.route}", item.source, denies=item.route)
        for item in examples
        if random.random() < share and (text := negate(item.text, random))
    ]


def sentences(data: Path, count: int, random: np.random.Generator) -> list[str]:
    """Wikipedia sentences, plain English that asks for nothing."""
    lines = (data / "clinc150" / "all_wiki_sents.txt").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if 5 <= len(line.split()) <= 30]
    return [kept[place] for place in random.permutation(len(kept))[:count]]


def _capped(examples: Sequence[Example], most: int, random: np.random.Generator) -> list[Example]:
    kept, count = [], dict.fromkeys((item.route for item in examples), 0)
    for place in random.permutation(len(examples)):
        item = examples[place]
        count[item.route] += 1
        if count[item.route] <= most:
            kept.append(item)
    return kept
