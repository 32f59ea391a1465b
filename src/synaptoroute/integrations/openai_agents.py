"""OpenAI Agents SDK: tools and handoffs that are there only where the turn needs them, and tool search on this side of
the Responses API. The extra ``[openai-agents]``.

::

    Agent("assistant", tools=select_tools(tools, k=5))
    Agent("triage", handoffs=select_handoffs([billing, support], router))
    tool, handler = openai_tool_search(ToolRouter(functions))
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from synaptoroute.describing import Parameter
from synaptoroute.errors import InvalidInputError, MissingExtraError
from synaptoroute.integrations.destinations import require_routes
from synaptoroute.router import AdaptiveRouter
from synaptoroute.tools import Tool as RoutedTool
from synaptoroute.tools import ToolMatch, ToolRouter

try:
    from agents import Agent, FunctionTool, Handoff, RunContextWrapper, Tool, function_tool, handoff
except ImportError as exc:
    raise MissingExtraError("choosing tools in the OpenAI Agents SDK", "openai-agents") from exc

OnNoMatch = Literal["none", "all"]
Offered = TypeVar("Offered", FunctionTool, Handoff[Any, Any])
#: What a tool or a handoff may have as ``is_enabled``.
Enabled = bool | Callable[[RunContextWrapper[Any], Any], Any]

DESCRIPTION = "Finds the tools for a task. Say what is to be done in one sentence, in the user's words."


def select_tools(
    tools: Iterable[Tool],
    router: ToolRouter | None = None,
    *,
    k: int = 5,
    min_confidence: float | None = None,
    always: Iterable[str] = (),
    on_no_match: OnNoMatch = "all",
) -> list[Tool]:
    """Copies of an agent's tools of which a turn sees those that the user's last message needs.

    The message is routed once for a turn, whatever the number of tools, and the tools keep their order. A tool's own
    ``is_enabled`` is heeded as well. Hosted tools stay as they are.

    Args:
        tools: For ``Agent(tools=...)``.
        router: Knows tools by name, with examples or a store of its own; those it does not know are added to it. By
            default one is made of the tools.
        k: Most tools, beside those of ``always``.
        min_confidence: Least probability that a tool is right; None leaves it to the router.
        always: Names of tools that are there whatever was said.
        on_no_match: "none" or "all" of the other tools, where none fits or there is no text to go by.
    """
    given, kept = list(tools), frozenset(always)
    judged = [tool for tool in given if isinstance(tool, FunctionTool) and tool.name not in kept]
    known = router if router is not None else ToolRouter()
    there = {tool.name for tool in known.tools}
    if unknown := [tool for tool in judged if tool.name not in there]:
        known.add(*unknown)
    names = frozenset(tool.name for tool in judged)

    async def choose(text: str) -> frozenset[str]:
        matches = await known.aselect(text, k, allow=names, min_confidence=min_confidence)
        return frozenset(match.name for match in matches)

    chosen = _ChosenOnce(choose, on_no_match)
    return [
        _only_where(chosen, tool.name, tool) if isinstance(tool, FunctionTool) and tool.name in names else tool
        for tool in given
    ]


def select_handoffs(
    handoffs: Iterable[Agent[Any] | Handoff[Any, Any]],
    router: AdaptiveRouter,
    *,
    min_confidence: float | None = None,
    on_no_match: OnNoMatch = "all",
) -> list[Agent[Any] | Handoff[Any, Any]]:
    """Handoffs of which a turn sees the one to the agent that the user's last message is routed to.

    Args:
        handoffs: Agents, or handoffs to them, for ``Agent(handoffs=...)``.
        router: Its routes have the names of the agents; it may have more.
        min_confidence: Least probability that the route is right; None leaves it to the router.
        on_no_match: "none" or "all" of the handoffs, where no route fits, the route is no agent's, or there is no text.

    Raises:
        RouteNotFoundError: An agent has no route of its name.
    """
    made = [handoff(given) if isinstance(given, Agent) else given for given in handoffs]
    names = frozenset(each.agent_name for each in made)
    require_routes(router, sorted(names))

    async def choose(text: str) -> frozenset[str]:
        decision = await router.aquery(text, min_confidence=min_confidence)
        return names & {decision.name}

    chosen = _ChosenOnce(choose, on_no_match)
    return [_only_where(chosen, each.agent_name, each) for each in made]


class _ChosenOnce:
    """What was chosen for the last message of a run: asked for by each tool, routed once."""

    def __init__(self, choose: Callable[[str], Awaitable[frozenset[str]]], on_no_match: OnNoMatch) -> None:
        self._choose = choose
        self._on_no_match = on_no_match
        self._runs: WeakKeyDictionary[RunContextWrapper[Any], tuple[str, asyncio.Task[frozenset[str]]]]
        self._runs = WeakKeyDictionary()

    async def has(self, name: str, run: RunContextWrapper[Any]) -> bool:
        text = last_user_text(run.turn_input)
        names = await self._names(text, run) if text.strip() else frozenset()
        return name in names or (not names and self._on_no_match == "all")

    async def _names(self, text: str, run: RunContextWrapper[Any]) -> frozenset[str]:
        known, task = self._runs.get(run, ("", None))
        if task is None or known != text or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.ensure_future(self._choose(text))
            self._runs[run] = (text, task)
        return await asyncio.shield(task)


class ToolSearchHandler:
    """Answers the ``tool_search_call`` items of a response; made by ``openai_tool_search``."""

    def __init__(self, router: ToolRouter, k: int, min_confidence: float | None) -> None:
        self._router = router
        self._k, self._min_confidence = k, min_confidence

    def __call__(self, call: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
        """The ``tool_search_output`` item to append to the input; it has no tools where none fits."""
        item, query = _searched(call)
        matches = self._router.select(query, self._k, min_confidence=self._min_confidence) if query else []
        return _found(item, matches)

    async def acall(self, call: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
        """The same without blocking the event loop."""
        item, query = _searched(call)
        matches = await self._router.aselect(query, self._k, min_confidence=self._min_confidence) if query else []
        return _found(item, matches)


def openai_tool_search(
    router: ToolRouter, *, k: int = 5, min_confidence: float | None = None, description: str = DESCRIPTION
) -> tuple[dict[str, Any], ToolSearchHandler]:
    """Tool search that the Responses API leaves to the client, for requests without the runner of the SDK.

    The model says what it needs, the handler answers with the definitions of the tools that fit, and both are appended
    to the input, so that the prompt's cache survives. Names are unique in a router, so namespaces are not used.

    Args:
        router: What can be found: dicts as the APIs of OpenAI take them, functions, pydantic models, ``FunctionTool``.
        k: Most tools for one search.
        min_confidence: Least probability that a tool is right; None leaves it to the router.
        description: What the model is told about the search.

    Returns:
        The tool to pass to ``responses.create(tools=[...])``, and what answers its calls.
    """
    parameters = {
        "type": "object",
        "properties": {"query": {"type": "string", "description": "What the tools are needed for."}},
        "required": ["query"],
        "additionalProperties": False,
    }
    tool = {"type": "tool_search", "execution": "client", "description": description, "parameters": parameters}
    return tool, ToolSearchHandler(router, k, min_confidence)


def last_user_text(items: Sequence[Any]) -> str:
    """The text of the last message that a user sent, "" if there is none."""
    for item in reversed(items):
        if isinstance(item, Mapping) and item.get("role") == "user":
            content = item.get("content") or ""
            if isinstance(content, str):
                return content
            texts = (part.get("text") for part in content if isinstance(part, Mapping))
            return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def _only_where(chosen: _ChosenOnce, name: str, offered: Offered) -> Offered:
    """A copy that is enabled where the original is and its name was chosen."""
    before: Enabled = offered.is_enabled

    async def is_enabled(run: RunContextWrapper[Any], agent: Any) -> bool:
        own = before if isinstance(before, bool) else before(run, agent)
        if inspect.isawaitable(own):
            own = await own
        return bool(own) and await chosen.has(name, run)

    made = copy.copy(offered)
    made.is_enabled = is_enabled
    return made


def _searched(call: BaseModel | Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The call, and what it looks for: "" if the model did not say it as it was told to."""
    item = call.model_dump() if isinstance(call, BaseModel) else call
    if item.get("type") != "tool_search_call":
        raise InvalidInputError(f"the handler was given an item of type {item.get('type')!r}, wanted tool_search_call")
    arguments = item.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    query = arguments.get("query") if isinstance(arguments, Mapping) else None
    return item, query.strip() if isinstance(query, str) else ""


