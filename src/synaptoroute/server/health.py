"""``/livez`` and ``/readyz`` for what watches the server, ``/v1/status`` for people and programs."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from synaptoroute import __version__
from synaptoroute.server.problems import documented
from synaptoroute.server.state import READ, Asking, ServerState, State, in_thread

router = APIRouter(tags=["health"])


class Ready(BaseModel):
    """Whether requests should be sent here."""

    ready: bool
    reason: str | None = Field(description="Why not: starting, draining or closed.")


class Fitted(BaseModel):
    """What `fit` was given and has chosen."""

    queries: int
    min_confidence: float | None


class Status(BaseModel):
    """What the server is and does."""

    version: str
    encoder: str
    dim: int
    revision: int
    routes: int
    utterances: int
    settled: bool = Field(description="Whether everything is learned and compacted.")
    min_confidence: float | None
    fitted: Fitted | None
    health: dict[str, Any] = Field(description="The queue of queries.")
    sync: dict[str, Any] | None = Field(description="How keeping replicas the same goes; null if there are none.")
    uptime_s: float
    draining: bool
    caller: str | None = Field(description="Name of the caller's key; null without keys.")
    scopes: list[str] = Field(description="What the caller may do.")


@router.get("/livez", operation_id="livez", summary="Whether the process answers")
async def livez() -> dict[str, bool]:
    """Answers as long as the event loop runs; depends on nothing else."""
    return {"live": True}


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Whether requests should be sent here",
    responses={503: {"model": Ready, "description": "Not now"}},
)
async def readyz(state: State, response: Response) -> Ready:
    """Yes once the encoder is loaded and the routes are learned, no as soon as the server is told to end."""
    reason = "draining" if state.draining else None if state.ready else "starting"
    if reason:
        response.status_code = 503
        response.headers["Retry-After"] = "1"
    return Ready(ready=reason is None, reason=reason)


@router.get("/v1/status", operation_id="status", dependencies=[READ], responses=documented())
async def status(state: State, caller: Asking) -> Status:
    """What the server runs, how many routes it has, and how its queue is."""
    return await in_thread(_status, state, caller.name, caller.scope)


def _status(state: ServerState, name: str | None, scope: int) -> Status:
    router = state.router
    table = router.snapshot
    labelled = table.labelled
    sync = router.sync_manager
    return Status(
        version=__version__,
        encoder=router.encoder.name,
        dim=router.encoder.dim,
        revision=table.revision,
        routes=len(table),
        utterances=len(table.index),
        settled=router.settled,
        min_confidence=router.min_confidence,
        fitted=Fitted(queries=len(labelled.texts), min_confidence=labelled.min_confidence) if labelled else None,
        health=dataclasses.asdict(router.health()),
        sync=dataclasses.asdict(sync.health()) if sync is not None else None,
        uptime_s=round(time.monotonic() - state.started_at, 3),
        draining=state.draining,
        caller=name,
        scopes=[word for number, word in enumerate(("read", "write", "admin"), start=1) if number <= scope],
    )
