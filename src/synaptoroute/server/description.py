"""``/openapi.json``: what FastAPI finds out, with what it cannot know."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from synaptoroute.server import schemas, working
from synaptoroute.server.problems import documented
from synaptoroute.server.state import Needs

#: What may go wrong at every endpoint below /v1.
_EVERYWHERE = (
    "host_not_allowed",
    "invalid_path",
    "unauthorized",
    "forbidden",
    "invalid_request",
    "rate_limited",
    "internal_error",
    "overloaded",
)
#: And at every one that takes a body.
_OF_BODIES = ("invalid_json", "cross_origin", "body_timeout", "body_too_large", "unsupported_media_type")


def described(app: FastAPI, found: Callable[[], dict[str, Any]], routers: Iterable[APIRouter]) -> dict[str, Any]:
    """The description of the interface; made once.

    Args:
        app: To be described.
        found: What FastAPI finds out.
        routers: Whose endpoints say which scope they need.
    """
    if app.openapi_schema is not None:
        return app.openapi_schema
    schema = found()
    components = schema.setdefault("components", {})
    models = components.setdefault("schemas", {})
    described_apart: tuple[type[BaseModel], ...] = (schemas.Problem, *working.BODIES)
    for body in described_apart:
        models[body.__name__] = body.model_json_schema(ref_template="#/components/schemas/{model}")
        models[body.__name__].pop("$defs", None)
    for unused in ("HTTPValidationError", "ValidationError"):
        models.pop(unused, None)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
    }
    needed = scopes(routers)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            _complete(operation, needed.get(operation.get("operationId")), below_v1=path.startswith("/v1"))
    return schema


def _complete(operation: dict[str, Any], scope: str | None, *, below_v1: bool) -> None:
    responses = operation.setdefault("responses", {})
    if "HTTPValidationError" in str(responses.get("422", "")):
        responses.pop("422")
    if scope is not None:
        operation["security"] = [{"bearer": []}, {"apiKey": []}]
        operation["x-scope"] = scope
    if below_v1:
        codes = (*_EVERYWHERE, *_OF_BODIES) if "requestBody" in operation else _EVERYWHERE
        for status, response in documented(*codes).items():
            own = responses.setdefault(str(status), response)
            if own is not response:
                own["description"] = _both(own["description"], response["description"])
    operation["responses"] = dict(sorted(responses.items()))


def _both(own: str, general: str) -> str:
    """One description of a status from that of an endpoint and the general one."""
    title, _, codes = own.partition(": ")
    more = [code for code in general.partition(": ")[2].split(", ") if code not in codes.split(", ")]
    return f"{title}: {', '.join([*codes.split(', '), *more])}" if codes else own


def scopes(routers: Iterable[APIRouter]) -> dict[str | None, str]:
    """Operation id -> the scope it needs."""
    found: dict[str | None, str] = {}
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                for dependency in (*router.dependencies, *route.dependencies):
                    if isinstance(dependency.dependency, Needs):
                        found[route.operation_id] = dependency.dependency.scope.word
    return found


def main() -> None:
    """Print the description as docs/openapi.json has it: ``python -m synaptoroute.server.description``."""
    from synaptoroute.router import AdaptiveRouter
    from synaptoroute.server.app import create_app
    from synaptoroute.server.settings import ServerSettings

    with AdaptiveRouter() as router:
        print(text_of(create_app(router, settings=ServerSettings())))  # noqa: T201


def text_of(app: FastAPI) -> str:
    """The description, in lines that can be compared."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False)


if __name__ == "__main__":
    main()
