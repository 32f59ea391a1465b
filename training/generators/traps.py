"""Texts that share the words of a route and not its meaning: keyword traps, exclusions, exchanged arguments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.examples import Example, example
from training.grammar import utterances

_TRAPS = {
    "poem": ("write [a poem|a haiku|a song] about a {o}", "[can you|] compose a [poem|limerick] on the {o}"),
    "history": (
        "who invented the {o}",
        "[when|by whom] was the [first|very first] {o} [made|invented]",
        "history of the {o}",
    ),
    "word": (
        "what does the word {o} mean",
        "[how do you|] spell {o}",
        "where does the word {o} come from",
    ),
    "joke": ("[tell|do you know] [|me] a joke about a {o}", "say something funny about a {o}"),
    "dream": ("i [dreamt|had a dream] about a {o} [last night|]", "what does it mean to dream of a {o}"),
    "film": ("[what is|name] a [film|movie|book] about a {o}", "[watch|play] the movie called the {o}"),
    "game": ("i spy a {o}", "[guess|rhyme] [a word|something] [like|with] {o}"),
    "drawing": ("[draw|sketch|paint] [me|] a {o}", "how do i draw a {o}"),
}
_EXCEPT = (
    "[anything|everything|all] [but|except] the {o}",
    "not the {o}, [the other one|something else]",
    "[show|give] me [all|everything] [other than|except|but not] the {o}",
    "i mean [anything but|all except] the {o}",
    "[do it for|include] all of them, [just not|but leave out] the {o}",
)
#: Each is said in several ways; the roles of a and b are never exchanged by them.
_ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "journey": (
        (
            "train from {a} to {b}",
            "i travel to {b} from {a}",
            "from {a}, bring me to {b}",
            "{a} to {b} by train",
        ),
        ("paris", "boston", "munich", "lisbon", "osaka", "denver"),
    ),
    "files": (
        ("copy the files from {a} to {b}", "move what is on {a} over to {b}", "put everything of {a} on {b}"),
        ("the laptop", "the server", "the backup disk", "the cloud folder", "the usb stick"),
    ),
    "hand over": (
        ("give the ticket of {a} to {b}", "{b} takes over the ticket from {a}", "reassign from {a} to {b}"),
        ("anna", "tom", "maria", "jens", "priya", "omar"),
    ),
    "replace": (
        ("replace {a} with {b}", "use {b} instead of {a}", "take out {a} and put in {b}"),
        ("butter", "olive oil", "cream", "yoghurt", "sugar", "honey"),
    ),
    "port": (
        ("rewrite this from {a} in {b}", "port the {a} code to {b}", "{a} to {b} conversion of my script"),
        ("python", "rust", "java", "go", "typescript", "perl"),
    ),
    "convert": (
        ("turn {a} into {b}", "change the file from {a} to {b}", "make {b} out of this {a}"),
        ("pdf", "word", "png", "csv", "excel", "html"),
    ),
    "taller": (
        ("is {a} bigger than {b}", "does {a} beat {b} in size", "is {b} smaller than {a}"),
        ("tokyo", "the moon", "kenya", "an elephant", "a bus", "texas"),
    ),
}


def traps(things: Sequence[str], count: int, random: np.random.Generator) -> list[Example]:
    """Texts about the word, the history, a joke: nothing that a route about the thing would want."""
    made = []
    for thing in things:
        for kind, patterns in _TRAPS.items():
            filled = [pattern.replace("{o}", thing) for pattern in patterns]
            made += [example(text, f"{thing}: {kind}", "things") for text in utterances(filled, {}, count, random)]
    return made


def exclusions(things: Sequence[str], count: int, random: np.random.Generator) -> list[Example]:
    """Everything but the thing."""
    made = []
    for thing in things:
        filled = [pattern.replace("{o}", thing) for pattern in _EXCEPT]
        made += [example(text, f"{thing}: excluded", "things") for text in utterances(filled, {}, count, random)]
    return made


def exchanged(random: np.random.Generator) -> list[Example]:
    """From a to b and from b to a: two routes, the same words."""
    made = []
    for name, (patterns, arguments) in _ROLES.items():
        for a in arguments:
            for b in (other for other in arguments if other != a):
                filled = [pattern.replace("{a}", a).replace("{b}", b) for pattern in patterns]
                texts = utterances(filled, {}, len(filled), random)
                made += [example(text, f"{name}: {a} -> {b}", "exchanged") for text in texts]
    return made
