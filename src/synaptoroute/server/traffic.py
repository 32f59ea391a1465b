"""``GET /v1/traffic``: how much is asked lately, how fast it is answered, and whether it is like what was fitted."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from pydantic import BaseModel, Field

from synaptoroute.server.drift import Level, drift
from synaptoroute.server.insight import BaselineState
from synaptoroute.server.state import READ, State

router = APIRouter(tags=["insight"])


class Seconds(BaseModel):
    """Counts for each second, the oldest first; the last one is the current second."""

    queries: list[int]
    abstained: list[int]
    shed: list[int]
    failed: list[int]


class Totals(BaseModel):
    """The same for the whole window."""

    queries: int = Field(description="Queries that were answered.")
    abstained: int = Field(description="Of these, how many got no route.")
    shed: int = Field(description="Queries turned away for there were too many.")
    failed: int = Field(description="Queries accepted and not answered: past their deadline, or the encoder failed.")


class Percentiles(BaseModel):
    """Milliseconds that so many per cent of the queries are answered within; null without any. Within 9 %."""

    p50: float | None
    p95: float | None
    p99: float | None


class PercentileCurves(BaseModel):
    """The same for each ten seconds of the window."""

    p50: list[float | None]
    p95: list[float | None]
    p99: list[float | None]


class DriftShown(BaseModel):
    """How far confidences have moved from the baseline."""

    psi: float = Field(description="Population stability index; 0 for equal distributions.")
    chance: float = Field(description="What it is on average if nothing has changed, from so few queries.")
    level: Level


class Confidences(BaseModel):
    """Two histograms over ``bins``."""

    live: list[int] = Field(description="The latest decisions, 1,000 at most.")
    n_live: int
    baseline: list[int] | None = Field(
        description="The queries of the last fit, each decided by a head that had not seen it."
    )
    n_baseline: int
    state: BaselineState
    drift: DriftShown | None = Field(description="Null below 100 live decisions or without a baseline.")


class TrafficAnswer(BaseModel):
    """The last five minutes of this process. Explained queries are somebody looking, and are not counted."""

    window_s: int
    until: int = Field(description="The current second, since 1970.")
    seconds: Seconds
    totals: Totals
    latency_ms: Percentiles
    latency_every_10_s: PercentileCurves
    bins: list[float] = Field(description="The ends of the bins of confidence.")
    confidence: Confidences
    revision: int


@router.get("/v1/traffic", operation_id="traffic", summary="Traffic of late", dependencies=[READ])
async def traffic(state: State) -> TrafficAnswer:
    """How much was asked and answered lately, how fast and how surely, and how that differs from when it was fitted."""
    table = state.router.snapshot
    live = state.insight.traffic.confidences()
    known, baseline = state.insight.baseline.get(table)
    found = None if baseline is None else drift(live, baseline)
    confidences = Confidences(
        live=live.tolist(),
        n_live=int(live.sum()),
        baseline=None if baseline is None else baseline.tolist(),
        n_baseline=0 if baseline is None else int(baseline.sum()),
        state=known,
        drift=DriftShown(**asdict(found)) if found else None,
    )
    return TrafficAnswer(**state.insight.traffic.to_dict(), confidence=confidences, revision=table.revision)
