"""Tools as routes, which is how they are stored: their texts are the utterances, the rest is metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from synaptoroute.describing import Parameter
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import InvalidRouteError
from synaptoroute.models import MAX_DESCRIPTION_CHARS, Route
from synaptoroute.table import RouteTable
from synaptoroute.tools.tool import Tool
from synaptoroute.tools.wording import Wording


def route_of(tool: Tool) -> Route:
    """The tool without its source. Arguments that do not fit into a route's metadata are left out."""
    kept: dict[str, Any] = {"namespace": tool.namespace, "examples": list(tool.examples)}
    texts = Wording.of(tool).texts
    description = tool.description[:MAX_DESCRIPTION_CHARS] if tool.description else None
    for metadata in ({**kept, "parameters": [asdict(each) for each in tool.parameters]}, kept, {}):
        try:
            return Route(name=tool.name, utterances=texts, description=description, metadata=metadata)
        except InvalidRouteError:
            if not metadata:
                raise
    raise AssertionError  # pragma: no cover - the last try returns or raises


def tool_of(route: Route) -> Tool:
    """The tool of a stored route."""
    kept: Mapping[str, Any] = route.metadata
    return Tool(
        name=route.name,
        description=route.description,
        parameters=tuple(Parameter(**each) for each in kept.get("parameters", ())),
        examples=tuple(kept.get("examples", ())),
        namespace=kept.get("namespace"),
    )


def vectors_of(table: RouteTable) -> dict[str, dict[str, Vectors]]:
    """Tool -> text -> its unit row (dim,)."""
    rows, _ = table.vectors_by_route()
    found: dict[str, dict[str, Vectors]] = {}
    at = 0
    for route in table.routes:
        found[route.name] = dict(zip(route.utterances, rows[at : at + len(route.utterances)], strict=True))
        at += len(route.utterances)
    return found
