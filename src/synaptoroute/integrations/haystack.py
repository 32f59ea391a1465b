"""Haystack: a component with an output for each route. The extra ``[haystack]``.

::

    pipeline.add_component("router", SemanticRouter(routes_file="routes.json"))
    pipeline.connect("router.billing", "billing_prompt.text")
    pipeline.connect("router.unmatched", "fallback.text")
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from synaptoroute.asking import probability
from synaptoroute.errors import InvalidInputError, InvalidRouteError, MissingExtraError
from synaptoroute.models import Decision, Route
from synaptoroute.planning import require_distinct
from synaptoroute.route_files import read_routes, route_entry
from synaptoroute.router import AdaptiveRouter

try:
    from haystack import component, default_from_dict, default_to_dict
except ImportError as exc:
    raise MissingExtraError("routing in Haystack", "haystack") from exc

#: Outputs that are there whatever the routes are.
UNMATCHED, DECISION = "unmatched", "decision"


@component
class SemanticRouter:
    """Sends a text out of the output of its route, or out of ``unmatched``; ``decision`` tells more of either.

    From ``routes`` or ``routes_file`` the component makes a router of its own, with the bundled encoder, when it is
    warmed up, and closes it when it is closed. A ``router`` is used as it is and stays open; a route it gets later has
    no output, and its texts go to ``unmatched``.

    Args:
        routes: Routes, or the dicts that files hold: ``{"name": ..., "utterances": [...]}``.
        routes_file: A file of routes: JSON, JSON Lines, YAML or CSV.
        router: A router. A pipeline with it cannot be saved.
        outputs: Route -> output, where the name of the route is not wanted. Several routes may share an output.
        min_confidence: Least probability of being right; None leaves it to the router.

    Raises:
        InvalidInputError: Not exactly one place of routes is given; the file cannot be read; outputs do not fit.
    """

    def __init__(
        self,
        routes: Iterable[Route | Mapping[str, Any]] | None = None,
        *,
        routes_file: str | os.PathLike[str] | None = None,
        router: AdaptiveRouter | None = None,
        outputs: Mapping[str, str] | None = None,
        min_confidence: float | None = None,
    ) -> None:
        if sum(given is not None for given in (routes, routes_file, router)) != 1:
            raise InvalidInputError("a SemanticRouter wants exactly one of routes, routes_file and router")
        self._given = router
        self._file = None if routes_file is None else os.fspath(routes_file)
        self._routes = _routes(routes, self._file, router)
        self._renamed = dict(outputs or {})
        self._outputs = output_names((route.name for route in self._routes), self._renamed)
        self._min_confidence = probability(min_confidence)
        self._opening = threading.Lock()
        self._router = router
        sockets: dict[str, Any] = dict.fromkeys([*self._outputs.values(), UNMATCHED], str)
        component.set_output_types(self, **sockets, **{DECISION: Decision})

    @property
    def outputs(self) -> dict[str, str]:
        """Route -> the output that its texts go to."""
        return dict(self._outputs)

    def warm_up(self) -> None:
        """Load the encoder and learn from the routes; ``run`` does it where nobody has."""
        self._open()

    async def warm_up_async(self) -> None:
        """``warm_up`` without blocking the event loop."""
        await asyncio.to_thread(self._open)

    def run(self, text: str) -> dict[str, Any]:
        """Route one text.

        Returns:
            The text under the output of its route or under ``unmatched``, and the ``decision``.

        Raises:
            InvalidQueryError: The text cannot be routed.
        """
        router = self._open()
        return self._sent(text, router.route(text, min_confidence=self._min_confidence))

    async def run_async(self, text: str) -> dict[str, Any]:
        """``run`` without blocking the event loop."""
        router = self._router
        if router is None:
            router = await asyncio.to_thread(self._open)
        return self._sent(text, await router.aquery(text, min_confidence=self._min_confidence))

    def _sent(self, text: str, decision: Decision) -> dict[str, Any]:
        output = self._outputs.get(decision.name, UNMATCHED) if decision.name is not None else UNMATCHED
        return {output: text, DECISION: decision}

    def close(self) -> None:
        """Close the component's own router; the next run opens it again."""
        with self._opening:
            own, self._router = self._router, self._given
        if own is not None and own is not self._given:
            own.close()

    async def close_async(self) -> None:
        """``close`` without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def to_dict(self) -> dict[str, Any]:
        """What ``from_dict`` makes the same component of: the routes or their file, never vectors.

        Raises:
            InvalidInputError: It was given a router.
        """
        if self._given is not None:
            raise InvalidInputError(
                "a SemanticRouter with a router cannot be saved; give it routes or a routes_file instead"
            )
        routes = None if self._file is not None else [route_entry(route) for route in self._routes]
        return default_to_dict(
            self,
            routes=routes,
            routes_file=self._file,
            outputs=self._renamed,
            min_confidence=self._min_confidence,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SemanticRouter:
        """The component that ``to_dict`` described. A routes file is read again."""
        made: SemanticRouter = default_from_dict(cls, data)
        return made

    def _open(self) -> AdaptiveRouter:
        with self._opening:
            if self._router is None:
                router = AdaptiveRouter()
                try:
                    router.add_routes(self._routes)
                    router.warm_up()
                except BaseException:
                    router.close()
                    raise
                self._router = router
            return self._router


def output_names(routes: Iterable[str], renamed: Mapping[str, str]) -> dict[str, str]:
    """Route -> output: its own name with underscores for what no Python name may have, unless it is renamed.

    Raises:
        InvalidInputError: An output is no Python name, is one of the component's own, or is shared by routes of which
            not all were renamed to it; or what is renamed is no route.
    """
    names = {route: renamed.get(route, _as_identifier(route)) for route in routes}
    if unknown := sorted(renamed.keys() - names.keys()):
        raise InvalidInputError(f"outputs has {unknown[0]!r}, which is no route; its keys are the names of routes")
    first: dict[str, str] = {}
    for route, name in names.items():
        if not name.isidentifier() or name in (UNMATCHED, DECISION):
            raise InvalidInputError(
                f"route {route!r} cannot have the output {name!r}; name another: outputs={{{route!r}: '...'}}"
            )
        twin = first.setdefault(name, route)
        if twin != route and not {route, twin} <= renamed.keys():
            raise InvalidInputError(
                f"routes {twin!r} and {route!r} would share the output {name!r}; name the outputs of both in outputs"
            )
    return names


def _as_identifier(name: str) -> str:
    plain = re.sub(r"\W+", "_", name).strip("_") or "route"
    return plain if plain.isidentifier() else f"route_{plain}"


def _routes(
    routes: Iterable[Route | Mapping[str, Any]] | None, file: str | None, router: AdaptiveRouter | None
) -> list[Route]:
    if router is not None:
        return list(router.routes)
    read = read_routes(file) if file is not None else [_route(entry) for entry in routes or ()]
    require_distinct(read)
    return read


def _route(entry: Route | Mapping[str, Any]) -> Route:
    if isinstance(entry, Route):
        return entry
    if missing := sorted({"name", "utterances"} - set(entry)):
        raise InvalidRouteError(f"a route has no {' and no '.join(missing)}; give a Route or a dict with both")
    return Route(**entry)
