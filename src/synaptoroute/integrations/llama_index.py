"""LlamaIndex: a selector for its routers, a retriever of tools for its agents, and an embedding. The extra
``[llama-index]``.

::

    RouterQueryEngine(SemanticRouterSelector(), query_engine_tools, llm=llm)
    FunctionAgent(tool_retriever=ToolRetriever(tools), llm=llm)
    VectorStoreIndex(nodes, embed_model=SynaptoRouteEmbedding())
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from synaptoroute.encoder.base import BaseEncoder, encode_checked
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.errors import InvalidInputError, MissingExtraError, RouterClosedError, SynaptoRouteError
from synaptoroute.models import Decision
from synaptoroute.router import AdaptiveRouter
from synaptoroute.tools import Tool, ToolMatch, ToolRouter, as_tool

try:
    from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.objects import ObjectRetriever
    from llama_index.core.prompts.mixin import PromptDictType
    from llama_index.core.schema import QueryBundle, QueryType
    from llama_index.core.tools import BaseTool, FunctionTool, ToolMetadata
except ImportError as exc:
    raise MissingExtraError("routing in LlamaIndex", "llama-index") from exc

OnNoMatch = Literal["raise", "all"] | int


class NoChoiceError(SynaptoRouteError, ValueError):
    """None of a selector's choices fits the query, and ``on_no_match`` is "raise"."""


class _Described(NamedTuple):
    """What a selector's choices look like, and a router over just that."""

    choices: tuple[tuple[str | None, str], ...]
    tools: ToolRouter


class SemanticRouterSelector(BaseSelector):
    """Chooses one of a router's choices, such as the query engines of a ``RouterQueryEngine``, without a model.

    With a ``router``, the choices are its routes of the same names. Without one, they are told apart by their names and
    descriptions, which are encoded when they are first seen and again when they change, never for a query.

    LlamaIndex knows no abstention, so ``on_no_match`` says what becomes of a query that fits no choice. The reason of a
    selection holds the score, the confidence and the lead over the runner-up.

    Args:
        router: Its routes' names are the names of the choices; it may have more. It stays open.
        encoder: For descriptions; the bundled encoder by default.
        on_no_match: "raise" raises NoChoiceError, "all" selects every choice, a number the choice at that index.
        min_confidence: Least probability of being right; None leaves it to the router.

    Raises:
        InvalidInputError: Both a router and an encoder are given, or ``on_no_match`` is something else.
    """

    def __init__(
        self,
        router: AdaptiveRouter | None = None,
        *,
        encoder: BaseEncoder | None = None,
        on_no_match: OnNoMatch = "raise",
        min_confidence: float | None = None,
    ) -> None:
        if router is not None and encoder is not None:
            raise InvalidInputError("a router comes with its own encoder; give either router or encoder")
        if on_no_match not in ("raise", "all") and (not isinstance(on_no_match, int) or on_no_match < 0):
            raise InvalidInputError(f"on_no_match is {on_no_match!r}, wanted 'raise', 'all' or the index of a choice")
        self._router = router
        self._encoder = encoder
        self._on_no_match = on_no_match
        self._min_confidence = min_confidence
        self._describing = threading.Lock()
        self._described: _Described | None = None

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        """There are none."""

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        if self._router is not None:
            names = _names(choices)
            decision = self._router.route(query.query_str, allow=names, min_confidence=self._min_confidence, top_k=2)
            return self._of_decision(decision, names)
        while True:
            described = self._describe(choices)
            try:
                matches = described.tools.select(query.query_str, 2, min_confidence=self._min_confidence)
                return self._of_matches(matches, choices)
            except RouterClosedError:
                if described is self._described:
                    raise

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        if self._router is not None:
            names = _names(choices)
            decision = await self._router.aquery(
                query.query_str, allow=names, min_confidence=self._min_confidence, top_k=2
            )
            return self._of_decision(decision, names)
        while True:
            described = await asyncio.to_thread(self._describe, choices)
            try:
                matches = await described.tools.aselect(query.query_str, 2, min_confidence=self._min_confidence)
                return self._of_matches(matches, choices)
            except RouterClosedError:
                if described is self._described:
                    raise

    def _describe(self, choices: Sequence[ToolMetadata]) -> _Described:
        """The router over the choices; made once, and anew when they have changed."""
        looks = tuple((choice.name, choice.description) for choice in choices)
        with self._describing:
            before = self._described
            if before is not None and before.choices == looks:
                return before
            if self._encoder is None:
                self._encoder = BundledEncoder()
            described = self._described = _Described(looks, ToolRouter(_tools_of(choices), encoder=self._encoder))
        if before is not None:
            before.tools.close()
        return described

    def _of_decision(self, decision: Decision, names: list[str]) -> SelectorResult:
        if decision.name is None:
            return self._no_match(len(names), decision.reason.value)
        reason = _reason(decision.name, decision.matches[0].score, decision.confidence, decision.margin)
        return _selected((names.index(decision.name), reason))

    def _of_matches(self, matches: list[ToolMatch], choices: Sequence[ToolMetadata]) -> SelectorResult:
        if not matches:
            return self._no_match(len(choices), "no choice is near enough")
        best = matches[0]
        margin = best.confidence - matches[1].confidence if len(matches) > 1 else None
        index: int = best.tool.source
        return _selected(
            (index, _reason(choices[index].name or f"choice {index}", best.score, best.confidence, margin))
        )

    def _no_match(self, count: int, why: str) -> SelectorResult:
        if self._on_no_match == "raise":
            raise NoChoiceError(
                f"none of the {count} choices fits the query ({why}); on_no_match='all' or an index names a fallback"
            )
        if self._on_no_match == "all":
            return _selected(*((index, f"no match ({why}): all are asked") for index in range(count)))
        if self._on_no_match >= count:
            raise InvalidInputError(f"on_no_match is {self._on_no_match}, but there are only {count} choices")
        return _selected((self._on_no_match, f"no match ({why}): the fallback"))

    def close(self) -> None:
        """Close what was made for descriptions; a given router stays open."""
        with self._describing:
            described, self._described = self._described, None
        if described is not None:
            described.tools.close()