def _found(item: Mapping[str, Any], matches: list[ToolMatch]) -> dict[str, Any]:
    return {
        "type": "tool_search_output",
        "execution": "client",
        "call_id": item.get("call_id"),
        "status": "completed",
        "tools": [_loaded(match.tool) for match in matches],
    }


def _loaded(tool: RoutedTool) -> dict[str, Any]:
    """The definition that the model gets. It is marked as deferred, as what a search has loaded is."""
    schema, strict = _schema(tool)
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description or "",
        "parameters": schema,
        "strict": strict,
        "defer_loading": True,
    }


def _schema(tool: RoutedTool) -> tuple[dict[str, Any], bool]:
    """The schema of the arguments, and whether the model must keep to it.

    Of a source of unknown kind it is what the router knows: the names of the arguments, without their types.
    """
    source = tool.source
    if inspect.isfunction(source) or inspect.ismethod(source):
        source = function_tool(source)
    if isinstance(source, FunctionTool):
        return source.params_json_schema, source.strict_json_schema
    if isinstance(source, type) and issubclass(source, BaseModel):
        return source.model_json_schema(), False
    if isinstance(source, Mapping):
        function = source.get("function", source)
        for key in ("parameters", "input_schema", "inputSchema"):
            if function.get(key):
                return dict(function[key]), bool(function.get("strict"))
    properties: dict[str, Any] = {}
    for parameter in tool.parameters:
        name, _, within = parameter.name.partition(".")
        properties.setdefault(name, {} if within else _property(parameter))
    required = [parameter.name for parameter in tool.parameters if parameter.required and parameter.name in properties]
    return {"type": "object", "properties": properties, "required": required}, False


def _property(parameter: Parameter) -> dict[str, Any]:
    described = {} if parameter.description is None else {"description": parameter.description}
    return described | ({"enum": list(parameter.choices)} if parameter.choices else {})
