"""The public data sets, each read the one way in which the benchmark reads it.

Routes are built from ``train``, everything is tuned on ``validation``, and ``test`` is only ever asked. Where upstream
has no split, one is made from the SHA-256 of the texts, so it is the same on every machine and in every version.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from synaptoroute.bench.sources import SOURCES, DatasetError, cache_folder, fetch

#: Share of MetaTool's and Snips' queries that is held out, tool by tool.
HELD_OUT = 0.3
#: NLU++ has 20 folds; routes are made from the first ten, queries from the others.
_NLUPP_FOLDS, _NLUPP_TRAIN_FOLDS = 20, 10

Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and the route it belongs to; None if it belongs to none. The language is known of multilingual sets."""

    text: str
    label: str | None
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One data set as the benchmark uses it.

    Attributes:
        name: As in ``--dataset``.
        train: What routes are made from; never without a label.
        validation: What ``fit`` may tune on; empty where upstream has none.
        test: What is measured.
        extra_oos: Out-of-scope texts that belong to upstream's train split. No figure of the benchmark uses them.
        negated: The label of a test query is the route its speaker does *not* want.
        reading: How it was split and what was left out, for people.
        licence: Of the data.
        files: SHA-256 of every file that was read, by its path below the data folder.
    """

    name: str
    train: tuple[Labelled, ...]
    validation: tuple[Labelled, ...] = ()
    test: tuple[Labelled, ...]
    extra_oos: tuple[Labelled, ...] = ()
    negated: bool = False
    reading: str = ""
    licence: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many routes, and texts in and out of scope in each split."""
        return {
            "routes": len({item.label for item in self.train}),
            "train": len(self.train),
            "validation_in_scope": sum(item.label is not None for item in self.validation),
            "validation_oos": sum(item.label is None for item in self.validation),
            "test_in_scope": sum(item.label is not None for item in self.test),
            "test_oos": sum(item.label is None for item in self.test),
            "extra_oos": len(self.extra_oos),
        }

    def limited(self, limit: int) -> Dataset:
        """At most so many queries in validation and test, those of the lowest hash; the routes stay. For trying out."""
        return replace(self, validation=_lowest(self.validation, limit), test=_lowest(self.test, limit))


def load(name: str, *, data: Path | None = None, cache: Path | None = None) -> Dataset:
    """The data set of that name; files missing in ``data`` are taken from the cache or downloaded.

    Raises:
        DatasetError: There is no such data set, or one of its files is missing, altered, or not what it should be.
    """
    if name not in _READERS:
        raise DatasetError(f"there is no data set {name!r}; there are {', '.join(NAMES)}")
    kept = cache if cache is not None else cache_folder()
    read: dict[str, str] = {}

    def read_file(path: str) -> bytes:
        source = SOURCES[path]
        content = fetch(source, data=data, cache=kept)
        read[path] = source.sha256
        return content

    dataset = _READERS[name](read_file)
    licences = dict.fromkeys(SOURCES[path].licence for path in read)
    return replace(dataset, licence=", ".join(licences), files=MappingProxyType(read))


def few_shot(train: Sequence[Labelled], shots: int | None, seed: int) -> dict[str, list[str]]:
    """Utterances by route: ``shots`` of each, or all a route has if they are fewer or ``shots`` is None.

    Which ones is decided by SHA-256 of seed and text: the draw of one route does not depend on the other routes, and
    10 shots contain the 5 shots of the same seed.
    """
    by_route: dict[str, list[str]] = defaultdict(list)
    for item in train:
        if item.label is None:
            raise DatasetError("a training text has no label")
        by_route[item.label].append(item.text)
    if shots is None:
        return dict(by_route)
    return {route: sorted(set(texts), key=lambda text: _hash(text, seed))[:shots] for route, texts in by_route.items()}


def _clinc150(read: Read) -> Dataset:
    splits = json.loads(read("clinc150/data_full.json"))
    rows = {name: tuple(Labelled(text, label) for text, label in split) for name, split in splits.items()}
    oos = {
        name: tuple(Labelled(item.text, None) for item in split)
        for name, split in rows.items()
        if name.startswith("oos_")
    }
    return Dataset(
        name="clinc150",
        train=rows["train"],
        validation=rows["val"] + oos["oos_val"],
        test=rows["test"] + oos["oos_test"],
        extra_oos=oos["oos_train"],
        reading="data_full.json as published; the 100 out-of-scope training texts are not used",
    )


def _negation(read: Read) -> Dataset:
    clinc = _clinc150(read)
    asked = [item for item in clinc.test if item.label is not None]
    texts, denials = (_lines(read(f"clinc150-negation/test.{ending}")) for ending in ("in", "label"))
    if not len(texts) == len(denials) == len(asked):
        raise DatasetError(f"{len(texts)} negated queries, {len(denials)} labels, {len(asked)} queries of CLINC150")
    meant: dict[str, set[str | None]] = defaultdict(set)
    for denial, original in zip(denials, asked, strict=True):
        meant[denial].add(original.label)
    if ambiguous := [denial for denial, labels in meant.items() if len(labels) > 1]:
        raise DatasetError(f"not aligned with CLINC150's test queries: {ambiguous[0]!r} denies more than one intent")
    return Dataset(
        name="clinc150-negation",
        train=clinc.train,
        validation=clinc.validation,
        test=tuple(Labelled(text, item.label) for text, item in zip(texts, asked, strict=True)),
        extra_oos=clinc.extra_oos,
        negated=True,
        reading=(
            "line by line, CLINC150's test queries rewritten so that the speaker does not want the intent; routes and "
            "validation are CLINC150's. Some rewrites rightly belong to another route, so only the denied one is wrong"
        ),
    )


