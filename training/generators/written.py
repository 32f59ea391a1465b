"""The texts written for the project, in ``training/texts``: things and what is asked of them, routes, opposites."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.examples import Example, example
from training.grammar import read_lines, utterances

#: Ways to ask for an action, for opposites.
_ASKING = (
    "{a} {o}",
    "[please|] {a} {o}",
    "[can|could] you {a} {o}",
    "i [want|need|would like] to {a} {o}",
    "[how do|how can|where do] i {a} {o}",
    "[i'd like|help me] to {a} {o}",
    "{a} {o} [for me|now|when you can]",
    "is it possible to {a} {o}",
)


def slots() -> dict[str, list[str]]:
    """Fillers by slot name."""
    pairs = (line.split(":", 1) for line in read_lines("slots.txt"))
    return {name: [filler.strip() for filler in fillers.split("|")] for name, fillers in pairs}


def things(count: int, random: np.random.Generator) -> list[Example]:
    """Every thing of a kind with every aspect of that kind, ``count`` texts each: siblings that differ in one word."""
    made = []
    for forms, aspects in _kinds():
        for thing, form in forms.items():
            for aspect, patterns in aspects.items():
                filled = [pattern.replace("{o}", form) for pattern in patterns]
                for text in utterances(filled, slots(), count, random):
                    made.append(example(text, f"{thing}: {aspect}", "things"))  # noqa: PERF401 - three loops deep
    return made


def names_of_things() -> list[str]:
    """How people call the things, first form each."""
    return [form.strip("[]").split("|")[0] for forms, _ in _kinds() for form in forms.values()]


def routes(count: int, random: np.random.Generator) -> list[Example]:
    """The routes of ``routes.txt``, ``count`` texts each."""
    patterns: dict[str, list[str]] = {}
    route = ""
    for line in read_lines("routes.txt"):
        if line.startswith("= "):
            route = line[2:]
            patterns[route] = []
        else:
            patterns[route].append(line)
    fill = slots()
    return [
        example(text, name, "routes")
        for name, ways in patterns.items()
        for text in utterances(ways, fill, count, random)
    ]


def opposites(count: int, random: np.random.Generator) -> list[Example]:
    """Turn on and turn off, lend and borrow: two routes for each object, apart by the action alone."""
    made = []
    for line in read_lines("opposites.txt"):
        actions, objects = line.split(" : ")
        for thing in objects.split("|"):
            for action in actions.split(" / "):
                patterns = [way.replace("{a}", action).replace("{o}", thing) for way in _ASKING]
                made += [
                    example(text, f"{action} {thing}", "opposites") for text in utterances(patterns, {}, count, random)
                ]
    return made


def _kinds() -> Iterator[tuple[dict[str, str], dict[str, list[str]]]]:
    """Things and aspects of each kind."""
    forms: dict[str, str] = {}
    aspects: dict[str, list[str]] = {}
    aspect: str | None = None
    for line in read_lines("things.txt"):
        if line.startswith("% "):
            if forms:
                yield forms, aspects
            forms, aspects, aspect = {}, {}, None
        elif line.startswith("* "):
            aspect = line[2:]
            aspects[aspect] = []
        elif aspect is None:
            name, form = line.split(" = ")
            forms[name] = form
        else:
            aspects[aspect].append(line)
    yield forms, aspects
