"""What turns the routes of a table into others: changes that are planned, not yet durable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import InvalidInputError, RevisionConflictError, RouteExistsError
from synaptoroute.models import Route
from synaptoroute.storage.base import Change, DropRoute, PutRoute
from synaptoroute.table import RouteTable

_NO_VECTORS = np.empty((0, 0), np.float32)
#: Routes that make one part, or fewer with so many utterances (15 MB of vectors).
_ROUTES_AT_ONCE, _UTTERANCES_AT_ONCE = 1_000, 10_000


def puts(table: RouteTable, routes: Sequence[Route], encode: Callable[[Sequence[str]], Vectors]) -> list[Change]:
    """Put these routes in the place of those of the same names; kept utterances stay in front, in their order.

    Args:
        table: What there is.
        routes: What shall be. Those that are there just so need no change.
        encode: Asked once, for all utterances that are new to their routes.
    """
    planned: list[PutRoute] = []
    for route in routes:
        stored = table.get(route.name) if route.name in table else None
        had, shall = stored.utterances if stored else (), set(route.utterances)
        added = tuple(text for text in route.utterances if text not in set(had))
        route = route.replaced(utterances=(*(text for text in had if text in shall), *added))
        if route != stored:
            removed = tuple(text for text in had if text not in shall)
            planned.append(PutRoute(route=route, added=added, vectors=_NO_VECTORS, removed=removed))
    vectors = encode([text for put in planned for text in put.added])
    return _with_vectors(planned, vectors)


def becoming(
    table: RouteTable, wanted: Mapping[str, Route | None], encode: Callable[[Sequence[str]], Vectors]
) -> list[Change]:
    """Make routes just what they were at some time, their utterances in the order of then.

    Args:
        table: What there is. An utterance that its route still has keeps its vector.
        wanted: Name -> the route, None for none. Routes that are not named stay as they are.
        encode: Asked once, for all other utterances.
    """
    drops = [DropRoute(name=name) for name, route in wanted.items() if route is None and name in table]
    planned: list[PutRoute] = []
    for route in wanted.values():
        stored = table.get(route.name) if route is not None and route.name in table else None
        if route is None or route == stored:
            continue
        had, shall = stored.utterances if stored else (), set(route.utterances)
        kept = tuple(text for text in had if text in shall)
        if kept != route.utterances[: len(kept)]:
            # New utterances stand behind the old ones: where they shall not, all are put anew.
            kept = ()
        removed = tuple(text for text in had if text not in set(kept))
        planned.append(PutRoute(route=route, added=route.utterances[len(kept) :], vectors=_NO_VECTORS, removed=removed))
    known = [_known_vectors(table, put) for put in planned]
    new = [text for put, its in zip(planned, known, strict=True) for text in put.added if text not in its]
    rows = iter(encode(new))
    vectors = [
        its[text] if text in its else next(rows) for put, its in zip(planned, known, strict=True) for text in put.added
    ]
    return [*drops, *_with_vectors(planned, np.array(vectors, np.float32).reshape(len(vectors), table.index.dim))]


def only(table: RouteTable, routes: Iterable[Route]) -> dict[str, Route | None]:
    """These routes and none besides, for ``becoming``."""
    return {**dict.fromkeys(table.catalog), **{route.name: route for route in routes}}


def _known_vectors(table: RouteTable, put: PutRoute) -> dict[str, Vectors]:
    """Of those utterances that go and come again."""
    if not put.removed:
        return {}
    slot = table.catalog.slot(put.route.name)
    texts = table.catalog.get(slot).utterances
    again = set(put.added)
    rows = table.index.vectors_of(table.index.rows_of(slot))
    return {text: row for text, row in zip(texts, rows, strict=True) if text in again}


def encoded_once(
    known: dict[str, Vectors], encode: Callable[[Sequence[str]], Vectors], texts: Sequence[str]
) -> Vectors:
    """Encode texts, but those whose vectors are known already; then all are known."""
    new = [text for text in dict.fromkeys(texts) if text not in known]
    if not known and len(new) == len(texts):
        vectors = encode(new)
        known.update(zip(new, vectors, strict=True))
        return vectors
    known.update(zip(new, encode(new), strict=True))
    return np.stack([known[text] for text in texts]) if texts else encode([])


def puts_of_known(routes: Sequence[Route], vectors: Vectors) -> list[Change]:
    """Put new routes whose utterances are encoded already; the vectors stand route after route."""
    planned = [PutRoute(route=route, added=route.utterances, vectors=_NO_VECTORS) for route in routes]
    return _with_vectors(planned, vectors)


def _with_vectors(planned: Sequence[PutRoute], vectors: Vectors) -> list[Change]:
    ends = np.cumsum([len(put.added) for put in planned])[:-1]
    parts = np.split(vectors, ends) if planned else []
    return [replace(put, vectors=part) for put, part in zip(planned, parts, strict=True)]


def require_new(table: RouteTable, routes: Iterable[Route]) -> None:
    """Raise RouteExistsError if a route of one of their names is there, or two of them have the same."""
    names = set[str]()
    for route in routes:
        if route.name in names or route.name in table:
            raise RouteExistsError(f"there is already a route {route.name!r}; use update_route to change it")
        names.add(route.name)


def require_at(table: RouteTable, revision: int | None) -> None:
    """Raise RevisionConflictError unless the routes are at that revision; None takes any."""
    if revision is not None and table.revision != revision:
        raise RevisionConflictError(
            f"the routes are at revision {table.revision}, not at {revision}; nothing was changed: look again and "
            "decide anew"
        )


def require_distinct(routes: Iterable[Route]) -> None:
    """Raise InvalidInputError if two of them have the same name."""
    twice = next((name for name, count in Counter(route.name for route in routes).items() if count > 1), None)
    if twice is not None:
        raise InvalidInputError(f"the route {twice!r} is given twice; put one with all its utterances")


def in_parts(routes: Iterable[Route]) -> Iterator[list[Route]]:
    """The routes, 1,000 at a time, or fewer if they have many utterances."""
    part: list[Route] = []
    utterances = 0
    for route in routes:
        part.append(route)
        utterances += len(route.utterances)
        if len(part) >= _ROUTES_AT_ONCE or utterances >= _UTTERANCES_AT_ONCE:
            yield part
            part, utterances = [], 0
    if part:
        yield part
