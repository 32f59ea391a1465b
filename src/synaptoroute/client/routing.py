"""The calls that route, and those that tell how the server is."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from synaptoroute.asking import RouteOptions, deadline_of, terms
from synaptoroute.client.answers import Explained, Status, adapter, one
from synaptoroute.client.call import Answer, Call, path, query, sending
from synaptoroute.errors import InvalidInputError
from synaptoroute.models import Decision, clean_query


@dataclass(frozen=True, slots=True, kw_only=True)
class _Routed:
    decisions: tuple[Decision, ...]


def route(query: str, **options: Unpack[RouteOptions]) -> Call[Decision]:
    """Route one query of 1 to 32,768 characters; the options are those of ``AdaptiveRouter.route``.

    Raises:
        InvalidQueryError: The text cannot be routed.
        InvalidInputError: An option is out of its range.
        RouteNotFoundError: A name in ``allow`` is not a route.
        RouterOverloadedError: Too many queries wait already, after the last try.
        DeadlineExceededError: ``deadline_s`` or the client's own time limit has passed.
        EncoderError: The server's encoder failed.
    """
    return _routing([query], options, lambda answer: _decisions(answer, 1)[0])


def route_many(queries: Sequence[str], **options: Unpack[RouteOptions]) -> Call[list[Decision]]:
    """Route several queries, all on the same revision; one Decision each, in order. Raises as ``route`` does."""
    if isinstance(queries, str):
        raise InvalidInputError("a list of queries is wanted here; route takes a single text")
    return _routing(queries, options, lambda answer: _decisions(answer, len(queries)))


def explain(query: str, **options: Unpack[RouteOptions]) -> Call[Explained]:
    """Route one query, and have the server say how it came to that. Raises as ``route`` does."""
    return _routing([query], options, _explained, explain=True)


def status() -> Call[Status]:
    """How the server is, and what this client's key may do there."""
    return Call(operation="status", method="GET", path=path("status"), read=one(Status), safe=True)


def traffic() -> Call[dict[str, Any]]:
    """What was asked in the last minutes, second by second, as the server's JSON."""
    return Call(operation="traffic", method="GET", path=path("traffic"), read=one(dict), safe=True)


def map(  # noqa: A001  # the operation is called so
    *, limit: int = 5000, routes: Sequence[str] | None = None
) -> Call[dict[str, Any]]:
    """Where utterances lie to each other in two dimensions, as the server's JSON.

    Args:
        limit: The most points; a sample if there are more.
        routes: Only these.
    """
    return Call(
        operation="map",
        method="GET",
        path=path("map"),
        query=query(limit=limit, routes=routes),
        read=one(dict),
        safe=True,
    )


def locate(text: str, *, limit: int = 5000, routes: Sequence[str] | None = None) -> Call[dict[str, Any]]:
    """Where a query falls in the map of the same limit and routes, and its decision, as the server's JSON."""
    return Call(
        operation="locate",
        method="POST",
        path=path("map", "locate"),
        read=one(dict),
        safe=True,
        **sending({"text": clean_query(text), "limit": limit, "routes": routes}),
    )


def is_live() -> Call[bool]:
    """Whether the server's event loop answers at all."""
    return _health("livez")


def is_ready() -> Call[bool]:
    """Whether the server takes queries: its encoder and routes are loaded, and it is not being shut down."""
    return _health("readyz")


def metrics() -> Call[str]:
    """The server's figures in Prometheus' text format."""
    return Call(operation="metrics", method="GET", path="/metrics", read=lambda answer: answer.body.decode(), safe=True)


def _health(name: str) -> Call[bool]:
    # Not safe to try again in the sense of use: who asks wants to know about now.
    return Call(
        operation=name,
        method="GET",
        path=f"/{name}",
        read=lambda answer: answer.status == 200,
        accepted=frozenset({503}),
    )


def _routing(queries: Sequence[str], options: RouteOptions, read: Any, *, explain: bool = False) -> Call[Any]:
    allow = options.get("allow")
    if allow is not None:
        # It may be an iterator, and is gone through twice.
        options["allow"] = allow = list(allow)
    # The router's own rules, so that what cannot be asked fails here as it would there.
    terms(options, None)
    deadline_s = deadline_of(options)
    asked: dict[str, Any] = {"texts": [clean_query(text) for text in queries]}
    asked |= {name: value for name, value in options.items() if name != "deadline_s" and value is not None}
    if deadline_s is not None:
        asked["deadline_ms"] = max(math.ceil(deadline_s * 1000), 1)
    if explain:
        asked["explain"] = True
    return Call(
        operation="route",
        method="POST",
        path=path("route"),
        read=read,
        safe=True,
        within_s=deadline_s,
        **sending(asked),
    )


def _decisions(answer: Answer, wanted: int) -> list[Decision]:
    decisions = adapter(_Routed).validate_json(answer.body).decisions
    if len(decisions) != wanted:
        raise ValueError(f"{len(decisions)} decisions for {wanted} queries")
    return list(decisions)


def _explained(answer: Answer) -> Explained:
    (decision,) = _decisions(answer, 1)
    return Explained(decision=decision, explanation=dict(json.loads(answer.body)["decisions"][0]["explanation"]))