class ToolRetriever(ObjectRetriever[BaseTool]):
    """The tools of an agent that fit what it was asked: ``FunctionAgent(tool_retriever=ToolRetriever(tools))``.

    An agent also asks for a tool by its name alone, when it calls it.

    Args:
        tools: Tools, or functions.
        router: Knows tools by their names, with examples or a store of its own, and stays open; those it does not know
            are added to it. By default one is made of the tools.
        k: Most tools for one text.
        min_confidence: Least probability that a tool is right; None leaves it to the router.
        on_no_match: "none" or "all" of the tools, where none fits.

    Raises:
        InvalidInputError: Two tools have the same name.
    """

    def __init__(
        self,
        tools: Iterable[BaseTool | Callable[..., Any]],
        *,
        router: ToolRouter | None = None,
        k: int = 5,
        min_confidence: float | None = None,
        on_no_match: Literal["none", "all"] = "all",
    ) -> None:
        made = [tool if isinstance(tool, BaseTool) else FunctionTool.from_defaults(tool) for tool in tools]
        self._tools = {tool.metadata.get_name(): tool for tool in made}
        if len(self._tools) < len(made):
            twice, _ = Counter(tool.metadata.get_name() for tool in made).most_common(1)[0]
            raise InvalidInputError(f"two tools are named {twice!r}; give each a name of its own")
        self._is_own = router is None
        self._router = router if router is not None else ToolRouter()
        there = {tool.name for tool in self._router.tools}
        if unknown := [tool for name, tool in self._tools.items() if name not in there]:
            self._router.add(*map(_as_tool, unknown))
        self._k, self._min_confidence = k, min_confidence
        self._on_no_match = on_no_match

    def retrieve(self, str_or_query_bundle: QueryType) -> list[BaseTool]:
        """The tools for a text, best first, or the one of that name."""
        text = _text(str_or_query_bundle)
        if text in self._tools:
            return [self._tools[text]]
        if not text.strip():
            return self._of([])
        return self._of(self._router.select(text, self._k, allow=self._tools, min_confidence=self._min_confidence))

    async def aretrieve(self, str_or_query_bundle: QueryType) -> list[BaseTool]:
        """``retrieve`` without blocking the event loop."""
        text = _text(str_or_query_bundle)
        if text in self._tools:
            return [self._tools[text]]
        if not text.strip():
            return self._of([])
        return self._of(
            await self._router.aselect(text, self._k, allow=self._tools, min_confidence=self._min_confidence)
        )

    def _of(self, matches: list[ToolMatch]) -> list[BaseTool]:
        if not matches and self._on_no_match == "all":
            return list(self._tools.values())
        return [self._tools[match.name] for match in matches]

    def close(self) -> None:
        """Close the router that was made here; a given one stays open."""
        if self._is_own:
            self._router.close()


