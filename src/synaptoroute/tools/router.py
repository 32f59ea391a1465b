"""ToolRouter: which of many tools serve a query, best first, or none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Self

from synaptoroute.asking import RouteOptions
from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.errors import InvalidToolError, RouteExistsError, RouteNotFoundError
from synaptoroute.models import Decision, Route
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage.base import BaseStorage
from synaptoroute.tools.tool import Tool, as_tools
from synaptoroute.tools.wording import texts_of

Allow = Iterable[str] | Callable[[Tool], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMatch:
    """A tool that may serve a query.

    Attributes:
        name: The tool's.
        score: Cosine similarity of the query and the nearest of the tool's texts, in [-1, 1].
        confidence: Calibrated probability in [0, 1] that this tool is the right one.
        tool: Itself.
    """

    name: str
    score: float
    confidence: float
    tool: Tool


class ToolRouter:
    """Selects among tools in whatever form they come; see ``as_tool``.

    Tools change while queries run: a query sees all tools as they were at one moment.

    Args:
        tools: Any that ``as_tool`` takes; None begins without.
        encoder: Texts to vectors; the bundled encoder by default.
        storage: Where the tools' texts and vectors live, so that the next start does not encode them again; in memory
            by default. It belongs to this router alone.
        min_confidence: Least probability that a tool serves the query; 0.5 unless given.

    Raises:
        InvalidToolError: One of the tools is none, two have the same name, or the list is empty.
        EncoderError: A text could not be encoded.
        StorageError: The store cannot be read or written.
    """

    def __init__(
        self,
        tools: Iterable[Any] | None = None,
        *,
        encoder: BaseEncoder | None = None,
        storage: BaseStorage | None = None,
        min_confidence: float | None = None,
    ) -> None:
        given = None if tools is None else _distinct(tools)
        self._changing = threading.RLock()
        self._tools: Mapping[str, Tool] = MappingProxyType({})
        self._router = AdaptiveRouter(encoder, storage, min_confidence=min_confidence)
        try:
            if given is not None:
                self._replace(given)
        except BaseException:
            self._router.close()
            raise

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All tools in the order they were added."""
        return tuple(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    # ------------------------------------------------------------------------------------------------ selecting
    def select(
        self,
        query: str,
        k: int = 5,
        *,
        allow: Allow | None = None,
        namespaces: Iterable[str] | None = None,
        min_confidence: float | None = None,
    ) -> list[ToolMatch]:
        """The tools that may serve a query, best first; empty where none does.

        Args:
            query: 1 to 32,768 characters.
            k: How many at most.
            allow: Names of the tools the caller may use, or what tells of each whether he may. Others take no part: not
                in the ranking, and not in the confidence. Names of no tool are passed over.
            namespaces: The only ones to look in; a tool without a namespace is in none.
            min_confidence: In place of the router's.

        Raises:
            InvalidQueryError: The text cannot be routed.
            InvalidInputError: k or min_confidence is out of its range.
            EncoderError: The encoder failed.
            RouterOverloadedError: Too many queries wait already.
            RouterClosedError: The router was closed.
        """
        tools, options = self._asked(k, allow, namespaces, min_confidence)
        return _matches(self._router.route(query, **options), tools)

    async def aselect(
        self,
        query: str,
        k: int = 5,
        *,
        allow: Allow | None = None,
        namespaces: Iterable[str] | None = None,
        min_confidence: float | None = None,
    ) -> list[ToolMatch]:
        """``select`` without blocking the event loop."""
        tools, options = self._asked(k, allow, namespaces, min_confidence)
        return _matches(await self._router.aquery(query, **options), tools)

    def _asked(
        self, k: int, allow: Allow | None, namespaces: Iterable[str] | None, min_confidence: float | None
    ) -> tuple[Mapping[str, Tool], RouteOptions]:
        tools = self._tools
        options: RouteOptions = {"top_k": k, "min_confidence": min_confidence}
        if allow is not None or namespaces is not None:
            options["allow"] = [tool.name for tool in _allowed(tools, allow, namespaces)]
        return tools, options

    # ------------------------------------------------------------------------------------------------- changing
    def add(self, *tools: Any) -> None:
        """Add tools, all or none; they take part in the next query.

        Raises:
            InvalidToolError: One of them is no tool, or two have the same name.
            RouteExistsError: A name is taken.
        """
        added = _distinct(tools)
        with self._changing:
            if taken := next((name for name in added if name in self._tools), None):
                raise RouteExistsError(f"there is a tool {taken!r} already; remove it first, or replace_all")
            self._router.add_routes(map(_route, added.values()))
            self._tools = MappingProxyType({**self._tools, **added})

    def remove(self, name: str) -> None:
        """Remove a tool. Raises RouteNotFoundError."""
        with self._changing:
            if name not in self._tools:
                raise RouteNotFoundError(f"there is no tool {name!r}")
            self._tools = MappingProxyType({other: tool for other, tool in self._tools.items() if other != name})
            self._router.delete_route(name)

    def replace_all(self, tools: Iterable[Any]) -> None:
        """Make these the only tools, all or none, in one step. Texts that are there already are not encoded again.

        Raises:
            InvalidToolError: One of them is no tool, two have the same name, or there are none; nothing was changed.
        """
        given = _distinct(tools)
        with self._changing:
            self._replace(given)

    def _replace(self, tools: dict[str, Tool]) -> None:
        self._router.replace_routes(map(_route, tools.values()))
        self._tools = MappingProxyType(tools)

    # ------------------------------------------------------------------------------------------------- lifetime
    def close(self) -> None:
        """Answer what was accepted, then release threads and the store. Closing twice is fine."""
        self._router.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"ToolRouter({len(self)} tools, encoder={self._router.encoder.name!r})"


def _distinct(tools: Iterable[Any]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for tool in as_tools(tools):
        if tool.name in found:
            raise InvalidToolError(f"two tools are named {tool.name!r}; a name must be unique, across namespaces too")
        found[tool.name] = tool
    if not found:
        raise InvalidToolError("the list of tools is empty; give at least one")
    return found


def _allowed(tools: Mapping[str, Tool], allow: Allow | None, namespaces: Iterable[str] | None) -> list[Tool]:
    if isinstance(allow, str) or isinstance(namespaces, str):
        raise InvalidToolError("allow and namespaces are lists of names, got a single text")
    chosen = list(tools.values())
    if namespaces is not None:
        wanted = frozenset(namespaces)
        chosen = [tool for tool in chosen if tool.namespace in wanted]
    if callable(allow):
        return [tool for tool in chosen if allow(tool)]
    if allow is not None:
        names = frozenset(allow)
        return [tool for tool in chosen if tool.name in names]
    return chosen


def _route(tool: Tool) -> Route:
    return Route(name=tool.name, utterances=texts_of(tool), description=tool.description)


def _matches(decision: Decision, tools: Mapping[str, Tool]) -> list[ToolMatch]:
    if not decision:
        return []
    return [
        ToolMatch(name=match.name, score=match.score, confidence=match.confidence, tool=tools[match.name])
        for match in decision.matches
        if match.name in tools
    ]
