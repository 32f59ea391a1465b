"""LangChain: the router as a tool, as a Runnable with branches. The extra ``[langchain]``.

Agents that choose among many tools want ``SemanticToolSelectorMiddleware`` of ``langchain_agents``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, Unpack

from pydantic import BaseModel, Field, PrivateAttr

from synaptoroute.errors import InvalidQueryError, MissingExtraError
from synaptoroute.integrations.destinations import Key, query_of, require_routes
from synaptoroute.models import Decision, clean_query
from synaptoroute.router import AdaptiveRouter, RouteOptions

try:
    from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
    from langchain_core.runnables.base import RunnableLike, coerce_to_runnable
    from langchain_core.tools import BaseTool, ToolException
except ImportError as exc:
    raise MissingExtraError("routing in LangChain", "langchain") from exc


class QueryRefusedError(InvalidQueryError, ToolException):
    """The text that a model gave cannot be routed; LangChain's tools hand such errors back to the model."""


class _Arguments(BaseModel):
    query: str = Field(description="The text to route, as the user said it.")


class SynaptoRouteTool(BaseTool):
    """A tool by which a model asks where a text belongs. It answers in JSON; the ``Decision`` is its artifact.

    Args:
        router: Decides.
        name: Of the tool.
        description: For the model; say what the routes are.
        options: How to decide, see ``RouteOptions``.
        **fields: Others of ``BaseTool``. Unless ``handle_tool_error`` is False, a text that cannot be routed is
            answered with what is wrong with it; else it raises QueryRefusedError.
    """

    name: str = "route"
    description: str = (
        "Find out which of the known destinations a text of the user belongs to. "
        "Answers its name and how sure that is, or null if it belongs to none of them."
    )
    args_schema: Any = _Arguments
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = True
    _router: AdaptiveRouter = PrivateAttr()
    _options: RouteOptions = PrivateAttr()

    def __init__(self, router: AdaptiveRouter, *, options: RouteOptions | None = None, **fields: Any) -> None:
        super().__init__(**fields)
        self._router, self._options = router, options or {}

    def _run(self, query: str) -> tuple[str, Decision]:
        return _answered(self._router.route(_accepted(query), **self._options))

    async def _arun(self, query: str) -> tuple[str, Decision]:
        return _answered(await self._router.aquery(_accepted(query), **self._options))


def _accepted(query: str) -> str:
    try:
        return clean_query(query)
    except InvalidQueryError as exc:
        raise QueryRefusedError(str(exc)) from None


def _answered(decision: Decision) -> tuple[str, Decision]:
    found = {"route": decision.name, "confidence": round(decision.confidence, 3), "reason": decision.reason.value}
    return json.dumps(found, ensure_ascii=False), decision


class RouteRunnable(Runnable[Any, Decision]):
    """Routes what comes in; a batch is one call of the router.

    Args:
        router: Decides.
        key: Where in the input the query is: a key or attribute with a text or messages, or a function of the input.
            None if the input is a text, a message, a prompt or a list of messages, whose last of a human counts.
        name: By which traces show it.
        **options: See ``RouteOptions``.
    """

    def __init__(
        self, router: AdaptiveRouter, *, key: Key = None, name: str = "route", **options: Unpack[RouteOptions]
    ) -> None:
        self.name = name
        self._router, self._key, self._options = router, key, options

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Decision:  # noqa: A002  # theirs
        """The decision. Raises as ``route`` does."""
        return self._call_with_config(self._route, input, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Decision:  # noqa: A002
        """The same, without blocking the event loop."""
        return await self._acall_with_config(self._aroute, input, config)

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **_: Any,
    ) -> list[Decision]:
        """A decision for each, all on the same revision.

        Args:
            inputs: Any number.
            config: Of all, or one for each.
            return_exceptions: Give the error of an input that cannot be routed in place of its decision.
        """
        return self._batch_with_config(self._route_all, inputs, config, return_exceptions=return_exceptions)

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **_: Any,
    ) -> list[Decision]:
        """``batch`` without blocking the event loop."""
        return await self._abatch_with_config(self._aroute_all, inputs, config, return_exceptions=return_exceptions)

    def as_branch(
        self, branches: Mapping[str, RunnableLike[Any, Any]], *, default: RunnableLike[Any, Any]
    ) -> Runnable[Any, Any]:
        """A Runnable that hands its input to the branch of the chosen route; it streams if that does.

        Args:
            branches: Route -> what answers it. One decision is made, however many there are.
            default: Answers what belongs to no route, or to one without a branch.

        Raises:
            RouteNotFoundError: The router has no such route; a misspelled one would never be taken.
        """
        require_routes(self._router, branches)
        answering: dict[str, Runnable[Any, Any]] = {
            name: coerce_to_runnable(branch) for name, branch in branches.items()
        }
        otherwise: Runnable[Any, Any] = coerce_to_runnable(default)

        def chosen(decision: Decision) -> Runnable[Any, Any]:
            return otherwise if decision.name is None else answering.get(decision.name, otherwise)

        def branch(given: Any, config: RunnableConfig) -> Runnable[Any, Any]:
            return chosen(self.invoke(given, config))

        async def abranch(given: Any, config: RunnableConfig) -> Runnable[Any, Any]:
            return chosen(await self.ainvoke(given, config))

        return RunnableLambda(branch, abranch, name=f"{self.name}_branch")

    def _route(self, given: Any) -> Decision:
        return self._router.route(query_of(given, self._key), **self._options)

    async def _aroute(self, given: Any) -> Decision:
        return await self._router.aquery(query_of(given, self._key), **self._options)

    def _route_all(self, inputs: list[Any]) -> list[Decision | Exception]:
        queries = self._queries(inputs)
        return _in_places(queries, self._router.route_many(_routable(queries), **self._options))

    async def _aroute_all(self, inputs: list[Any]) -> list[Decision | Exception]:
        queries = self._queries(inputs)
        return _in_places(queries, await self._router.aquery_many(_routable(queries), **self._options))

    def _queries(self, inputs: list[Any]) -> list[str | Exception]:
        """The query of each input, or why it has none: one of them must not stop the others."""
        queries: list[str | Exception] = []
        for given in inputs:
            try:
                queries.append(clean_query(query_of(given, self._key)))
            except Exception as exc:  # noqa: BLE001 - of the caller's own function too
                queries.append(exc)
        return queries


def _routable(queries: list[str | Exception]) -> list[str]:
    return [query for query in queries if isinstance(query, str)]


def _in_places(queries: list[str | Exception], decisions: list[Decision]) -> list[Decision | Exception]:
    left = iter(decisions)
    return [next(left) if isinstance(query, str) else query for query in queries]
