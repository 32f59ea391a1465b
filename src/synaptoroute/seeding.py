"""First utterances of a route that is made from code: from its description, its name and what it takes.

Which texts these are was measured on MetaTool (199 tools, the training queries): see ``docs/routes-from-code.md``. What
a route shares with its siblings does not tell it from them, so that no utterance consists of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from synaptoroute.describing import Described, Parameter, describe_function, describe_model, describe_schema, words_of

#: A parameter of more choices than this is a list of data, not of kinds of requests.
MOST_CHOICES = 8
_WORD = re.compile(r"\w+")
#: Words that tell nothing of what a piece of code is for.
_EMPTY = frozenset({
    "a", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "get", "gets",
    "give", "gives", "given", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "of",
    "on", "or", "our", "set", "sets", "some", "that", "the", "their", "them", "then", "there", "these", "this",
    "to", "up", "us", "use", "used", "uses", "using", "was", "what", "when", "where", "which", "who", "will",
    "with", "you", "your",
})  # fmt: skip


def described(thing: object) -> Described:
    """What a piece of code says about itself: a function, a pydantic model, a schema; or what it said before.

    Raises:
        InvalidToolError: It does not say, or is none of these.
    """
    if isinstance(thing, Described):
        return thing
    if isinstance(thing, Mapping):
        return describe_schema(thing)
    if isinstance(thing, type) and issubclass(thing, BaseModel):
        return describe_model(thing)
    function: Callable[..., Any] = thing  # type: ignore[assignment]  # whatever is none is refused there
    return describe_function(function)


def seeds(code: Described, siblings: Iterable[Described] = ()) -> tuple[str, ...]:
    """Texts that ask for it, at least one; the surest first.

    Args:
        code: What it says about itself.
        siblings: What the code of other routes says; one of the same name is the route itself.
    """
    shared = _shared([other for other in siblings if other.name != code.name])
    name = words_of(code.name)
    own = [*_first_paragraph(code.description), name]
    own += [f"{name} {choice}" for each in code.parameters for choice in _choices(each, shared)]
    if telling := [words_of(each.name) for each in code.parameters if each.required and _tells(each.name, shared)]:
        own.append(" ".join([name, *telling]))
    kept = [text for text in own if _tells(text, shared)]
    # Where nothing tells it from its siblings, what it says of itself has to do.
    return _distinct([*code.examples, *(kept or own[:1])])


def _shared(siblings: Sequence[Described]) -> set[str]:
    """Words that a third of the siblings have, or more: among two siblings, any; among 200, few but "data"."""
    counts = Counter(word for other in siblings for word in _words_of(other))
    return {word for word, count in counts.items() if count >= len(siblings) / 3}


def _first_paragraph(description: str | None) -> list[str]:
    """The first line of a description without its last full stop; none if there is no description.

    Its sentences apart from each other found 1.2 points fewer of MetaTool's training queries than all of it in one.
    """
    lines = [line.strip().rstrip(".") for line in (description or "").splitlines()]
    return [line for line in lines if line][:1]


def _choices(parameter: Parameter, shared: set[str]) -> Sequence[str]:
    """The values that a parameter may have, as words, if they are few and tell something."""
    if len(parameter.choices) > MOST_CHOICES:
        return ()
    return [words for words in map(words_of, parameter.choices) if _tells(words, shared)]


def _tells(text: str, shared: set[str]) -> bool:
    """Whether one of its words stands for this route alone."""
    return bool(_meaning(text) - shared)


def _words_of(code: Described) -> set[str]:
    parts = [words_of(code.name), code.description or "", *code.examples]
    for each in code.parameters:
        parts += [words_of(each.name), *map(words_of, each.choices)]
    return {word for part in parts for word in _meaning(part)}


def _meaning(text: str) -> set[str]:
    """Its words that mean something, in lower case and without the ending of a plural."""
    words = (word.casefold() for word in _WORD.findall(text))
    return {word[:-1] if len(word) > 3 and word.endswith("s") else word for word in words if word not in _EMPTY}


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple({" ".join(text.casefold().split()): text for text in reversed([*texts])}.values())[::-1]
