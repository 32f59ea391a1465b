"""Tool: what is selected among; and how functions, models, schemas and the tools of frameworks become one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from synaptoroute.describing import Described, Parameter, describe_function, describe_model, describe_schema, words_of
from synaptoroute.errors import InvalidRouteError, InvalidToolError
from synaptoroute.models import clean_name, clean_text, clean_utterances

#: Where the tools of frameworks have the schema of their arguments: LangChain, MCP, the OpenAI Agents SDK, pydantic-ai,
#: Haystack. The first that is there counts; LangChain's first one leaves out what no model is to fill in.
_SCHEMAS = (
    "tool_call_schema",
    "args_schema",
    "input_schema",
    "inputSchema",
    "params_json_schema",
    "parameters_json_schema",
    "fn_schema",
    "parameters",
)
#: Words of names that do not say what a tool is for.
_EMPTY_WORDS = frozenset({"api", "call", "endpoint", "fn", "func", "function", "main", "method", "op", "run", "tool"})
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Something that can be called, and what it is for.

    Attributes:
        name: Unique in a ``ToolRouter``; 1 to 128 characters, as that of a route.
        description: What it does, a line a paragraph; None if nobody said.
        parameters: What it takes.
        examples: Queries that it serves.
        namespace: What it is part of, such as a server, a product or a team.
        source: What it was made from.

    Raises:
        InvalidToolError: The name or a text cannot be accepted, or nothing in it says what the tool is for: there is no
            description and no example, and the name has no telling word.
    """

    name: str
    description: str | None = None
    parameters: tuple[Parameter, ...] = ()
    examples: tuple[str, ...] = ()
    namespace: str | None = None
    source: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "name", clean_name(self.name))
            if self.description is not None:
                description = clean_text(self.description, InvalidRouteError) if self.description.strip() else None
                object.__setattr__(self, "description", description)
            object.__setattr__(self, "parameters", tuple(self.parameters))
            object.__setattr__(self, "examples", clean_utterances(self.examples))
        except InvalidRouteError as exc:
            raise InvalidToolError(f"tool {str(self.name)[:40]!r}: {exc}") from None
        if self.namespace is not None and not (isinstance(self.namespace, str) and self.namespace.strip()):
            raise InvalidToolError(f"tool {self.name!r}: a namespace is a text that is not empty, or None")
        if not (self.description or self.examples or any(map(_tells, words_of(self.name).split()))):
            raise InvalidToolError(
                f"tool {self.name!r} does not say what it is for: give it a description, examples, or a telling name"
            )


def _tells(word: str) -> bool:
    letters = _WORD.search(word)
    if letters is None or letters[0] in _EMPTY_WORDS:
        return False
    # Outside of ASCII, as in Chinese, a single character may be a word.
    return len(letters[0]) > 2 or not letters[0].isascii()


def as_tool(thing: Any, *, examples: Iterable[str] = (), namespace: str | None = None) -> Tool:
    """The tool that something is.

    Args:
        thing: A ``Tool``; a function, method or object that can be called; a pydantic model; a tool as JSON, of OpenAI,
            Anthropic or MCP, or a JSON schema with a title; a tool of LangChain, MCP, the OpenAI Agents SDK,
            pydantic-ai or Haystack.
        examples: Queries it serves, added to those it has.
        namespace: What it is part of; None leaves that as it is.

    Raises:
        InvalidToolError: It is none of these, or does not say what it is for. The message names the place.
    """
    tool = thing if isinstance(thing, Tool) else _made(thing)
    more = clean_examples(tool.name, examples)
    return replace(tool, examples=(*tool.examples, *more), namespace=tool.namespace if namespace is None else namespace)


def as_tools(things: Iterable[Any]) -> Iterator[Tool]:
    """Each as a tool; OpenAI's ``{"type": "namespace", "name": …, "tools": […]}`` stands for those within.

    Raises:
        InvalidToolError: The list is no list, or one of them is no tool; the message says which.
    """
    if isinstance(things, str | bytes | Mapping) or not isinstance(things, Iterable):
        raise InvalidToolError(f"a list of tools is wanted, got {type(things).__name__}")
    for number, thing in enumerate(things):
        try:
            if isinstance(thing, Mapping) and thing.get("type") == "namespace":
                yield from _of_namespace(thing)
            else:
                yield as_tool(thing)
        except InvalidToolError as exc:
            raise InvalidToolError(f"tools[{number}]: {exc}") from exc


def _of_namespace(namespace: Mapping[str, Any]) -> Iterator[Tool]:
    name, inner = namespace.get("name"), namespace.get("tools")
    if not isinstance(name, str) or not isinstance(inner, list | tuple) or not inner:
        raise InvalidToolError("a namespace wants a name and a list of tools that is not empty")
    for tool in as_tools(inner):
        yield replace(tool, namespace=tool.namespace or name)


def clean_examples(name: str, examples: Iterable[str]) -> tuple[str, ...]:
    """Stripped, without repeats. Raises InvalidToolError, which names the tool."""
    try:
        return clean_utterances(examples)
    except InvalidRouteError as exc:
        raise InvalidToolError(f"tool {name!r}: examples: {exc}") from None


def _made(thing: Any) -> Tool:
    described = _described(thing)
    return Tool(
        name=described.name,
        description=described.description,
        parameters=described.parameters,
        examples=described.examples,
        source=thing,
    )


def _described(thing: Any) -> Described:
    if isinstance(thing, Mapping):
        if thing.get("type") == "namespace":
            raise InvalidToolError("a namespace holds several tools; hand it over in a list of tools")
        return describe_schema(thing)
    if isinstance(thing, type) and hasattr(thing, "model_json_schema"):
        return describe_model(thing)
    # The definition that a tool of pydantic-ai, or of LlamaIndex, carries.
    for carried in ("tool_def", "metadata"):
        if isinstance(getattr(getattr(thing, carried, None), "name", None), str):
            thing = getattr(thing, carried)
    if not isinstance(thing, type) and isinstance(getattr(thing, "name", None), str):
        schema = next((found for name in _SCHEMAS if (found := getattr(thing, name, None)) is not None), None)
        if schema is not None or isinstance(getattr(thing, "description", None), str):
            return _of_object(thing, schema)
    if callable(thing):
        return describe_function(thing)
    raise InvalidToolError(
        f"a {type(thing).__name__} is no tool; wanted a function, a pydantic model, a tool as JSON, a tool of "
        "LangChain, MCP or another framework, or a Tool"
    )


def _of_object(thing: Any, schema: Any) -> Described:
    """An object with a name, a description and a schema, whichever framework it is of."""
    if isinstance(schema, type) and hasattr(schema, "model_json_schema"):
        schema = schema.model_json_schema()
    elif isinstance(schema, type) and hasattr(schema, "schema"):  # pydantic 1
        schema = schema.schema()
    fields = {name: getattr(thing, name, None) for name in ("name", "title", "description")}
    arguments = {"input_schema": dict(schema)} if isinstance(schema, Mapping) else {}
    return describe_schema({name: value for name, value in fields.items() if isinstance(value, str)} | arguments)
