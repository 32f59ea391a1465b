"""``/v1/operating-point``: from which confidence queries are answered."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from synaptoroute.learning import OperatingPoint
from synaptoroute.server.problems import documented
from synaptoroute.server.routes import IfMatch, etag, expected
from synaptoroute.server.schemas import Asked, Probability
from synaptoroute.server.state import ADMIN, READ, ServerState, State, changed

router = APIRouter(tags=["learning"])


class OperatingPointBody(Asked):
    """The operating point to set; null goes back to what fit chose, or else 0.5."""

    min_confidence: Probability | None


class OperatingPointShown(BaseModel):
    """From which confidence queries are answered where neither the call nor the route says otherwise."""

    min_confidence: float
    source: Literal["router", "set", "fit", "default"] = Field(
        description="Who chose it: the server's setting, somebody by this call, fit, or nobody."
    )
    actor: str | None = Field(description="Who set it.")
    at: datetime | None = Field(description="When it was set.")
    revision: int = Field(description="Of the routes.")

    @classmethod
    def of(cls, point: OperatingPoint, revision: int) -> OperatingPointShown:
        """What is shown of it."""
        return cls(
            min_confidence=point.min_confidence,
            source=point.source,
            actor=point.actor,
            at=point.at,
            revision=revision,
        )


@router.get("/v1/operating-point", operation_id="getOperatingPoint", dependencies=[READ])
async def get_operating_point(state: State, response: Response) -> OperatingPointShown:
    """The operating point and who chose it."""
    return _shown(state, state.router.operating_point, response)


@router.put(
    "/v1/operating-point",
    operation_id="putOperatingPoint",
    dependencies=[ADMIN],
    responses=documented("invalid_input", "revision_conflict", "storage_failed"),
)
async def put_operating_point(
    body: OperatingPointBody, state: State, response: Response, if_match: IfMatch = None
) -> OperatingPointShown:
    """Set the operating point, durably; nothing that was learned changes. If-Match: of all routes."""
    point = await changed(
        state, state.router.set_operating_point, body.min_confidence, expected_revision=expected(if_match)
    )
    return _shown(state, point, response)


def _shown(state: ServerState, point: OperatingPoint, response: Response) -> OperatingPointShown:
    shown = OperatingPointShown.of(point, state.router.revision)
    response.headers["ETag"] = etag(shown.revision)
    return shown
