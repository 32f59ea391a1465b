"""``/v1/history``, ``/v1/diff``, ``/v1/rollback``, ``/v1/snapshots``: who changed what, and ways back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from synaptoroute.models import clean_name
from synaptoroute.server.problems import Problem, documented
from synaptoroute.server.routes import IfMatch, decoded, etag, expected
from synaptoroute.server.schemas import Asked, Revised
from synaptoroute.server.state import ADMIN, READ, WRITE, ServerState, State, changed, in_thread

router = APIRouter(tags=["history"])

#: SQLite and PostgreSQL count revisions in 64 bits.
MAX_REVISION = 2**63 - 1
Revision = Annotated[int, Query(ge=0, le=MAX_REVISION)]
SnapshotName = Annotated[str, Path(min_length=1, max_length=600, description="The snapshot's name, percent-encoded.")]
_GOING_BACK = documented("revision_conflict", "encoder_failed", "storage_failed")


class Entry(BaseModel):
    """One change of one route."""

    revision: int = Field(description="The change led to it.")
    operation: Literal["add", "update", "delete", "migrate"]
    route: str | None
    actor: str | None = Field(description="Whose key it was; http without keys.")
    at: datetime
    cause: str | None = Field(description="What it was part of, such as a rollback.")


class History(BaseModel):
    """Changes, newest first."""

    entries: list[Entry]
    revision: int


class RouteChanged(BaseModel):
    """How one route differs."""

    route: str
    operation: Literal["add", "update", "delete"]
    added: list[str] = Field(description="Utterances only in the second revision.")
    removed: list[str] = Field(description="Utterances only in the first.")
    fields: dict[str, dict[str, Any]] = Field(description="Other fields that differ: before and after.")


class Diff(BaseModel):
    """What leads from the routes of one revision to those of another."""

    first: int
    second: int
    changes: list[RouteChanged]


class Rollback(Asked):
    """Where to go back to."""

    revision: int = Field(ge=0, le=MAX_REVISION)


class NewSnapshot(Asked):
    """What to call it."""

    name: str


class SnapshotShown(BaseModel):
    """All routes of one revision under a name."""

    name: str
    revision: int
    routes: int = Field(description="How many.")
    actor: str | None
    at: datetime


class Snapshots(BaseModel):
    """All snapshots, in the order they were saved."""

    snapshots: list[SnapshotShown]


@router.get("/v1/history", operation_id="history", dependencies=[READ])
async def history(
    state: State,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    route: Annotated[str | None, Query(max_length=600, description="Only changes of this route.")] = None,
) -> History:
    """What was done to the routes, newest first."""
    entries = await in_thread(state.router.history, limit=limit, route=route)
    return History(entries=[Entry(**entry.to_dict()) for entry in entries], revision=state.router.revision)


@router.get("/v1/diff", operation_id="diff", dependencies=[READ], responses=documented("revision_not_found"))
async def diff(state: State, first: Revision, second: Revision) -> Diff:
    """How the routes of two revisions differ."""
    found = await in_thread(state.router.diff, first, second)
    return Diff(**found.to_dict())


@router.post(
    "/v1/rollback",
    operation_id="rollback",
    dependencies=[ADMIN],
    responses=_GOING_BACK | documented("revision_not_found"),
)
async def rollback(body: Rollback, state: State, response: Response, if_match: IfMatch = None) -> Revised:
    """Make the routes what they were; a change like any other, which can be rolled back. If-Match: of all routes."""
    at = expected(if_match)
    revision = await changed(state, state.router.rollback, body.revision, expected_revision=at)
    response.headers["ETag"] = etag(revision)
    return Revised(revision=revision)


@router.get("/v1/snapshots", operation_id="listSnapshots", dependencies=[READ])
async def list_snapshots(state: State) -> Snapshots:
    """All snapshots, in the order they were saved."""
    found = await in_thread(state.router.snapshots)
    return Snapshots(snapshots=[SnapshotShown(**snapshot.to_dict()) for snapshot in found])


@router.post(
    "/v1/snapshots",
    operation_id="saveSnapshot",
    status_code=201,
    dependencies=[WRITE],
    responses=documented("snapshot_exists", "invalid_route", "storage_failed"),
)
async def save_snapshot(body: NewSnapshot, state: State) -> SnapshotShown:
    """Keep the routes as they are now under a name, however much history is forgotten."""
    return await state.change(_saved, state, body.name)


def _saved(state: ServerState, name: str) -> SnapshotShown:
    name = clean_name(name)
    if any(snapshot.name == name for snapshot in state.router.snapshots()):
        raise Problem("snapshot_exists", f"there is a snapshot {name!r} already; delete it or take another name")
    return SnapshotShown(**state.router.save_snapshot(name).to_dict())


@router.post(
    "/v1/snapshots/{name}/use",
    operation_id="useSnapshot",
    dependencies=[ADMIN],
    responses=_GOING_BACK | documented("snapshot_not_found"),
)
async def use_snapshot(name: SnapshotName, state: State, response: Response, if_match: IfMatch = None) -> Revised:
    """Make the routes what they were when it was saved. If-Match: of all routes."""
    at = expected(if_match)
    revision = await changed(state, state.router.use_snapshot, decoded(name), expected_revision=at)
    response.headers["ETag"] = etag(revision)
    return Revised(revision=revision)


@router.delete(
    "/v1/snapshots/{name}",
    operation_id="deleteSnapshot",
    dependencies=[ADMIN],
    responses=documented("snapshot_not_found", "storage_failed"),
)
async def delete_snapshot(name: SnapshotName, state: State) -> Revised:
    """Forget a snapshot."""
    await state.change(state.router.delete_snapshot, decoded(name))
    return Revised(revision=state.router.revision)
