"""``/v1/routes``: look at the routes and change them."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Response

from synaptoroute.errors import RouteNotFoundError
from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server.problems import Problem, documented
from synaptoroute.server.schemas import (
    NewRoute,
    PutBody,
    Revised,
    RouteList,
    RouteListed,
    RoutePatch,
    RouteShown,
    Utterances,
)
from synaptoroute.server.state import READ, WRITE, State, changed, in_thread

router = APIRouter(tags=["routes"])

Name = Annotated[
    str, Path(description="The route's name, percent-encoded; a slash in it is %2F.", min_length=1, max_length=600)
]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description='Change only if the route is still at this revision, as in `"12"`.'),
]
_ETAG = re.compile(r'"(\d{1,18})"')
_CHANGING = documented("route_not_found", "revision_conflict", "conflict", "invalid_route", "storage_failed")


def decoded(name: str) -> str:
    """A name from a path, where the guard has left slashes encoded."""
    return unicodedata.normalize("NFC", name.replace("%2F", "/"))


def etag(revision: int) -> str:
    """A revision as a strong entity tag."""
    return f'"{revision}"'


def expected(if_match: str | None) -> int | None:
    """The revision that If-Match names; None if it takes any. Raises Problem for what can never match."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if not found:
        raise Problem("revision_conflict", 'If-Match is no revision of a route; send its ETag, as in "12"')
    return int(found[1])


def shown(router: AdaptiveRouter, name: str) -> RouteShown:
    """The route with the revision that a change of it would have to expect."""
    # The revision first: a change in between will be noticed.
    revision = router.route_revision(name)
    return RouteShown.of(router.get_route(name), revision)


def listed(router: AdaptiveRouter, *, limit: int, after: str | None, query: str | None, utterances: bool) -> RouteList:
    """A page of the routes whose name, description or utterances contain the words of the query."""
    table = router.snapshot
    wanted = query.casefold().strip() if query else ""
    routes = [route for route in table.routes if not wanted or _contains(route, wanted)]
    start = 0
    if after is not None:
        places = {route.name: place for place, route in enumerate(routes)}
        if after not in places:
            raise RouteNotFoundError(f"there is no route {after[:40]!r} to go on after; begin anew")
        start = places[after] + 1
    page = routes[start : start + limit]
    return RouteList(
        routes=[RouteListed.of(route, router.route_revision(route.name), utterances=utterances) for route in page],
        total=len(routes),
        next=page[-1].name if page and start + limit < len(routes) else None,
        revision=table.revision,
    )


def _contains(route: Route, wanted: str) -> bool:
    return (
        wanted in route.name.casefold()
        or wanted in (route.description or "").casefold()
        or any(wanted in text.casefold() for text in route.utterances)
    )


@router.get("/v1/routes", operation_id="listRoutes", dependencies=[READ], responses=documented("route_not_found"))
async def list_routes(
    state: State,
    response: Response,
    *,
    limit: Annotated[int, Query(ge=1, le=1_000, description="Routes in one page.")] = 100,
    after: Annotated[str | None, Query(max_length=600, description="Go on after the route of this name.")] = None,
    query: Annotated[
        str | None, Query(max_length=1_000, description="Only routes with this in their name, description or texts.")
    ] = None,
    utterances: Annotated[bool, Query(description="With their utterances.")] = False,
) -> RouteList:
    """List the routes in the order they were added, page by page."""
    page = await in_thread(listed, state.router, limit=limit, after=after, query=query, utterances=utterances)
    response.headers["ETag"] = etag(page.revision)
    return page


@router.post(
    "/v1/routes",
    operation_id="createRoute",
    status_code=201,
    dependencies=[WRITE],
    responses=documented("route_exists", "invalid_route", "storage_failed"),
)
async def create_route(body: NewRoute, state: State, response: Response) -> RouteShown:
    """Add a route; it takes part in the next query."""
    route = Route(**body.model_dump())
    await state.change(state.router.add_route, route)
    answer = await in_thread(shown, state.router, route.name)
    response.headers["ETag"] = etag(answer.revision)
    response.headers["Location"] = f"/v1/routes/{_encoded(route.name)}"
    return answer


@router.get("/v1/routes/{name}", operation_id="getRoute", dependencies=[READ], responses=documented("route_not_found"))
async def get_route(name: Name, state: State, response: Response) -> RouteShown:
    """One route with its utterances."""
    answer = await in_thread(shown, state.router, decoded(name))
    response.headers["ETag"] = etag(answer.revision)
    return answer


