"""xSID (van der Goot et al., NAACL 2021), or any folder laid out like it: the same queries in many languages.

A file holds one split of one language, ``LANG.train.conll``, ``LANG.valid.conll`` or ``LANG.test.conll``. Every
utterance is a block of lines; of these only ``# text:`` and ``# intent:`` are read. The files are no part of the pinned
sources, for their authors go on adding languages: what they hash to is written into the manifest instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from synaptoroute.bench.datasets import Dataset, Labelled
from synaptoroute.bench.sources import DATA_VARIABLE, DatasetError

NAME = "xsid"
#: Routes are made from this language.
TRAINED_ON = "en"
#: Of ten intents, so many are held out and asked as out of scope: those of lowest SHA-256.
_HELD_OUT = 2
_SPLITS = ("train", "valid", "test")


def load(data: Path | None) -> Dataset:
    """The data set in the folder ``xsid`` below ``data``.

    Raises:
        DatasetError: There is no such folder, it lacks the training file, or a file is not what it should be.
    """
    folder = data / NAME if data is not None else None
    files = sorted(folder.glob("*.conll")) if folder is not None else []
    if not files:
        raise DatasetError(
            f"no {NAME}/*.conll in the data folder; get the folder data/xSID-* of mainlp/xsid (CC BY 4.0) and name its "
            f"parent, with the folder called {NAME}, with --data or {DATA_VARIABLE}"
        )
    hashes: dict[str, str] = {}
    items: dict[str, list[Labelled]] = {split: [] for split in _SPLITS}
    for file in files:
        language, _, split = file.name.removesuffix(".conll").rpartition(".")
        # Training data in other languages was translated by machine; projected files and the like have other names.
        if split not in items or not language or (split == "train" and language != TRAINED_ON):
            continue
        content = file.read_bytes()
        hashes[f"{NAME}/{file.name}"] = hashlib.sha256(content).hexdigest()
        items[split].extend(_utterances(content, language, file))
    if not items["train"] or not items["test"]:
        raise DatasetError(f"{folder} lacks {TRAINED_ON}.train.conll, or any *.test.conll")
    return replace(_dataset(items), files=MappingProxyType(hashes))


def _dataset(items: dict[str, list[Labelled]]) -> Dataset:
    intents = {str(item.label) for item in items["train"]}
    order = sorted(intents, key=lambda intent: hashlib.sha256(intent.encode()).digest())
    outside = set(order[: len(order) * _HELD_OUT // 10])
    asked = {
        split: tuple(
            replace(item, label=None) if item.label in outside else item
            for item in items[split]
            if item.label in intents
        )
        for split in ("valid", "test")
    }
    languages = sorted({str(item.language) for item in items["test"]})
    return Dataset(
        name=NAME,
        train=tuple(item for item in items["train"] if item.label not in outside),
        validation=asked["valid"],
        test=asked["test"],
        licence="CC BY 4.0",
        reading=(
            f"routes from {TRAINED_ON}.train; queries in {', '.join(languages)}; of the {len(order)} intents "
            f"{', '.join(sorted(outside)) or 'none'} held out as out of scope"
        ),
    )


def _utterances(content: bytes, language: str, file: Path) -> Iterator[Labelled]:
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{file} is not UTF-8: {exc.reason} at byte {exc.start}") from None
    text: str | None = None
    for number, line in enumerate(lines, 1):
        key, _, value = line.partition(":")
        if key == "# text":
            text = value.strip()
        elif key == "# intent":
            if not text or not value.strip():
                raise DatasetError(f"{file}, line {number}: an intent without a text before it, or none named")
            yield Labelled(text, value.strip(), language)
            text = None
