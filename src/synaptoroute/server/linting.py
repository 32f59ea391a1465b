"""``/v1/lint``: what is wrong with the routes, and what would mend it at one click."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from synaptoroute.lint import Finding, Fix, Kind, Severity, lint
from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server.problems import Problem, documented
from synaptoroute.server.routes import IfMatch, etag, expected
from synaptoroute.server.schemas import Asked, Cosine, Revised
from synaptoroute.server.state import READ, WRITE, State, changed, in_thread

router = APIRouter(tags=["lint"])


class FixShown(Asked):
    """One change a program can make."""

    action: Literal["remove_utterance", "move_utterance", "set_threshold"]
    route: str = Field(description="The route to change.")
    utterance: str | None = Field(None, description="To remove or move.")
    to: str | None = Field(None, description="The route to move it to.")
    threshold: Cosine | None = Field(None, description="To set.")


class FindingShown(BaseModel):
    """One thing that looks wrong."""

    severity: Severity
    kind: Kind
    routes: list[str]
    utterances: list[str]
    evidence: float
    problem: str
    advice: str
    fixes: list[FixShown] = Field(description="To be applied together; empty if it takes a person.")


class Findings(BaseModel):
    """Everything that looks wrong, the worst first."""

    findings: list[FindingShown]
    total: int
    revision: int = Field(description="Of the routes that were looked at.")


class Fixes(Asked):
    """Changes of one finding, all or none of which are made."""

    fixes: list[FixShown] = Field(min_length=1, max_length=10_000, fail_fast=True)


class Linter:
    """Looks at one revision at a time, and remembers what it found."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._found: tuple[int, tuple[Finding, ...]] | None = None

    async def findings(self, router: AdaptiveRouter) -> tuple[int, tuple[Finding, ...]]:
        """The revision of the routes now, and what looks wrong with them."""
        async with self._lock:
            table = router.snapshot
            if self._found is None or self._found[0] != table.revision:
                self._found = table.revision, await in_thread(lint, table)
            return self._found


@router.get("/v1/lint", operation_id="lint", dependencies=[READ])
async def findings(state: State, response: Response, limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000) -> Findings:
    """What looks wrong with the routes, found without a single query; takes seconds where there are many."""
    revision, found = await state.linter.findings(state.router)
    response.headers["ETag"] = etag(revision)
    shown = [FindingShown(**finding.to_dict()) for finding in found[:limit]]
    return Findings(findings=shown, total=len(found), revision=revision)


@router.post(
    "/v1/lint/fix",
    operation_id="applyFix",
    dependencies=[WRITE],
    responses=documented("route_not_found", "revision_conflict", "invalid_route", "storage_failed"),
)
async def apply_fix(body: Fixes, state: State, response: Response, if_match: IfMatch = None) -> Revised:
    """Make the changes of a finding, all or none. If-Match: the revision of the findings."""
    fixes = [Fix(**fix.model_dump()) for fix in body.fixes]
    revision = await changed(state, _mended, state.router, fixes, expected(if_match))
    response.headers["ETag"] = etag(revision)
    return Revised(revision=revision)


def _mended(router: AdaptiveRouter, fixes: list[Fix], expected_revision: int | None) -> int:
    names = sorted({name for fix in fixes for name in (fix.route, fix.to) if name is not None})
    # The revisions first: what is changed after them will be noticed.
    revisions = {name: router.route_revision(name) for name in names}
    routes = {name: router.get_route(name) for name in names}
    if expected_revision is not None and router.revision != expected_revision:
        raise Problem("revision_conflict", f"the routes are at revision {router.revision} by now; look again")
    return router.put_routes(mended(routes, fixes), expected_revisions=revisions)


def mended(routes: dict[str, Route], fixes: Iterable[Fix]) -> list[Route]:
    """Those of the routes that the fixes change, changed.

    Raises:
        Problem: A fix does not fit, or would leave a route without utterances.
    """
    utterances = {name: list(route.utterances) for name, route in routes.items()}
    thresholds: dict[str, float] = {}
    for fix in fixes:
        if fix.action == "set_threshold":
            if fix.threshold is None:
                raise Problem("invalid_request", "set_threshold needs a threshold")
            thresholds[fix.route] = fix.threshold
            continue
        if fix.utterance not in utterances[fix.route]:
            raise Problem("route_not_found", f"route {fix.route!r} has no such utterance any more; look again")
        utterances[fix.route].remove(fix.utterance)
        if fix.action == "move_utterance":
            if fix.to is None:
                raise Problem("invalid_request", "move_utterance needs the route to move to")
            if fix.utterance not in utterances[fix.to]:
                utterances[fix.to].append(fix.utterance)
    if emptied := next((name for name, texts in utterances.items() if not texts), None):
        raise Problem("invalid_route", f"route {emptied!r} would be left without utterances; delete it instead")
    return [
        route.replaced(utterances=utterances[name], threshold=thresholds.get(name, route.threshold))
        for name, route in routes.items()
    ]
