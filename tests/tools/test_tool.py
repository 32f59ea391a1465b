"""What may be a tool: real tools of the frameworks, and everything that is refused."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from agents import function_tool
from haystack.tools.tool import Tool as HaystackTool
from langchain_core.tools import InjectedToolArg, StructuredTool, tool
from llama_index.core.tools import FunctionTool as LlamaIndexTool
from mcp.types import Tool as MCPTool
from pydantic import BaseModel, Field
from pydantic_ai import Tool as PydanticAITool

from synaptoroute.describing import Parameter
from synaptoroute.errors import InvalidToolError
from synaptoroute.tools import Tool, as_tool, as_tools

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where."}},
    "required": ["city"],
}


def get_weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return city


class GetWeather(BaseModel):
    """Tell the weather."""

    city: str = Field(description="Where.")


@tool(parse_docstring=True)
def langchain_weather(city: str, user: Annotated[str, InjectedToolArg] = "") -> str:
    """Tell the weather.

    Args:
        city: Where.
        user: Who asks.
    """
    return city


THINGS: dict[str, Any] = {
    "function": get_weather,
    "pydantic model": GetWeather,
    "openai chat": {
        "type": "function",
        "function": {"name": "get_weather", "description": "Tell the weather.", "parameters": SCHEMA},
    },
    "openai responses": {
        "type": "function",
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": SCHEMA,
    },
    "anthropic": {"name": "get_weather", "description": "Tell the weather.", "input_schema": SCHEMA},
    "mcp as json": {"name": "get_weather", "description": "Tell the weather.", "inputSchema": SCHEMA},
    "mcp": MCPTool(name="get_weather", description="Tell the weather.", input_schema=SCHEMA),
    "langchain": langchain_weather,
    "langchain with a schema": StructuredTool(
        name="get_weather", description="Tell the weather.", args_schema=SCHEMA, func=get_weather
    ),
    "openai agents": function_tool(get_weather),
    "pydantic-ai": PydanticAITool(get_weather),
    "haystack": HaystackTool(
        name="get_weather", description="Tell the weather.", parameters=SCHEMA, function=get_weather
    ),
    "llama-index": LlamaIndexTool.from_defaults(get_weather, description="Tell the weather.", fn_schema=GetWeather),
}


@pytest.mark.parametrize("form", THINGS)
def test_every_form_of_a_tool_is_read(form: str) -> None:
    made = as_tool(THINGS[form], examples=["will it rain"], namespace="public")
    assert made.name in ("get_weather", "GetWeather", "langchain_weather")
    assert made.description == "Tell the weather."
    (city,) = made.parameters
    assert (city.name, city.description, city.required) == ("city", "Where.", True)
    assert (made.examples, made.namespace) == (("will it rain",), "public")
    assert made.source is THINGS[form]


def test_a_tool_stays_itself_and_gains_examples() -> None:
    first = Tool(name="get_weather", examples=("will it rain",), namespace="public")
    again = as_tool(first, examples=["is it sunny", "will it rain"])
    assert again == Tool(name="get_weather", examples=("will it rain", "is it sunny"), namespace="public")
    assert as_tool(first) == first
    assert "source" not in repr(as_tool(get_weather))


def test_a_namespace_of_openai_stands_for_its_tools() -> None:
    space = {"type": "namespace", "name": "crm", "tools": [THINGS["openai responses"]]}
    (made,) = as_tools([space])
    assert (made.name, made.namespace) == ("get_weather", "crm")
    with pytest.raises(InvalidToolError, match="hand it over in a list"):
        as_tool(space)
    with pytest.raises(InvalidToolError, match=r"tools\[0\]: a namespace wants a name and a list"):
        list(as_tools([{"type": "namespace", "name": "crm", "tools": []}]))


@pytest.mark.parametrize("name", ["get_weather", "stops", "天気", "PDF&URLTool"])
def test_a_telling_name_is_enough(name: str) -> None:
    assert Tool(name=name).description is None


@pytest.mark.parametrize("name", ["f", "tool_17", "api2", "x_y", "run"])
def test_a_tool_without_words_is_refused_unless_something_tells(name: str) -> None:
    with pytest.raises(InvalidToolError, match=f"'{name}' does not say what it is for"):
        Tool(name=name, description="  ")
    assert Tool(name=name, description="Tell the weather.")
    assert Tool(name=name, examples=("will it rain",))


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (7, "a int is no tool"),
        (None, "a NoneType is no tool"),
        (lambda query: query, "lambda"),
        ({"type": "web_search"}, "has no name"),
        ({"name": "#"}, "route name '#' is not accepted"),
        ({"name": "pay", "parameters": {"$ref": "#"}}, "tool 'pay': parameters: .* leads back to itself"),
        (MCPTool(name="pay", input_schema={"properties": {"x": 1}}), r"tool 'pay': input_schema\.properties\.x"),
    ],
)
def test_what_is_no_tool_is_named(thing: Any, message: str) -> None:
    with pytest.raises(InvalidToolError, match=message):
        as_tool(thing)


@pytest.mark.parametrize(("field", "value"), [("examples", "text"), ("examples", [" "]), ("namespace", " ")])
def test_fields_that_cannot_be_accepted_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidToolError, match="tool 'get_weather'"):
        Tool(name="get_weather", **{field: value})
    with pytest.raises(InvalidToolError, match="tool 'get_weather'"):
        as_tool(get_weather, **{field: value})


def test_parameters_are_kept_as_given() -> None:
    given = Parameter(name="city", description="Where.")
    assert Tool(name="get_weather", parameters=[given]).parameters == (given,)  # type: ignore[arg-type]
