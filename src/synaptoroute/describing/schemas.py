"""Tools as JSON, the way language models are told of them; and pydantic models, which have a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from synaptoroute.describing.described import Described, one_line
from synaptoroute.describing.docstrings import read_docstring
from synaptoroute.describing.parameters import resolved, schema_parameters
from synaptoroute.errors import InvalidToolError

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Under which key each kind of tool has the schema of its arguments: OpenAI, Anthropic, MCP.
_ARGUMENTS = ("parameters", "input_schema", "inputSchema")


def describe_schema(schema: Mapping[str, Any]) -> Described:
    """What a tool given as JSON says about itself.

    Understood are the tools of OpenAI's chat completions and responses, of Anthropic and of MCP, and a plain JSON
    schema with a title. References within the schema are followed, three objects deep at most.

    Raises:
        InvalidToolError: It has no name, a part of it is not what JSON schema wants, or a reference leads nowhere or
            back to itself. The message names the place.
    """
    if not isinstance(schema, Mapping):
        raise InvalidToolError(f"a tool's JSON must be an object, got {type(schema).__name__}")
    function = schema.get("function")
    tool = function if isinstance(function, Mapping) else schema
    key = next((key for key in _ARGUMENTS if tool.get(key) is not None), None)
    plain = key is None and not {"properties", "$ref", "allOf"}.isdisjoint(tool)
    arguments = tool[key] if key else tool if plain else {}
    top = resolved(tool, "tool", document=tool) if plain else tool
    title, name = one_line(top.get("title")), one_line(top.get("name"))
    if name is None and title is None:
        kind = f" of type {schema['type']!r}" if isinstance(schema.get("type"), str) else ""
        keys = ", ".join(map(str, list(tool)[:8])) or "no key at all"
        raise InvalidToolError(f"a tool{kind} has no name; wanted a name (or a title) beside {keys}")
    place = f"tool {name or title!r}"
    parameters = schema_parameters(arguments, f"{place}: {key}" if key else place)
    described = top.get("description")
    if not described and key:
        described = resolved(arguments, place, document=arguments).get("description")
    paragraphs = described.splitlines() if isinstance(described, str) else []
    lines = filter(None, [title if name else None, *map(one_line, paragraphs)])
    return Described(name=str(name or title), description="\n".join(lines) or None, parameters=parameters)


def describe_model(model: type[BaseModel]) -> Described:
    """What a pydantic model says about itself: a tool whose arguments are its fields.

    A field without a description takes that of the docstring's section "Attributes", if there is one.

    Raises:
        InvalidToolError: It is not a pydantic model, or a field has no JSON schema.
    """
    from pydantic import BaseModel
    from pydantic.errors import PydanticUserError

    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise InvalidToolError(f"a pydantic model is wanted, got {type(model).__name__}")
    try:
        schema = model.model_json_schema()
    except PydanticUserError as exc:
        raise InvalidToolError(f"model {model.__name__!r} has no JSON schema: {exc.message}") from exc
    documented = read_docstring(vars(model).get("__doc__"))
    return Described(
        name=model.__name__,
        description=documented.description,
        parameters=schema_parameters(schema, f"model {model.__name__!r}", described=documented.descriptions),
    )
