"""ToolRouter: which of many tools serve a query, best first, or none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

from synaptoroute.asking import probability
from synaptoroute.batching import Batcher, batch_limits
from synaptoroute.caching import EmbeddingCache
from synaptoroute.decision.background import BACKGROUND
from synaptoroute.encoder.base import BaseEncoder, Vectors, encode_checked
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.errors import InvalidInputError, InvalidToolError, RouteExistsError, RouteNotFoundError
from synaptoroute.models import clean_query
from synaptoroute.profile import OptimizationProfile
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage.base import BaseStorage
from synaptoroute.tools.catalog import Allow, Catalog, Columns, ToolMatch
from synaptoroute.tools.confidence import DEFAULT_MIN_CONFIDENCE
from synaptoroute.tools.storing import route_of, tool_of, vectors_of
from synaptoroute.tools.tool import Tool, as_tools

__all__ = ["SelectOptions", "ToolMatch", "ToolRouter"]


class SelectOptions(TypedDict, total=False):
    """Who asks, and how sure it has to be.

    Attributes:
        allow: Names of the tools the caller may use, or what tells of each tool whether he may. The others take no
            part: not in the ranking, and not in the confidence. Names of no tool are passed over.
        namespaces: The only ones to look in; a tool without a namespace is in none.
        min_confidence: Least probability in [0, 1] that any of these tools serves the query, in place of the router's.
    """

    allow: Allow | None
    namespaces: Iterable[str] | None
    min_confidence: float | None


@dataclass(frozen=True, eq=False, slots=True)
class _Asked:
    """One call: of which tools, for how many, of which that may be used, and how sure it has to be."""

    catalog: Catalog
    k: int
    columns: Columns | None
    min_confidence: float


class ToolRouter:
    """Selects among tools in whatever form they come; see ``as_tool``.

    Tools may change while queries run: a query sees all of them as they were at one moment. Everything may be called
    from any thread and from several event loops; ``aselect`` keeps the loop free.

    Args:
        tools: Any that ``as_tool`` takes, and OpenAI's namespaces. None takes those of the storage, which have no
            ``source``, or begins without.
        encoder: Texts to vectors; the bundled encoder by default.
        storage: Where the tools' texts and vectors live, so that the next start does not encode them again; in memory
            by default. It belongs to this router alone, and is closed with it.
        min_confidence: Least probability that any of the tools serves the query; 0.5 unless given.

    Raises:
        InvalidToolError: One of them is no tool, two have the same name, or the list is empty.
        EncoderError: A text could not be encoded.
        EncoderMismatchError: The store was written with another encoder.
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
        self._min_confidence = probability(min_confidence)
        self._encoder: BaseEncoder = BundledEncoder() if encoder is None else encoder
        # Holds the tools' texts and vectors, and changes them durably. It is never asked: with nothing but descriptions
        # its head has no queries to learn from.
        self._routes = AdaptiveRouter(self._encoder, storage, cache_bytes=0)
        self._changing = threading.RLock()
        self._background: Vectors | None = None
        self._catalog = Catalog()
        self._batcher: Batcher[_Asked, list[ToolMatch]] = Batcher(
            self._encode,
            lambda asked, texts, vectors: asked.catalog.matches(
                texts, vectors, k=asked.k, columns=asked.columns, min_confidence=asked.min_confidence
            ),
            batch_limits(OptimizationProfile.BALANCED, alone=hasattr(self._encoder, "encode_in_thread")),
            EmbeddingCache(self._encoder.fingerprint, 16 << 20),
        )
        try:
            if given is not None:
                self._replace(given)
            elif len(self._routes):
                self._catalog = self._catalog_of({route.name: tool_of(route) for route in self._routes.routes})
        except BaseException:
            self.close()
            raise

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return encode_checked(self._encoder, texts, alone=True, queries=True)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All tools in the order they were added."""
        return self._catalog.tools

    @property
    def encoder(self) -> BaseEncoder:
        """The encoder."""
        return self._encoder

    def __bool__(self) -> bool:
        """True, also without tools: whoever writes ``router or another`` asks whether there is a router."""
        return True

    def __len__(self) -> int:
        return len(self.tools)

    def __contains__(self, name: object) -> bool:
        return name in self._catalog.named

    # ------------------------------------------------------------------------------------------------ selecting
    def select(self, query: str, k: int = 5, **options: Unpack[SelectOptions]) -> list[ToolMatch]:
        """The tools that may serve a query, best first; empty where none is likely to.

        Args:
            query: 1 to 32,768 characters.
            k: How many at most. Whether there are any does not depend on it.
            **options: See ``SelectOptions``.

        Raises:
            InvalidQueryError: The text cannot be routed.
            InvalidInputError: An option is out of its range.
            EncoderError: The encoder failed.
            RouterOverloadedError: Too many queries wait already.
            RouterClosedError: The router was closed.
        """
        return self.select_many([query], k, **options)[0]

    def select_many(
        self, queries: Sequence[str], k: int = 5, **options: Unpack[SelectOptions]
    ) -> list[list[ToolMatch]]:
        """``select`` for several queries, all of the same tools, in order."""
        return self._batcher.run(*self._asked(queries, k, options))

    async def aselect(self, query: str, k: int = 5, **options: Unpack[SelectOptions]) -> list[ToolMatch]:
        """``select`` without blocking the event loop."""
        return (await self.aselect_many([query], k, **options))[0]

    async def aselect_many(
        self, queries: Sequence[str], k: int = 5, **options: Unpack[SelectOptions]
    ) -> list[list[ToolMatch]]:
        """``select_many`` without blocking the event loop."""
        return await self._batcher.arun(*self._asked(queries, k, options))

    def _asked(self, queries: Sequence[str], k: int, options: SelectOptions) -> tuple[list[str], _Asked]:
        if isinstance(queries, str):
            raise InvalidInputError("a list of queries is wanted here; select takes a single text")
        if k < 1:
            raise InvalidInputError(f"k is {k}, wanted at least 1")
        catalog = self._catalog
        chosen = (probability(options.get("min_confidence")), self._min_confidence, DEFAULT_MIN_CONFIDENCE)
        least = next(value for value in chosen if value is not None)
        columns = catalog.columns(options.get("allow"), options.get("namespaces"))
        return [clean_query(query) for query in queries], _Asked(catalog, k, columns, least)

    # ------------------------------------------------------------------------------------------------- changing
    def add(self, *tools: Any) -> None:
        """Add tools, all or none; they take part in the next query. Many are added fastest in one call.

        Raises:
            InvalidToolError: One of them is no tool, two have the same name, or there are none.
            RouteExistsError: A name is taken; nothing was changed.
        """
        added = _distinct(tools)
        with self._changing:
            if taken := next((name for name in added if name in self), None):
                raise RouteExistsError(f"there is a tool {taken!r} already; remove it first, or replace_all")
            self._routes.add_routes(map(route_of, added.values()))
            self._catalog = self._catalog_of({**{tool.name: tool for tool in self.tools}, **added})

    def remove(self, name: str) -> None:
        """Remove a tool. Raises RouteNotFoundError."""
        with self._changing:
            if name not in self:
                raise RouteNotFoundError(f"there is no tool {name!r}")
            self._routes.delete_route(name)
            self._catalog = self._catalog_of({tool.name: tool for tool in self.tools if tool.name != name})

    def replace_all(self, tools: Iterable[Any]) -> None:
        """Make these the only tools, all or none, in one step. Texts that are there already are not encoded again.

        Raises:
            InvalidToolError: One of them is no tool, two have the same name, or there are none; nothing was changed.
        """
        given = _distinct(tools)
        with self._changing:
            self._replace(given)

    def _replace(self, tools: dict[str, Tool]) -> None:
        self._routes.replace_routes(map(route_of, tools.values()))
        self._catalog = self._catalog_of(tools)

    def _catalog_of(self, tools: dict[str, Tool]) -> Catalog:
        if self._background is None:
            self._background = encode_checked(self._encoder, BACKGROUND, queries=True)
        return Catalog.of(tools.values(), vectors_of(self._routes.snapshot), self._background)

    # ------------------------------------------------------------------------------------------------- lifetime
    def close(self) -> None:
        """Answer what was accepted, then release threads and the store. Closing twice is fine."""
        self._batcher.close()
        self._routes.close()

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
        return f"ToolRouter({len(self)} tools, encoder={self._encoder.name!r})"


def _distinct(tools: Iterable[Any]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for tool in as_tools(tools):
        if tool.name in found:
            raise InvalidToolError(f"two tools are named {tool.name!r}; a name is unique, across namespaces too")
        found[tool.name] = tool
    if not found:
        raise InvalidToolError("the list of tools is empty; give at least one")
    return found
