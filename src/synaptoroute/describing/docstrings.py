"""What a docstring says, in Google's, NumPy's or Sphinx's style."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import cleandoc

from synaptoroute.describing.described import one_line

#: A prompt, and what follows it up to an empty line: code and its output.
_DOCTEST = re.compile(r"^[ \t]*>>>.*(?:\n[ \t]*\S.*)*", re.MULTILINE)
#: Code in backticks, with or without a role of Sphinx before it; the words are what is inside.
_CODE = re.compile(r"(?::[a-zA-Z:]+:)?`{1,2}~?([^`]+)`{1,2}")


@dataclass(frozen=True, slots=True)
class Documented:
    """What one docstring says.

    Attributes:
        description: Without the sections of arguments, results and errors, and without doctests; None if it is empty.
        descriptions: What each argument or attribute means, where it tells.
        types: The type of each, where it tells.
    """

    description: str | None = None
    descriptions: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)


def read_docstring(text: str | None) -> Documented:
    """What it says. One that no style explains is a description as a whole."""
    from docstring_parser import ParseError, parse

    if not text or not text.strip():
        return Documented()
    plain = _DOCTEST.sub("", cleandoc(text))
    try:
        parsed = parse(plain)
    except ParseError:
        return Documented(_paragraphs(plain))
    said = {param.arg_name.lstrip("*"): _words(param.description) for param in parsed.params}
    typed = {param.arg_name.lstrip("*"): one_line(param.type_name) for param in parsed.params}
    return Documented(
        _paragraphs("\n\n".join(filter(None, [parsed.short_description, parsed.long_description]))),
        {name: words for name, words in said.items() if words},
        {name: words for name, words in typed.items() if words},
    )


def _words(text: str | None) -> str | None:
    return one_line(_CODE.sub(r"\1", text or ""))


def _paragraphs(text: str) -> str | None:
    """A line a paragraph; None if there is none."""
    return "\n".join(filter(None, map(_words, re.split(r"\n\s*\n", text)))) or None