def _banking77(read: Read) -> Dataset:
    train, test = (
        tuple(Labelled(row["text"], row["category"]) for row in _csv(read(f"banking77/{split}.csv")))
        for split in ("train", "test")
    )
    return Dataset(name="banking77", train=train, test=test, reading="10,003 / 3,080 as published; nothing is tuned")


def _hwu64(read: Read) -> Dataset:
    train, validation, test = (
        tuple(map(Labelled, _lines(read(f"hwu64/{split}.in")), _lines(read(f"hwu64/{split}.label"))))
        for split in ("train", "valid", "test")
    )
    reading = "the DialoGLUE split; it has nothing out of scope, so nothing is tuned"
    return Dataset(name="hwu64", train=train, validation=validation, test=test, reading=reading)


def _nluplusplus(read: Read) -> Dataset:
    train: list[Labelled] = []
    test: list[Labelled] = []
    several = 0
    for fold in range(_NLUPP_FOLDS):
        split = train if fold < _NLUPP_TRAIN_FOLDS else test
        for entry in json.loads(read(f"nluplusplus/banking_fold{fold}.json")):
            intents = entry.get("intents") or [None]
            several += len(intents) > 1
            if len(intents) == 1:
                split.append(Labelled(entry["text"], intents[0]))
    in_scope = tuple(item for item in train if item.label is not None)
    known, seen = {item.label for item in in_scope} | {None}, {item.text.lower() for item in train}
    kept = tuple(item for item in test if item.label in known and item.text.lower() not in seen)
    return Dataset(
        name="nluplusplus",
        train=in_scope,
        test=kept,
        extra_oos=tuple(item for item in train if item.label is None),
        reading=(
            "banking, a single-label reading of multi-label data: routes are the intents, from utterances of folds 0-9 "
            "that carry exactly one; queries are those of folds 10-19 with exactly one, and those without any intent "
            f"as out of scope. Left out: {several} utterances with several intents, {len(test) - len(kept)} queries "
            "that are also in train or whose intent is not. Not comparable with published multi-label figures"
        ),
    )


def _metatool(read: Read) -> Dataset:
    rows = [Labelled(row["Query"], row["Tool"]) for row in _csv(read("metatool/all_clean_data.csv"))]
    return _split_by_hash("metatool", rows)


def _snips(read: Read) -> Dataset:
    rows = map(Labelled, _lines(read("snips/train.in")), _lines(read("snips/train.label")))
    return _split_by_hash("snips", list(rows))


def _split_by_hash(name: str, rows: Sequence[Labelled]) -> Dataset:
    """Of each route's texts, the 30 % of lowest SHA-256 are test, the rest train.

    Texts that differ only in case and white space are taken once, so none is on both sides; one that several routes
    claim has no right answer and is left out.
    """
    claims: dict[str, dict[str, str]] = defaultdict(dict)
    for item in rows:
        claims[" ".join(item.text.lower().split())].setdefault(str(item.label), item.text)
    by_route: dict[str, dict[str, str]] = defaultdict(dict)
    for plain, routes in claims.items():
        if len(routes) == 1:
            ((route, text),) = routes.items()
            by_route[route][plain] = text
    train: list[Labelled] = []
    test: list[Labelled] = []
    for route, texts in by_route.items():
        order = [Labelled(texts[plain], route) for plain in sorted(texts, key=_hash)]
        held_out = round(HELD_OUT * len(order))
        test.extend(order[:held_out])
        train.extend(order[held_out:])
    contested = sum(len(routes) > 1 for routes in claims.values())
    reading = (
        f"of each route's queries the {HELD_OUT:.0%} of lowest SHA-256 are test, the rest train; "
        f"{len(rows) - len(claims)} repeats and {contested} queries with several labels are left out; nothing is tuned"
    )
    return Dataset(name=name, train=tuple(train), test=tuple(test), reading=reading)


def _lowest(items: Iterable[Labelled], limit: int) -> tuple[Labelled, ...]:
    """So many items of lowest hash, half of them out of scope if there are that many, in their old order."""
    items = tuple(items)
    ranks: Counter[bool] = Counter()
    order: list[tuple[int, int]] = []
    for place in sorted(range(len(items)), key=lambda place: _hash(items[place].text)):
        outside = items[place].label is None
        order.append((ranks[outside], place))
        ranks[outside] += 1
    return tuple(items[place] for place in sorted(place for _, place in sorted(order)[:limit]))


def _hash(text: str, seed: int | None = None) -> bytes:
    return hashlib.sha256((text if seed is None else f"{seed}\n{text}").encode()).digest()


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8").removesuffix("\n").split("\n")


def _csv(content: bytes) -> csv.DictReader[str]:
    return csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))


_READERS: Mapping[str, Callable[[Read], Dataset]] = MappingProxyType(
    {
        "clinc150": _clinc150,
        "banking77": _banking77,
        "hwu64": _hwu64,
        "nluplusplus": _nluplusplus,
        "metatool": _metatool,
        "clinc150-negation": _negation,
        "snips": _snips,
    }
)
NAMES = tuple(_READERS)
