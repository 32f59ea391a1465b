"""``/openapi.json``: what FastAPI finds out, with what it cannot know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from synaptoroute.server import schemas, working
from synaptoroute.server.problems import documented
from synaptoroute.server.state import Needs

#: What may go wrong at every endpoint below /v1.
_EVERYWHERE = ("invalid_json", "unauthorized", "forbidden", "invalid_request", "rate_limited", "overloaded")


def described(app: FastAPI, found: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The description of the interface; made once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    schema = found()
    components = schema.setdefault("components", {})
    models = components.setdefault("schemas", {})
    models["Problem"] = schemas.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for body in working.BODIES:
        models[body.__name__] = body.model_json_schema(ref_template="#/components/schemas/{model}")
        models[body.__name__].pop("$defs", None)
    for unused in ("HTTPValidationError", "ValidationError"):
        models.pop(unused, None)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
    }
    needed = _scopes(app)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _complete(operation, needed.get(operation.get("operationId")), below_v1=path.startswith("/v1"))
    return schema


def _complete(operation: dict[str, Any], scope: str | None, *, below_v1: bool) -> None:
    responses = operation.setdefault("responses", {})
    if "HTTPValidationError" in str(responses.get("422", "")):
        responses.pop("422")
    if scope is not None:
        operation["security"] = [{"bearer": []}, {"apiKey": []}, {}]
        operation["x-scope"] = scope
    if below_v1:
        for status, response in documented(*_EVERYWHERE).items():
            responses.setdefault(str(status), response)


def _scopes(app: FastAPI) -> dict[str | None, str]:
    """Operation id -> the scope it needs."""
    found: dict[str | None, str] = {}
    for route in app.routes:
        if isinstance(route, APIRoute):
            for dependency in route.dependencies:
                if isinstance(dependency.dependency, Needs):
                    found[route.operation_id] = dependency.dependency.scope.word
    return found
