"""``/v1/map``: the routes and utterances as points in a plane, and where a query falls among them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from synaptoroute.encoder.base import encode_checked
from synaptoroute.models import clean_query
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server.problems import documented
from synaptoroute.server.projection import RouteMap
from synaptoroute.server.recent import unwatched
from synaptoroute.server.schemas import DecisionAnswer
from synaptoroute.server.state import READ, State, in_thread

router = APIRouter(tags=["insight"])

DEFAULT_POINTS = 5_000
#: More points take a second and 100 MB of scores to tell which are astray, and a browser cannot tell them apart.
MAX_POINTS = 10_000
MAX_ROUTES = 50

Limit = Annotated[int, Field(ge=1, le=MAX_POINTS, description="Most points; where there are more, a sample.")]
Names = Annotated[list[str], Field(max_length=MAX_ROUTES)]


class Point(BaseModel):
    """An utterance."""

    route: str
    utterance: str
    x: float
    y: float
    nearest: str | None = Field(None, description="Another route, if its nearest other utterance belongs to that one.")
    score: float | None = Field(None, description="The cosine to that utterance.")


class Overlap(BaseModel):
    """Two routes that reach into each other."""

    routes: list[str]
    count: int = Field(description="Points of either that are nearest to one of the other.")
    share: float = Field(description="Of all points of both.")


class MapAnswer(BaseModel):
    """Utterances in the plane in which the routes' means differ most."""

    points: list[Point]
    overlaps: list[Overlap] = Field(description="The pairs that overlap most, most first.")
    explained: list[float] = Field(description="Share of the variance along each of the two axes.")
    shown: int
    total: int = Field(description="Utterances there are.")
    revision: int


class Locate(BaseModel):
    """A query to be placed in a map."""

    model_config = ConfigDict(extra="forbid")

    text: str
    limit: Limit = Field(DEFAULT_POINTS, description="As the map was asked for.")
    routes: Names | None = Field(None, description="As the map was asked for.")


class Located(BaseModel):
    """Where a query falls, and what is decided."""

    x: float
    y: float
    decision: DecisionAnswer
    revision: int = Field(description="Of the map.")


@router.get(
    "/v1/map",
    operation_id="map",
    summary="Routes as a map",
    response_model=MapAnswer,
    response_model_exclude_none=True,
    dependencies=[READ],
    responses=documented("route_not_found"),
)
async def show_map(
    state: State,
    limit: Annotated[int, Query(ge=1, le=MAX_POINTS, description="Most points; a sample if there are more.")] = (
        DEFAULT_POINTS
    ),
    routes: Annotated[list[str] | None, Query(max_length=MAX_ROUTES, description="Only these; again for more.")] = None,
) -> Response:
    """Place utterances in the plane in which the routes differ most, and tell which are nearest to another route."""
    found = await state.insight.maps.get(state.router, limit, _distinct(routes))
    return Response(found.body, media_type="application/json")


@router.post(
    "/v1/map/locate",
    operation_id="locate",
    summary="Place a query in the map",
    dependencies=[READ],
    responses=documented("route_not_found", "invalid_query", "overloaded"),
)
async def locate(asked: Locate, state: State) -> Located:
    """Where a query falls in the map that was asked for with the same limit and routes, and what is decided."""
    # Through the queue first: while too much is asked, this is turned away like any query.
    with unwatched():
        decision = await state.router.aquery(asked.text, deadline_s=state.settings.deadline_ms / 1000)
    found = await state.insight.maps.get(state.router, asked.limit, _distinct(asked.routes))
    x, y = await in_thread(_placed, state.router, found, asked.text)
    answer = DecisionAnswer.model_validate(decision.to_dict())
    return Located(x=x, y=y, decision=answer, revision=found.answer["revision"])


def _placed(over: AdaptiveRouter, found: RouteMap, text: str) -> tuple[float, float]:
    vector = encode_checked(over.encoder, [clean_query(text)], queries=True)
    x, y = found.plane.place(vector)[0].tolist()
    return round(x, 5), round(y, 5)


def _distinct(names: list[str] | None) -> tuple[str, ...]:
    return tuple(sorted(set(names or ())))
