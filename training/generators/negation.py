"""Rewrites a request so that its speaker does *not* want it.

Only requests are rewritten: an order, a wish, a question. A statement ("my parcel has not come") often carries a
"not" of its own and is a request all the same; where no rule is sure, there is no rewrite.
"""

from __future__ import annotations

import re

import numpy as np

from training.grammar import read_lines

_POLITE = re.compile(
    r"^(?:(?:please|hey|hi|ok|okay|so|and|olly|siri|alexa|google|now)[,:]? +"
    r"|(?:can|could|would|will) you (?:please |kindly )?|i (?:want|need|would like) you to |i'd like you to )+"
)
_TAIL = re.compile(r"(?:[,]? (?:please|thanks|thank you|for me|olly|now))*[ .?!]*$")
_ORDERS = frozenset(word for line in read_lines("orders.txt") for word in line.split())
_QUESTION = re.compile(r"^(what|what's|whats|where|where's|when|when's|who|who's|why|which|how|how's)\b")
_CHECK = re.compile(r"^(is|are|was|were|do|does|did|has|have|will|would|am|should|any)\b")
_WISH = re.compile(
    r"^(?:i(?:'d| would) like(?: to)?|i (?:want|need|wish)(?: to)?|i(?:'m| am) (?:looking|trying) (?:to|for)"
    r"|(?:can|could|may) i|let me|help me(?: to)?) "
)
_WHAT_IS = re.compile(r"^(what|where|who|when|how)(?:'s|s| is| are) (.+)$")

_NOT_ORDERED = (
    "don't {}",
    "do not {}",
    "please don't {}",
    "no need to {}",
    "there's no need to {}",
    "you don't have to {}",
    "you don't need to {}",
    "don't have to {}",
    "i don't need you to {}",
    "i don't want you to {}",
    "i didn't ask you to {}",
    "i didn't mean to {}",
    "i'd rather you didn't {}",
    "never {}",
    "don't bother to {}",
    "you needn't {}",
    "{}? no, don't",
    "by no means {}",
    "i changed my mind, don't {}",
    "not necessary to {}",
    "i mistakenly asked you to {}",
)
_NOT_ASKED = (
    "i don't need to know {}",
    "i don't want to know {}",
    "no need to know {}",
    "no need to tell me {}",
    "no need to ask {}",
    "don't tell me {}",
    "i already know {}",
    "i know {}",
    "i don't care {}",
    "i didn't ask {}",
    "i wasn't asking {}",
    "i didn't mean to ask {}",
    "you don't have to tell me {}",
    "there is no need to find out {}",
    "don't need to check {}",
    "i have no interest in {}",
    "i mistakenly asked {}",
)
_NOT_WISHED = (
    "i don't want to {}",
    "i don't need to {}",
    "i don't have to {}",
    "no need to {}",
    "i no longer want to {}",
    "i'm not going to {}",
    "i wouldn't like to {}",
    "i have no plans to {}",
    "i'd rather not {}",
    "i decided not to {}",
    "i didn't want to {}",
    "it's not that i want to {}",
)
_NOT_WANTED = ("i don't want {}", "i do not need {}", "i no longer want {}", "i wouldn't like {}")


def negate(text: str, random: np.random.Generator) -> str | None:
    """The text turned into its refusal, or None where no rule is sure."""
    plain = _TAIL.sub("", _POLITE.sub("", text.lower()))
    if len(plain.split()) < 2:
        return None
    if plain.split()[0] in _ORDERS:
        return _say(_NOT_ORDERED, plain, random)
    if _QUESTION.match(plain):
        return _say(_NOT_ASKED, _indirect(plain), random)
    if wish := _WISH.match(plain):
        rest = plain[wish.end() :]
        acts = wish.group().rstrip().endswith((" to", " i", " me"))
        return _say(_NOT_WISHED if acts else _NOT_WANTED, rest, random)
    if _CHECK.match(plain):
        return _say(_NOT_ASKED, plain, random)
    return None


def _indirect(question: str) -> str:
    """What is the time -> what the time is, where that is easy to tell."""
    found = _WHAT_IS.match(question)
    if not found or len(question.split()) > 9:
        return question
    verb = "are" if " are " in question else "is"
    return f"{found.group(1)} {found.group(2)} {verb}"


def _say(ways: tuple[str, ...], what: str, random: np.random.Generator) -> str:
    return _one_of(ways, random).format(what)


def _one_of(choices: tuple[str, ...], random: np.random.Generator) -> str:
    return choices[random.integers(len(choices))]