@router.put(
    "/v1/routes/{name}",
    operation_id="putRoute",
    dependencies=[WRITE],
    responses=_CHANGING | documented("route_exists") | {201: {"model": RouteShown, "description": "Created"}},
)
async def put_route(
    name: Name,
    body: PutBody,
    state: State,
    response: Response,
    if_match: IfMatch = None,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="`*` creates, and refuses to replace.")
    ] = None,
) -> RouteShown:
    """Create a route or replace all of it; only utterances that are new to it are encoded."""
    name = decoded(name)
    if body.name is not None and unicodedata.normalize("NFC", body.name) != name:
        raise Problem("invalid_request", "the body names another route than the path; leave its name out")
    route = Route(**body.model_dump(exclude={"name"}), name=name)
    if if_none_match is not None and if_none_match.strip() != "*":
        raise Problem("invalid_request", "of If-None-Match only * is known here, which creates and never replaces")
    revision = 0 if if_none_match is not None else expected(if_match)
    is_new = name not in state.router
    if is_new and if_match is not None:
        raise Problem("revision_conflict", f"there is no route {name[:40]!r} that If-Match could match")
    await changed(state, lambda: state.router.put_routes([route], expected_revisions=_at(name, revision)))
    answer = await in_thread(shown, state.router, name)
    response.headers["ETag"] = etag(answer.revision)
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"/v1/routes/{_encoded(name)}"
    return answer


@router.patch("/v1/routes/{name}", operation_id="updateRoute", dependencies=[WRITE], responses=_CHANGING)
async def update_route(
    name: Name, body: RoutePatch, state: State, response: Response, if_match: IfMatch = None
) -> RouteShown:
    """Change the given fields of a route; the others stay."""
    name = decoded(name)
    given = body.model_dump(exclude_unset=True)
    if given.get("metadata", {}) is None:
        given["metadata"] = {}
    if given.get("utterances", ()) is None:
        raise Problem("invalid_request", "utterances is null; leave it out to keep them")
    revision = expected(if_match)
    await changed(state, lambda: state.router.update_route(name, **given, expected_revision=revision))
    return await _answered(state, response, name)


@router.delete("/v1/routes/{name}", operation_id="deleteRoute", dependencies=[WRITE], responses=_CHANGING)
async def delete_route(name: Name, state: State, response: Response, if_match: IfMatch = None) -> Revised:
    """Remove a route."""
    name, revision = decoded(name), expected(if_match)
    after = await changed(state, lambda: state.router.delete_route(name, expected_revision=revision))
    response.headers["ETag"] = etag(after)
    return Revised(revision=after)


@router.post("/v1/routes/{name}/utterances", operation_id="addUtterances", dependencies=[WRITE], responses=_CHANGING)
async def add_utterances(
    name: Name, body: Utterances, state: State, response: Response, if_match: IfMatch = None
) -> RouteShown:
    """Add examples to a route; those it has already are skipped."""
    name, revision = decoded(name), expected(if_match)
    await changed(state, lambda: state.router.add_utterances(name, body.utterances, expected_revision=revision))
    return await _answered(state, response, name)


@router.post(
    "/v1/routes/{name}/utterances/remove",
    operation_id="removeUtterances",
    dependencies=[WRITE],
    responses=_CHANGING,
)
async def remove_utterances(
    name: Name, body: Utterances, state: State, response: Response, if_match: IfMatch = None
) -> RouteShown:
    """Remove examples of a route, all or none of them; the last ones must stay."""
    name, revision = decoded(name), expected(if_match)
    await changed(state, lambda: _removed(state.router, name, body.utterances, revision))
    return await _answered(state, response, name)


def _removed(router: AdaptiveRouter, name: str, utterances: list[str], revision: int | None) -> int:
    if len(utterances) == 1:
        return router.remove_utterance(name, utterances[0], expected_revision=revision)
    # All of them in one change: what is left is put, if the route is still as it was when it was read.
    at = router.route_revision(name) if revision is None else revision
    route = router.get_route(name)
    gone = {text.strip() for text in utterances}
    if missing := gone.difference(route.utterances):
        raise RouteNotFoundError(f"route {name!r} has no such utterance ({len(missing)} of {len(gone)} are not there)")
    kept = [text for text in route.utterances if text not in gone]
    if not kept:
        raise Problem("invalid_route", f"route {name!r} would be left without utterances; delete it instead")
    return router.update_route(name, utterances=kept, expected_revision=at)


async def _answered(state: State, response: Response, name: str) -> RouteShown:
    answer = await in_thread(shown, state.router, name)
    response.headers["ETag"] = etag(answer.revision)
    return answer


def _at(name: str, revision: int | None) -> dict[str, int] | None:
    return None if revision is None else {name: revision}


def _encoded(name: str) -> str:
    return quote(name, safe="")
