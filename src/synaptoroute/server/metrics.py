"""``GET /metrics``: what Prometheus scrapes."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from synaptoroute.server.problems import Problem
from synaptoroute.server.state import READ, State, in_thread
from synaptoroute.server.watching import METRICS

router = APIRouter(tags=["health"])


@router.get(
    METRICS,
    operation_id="metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    dependencies=[READ],
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The text format of Prometheus"}
    },
)
async def metrics(request: Request, state: State) -> Response:
    """Counters, gauges and histograms of this process, in the text format of Prometheus or OpenMetrics, as asked for.

    With API keys, a key is needed unless the setting metrics_open says otherwise.
    """
    from prometheus_client.exposition import choose_encoder

    registry = state.watching.registry
    if registry is None:
        raise Problem("not_found", "the setting metrics is off")
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(await in_thread(encode, registry), headers={"Content-Type": content_type})
