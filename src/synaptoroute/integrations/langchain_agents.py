"""Agents of LangChain: show a model the few tools that serve the query, not all of them. The extra ``[langchain]``.

::

    create_agent(model, tools, middleware=[SemanticToolSelectorMiddleware(max_tools=5)])
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from synaptoroute.asking import probability
from synaptoroute.caching import RecentCache
from synaptoroute.errors import InvalidInputError, MissingExtraError
from synaptoroute.models import MAX_TEXT_CHARS
from synaptoroute.tools import Tool, ToolMatch, ToolRouter, as_tool

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
    from langchain_core.messages import HumanMessage
    from langchain_core.tools import BaseTool
except ImportError as exc:
    raise MissingExtraError("selecting tools for agents of LangChain", "langchain") from exc

OnNoMatch = Literal["all", "none"] | Iterable[str] | Callable[[str], Iterable[str]]
QueryFrom = Literal["last_human"] | Callable[[ModelRequest[Any]], str | None]

#: Turns whose selection is remembered; what is forgotten is selected anew.
_TURNS = 1_024
#: Tools that requests have brought; beyond these, only those of the request at hand are kept.
_CATALOGUE = 4_096


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What is to be selected for one call of a model.

    Attributes:
        tools: The tools among which is selected.
        query: By which; empty if there is none.
        turn: What stays the same as long as one message of a human is worked on.
    """

    tools: tuple[BaseTool, ...]
    query: str
    turn: tuple[str | None, str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        return self.turn[-1]


class SemanticToolSelectorMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Lets each call of the model see only the tools that serve the last message of the human.

    The selection of a turn is made once and holds while the agent calls tools and comes back. The tools that are shown
    keep the order the agent has them in, so that a provider's cache of the prompt stays of use. Tools that are dicts of
    a provider, and those that the router does not know, are always shown.

    Args:
        router: Selects among the agent's tools by their names, perhaps with more examples than they have. None makes
            one of the tools that the requests bring, and keeps it up to date with them.
        max_tools: Most tools to show beside those that are always shown.
        always_include: Names of tools that are shown whatever the query.
        min_confidence: Least probability that the best tool is right, in place of the router's.
        on_no_match: What to show where no tool fits or there is no query: "all", "none", the names of some, or a
            function from the query to names. These are not held to ``max_tools``.
        query_from: "last_human", or a function from the request to the query; None of it for none.

    Raises:
        InvalidInputError: An argument cannot be accepted. At a call of the model: a name in ``always_include`` or
            ``on_no_match`` is none of the agent's tools.
    """

    def __init__(
        self,
        router: ToolRouter | None = None,
        *,
        max_tools: int,
        always_include: Iterable[str] = (),
        min_confidence: float | None = None,
        on_no_match: OnNoMatch = "all",
        query_from: QueryFrom = "last_human",
    ) -> None:
        super().__init__()
        if max_tools < 1:
            raise InvalidInputError(f"max_tools is {max_tools}, wanted at least 1")
        if isinstance(always_include, str):
            raise InvalidInputError("always_include is a single text, wanted a list of names")
        if isinstance(on_no_match, str) and on_no_match not in {"all", "none"}:
            raise InvalidInputError(f'on_no_match is {on_no_match!r}, wanted "all", "none", a list or a function')
        self._given, self._own = router, _Catalogue()
        self._max_tools, self._min_confidence = max_tools, probability(min_confidence)
        self._always = frozenset(always_include)
        self._on_no_match = on_no_match if isinstance(on_no_match, str) or callable(on_no_match) else [*on_no_match]
        self._query_from = query_from
        self._turns: RecentCache[Any, frozenset[str]] = RecentCache(_TURNS)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Call the model with the tools that were selected."""
        asked = self._asked(request)
        if asked is None:
            return handler(request)
        chosen = self._turns.get(asked.turn)
        if chosen is None:
            matches: list[ToolMatch] = []
            if asked.query:
                router = self._given if self._given is not None else self._own.having(asked.tools)
                matches = router.select(asked.query, self._max_tools, **self._options(asked))
            chosen = self._chosen(asked, request, matches)
        return handler(_narrowed(request, asked, chosen))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """The same, without blocking the event loop."""
        asked = self._asked(request)
        if asked is None:
            return await handler(request)
        chosen = self._turns.get(asked.turn)
        if chosen is None:
            matches: list[ToolMatch] = []
            if asked.query:
                router = self._given
                if router is None:
                    # Tools that are new are encoded, which takes its time.
                    router = await asyncio.to_thread(self._own.having, asked.tools)
                matches = await router.aselect(asked.query, self._max_tools, **self._options(asked))
            chosen = self._chosen(asked, request, matches)
        return await handler(_narrowed(request, asked, chosen))

    def close(self) -> None:
        """Close the router that was made of the agent's tools; one that was given stays its owner's."""
        self._own.close()

    def _asked(self, request: ModelRequest[Any]) -> _Asked | None:
        """None if there is nothing to select among. Raises InvalidInputError for names of no tool."""
        tools = [tool for tool in request.tools if isinstance(tool, BaseTool)]
        _require(self._always, tools, "always_include")
        if isinstance(self._on_no_match, list):
            _require(self._on_no_match, tools, "on_no_match")
        known = None if self._given is None else {tool.name for tool in self._given.tools}
        among = tuple(tool for tool in tools if tool.name not in self._always and (known is None or tool.name in known))
        if not among:
            return None
        human = next((message for message in reversed(request.messages) if isinstance(message, HumanMessage)), None)
        said = None if human is None else str(human.text)
        query = self._query_from(request) if callable(self._query_from) else said
        # The encoder reads the beginning of a long text anyway.
        query = (query or "").strip()[:MAX_TEXT_CHARS].strip()
        turn = (None if human is None else human.id, query, tuple(tool.name for tool in among))
        return _Asked(tools=among, query=query, turn=turn)

    def _options(self, asked: _Asked) -> dict[str, Any]:
        return {"allow": asked.names, "min_confidence": self._min_confidence}

    def _chosen(self, asked: _Asked, request: ModelRequest[Any], matches: list[ToolMatch]) -> frozenset[str]:
        """The names to show, kept for the turn."""
        if matches:
            chosen = frozenset(match.name for match in matches)
        elif self._on_no_match == "all":
            chosen = frozenset(asked.names)
        elif self._on_no_match == "none":
            chosen = frozenset()
        else:
            names = self._on_no_match(asked.query) if callable(self._on_no_match) else self._on_no_match
            chosen = frozenset(names)
            _require(chosen, [tool for tool in request.tools if isinstance(tool, BaseTool)], "on_no_match")
        self._turns.put(asked.turn, chosen)
        return chosen


class _Catalogue:
    """A router over the tools that requests bring. Tools of one request do not push out those of another."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._router: ToolRouter | None = None
        self._seen: dict[str, BaseTool] = {}

    def having(self, tools: tuple[BaseTool, ...]) -> ToolRouter:
        """The router, once it has these. Built by one caller, while others wait."""
        router, seen = self._router, self._seen
        if router is not None and all(seen.get(tool.name) is tool for tool in tools):
            return router
        with self._changing:
            made = {tool.name: as_tool(tool) for tool in tools}
            before: dict[str, Tool] = {} if self._router is None else {tool.name: tool for tool in self._router.tools}
            after = before | made
            if len(after) > _CATALOGUE:
                after, self._seen = made, {}
            if self._router is None:
                self._router = ToolRouter(after.values())
            elif after != before:
                self._router.replace_all(after.values())
            # Another dict, for others read this one just now.
            self._seen = self._seen | {tool.name: tool for tool in tools}
            return self._router

    def close(self) -> None:
        with self._changing:
            router, self._router, self._seen = self._router, None, {}
            if router is not None:
                router.close()


def _require(names: Iterable[str], tools: Iterable[BaseTool], argument: str) -> None:
    there = {tool.name for tool in tools}
    if missing := sorted(set(names) - there):
        raise InvalidInputError(
            f"{argument} names {', '.join(map(repr, missing))}, of which the agent has no tool; it has "
            f"{', '.join(sorted(there)[:20]) or 'none'}"
        )


def _narrowed(request: ModelRequest[Any], asked: _Asked, chosen: frozenset[str]) -> ModelRequest[Any]:
    """The request without the tools that were selected among and not chosen; a tool the caller insists on stays."""
    out = frozenset(asked.names) - chosen - {request.tool_choice if isinstance(request.tool_choice, str) else None}
    tools = [tool for tool in request.tools if not isinstance(tool, BaseTool) or tool.name not in out]
    return request.override(tools=tools) if out else request
