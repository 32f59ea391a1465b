"""LangGraph: a conditional edge and a node that go where the router says. The extra ``[langgraph]``.

::

    path = as_path(router, ["billing", "weather"], fallback="chat")
    graph.add_conditional_edges(START, path, path.path_map)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Unpack

from synaptoroute.errors import MissingExtraError
from synaptoroute.integrations.destinations import Destinations, Key, query_of
from synaptoroute.models import Decision
from synaptoroute.router import AdaptiveRouter, RouteOptions

try:
    from langchain_core.runnables import Runnable, RunnableConfig
    from langgraph.types import Command
except ImportError as exc:
    raise MissingExtraError("routing in LangGraph", "langgraph") from exc

Nodes = Mapping[str, str] | Iterable[str] | None


class _Deciding(Runnable[Any, Any]):
    """Routes a state's query, with or without blocking the loop, and says what follows from the decisions."""

    def __init__(
        self,
        name: str,
        router: AdaptiveRouter,
        destinations: Destinations,
        key: Key,
        options: RouteOptions,
        split: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        self.name = name
        self._router, self._destinations, self._key = router, destinations, key
        self._options, self._split = options, split

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002  # theirs
        """What follows for this state."""
        return self._call_with_config(self._followed, input, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002
        """The same, without blocking the event loop."""
        return await self._acall_with_config(self._afollowed, input, config)

    def _followed(self, state: Any) -> Any:
        return self._following(self._router.route_many(self._queries(state), **self._options))

    async def _afollowed(self, state: Any) -> Any:
        return self._following(await self._router.aquery_many(self._queries(state), **self._options))

    def _queries(self, state: Any) -> Sequence[str]:
        query = query_of(state, self._key)
        return [query] if self._split is None else self._split(query) or [query]

    def _following(self, decisions: list[Decision]) -> Any:
        raise NotImplementedError


class RoutePath(_Deciding):
    """For ``add_conditional_edges``: gives the nodes to go to, mostly one."""

    @property
    def path_map(self) -> list[str]:
        """All nodes it may go to, so that drawings of the graph show just these."""
        return self._destinations.all

    def _following(self, decisions: list[Decision]) -> list[str]:
        return self._destinations.of(decisions)


class CommandNode(_Deciding):
    """For ``add_node``: goes to a node and writes the decision into the state."""

    def __init__(self, *deciding: Any, state_key: str, graph: str | None) -> None:
        super().__init__(*deciding)
        self._state_key, self._graph = state_key, graph

    @property
    def destinations(self) -> tuple[str, ...]:
        """All nodes it may go to, for ``add_node(..., destinations=...)``, which draws them."""
        return tuple(self._destinations.all)

    def _following(self, decisions: list[Decision]) -> Command[str]:
        update = {self._state_key: decisions[0].to_dict()}
        return Command(goto=self._destinations.of(decisions), update=update, graph=self._graph)


def as_path(
    router: AdaptiveRouter,
    path_map: Nodes = None,
    *,
    fallback: str,
    key: Key = "messages",
    split: Callable[[str], Sequence[str]] | None = None,
    name: str = "route",
    **options: Unpack[RouteOptions],
) -> RoutePath:
    """The path of a conditional edge.

    Args:
        router: Decides.
        path_map: Route -> node, or the routes whose nodes have the same names; None for all routes there are now.
        fallback: The node for a query that belongs to none of them; ``END`` is one too.
        key: Where in the state the query is: a key or attribute with a text or messages, or a function of the state.
            Of messages, the last of a human counts.
        split: Divides a query that may ask several things. The parts are routed together, and the graph goes to all
            their nodes at once; to the fallback only if no part has another.
        name: Of the edge; two that leave the same node need different ones.
        **options: See ``RouteOptions``.

    Raises:
        RouteNotFoundError: The router has no such route.
    """
    destinations = Destinations.over(router, path_map, fallback=fallback)
    return RoutePath(name, router, destinations, key, options, split)


def command_node(
    router: AdaptiveRouter,
    path_map: Nodes = None,
    *,
    fallback: str,
    key: Key = "messages",
    state_key: str = "route",
    graph: str | None = None,
    name: str = "route",
    **options: Unpack[RouteOptions],
) -> CommandNode:
    """A node that returns ``Command(goto=..., update={state_key: ...})``.

    Args:
        router: Decides.
        path_map: As for ``as_path``.
        fallback: As for ``as_path``.
        key: As for ``as_path``.
        state_key: Where the decision goes in the state, as plain JSON types that every checkpointer keeps.
        graph: ``Command.PARENT`` if the nodes belong to the graph around this one.
        name: Of the node, if it is added without one.
        **options: See ``RouteOptions``.

    Raises:
        RouteNotFoundError: The router has no such route.
    """
    destinations = Destinations.over(router, path_map, fallback=fallback)
    return CommandNode(name, router, destinations, key, options, state_key=state_key, graph=graph)
