"""Small grammars that say one thing in many ways: ``[a|b]`` is a choice, ``{name}`` a slot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

TEXTS = Path(__file__).resolve().parent / "texts"
#: The innermost choice: one without another choice inside.
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
#: Draws tried for each text that is wanted, before a pattern is taken to have no more to say.
_TRIES = 12

Slots = Mapping[str, Sequence[str]]


def read_lines(name: str) -> Iterator[str]:
    """The lines of a file of texts without comments and empty lines."""
    for line in (TEXTS / name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip()


def expand(pattern: str, slots: Slots, random: np.random.Generator) -> str:
    """One text of the pattern, drawn at random.

    Raises:
        KeyError: The pattern names a slot that has no fillers.
    """
    text = pattern
    while found := _CHOICE.search(text):
        choices = found.group(1).split("|")
        text = text[: found.start()] + choices[int(random.integers(len(choices)))] + text[found.end() :]
    while found := _SLOT.search(text):
        fillers = slots[found.group(1)]
        filler = expand(fillers[int(random.integers(len(fillers)))], slots, random)
        text = text[: found.start()] + filler + text[found.end() :]
    return tidy(text)


def tidy(text: str) -> str:
    """White space as a person would type it."""
    return re.sub(r" +([,.?!;:])", r"\1", " ".join(text.split())).strip(" ,;")


def utterances(patterns: Sequence[str], slots: Slots, count: int, random: np.random.Generator) -> list[str]:
    """Up to ``count`` different texts, the patterns taking turns; fewer where they cannot say that many."""
    found: dict[str, None] = {}
    for attempt in range(count * _TRIES):
        if len(found) == count:
            break
        found.setdefault(expand(patterns[attempt % len(patterns)], slots, random))
    return list(found)
