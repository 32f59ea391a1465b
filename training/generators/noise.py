"""The same request as people really type it: with typos, with words left out, with greetings around it."""

from __future__ import annotations

import re

import numpy as np

_NEAR = dict(
    zip(
        "qwertyuiopasdfghjklzxcvbnm",
        ("wa", "qes", "wrd", "etf", "ryg", "tuh", "yij", "uok", "ipl", "ol", "qsz", "adw", "sfe", "dgr", "fht", "gjy",
         "hku", "jli", "ko", "xa", "zcs", "xvd", "cbf", "vng", "bmh", "nj"),
        strict=True,
    )
)  # fmt: skip
_AROUND = (
    "hi, {}",
    "hello, {}",
    "{} please",
    "please {}",
    "{}, thanks",
    "hey, {}",
    "quick question: {}",
    "sorry to bother you, {}",
    "so {}",
    "{}?",
    "urgent: {}",
    "ok {}",
    "i was wondering, {}",
    "can you help me, {}",
    "one more thing, {}",
)
_NEEDLESS = re.compile(
    r"^(?:i(?:'d| would) like to|i (?:want|need|would like) to|(?:can|could|would) you"
    r"|please|how (?:do|can) i|help me|can i) "
)
_SMALL = re.compile(r"\b(?:the|a|an|my|me|is|are|of|please) ")


def typo(text: str, random: np.random.Generator) -> str:
    """One letter exchanged, lost, doubled or missed, never the first of the text; short texts stay as they are."""
    places = [place for place in range(1, len(text) - 1) if text[place].isalpha()]
    if len(places) < 6:
        return text
    at = places[random.integers(len(places))]
    match random.integers(4):
        case 0:
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        case 1:
            return text[:at] + text[at + 1 :]
        case 2:
            return text[:at] + text[at] + text[at:]
        case _:
            near = _NEAR.get(text[at].lower(), text[at])
            return text[:at] + near[random.integers(len(near))] + text[at + 1 :]


def ellipsis(text: str, random: np.random.Generator) -> str:
    """Without the words that can be spared; at least two words stay."""
    short = _NEEDLESS.sub("", text)
    if random.random() < 0.5:
        short = _SMALL.sub("", short)
    return short if len(short.split()) >= 2 else text


def around(text: str, random: np.random.Generator) -> str:
    """A greeting or a thank-you around it."""
    return _AROUND[random.integers(len(_AROUND))].format(text)


def noisy(text: str, random: np.random.Generator, share: float) -> str:
    """The text, in ``share`` of the draws changed in one of these ways."""
    if random.random() >= share:
        return text
    return (typo, ellipsis, around)[random.integers(3)](text, random)
