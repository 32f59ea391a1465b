"""The operations of OpenAPI documents, as tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synaptoroute.errors import InvalidToolError
from synaptoroute.tools import Operation, tools_from_openapi

OURS = Path(__file__).parents[2] / "docs" / "openapi.json"


def document(**operation: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": {"/pets/{id}": {"get": operation}}}


PETS: dict[str, Any] = {
    "openapi": "3.1.0",
    "paths": {
        "/pets/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {"operationId": "getPet", "summary": "Show a pet", "description": "With its owner.\n\nAlways."},
            "put": {
                "tags": ["pets", "more"],
                "requestBody": {
                    "content": {
                        "application/xml": {"schema": {"type": "string"}},
                        "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}},
                    }
                },
            },
        }
    },
    "components": {
        "parameters": {
            "Id": {"name": "id", "in": "path", "required": True, "description": "Which.", "schema": {"type": "integer"}}
        },
        "schemas": {
            "Pet": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "mother": {"$ref": "#/components/schemas/Pet"}},
                "required": ["name"],
            }
        },
    },
}


def test_every_operation_is_a_tool() -> None:
    show, change = tools_from_openapi(PETS)
    assert (show.name, show.description, show.namespace) == ("getPet", "Show a pet\nWith its owner.\nAlways.", None)
    (which,) = show.parameters
    assert (which.name, which.description, which.type, which.required) == ("id", "Which.", "integer", True)
    assert (change.name, change.namespace) == ("put_pets_id", "pets")
    # The mother is a pet as well, and is told of once.
    assert [each.name for each in change.parameters] == ["id", "name", "mother"]
    assert change.source == Operation(method="PUT", path="/pets/{id}", definition=PETS["paths"]["/pets/{id}"]["put"])
    assert {each.namespace for each in tools_from_openapi(PETS, namespace="zoo")} == {"zoo"}


def test_a_document_of_version_2_is_read_too() -> None:
    pets = {
        "swagger": "2.0",
        "paths": {
            "/pets": {
                "post": {
                    "operationId": "addPet",
                    "parameters": [
                        {"name": "dry", "in": "query", "type": "boolean"},
                        {"name": "pet", "in": "body", "schema": {"$ref": "#/definitions/Pet"}},
                    ],
                }
            }
        },
        "definitions": {"Pet": {"properties": {"kind": {"enum": ["cat", "dog"]}}}},
    }
    (add,) = tools_from_openapi(pets)
    assert [(each.name, each.type, each.choices) for each in add.parameters] == [
        ("dry", "boolean", ()),
        ("kind", None, ("cat", "dog")),
    ]


def test_our_own_description_is_read() -> None:
    tools = tools_from_openapi(OURS)
    operations = [
        key for item in json.loads(OURS.read_text(encoding="utf-8"))["paths"].values() for key in item if key.islower()
    ]
    assert len(tools) == len(operations) - operations.count("parameters")
    assert all(tool.description for tool in tools)
    assert {"route", "listRoutes"} <= {tool.name for tool in tools}


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_a_file_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"pets.{ending}"
    text = json.dumps(PETS) if ending == "json" else "openapi: 3.1.0\npaths:\n  /pets:\n    get: {summary: List pets}\n"
    path.write_text(text, encoding="utf-8")
    assert tools_from_openapi(str(path))[0].name in ("getPet", "get_pets")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({}, "has no key openapi"),
        ({"openapi": "3.1.0"}, "there is not one operation"),
        ({"openapi": "3.1.0", "paths": []}, "paths: an object is wanted, got list"),
        ({"openapi": "3.1.0", "paths": {"/a": {"get": 1}}}, r"paths\./a\.get: an object is wanted, got int"),
        (document(parameters={}), r"get\.parameters: a list is wanted, got dict"),
        (document(parameters=[{"in": "query"}]), r"parameters\[0\]: a parameter has no name"),
        (document(parameters=[{"$ref": "#/no"}]), r"parameters\[0\]: \$ref '#/no' leads nowhere"),
        (document(requestBody={"content": 1}), r"requestBody\.content: an object is wanted, got int"),
        (document(operationId="#"), r"get: tool '#': route name"),
        (
            {"openapi": "3.1.0", "paths": {"/a": {"get": {"operationId": "x1y"}, "put": {"operationId": "x1y"}}}},
            "'x1y' does not say what it is for",
        ),
        (
            {"openapi": "3.1.0", "paths": {"/a": {"get": {"operationId": "list"}, "put": {"operationId": "list"}}}},
            r"a\.put: the operationId 'list' is taken by the OpenAPI document: paths\./a\.get",
        ),
    ],
)
def test_what_is_broken_is_named(broken: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidToolError, match=message):
        tools_from_openapi(broken)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.json", None, "cannot be read: No such file"),
        ("a.json", b'{"openapi": \n', "line 2: not JSON"),
        ("a.yaml", b"openapi: [\n", "line 2"),
        ("a.json", b"\xff", "is not UTF-8"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.json", b"[]", "an object is wanted, got list"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidToolError, match=message) as caught:
        tools_from_openapi(path)
    assert name in str(caught.value)
