"""Pydantic AI: the search behind deferred tools, and filters that show a model only what its prompt needs. The extra
``[pydantic-ai]``.

::

    Agent(model, tools=deferred, capabilities=[ToolSearch(strategy=tool_search())])
    Agent(model, tools=tools, capabilities=[PrepareTools(prepare_tools(k=5))])
    Agent(model, toolsets=[toolset.filtered(tool_filter(router, k=5))])
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal

from synaptoroute.errors import MissingExtraError, RouteExistsError
from synaptoroute.tools import ToolMatch, ToolRouter, as_tool

try:
    from pydantic_ai import RunContext
    from pydantic_ai.messages import ModelRequest, TextContent, UserContent, UserPromptPart
    from pydantic_ai.tools import ToolDefinition
except ImportError as exc:
    raise MissingExtraError("choosing tools in Pydantic AI", "pydantic-ai") from exc

OnNoMatch = Literal["none", "all"]
Search = Callable[[RunContext[Any], Sequence[str], Sequence[ToolDefinition]], Awaitable[list[str]]]
Prepare = Callable[[RunContext[Any], list[ToolDefinition]], Awaitable[list[ToolDefinition]]]
Filter = Callable[[RunContext[Any], ToolDefinition], Awaitable[bool]]

#: Runs whose selection a filter remembers; of an older one it is made again.
REMEMBERED_RUNS = 1_024


def tool_search(
    router: ToolRouter | None = None, *, max_results: int = 10, min_confidence: float | None = None
) -> Search:
    """A strategy for ``ToolSearch``: which of the deferred tools are meant by what the model looks for.

    It runs here, and also where the provider lets the client search (Anthropic, OpenAI), which keeps the prompt's
    cache. Where nothing is near enough it finds nothing, and the model is told so.

    Args:
        router: Knows tools by name, with examples or a store of its own; what it does not know it learns from the
            definitions when they are first seen. By default one is made.
        max_results: Most tools for one search; ``ToolSearch(max_results=...)`` applies as well.
        min_confidence: Least probability that a tool is right; None leaves it to the router.
    """
    known = _Known(router)

    async def search(_ctx: RunContext[Any], queries: Sequence[str], tools: Sequence[ToolDefinition]) -> list[str]:
        found: dict[str, float] = {}
        for matches in await known.select(_spoken(queries), tools, max_results, min_confidence):
            for match in matches:
                found[match.name] = max(match.confidence, found.get(match.name, 0.0))
        return sorted(found, key=found.__getitem__, reverse=True)[:max_results]

    return search


def prepare_tools(
    router: ToolRouter | None = None,
    *,
    k: int = 5,
    min_confidence: float | None = None,
    always: Iterable[str] = (),
    on_no_match: OnNoMatch = "all",
) -> Prepare:
    """A function for ``PrepareTools`` or ``toolset.prepared``: keeps the tools that the run's prompt needs.

    A run has one prompt, so its steps see the same tools, in the order in which they were defined.

    Args:
        router: As for ``tool_search``.
        k: Most tools, beside those of ``always``.
        min_confidence: Least probability that a tool is right; None leaves it to the router.
        always: Names of tools that are kept whatever the prompt is.
        on_no_match: "none" or "all" of the other tools, where none fits or there is no text to go by.
    """
    known, kept = _Known(router), frozenset(always)

    async def prepare(ctx: RunContext[Any], tools: list[ToolDefinition]) -> list[ToolDefinition]:
        judged = [tool for tool in tools if tool.name not in kept]
        found = await known.select(_spoken([_prompt(ctx)]), judged, k, min_confidence)
        names = {match.name for matches in found for match in matches}
        if not names and on_no_match == "all":
            return tools
        return [tool for tool in tools if tool.name in names or tool.name in kept]

    return prepare


def tool_filter(
    router: ToolRouter,
    *,
    k: int = 5,
    min_confidence: float | None = None,
    always: Iterable[str] = (),
    on_no_match: OnNoMatch = "all",
) -> Filter:
    """A function for ``toolset.filtered``: whether a tool is one that the run's prompt needs.

    It is asked for one tool at a time, so it chooses among all tools of the router, once for a run, and never shows
    what the router does not know, but for ``always``. The other arguments are those of ``prepare_tools``.
    """
    kept = frozenset(always)
    chosen: OrderedDict[tuple[str | None, str], frozenset[str]] = OrderedDict()

    async def is_needed(ctx: RunContext[Any], tool: ToolDefinition) -> bool:
        if tool.name in kept:
            return True
        text = _prompt(ctx)
        names = chosen.get((ctx.run_id, text))
        if names is None:
            matches = await router.aselect(text, k, min_confidence=min_confidence) if text.strip() else []
            names = chosen[ctx.run_id, text] = frozenset(match.name for match in matches)
            while len(chosen) > REMEMBERED_RUNS:
                chosen.popitem(last=False)
        return tool.name in names or (not names and on_no_match == "all")

    return is_needed


class _Known:
    """A router that learns the tools it is asked about, by definitions that may change from step to step."""

    def __init__(self, router: ToolRouter | None) -> None:
        self._router = router
        self._is_own = router is None
        self._learning = threading.Lock()
        self._seen: dict[str, tuple[str | None, Any]] = {}

    async def select(
        self, queries: list[str], tools: Sequence[ToolDefinition], k: int, min_confidence: float | None
    ) -> list[list[ToolMatch]]:
        if not queries or not tools:
            return []
        router = self._router
        if router is None or not self._knows(tools):
            router = await asyncio.to_thread(self._learn, tools)
        names = [tool.name for tool in tools]
        asked = (router.aselect(query, k, allow=names, min_confidence=min_confidence) for query in queries)
        return list(await asyncio.gather(*asked))

    def _knows(self, tools: Sequence[ToolDefinition]) -> bool:
        return all(self._seen.get(tool.name) == (tool.description, tool.parameters_json_schema) for tool in tools)

    def _learn(self, tools: Sequence[ToolDefinition]) -> ToolRouter:
        with self._learning:
            if self._router is None:
                self._router = ToolRouter()
            if self._is_own:
                fresh = {tool.name: as_tool(tool) for tool in tools if not self._knows([tool])}
                self._router.replace_all(({tool.name: tool for tool in self._router.tools} | fresh).values())
            else:
                _add_unknown(self._router, tools)
            self._seen |= {tool.name: (tool.description, tool.parameters_json_schema) for tool in tools}
            return self._router


def _add_unknown(router: ToolRouter, tools: Sequence[ToolDefinition]) -> None:
    before: set[str] | None = None
    while True:
        there = {tool.name for tool in router.tools}
        unknown = [tool for tool in tools if tool.name not in there]
        if not unknown:
            return
        try:
            router.add(*unknown)
        except RouteExistsError:
            # Another strategy over the same router has just added some of them, or else a name is taken for good.
            if there == before:
                raise
            before = there


def _spoken(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text.strip()))


def _prompt(ctx: RunContext[Any]) -> str:
    """What the user asked: the run's prompt, or the last one in the messages if the run was given only those."""
    if ctx.prompt is not None:
        return _text(ctx.prompt)
    for message in reversed(ctx.messages):
        parts = message.parts if isinstance(message, ModelRequest) else ()
        for part in reversed(parts):
            if isinstance(part, UserPromptPart):
                return _text(part.content)
    return ""


def _text(content: str | Sequence[UserContent]) -> str:
    if isinstance(content, str):
        return content
    pieces = (piece.content if isinstance(piece, TextContent) else piece for piece in content)
    return "\n".join(piece for piece in pieces if isinstance(piece, str))
