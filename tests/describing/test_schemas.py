"""What tools given as JSON, and pydantic models, say about themselves."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from synaptoroute.describing import Parameter, describe_model, describe_schema
from synaptoroute.errors import InvalidToolError

ARGUMENTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where."},
        "unit": {"anyOf": [{"enum": ["celsius", "fahrenheit"], "type": "string"}, {"type": "null"}]},
    },
    "required": ["city"],
}
FORMS: dict[str, dict[str, Any]] = {
    "openai chat": {
        "type": "function",
        "function": {"name": "get_weather", "description": "Tell the weather.", "parameters": ARGUMENTS},
    },
    "openai responses": {
        "type": "function",
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": ARGUMENTS,
        "strict": True,
    },
    "anthropic": {"name": "get_weather", "description": "Tell the weather.", "input_schema": ARGUMENTS},
    "mcp": {"name": "get_weather", "description": "Tell the weather.", "inputSchema": ARGUMENTS},
    "plain": {"title": "get_weather", "description": "Tell the weather.", **ARGUMENTS},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str) -> None:
    described = describe_schema(FORMS[form])
    assert (described.name, described.description) == ("get_weather", "Tell the weather.")
    assert described.parameters == (
        Parameter(name="city", description="Where.", type="string", required=True),
        Parameter(name="unit", type="string", choices=("celsius", "fahrenheit")),
    )


def test_a_title_beside_a_name_is_the_first_line_of_the_description() -> None:
    described = describe_schema({"name": "wx", "title": "Weather forecast", "description": "Up to 5 days.\n\nFree."})
    assert described.description == "Weather forecast\nUp to 5 days.\nFree."
    assert described.parameters == ()


def test_objects_within_objects_are_reached_by_dots_and_references_are_followed() -> None:
    schema = {
        "title": "Order",
        "$defs": {
            "Address": {
                "type": "object",
                "description": "A place.",
                "properties": {"city": {"type": "string"}, "zip": {"type": "string"}},
                "required": ["zip"],
            },
            "Item": {"allOf": [{"$ref": "#/$defs/Named"}, {"properties": {"count": {"type": "integer"}}}]},
            "Named": {"type": "object", "properties": {"name": {"const": "pizza"}}, "required": ["name"]},
        },
        "properties": {
            "to": {"$ref": "#/$defs/Address", "description": "Where it goes."},
            "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
            "tags": {"type": "array", "items": {"type": "string"}},
            "free": True,
        },
    }
    found = {each.name: each for each in describe_schema(schema).parameters}
    assert list(found) == ["to", "to.city", "to.zip", "items", "items.name", "items.count", "tags", "free"]
    assert found["to"].description == "Where it goes."
    assert found["to.zip"].required
    assert not found["to.city"].required
    assert found["items"].type == "array of object"
    assert found["items.name"] == Parameter(name="items.name", required=True, choices=("pizza",))
    assert found["tags"].type == "array of string"


class Node(BaseModel):
    """A tree.

    Attributes:
        value: What it holds.
    """

    value: int
    kind: Literal["leaf", "branch"] = "leaf"
    children: list[Node] = Field(default_factory=list, description="Smaller trees.")
    parent: Node | None = None


def test_a_model_that_contains_itself_is_told_once() -> None:
    described = describe_model(Node)
    assert (described.name, described.description) == ("Node", "A tree.")
    assert [each.name for each in described.parameters] == ["value", "kind", "children", "parent"]
    value, kind, children, _ = described.parameters
    assert value == Parameter(name="value", description="What it holds.", type="integer", required=True)
    assert kind.choices == ("leaf", "branch")
    assert children.description == "Smaller trees."


def test_a_model_without_a_docstring_has_no_description() -> None:
    class Weather(BaseModel):
        city: str

    assert describe_model(Weather).description is None


def test_a_schema_that_refers_to_itself_in_every_way_ends() -> None:
    names = [f"D{number}" for number in range(30)]
    every = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}
    schema = {
        "title": "Maze",
        "$defs": {name: {"properties": {f"{name}_{at}": every for at in range(5)}} for name in names},
        "properties": {"start": every},
    }
    found = describe_schema(schema).parameters
    assert found[0].name == "start"
    assert len(found) <= 200


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"name": "a", "parameters": {"properties": {"x": {"$ref": "#/$defs/No"}}}}, r"properties\.x: .*leads nowhere"),
        ({"name": "a", "parameters": {"$ref": "#"}}, "'a': parameters: .*leads back to itself"),
        (
            {
                "title": "a",
                "$defs": {"X": {"$ref": "#/$defs/Y"}, "Y": {"$ref": "#/$defs/X"}},
                "properties": {"b": {"$ref": "#/$defs/X"}},
            },
            r"tool 'a'\.properties\.b: \$ref '#/\$defs/X' leads back to itself",
        ),
        ({"name": "a", "input_schema": []}, "'a': input_schema: a schema .* got list"),
        ({"name": "a", "inputSchema": {"properties": [1]}}, r"inputSchema\.properties: an object is wanted, got list"),
        ({"name": "a", "parameters": {"properties": {"x": None}}}, r"properties\.x: .* got NoneType"),
        ({"name": "a", "parameters": {"anyOf": {}}}, r"parameters\.anyOf: a list is wanted, got dict"),
        ({"type": "web_search"}, "'web_search' has no name"),
        ({"type": "function", "function": {"parameters": {}}}, "has no name"),
        ({}, "has no name"),
        ([], "must be an object, got list"),
    ],
)
def test_what_is_broken_is_named(schema: Any, message: str) -> None:
    with pytest.raises(InvalidToolError, match=message):
        describe_schema(schema)


def test_a_reference_to_elsewhere_is_left_alone() -> None:
    schema = {
        "name": "a",
        "parameters": {"properties": {"x": {"$ref": "https://a.example/x", "type": "string"}}},
    }
    assert describe_schema(schema).parameters == (Parameter(name="x", type="string"),)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InvalidToolError, match="pydantic model is wanted, got dict"):
        describe_model({})  # type: ignore[arg-type]

    class Odd(BaseModel):
        model_config = {"arbitrary_types_allowed": True}
        what: object
        which: json.JSONDecoder

    with pytest.raises(InvalidToolError, match="'Odd' has no JSON schema"):
        describe_model(Odd)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["properties", "items", "anyOf", "allOf", "$ref", "type", "enum", "required", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_described_or_refused(arguments: Any) -> None:
    try:
        described = describe_schema({"name": "a", "parameters": arguments})
    except InvalidToolError:
        return
    assert described.name == "a"