class SynaptoRouteEmbedding(BaseEmbedding):
    """An encoder of SynaptoRoute as LlamaIndex's embedding: unit vectors, made on this machine by default.

    Args:
        encoder: Any; the bundled encoder by default.
        **settings: Of ``BaseEmbedding``, such as ``embed_batch_size`` and ``embeddings_cache``.
    """

    _encoder: BaseEncoder = PrivateAttr()

    def __init__(self, encoder: BaseEncoder | None = None, **settings: Any) -> None:
        encoder = encoder if encoder is not None else BundledEncoder()
        super().__init__(**{"model_name": encoder.name} | settings)
        self._encoder = encoder

    @classmethod
    def class_name(cls) -> str:
        """For LlamaIndex's own files."""
        return "SynaptoRouteEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._rows([query], queries=True)[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await asyncio.to_thread(self._rows, [query], queries=True))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._rows([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await asyncio.to_thread(self._rows, [text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._rows(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._rows, texts)

    def _rows(self, texts: list[str], *, queries: bool = False) -> list[list[float]]:
        rows: list[list[float]] = encode_checked(self._encoder, texts, queries=queries).tolist()
        return rows


def _names(choices: Sequence[ToolMetadata]) -> list[str]:
    names = [choice.name for choice in choices if choice.name is not None]
    if len(set(names)) < len(choices):
        raise InvalidInputError("every choice needs a name of its own, that of its route; see ToolMetadata(name=...)")
    return names


def _tools_of(choices: Sequence[ToolMetadata]) -> list[Tool]:
    """The choices as tools. A name that several share, such as LlamaIndex's default, tells nothing and is left out."""
    often = Counter(choice.name for choice in choices)
    return [
        Tool(
            name=choice.name if choice.name is not None and often[choice.name] == 1 else f"choice {index}",
            description=choice.description,
            parameters=(),
            source=index,
        )
        for index, choice in enumerate(choices)
    ]


def _as_tool(tool: BaseTool) -> Tool:
    described = as_tool(tool.metadata.to_openai_tool(skip_length_check=True))
    return dataclasses.replace(described, name=tool.metadata.get_name(), source=tool)


def _selected(*choices: tuple[int, str]) -> SelectorResult:
    return SelectorResult(selections=[SingleSelection(index=index, reason=reason) for index, reason in choices])


def _reason(name: str, score: float, confidence: float, margin: float | None) -> str:
    lead = "" if margin is None else f", margin {margin:.2f}"
    return f"{name}: score {score:.2f}, confidence {confidence:.2f}{lead}"


def _text(query: QueryType) -> str:
    return query if isinstance(query, str) else query.query_str
