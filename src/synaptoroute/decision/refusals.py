"""Rewrites requests so that their speaker does *not* want them: a table's own "none of these".

Encoders put "I don't want to book a flight" beside "book a flight". So the head also learns from refusals of what it is
taught, as texts that belong to no route. The rules are of English; a text of another language has no refusal.

Only requests are rewritten: an order, a wish, a question. A statement ("my parcel has not come") often carries a
"not" of its own and is a request all the same; where no rule is sure, there is no rewrite.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

import numpy as np

#: Refusals that a table is taught at most. With 300, of CLINC150's refused development queries 65 % were rejected at a
#: loss of 2 % in scope (10 utterances a route), with 100 54 %, with none 26 %; in scope nothing changed.
MOST = 300
#: Of longer texts none is made: they tell more than one thing.
_LONGEST = 200

_POLITE = re.compile(
    r"^(?:(?:please|hey|hi|ok|okay|so|and|olly|siri|alexa|google|now)[,:]? +"
    r"|(?:can|could|would|will) you (?:please |kindly )?|i (?:want|need|would like) you to |i'd like you to )+"
)
_TAIL = re.compile(r"(?:[,]? (?:please|thanks|thank you|for me|olly|now))*[ .?!]*$")
#: Verbs with which an order begins.
_ORDER = re.compile(
    r"^(?:"
    r"activate|add|adjust|alert|apply|archive|arrange|ask|authorize|block|book|brew|bring|buy|calculate|call"
    r"|cancel|change|charge|check|clean|clear|close|compare|compose|configure|connect|convert|copy|count|create"
    r"|cut|decrease|define|delete|describe|dim|disable|discover|display|dispute|download|draft|draw|edit|email"
    r"|enable|end|evaluate|exchange|exclude|explain|explore|export|extend|fetch|fill|find|finish|fix|follow"
    r"|forward|generate|get|give|go|guide|help|hide|hold|identify|import|include|increase|inform|initiate|install"
    r"|invite|join|launch|let|like|list|listen|load|locate|lock|look|lower|make|mark|measure|merge|message|move"
    r"|mute|navigate|notify|open|order|pause|pay|pick|place|plan|play|plot|post|prepare|print|provide|purchase"
    r"|put|raise|rate|read|recommend|record|redeem|refill|refund|register|remind|remove|rename|reorder|repair"
    r"|repeat|replace|reply|report|request|reschedule|reserve|reset|resume|retrieve|return|review|save|say|scan"
    r"|schedule|search|sell|send|set|share|show|shuffle|shut|silence|sign|skip|split|start|stop|submit|subscribe"
    r"|suggest|summarise|summarize|switch|take|tell|test|text|track|transfer|translate|turn|unblock|unlock|update"
    r"|upgrade|upload|use|vacuum|verify|view|wake|warm|water|write"
    r")\s"
)
_QUESTION = re.compile(r"^(what|what's|whats|where|where's|when|when's|who|who's|why|which|how|how's)\b")
_CHECK = re.compile(r"^(is|are|was|were|do|does|did|has|have|will|would|am|should|any)\b")
_WISH = re.compile(
    r"^(?:i(?:'d| would) like(?: to)?|i (?:want|need|wish)(?: to)?|i(?:'m| am) (?:looking|trying) (?:to|for)"
    r"|(?:can|could|may) i|let me|help me(?: to)?) "
)
#: What says no, with and without its apostrophe; a refusal that is made here has one of them.
_NO = re.compile(
    r"\b(?:no|nope|not|never|nor|without|cannot|already|mistaken(?:ly)?|i know"
    r"|(?:do|does|did|is|are|was|were|wo|would|ca|could|should|need|have|has|had)n(?:'|\u2019)?t)\b"
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


def refusals(texts: Sequence[str], most: int = MOST) -> list[str]:
    """Refusals of up to ``most`` of the texts, none of which is among the texts; the same whatever their order."""
    known = {text.lower() for text in texts if len(text) <= _LONGEST}
    made: dict[str, None] = {}
    for seed, text in sorted((crc32(text.encode()), text) for text in known):
        if len(made) == most:
            break
        refused = negate(text, np.random.default_rng(seed))
        if refused is not None and refused not in known:
            made[refused] = None
    return list(made)


def negate(text: str, random: np.random.Generator) -> str | None:
    """The text turned into its refusal, or None where no rule is sure."""
    plain = _TAIL.sub("", _POLITE.sub("", text.lower()))
    if len(plain.split()) < 2:
        return None
    if _ORDER.match(plain):
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


def negated(text: str) -> bool:
    """Whether a word says no, be it a refusal ("don't call him") or not ("my parcel has not come")."""
    return _NO.search(text.lower()) is not None


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
