"""What the two kinds of Dialogflow agents have in common."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from synaptoroute.errors import InvalidInputError
from synaptoroute.importing.collecting import Collector
from synaptoroute.importing.shapes import mappings

INTENTS = "intents/"


@dataclass(slots=True)
class Listed:
    """The files of intents: by a key that intent and phrases share.

    Attributes:
        intents: What says what the intent is.
        phrases: Its training phrases, in the language that is wanted.
        languages: All in which there are some, in lower case.
    """

    intents: dict[str, str] = field(default_factory=dict)
    phrases: dict[str, str] = field(default_factory=dict)
    languages: set[str] = field(default_factory=set)

    def add(self, key: str, language: str, wanted: str, name: str) -> None:
        """Take up a file of phrases."""
        self.languages.add(language.lower())
        if language.lower() == wanted:
            self.phrases[key] = name

    @property
    def keys(self) -> Collection[str]:
        """All intents, in order."""
        return dict.fromkeys([*self.intents, *self.phrases])


def require_phrases(found: Collector, listed: Listed, wanted: str) -> None:
    """Note the languages that are left out.

    Raises:
        InvalidInputError: There is nothing in the language that is wanted.
    """
    others = ", ".join(sorted(listed.languages - {wanted}))
    if not listed.phrases:
        raise InvalidInputError(f"no training phrases in {wanted!r}; there are some in: {others or 'no language'}")
    if others:
        found.warn("language", INTENTS, f"training phrases in {others} were left out; give their language to read them")


def kept_out(found: Collector, place: str, texts: Collection[object], *, fallback: bool) -> bool:
    """Whether the intent is left out: because nothing fits it, or because nothing is said to it. Noted if so."""
    if fallback:
        left = f", with its {len(texts)} phrases of what it is not" if texts else ""
        found.inform(
            "fallback", place, f"the fallback intent was left out{left}: where nothing fits, this router abstains"
        )
    elif not texts:
        found.inform("phrases", place, "it has no training phrases in this language (only events, perhaps); left out")
    return fallback or not texts


def joined(parts: Any, place: str) -> str:
    """The text of a phrase, of which some parts may be marked as parameters. Raises InvalidInputError."""
    texts: list[str] = []
    for where, part in mappings(parts, place):
        text = part.get("text", "")
        if not isinstance(text, str):
            raise InvalidInputError(f"{where}.text: wanted a text, got {type(text).__name__}")
        texts.append(text)
    return "".join(texts)


def language_of(agent: Mapping[Any, Any], key: str, given: str | None) -> str:
    """The language to read, in lower case: the one that was given, else the agent's own."""
    own = agent.get(key)
    return (given or (own if isinstance(own, str) and own else "en")).lower()
