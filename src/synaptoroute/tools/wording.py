"""What a tool is about, in texts that a query can be held against."""

from __future__ import annotations

import re
from dataclasses import dataclass

from synaptoroute.describing import Parameter, words_of
from synaptoroute.tools.tool import Tool

#: Characters of a description, and arguments and sentences of a tool, that are read; what is beyond says little about
#: its purpose.
_DESCRIPTION, _PARAMETERS, _SENTENCES = 1_000, 20, 8
_SENTENCE_END = re.compile("(?<=[.!?])\\s+|(?<=[\u3002\uff01\uff1f])|\n+")
#: Of so many words at least is a sentence that says something by itself.
_WORDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The texts of a tool, by what they are.

    Attributes:
        name: As words.
        description: On one line; None if there is none.
        whole: The name and the description together; None without a description.
        sentences: Of the description, if it has several.
        arguments: The name and the arguments with what they mean; None without arguments.
        examples: Queries.
    """

    name: str
    description: str | None
    whole: str | None
    sentences: tuple[str, ...]
    arguments: str | None
    examples: tuple[str, ...]

    @classmethod
    def of(cls, tool: Tool) -> Wording:
        """The tool in words."""
        name = words_of(tool.name)
        described = tool.description[:_DESCRIPTION] if tool.description else ""
        description = " ".join(described.split()) or None
        return cls(
            name=name,
            description=description,
            whole=f"{name}: {description}" if description else None,
            sentences=_sentences(described),
            arguments=_arguments(name, tool.parameters[:_PARAMETERS]),
            examples=tool.examples,
        )

    @property
    def details(self) -> tuple[str, ...]:
        """Parts that may say alone what a query asks for."""
        return (*self.sentences, self.arguments) if self.arguments else self.sentences

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them, each once."""
        texts = (self.name, self.description, self.whole, *self.details, *self.examples)
        return tuple(dict.fromkeys(text for text in texts if text))

    @property
    def document(self) -> str:
        """All words of the tool, as often as they are said."""
        return " ".join(filter(None, (self.name, self.description, self.arguments, *self.examples)))


def _sentences(description: str) -> tuple[str, ...]:
    found = [" ".join(sentence.split()) for sentence in _SENTENCE_END.split(description)]
    telling = [sentence for sentence in found if len(sentence.split()) >= _WORDS]
    return tuple(telling[:_SENTENCES]) if len(telling) > 1 else ()


def _arguments(name: str, parameters: tuple[Parameter, ...]) -> str | None:
    if not parameters:
        return None
    return f"{name}: {', '.join(map(_argument, parameters))}"[:_DESCRIPTION].strip()


def _argument(parameter: Parameter) -> str:
    words = words_of(parameter.name)
    return f"{words} ({parameter.description})" if parameter.description else words
