"""An MCP server over a router: routing, explaining and listing as tools that only read. The extra ``[mcp]``.

::

    create_server(router).run("stdio")  # or synaptoroute mcp --db routes.db

What ``tools/list`` answers never depends on a query or a connection, so that a client may cache it and a model's prompt
stays the same.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from synaptoroute import __version__
from synaptoroute.errors import (
    DeadlineExceededError,
    InvalidInputError,
    MissingExtraError,
    RouteNotFoundError,
    RouterClosedError,
    RouterOverloadedError,
    SynaptoRouteError,
)
from synaptoroute.history import acting_as
from synaptoroute.integrations.mcp_answers import (
    Changed,
    Decided,
    DecidedMany,
    Explained,
    Found,
    FoundTool,
    Listed,
    RouteListed,
)
from synaptoroute.models import MAX_TEXT_CHARS, Route
from synaptoroute.router import AdaptiveRouter, RouteOptions
from synaptoroute.tools import ToolRouter

try:
    from mcp.server.caching import CacheHint
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.server.mcpserver.tools import Tool
    from mcp.types import ToolAnnotations
except ImportError as exc:
    raise MissingExtraError("the MCP server", "mcp") from exc

MAX_TEXTS = 256
#: The tools of a server never change while it runs.
_TOOLS_KEPT_MS = 3_600_000
#: What a caller may be told of; the messages of others name files and hosts.
_TOLD = (
    InvalidInputError,
    RouteNotFoundError,
    RouterOverloadedError,
    DeadlineExceededError,
    RouterClosedError,
)

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS, description="The text, as it was said.")]
Texts = Annotated[
    list[Annotated[str, Field(max_length=MAX_TEXT_CHARS)]],
    Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True, description="The texts; they are decided alike."),
]
TopK = Annotated[int, Field(ge=1, le=50, description="How many matches to list.")]
MinConfidence = Annotated[
    float | None, Field(ge=0, le=1, description="Least probability of being right; null for the router's own.")
]
Allow = Annotated[
    list[str] | None, Field(max_length=1_000, description="Names of the only routes to consider; null for all.")
]
Name = Annotated[str, Field(description="The route's name.")]
Utterances = Annotated[list[str], Field(min_length=1, max_length=1_000, description="Example texts.")]


_ROUTING = "route tells to which of the known routes a text belongs, or that it belongs to none of them."
_SEARCHING = "search_tools finds the tools of a catalogue that serve a query, or says that none does."


def create_server(
    router: AdaptiveRouter | None,
    tools: ToolRouter | None = None,
    *,
    writable: bool = False,
    name: str = "synaptoroute",
) -> MCPServer[Any]:
    """The server. The routers stay the caller's to close.

    Args:
        router: Decides; None for a server that only searches tools.
        tools: A catalogue of tools to offer a search over. They are found, not called.
        writable: Also offer tools that change routes; whoever reaches the server may then do so.
        name: What the server calls itself; changes made through it are recorded as done by it.

    Raises:
        InvalidInputError: There is neither a router nor a catalogue, or routes are to be written without a router.
    """
    offered: list[Tool] = []
    if router is not None:
        reading = _Reading(router)
        offered += [
            _tool(reading.route, "Route a text"),
            _tool(reading.route_batch, "Route several texts"),
            _tool(reading.explain, "Explain a decision"),
            _tool(reading.list_routes, "List routes"),
        ]
        if writable:
            writing = _Writing(router, f"mcp:{name}")
            offered += [
                _tool(writing.add_route, "Add a route", destroys=False),
                _tool(writing.add_utterances, "Add examples to a route", destroys=False),
                _tool(writing.remove_utterance, "Remove an example of a route", destroys=True),
                _tool(writing.delete_route, "Delete a route", destroys=True),
            ]
    elif tools is None or writable:
        raise InvalidInputError("there is no router; give one, or a catalogue of tools and no right to write")
    if tools is not None:
        offered.append(_tool(_Searching(tools).search_tools, "Search tools"))
    told = [_ROUTING] * (router is not None) + [_SEARCHING] * (tools is not None)
    return MCPServer(
        name,
        instructions=" ".join(told),
        version=__version__,
        tools=offered,
        cache_hints={"tools/list": CacheHint(ttl_ms=_TOOLS_KEPT_MS, scope="public")},
        log_level="WARNING",
    )


class _Reading:
    """The tools that only read. Their docstrings are what models are told."""

    def __init__(self, router: AdaptiveRouter) -> None:
        self._router = router

    async def route(
        self, text: Text, top_k: TopK = 3, min_confidence: MinConfidence = None, allow: Allow = None
    ) -> Decided:
        """Tell to which route a text belongs and how sure that is; name is null if it belongs to none."""
        options = RouteOptions(top_k=top_k, min_confidence=min_confidence, allow=allow)
        return Decided.model_validate(await self._router.aquery(text, **options))

    async def route_batch(
        self, texts: Texts, top_k: TopK = 1, min_confidence: MinConfidence = None, allow: Allow = None
    ) -> DecidedMany:
        """Route several texts at once; one decision each, in order. One that cannot be routed fails all."""
        options = RouteOptions(top_k=top_k, min_confidence=min_confidence, allow=allow)
        decisions = await self._router.aquery_many(texts, **options)
        return DecidedMany(decisions=[Decided.model_validate(decision) for decision in decisions])

    async def explain(self, text: Text, allow: Allow = None) -> Explained:
        """Route a text and say what made the decision: the nearest examples and the limits that held."""
        return Explained.model_validate((await self._router.aexplain(text, allow=allow)).to_dict())

    def list_routes(
        self,
        after: Annotated[str | None, Field(description="Go on after the route of this name.")] = None,
        limit: Annotated[int, Field(ge=1, le=1_000, description="Routes in one page.")] = 100,
        examples: Annotated[int, Field(ge=0, le=100, description="Most examples to show of each.")] = 3,
    ) -> Listed:
        """List the routes in the order they were added, page by page."""
        table = self._router.snapshot
        routes, start = table.routes, 0
        if after is not None:
            names = [route.name for route in routes]
            if after not in names:
                raise RouteNotFoundError(f"there is no route {after[:40]!r} to go on after; begin anew")
            start = names.index(after) + 1
        page = routes[start : start + limit]
        return Listed(
            routes=[RouteListed.of(route, examples) for route in page],
            total=len(routes),
            next=page[-1].name if page and start + limit < len(routes) else None,
            revision=table.revision,
        )


class _Searching:
    """The tool that searches a catalogue."""

    def __init__(self, tools: ToolRouter) -> None:
        self._tools = tools

    async def search_tools(
        self,
        query: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS, description="What is to be done.")],
        k: Annotated[int, Field(ge=1, le=50, description="How many tools at most.")] = 5,
        namespaces: Annotated[
            list[str] | None, Field(max_length=1_000, description="The only ones to look in; null for all.")
        ] = None,
        min_confidence: MinConfidence = None,
    ) -> Found:
        """Find the tools that serve a query, best first; none if no tool does."""
        matches = await self._tools.aselect(query, k, namespaces=namespaces, min_confidence=min_confidence)
        return Found(tools=[FoundTool.of(match) for match in matches])


class _Writing:
    """The tools that change routes. What they did is on disk when they answer."""

    def __init__(self, router: AdaptiveRouter, actor: str) -> None:
        self._router, self._actor = router, actor

    def add_route(
        self,
        name: Name,
        utterances: Utterances,
        description: Annotated[str | None, Field(description="One sentence for people.")] = None,
    ) -> Changed:
        """Add a route; it takes part in the next query."""
        route = Route(name=name, utterances=utterances, description=description)
        return self._changed(lambda: self._router.add_route(route))

    def add_utterances(self, name: Name, utterances: Utterances) -> Changed:
        """Add examples to a route; those it has already are skipped."""
        return self._changed(lambda: self._router.add_utterances(name, utterances))

    def remove_utterance(self, name: Name, utterance: Annotated[str, Field(description="The example.")]) -> Changed:
        """Remove an example of a route; the last one must stay."""
        return self._changed(lambda: self._router.remove_utterance(name, utterance))

    def delete_route(self, name: Name) -> Changed:
        """Delete a route and all its examples."""
        return self._changed(lambda: self._router.delete_route(name))

    def _changed(self, change: Callable[[], int]) -> Changed:
        with acting_as(self._actor):
            return Changed(revision=change())


def _tool(function: Callable[..., Any], title: str, *, destroys: bool | None = None) -> Tool:
    """A tool that refuses what it does not know, and never repeats what it was sent.

    Args:
        function: A coroutine function, or a function that may take its time in a thread.
        title: For people.
        destroys: None if it only reads; else whether something is lost by it.
    """
    tool = Tool.from_function(
        _telling(function),
        title=title,
        annotations=ToolAnnotations(
            read_only_hint=destroys is None,
            destructive_hint=bool(destroys),
            idempotent_hint=destroys is None,
            open_world_hint=False,
        ),
        structured_output=True,
    )
    arguments = tool.fn_metadata.arg_model
    arguments.model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)
    arguments.model_rebuild(force=True)
    return tool.model_copy(update={"parameters": arguments.model_json_schema(by_alias=True)})


def _telling(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with errors that the caller can do something about as the SDK's, which are sent back."""
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except _TOLD as exc:
                raise _told(exc) from exc

        return awaited

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except _TOLD as exc:
            raise _told(exc) from exc

    return called


def _told(exc: SynaptoRouteError) -> ToolError:
    later = f"; try again in {max(1, math.ceil(exc.retry_after_s))} s" if isinstance(exc, RouterOverloadedError) else ""
    return ToolError(f"{exc}{later}")
