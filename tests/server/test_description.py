"""The description of the interface: complete, stable, and the one that is checked in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from synaptoroute.server.app import ROUTERS, create_app
from synaptoroute.server.description import text_of
from synaptoroute.server.settings import ServerSettings
from tests.server.serving import Served, problem, serving

CHECKED_IN = Path(__file__).parents[2] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def app(served: Served) -> FastAPI:
    return create_app(served.state.router, settings=ServerSettings())


@pytest.fixture(scope="module")
def operations(app: FastAPI) -> list[tuple[str, str, dict[str, Any]]]:
    paths = app.openapi()["paths"]
    return [(path, method, operation) for path, found in paths.items() for method, operation in found.items()]


def test_it_is_the_one_that_is_checked_in(app: FastAPI) -> None:
    assert text_of(app) + "\n" == CHECKED_IN.read_text(encoding="utf-8"), "run `make openapi`"


def test_it_is_served(served: Served, app: FastAPI) -> None:
    assert served.get("/openapi.json").json() == json.loads(text_of(app))
    with serving(served.state.router, docs=False) as closed:
        problem(closed.get("/openapi.json"), 404, "not_found")


def test_every_operation_has_a_name_of_its_own(operations: list[tuple[str, str, dict[str, Any]]]) -> None:
    names = [operation["operationId"] for _, _, operation in operations]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z][A-Za-z]+", name)


def test_every_operation_says_what_it_does_needs_and_may_refuse(
    operations: list[tuple[str, str, dict[str, Any]]],
) -> None:
    shown = [
        route
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
    ]
    assert len(operations) == sum(len(route.methods or ()) for route in shown)
    for path, _, operation in operations:
        assert operation["tags"]
        assert operation["description"]
        if path.startswith("/v1/"):
            assert operation["x-scope"] in {"read", "write", "admin"}
            assert operation["security"]
            assert {"400", "401", "403", "422", "429", "500", "503"} <= set(operation["responses"])
        for status, response in operation["responses"].items():
            if status >= "400" and path.startswith("/v1/"):
                assert list(response["content"]) == ["application/problem+json"]


def test_every_reference_leads_somewhere(app: FastAPI) -> None:
    text = text_of(app)
    models = app.openapi()["components"]["schemas"]
    used = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert used <= set(models)
    assert "#/$defs" not in text
