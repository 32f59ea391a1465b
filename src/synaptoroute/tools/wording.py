"""What a tool is about, in texts that a query can be held against."""

from __future__ import annotations

from synaptoroute.describing import Parameter, words_of
from synaptoroute.tools.tool import Tool

#: Characters of a description, and arguments of a tool, that are read; what is beyond says little about its purpose.
_DESCRIPTION, _PARAMETERS = 1_000, 20


def texts_of(tool: Tool) -> tuple[str, ...]:
    """The tool's name as words, its description with and without it, its arguments, and its examples."""
    name = words_of(tool.name)
    texts = [name]
    if tool.description:
        described = " ".join(tool.description[:_DESCRIPTION].split())
        texts += [described, f"{name}: {described}"]
    if tool.parameters:
        texts.append(f"{name}: {', '.join(map(_argument, tool.parameters[:_PARAMETERS]))}")
    return tuple(dict.fromkeys([*texts, *tool.examples]))


def _argument(parameter: Parameter) -> str:
    words = words_of(parameter.name)
    return f"{words} ({parameter.description})" if parameter.description else words
