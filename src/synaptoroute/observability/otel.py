"""OpenTelemetryHook: traces and metrics of a router by OpenTelemetry; where they go is the program's to set up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from synaptoroute import __version__
from synaptoroute.errors import MissingExtraError, SynaptoRouteError
from synaptoroute.observability.context import request_id
from synaptoroute.observability.events import (
    BatchEncoded,
    EncoderChanged,
    QueriesDecided,
    QueriesUnanswered,
    QueryEvent,
    RoutesChanged,
    RoutesEvent,
    Unanswered,
)
from synaptoroute.observability.stages import CallStages
from synaptoroute.observability.status import RouterStatus, Watched
from synaptoroute.observability.tally import PROBABILITIES, SECONDS, TEXTS

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
    from opentelemetry.trace import Span, Tracer, TracerProvider

#: Queries of a call whose texts, if they are wanted at all, and routes are written at its span.
_SHOWN = 32
#: A look at the router serves all gauges of one collection.
_STATUS_HOLDS_S = 0.5
#: The caller's own doing, so nothing is wrong with the service.
_NO_ERRORS = (Unanswered.INVALID, Unanswered.CANCELLED)


class OpenTelemetryHook:
    """One span for each call, below the caller's, with a span for each stage; and metrics.

    A hook: it attaches itself, and ends with the router or by ``close``. Spans are made when the call has ended, with
    the times it had. Without providers, those of the process are taken; what the program has set none up for costs next
    to nothing.

    Args:
        router: Whose.
        tracer_provider: Makes the tracer; that of the process by default.
        meter_provider: Makes the meter; that of the process by default.
        tracing: Whether there are spans.
        metrics: Whether there are metrics.
        query_texts: Whether spans have the queries' texts. They do not unless asked to.

    Raises:
        MissingExtraError: opentelemetry-api is not installed.
        InvalidInputError: The router was closed.
    """

    def __init__(
        self,
        router: Watched,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        tracing: bool = True,
        metrics: bool = True,
        query_texts: bool = False,
    ) -> None:
        try:
            from opentelemetry import metrics as otel_metrics
            from opentelemetry import trace
        except ImportError as exc:
            raise MissingExtraError("traces and metrics by OpenTelemetry", "otel") from exc
        self._router = router
        self._query_texts = query_texts
        status = router.status()
        self._encoder, self._dim, self._provider = status.encoder, status.dim, status.provider
        self._tracer: Tracer | None = (
            trace.get_tracer("synaptoroute", __version__, tracer_provider) if tracing else None
        )
        self._meters: _Meters | None = (
            _Meters(otel_metrics.get_meter("synaptoroute", __version__, meter_provider), router) if metrics else None
        )
        self._closed = False
        router.add_hook(self)

    def close(self) -> None:
        """Leave the router; gauges have no values any more. Closing twice is fine."""
        if not self._closed:
            self._closed = True
            self._router.remove_hook(self)
            if self._meters is not None:
                self._meters.close()

    # ------------------------------------------------------------------------------------------- what it is told
    def on_query(self, event: QueryEvent) -> None:
        """See ``HearsQueries``."""
        if self._meters is not None:
            self._meters.query(event)
        if self._tracer is not None:
            self._trace(self._tracer, event)

    def on_batch(self, event: BatchEncoded) -> None:
        """See ``HearsBatches``."""
        if self._meters is not None:
            self._meters.batch(event, self._of_encoder())

    def on_routes(self, event: RoutesEvent) -> None:
        """See ``HearsRoutes``."""
        if isinstance(event, EncoderChanged):
            status = self._router.status()
            self._encoder, self._dim, self._provider = status.encoder, status.dim, status.provider
        elif self._meters is not None:
            self._meters.change(event)

    # ----------------------------------------------------------------------------------------------------- traces
    def _trace(self, tracer: Tracer, event: QueryEvent) -> None:
        from opentelemetry import trace

        stages = event.stages
        # Spans have the time of day, the stages a clock that nobody sets.
        offset_s = time.time() - time.monotonic()

        def ns(moment: float) -> int:
            return int((moment + offset_s) * 1e9)

        span = tracer.start_span("synaptoroute.route", start_time=ns(stages.began))
        if span.is_recording():
            if (request := request_id.get()) is not None:
                span.set_attribute("synaptoroute.request_id", request)
            if isinstance(event, QueriesDecided):
                self._describe(span, event)
            else:
                _describe_failure(span, event)
            parent = trace.set_span_in_context(span)
            for stage, start, end in stages.spans():
                name = f"embeddings {self._encoder}" if stage == "encode" else f"synaptoroute.{stage}"
                child = tracer.start_span(
                    name,
                    context=parent,
                    start_time=ns(start),
                    kind=trace.SpanKind.CLIENT if stage == "encode" and self._is_remote else trace.SpanKind.INTERNAL,
                    attributes=self._of_encoder() | {"gen_ai.embeddings.dimension.count": self._dim}
                    if stage == "encode"
                    else None,
                )
                child.end(ns(end))
        span.end(ns(stages.ended))

    def _describe(self, span: Span, event: QueriesDecided) -> None:
        decisions = event.decisions
        matched = sum([decision.name is not None for decision in decisions])
        span.set_attributes(
            {
                "synaptoroute.queries": len(decisions),
                "synaptoroute.matched": matched,
                "synaptoroute.abstained": len(decisions) - matched,
                "synaptoroute.known": event.stages.known,
                "synaptoroute.revision": decisions[0].revision if decisions else -1,
                "synaptoroute.routes": [decision.name or "" for decision in decisions[:_SHOWN]],
                "synaptoroute.reasons": [decision.reason.value for decision in decisions[:_SHOWN]],
                "synaptoroute.confidences": [decision.confidence for decision in decisions[:_SHOWN]],
            }
        )
        if self._query_texts:
            span.set_attribute("synaptoroute.query_texts", list(event.texts[:_SHOWN]))

    def _of_encoder(self) -> dict[str, str | int]:
        return {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": self._provider,
            "gen_ai.request.model": self._encoder,
        }

    @property
    def _is_remote(self) -> bool:
        return self._provider == "openai"


def _describe_failure(span: Span, event: QueriesUnanswered) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attributes(
        {
            "synaptoroute.queries": event.queries,
            "synaptoroute.unanswered": event.why.value,
            "error.type": event.error,
        }
    )
    if event.why not in _NO_ERRORS:
        # Without the error's message, which may repeat a query.
        span.set_status(StatusCode.ERROR, event.why.value)


class _Meters:
    """The instruments."""

    def __init__(self, meter: Meter, router: Watched) -> None:
        self._router: Watched | None = router
        self._status: RouterStatus | None = None
        self._looked_at = -_STATUS_HOLDS_S
        self._queries = meter.create_counter("synaptoroute.requests", "{query}", "Queries by what became of them.")
        self._shed = meter.create_counter("synaptoroute.shed", "{query}", "Queries turned away.")
        self._changes = meter.create_counter("synaptoroute.route.changes", "{change}", "Changes of the routes.")

        def seconds(name: str, description: str) -> Any:
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=SECONDS)

        self._duration = seconds("synaptoroute.request.duration", "From a call to its answer or error.")
        self._stages = {
            "queue": seconds("synaptoroute.queue.wait", "From a call until a worker began with it."),
            "search": seconds("synaptoroute.search.duration", "For finding and ranking the nearest routes."),
            "decide": seconds("synaptoroute.decide.duration", "For holding the ranked routes against the limits."),
        }
        self._encode = seconds("gen_ai.client.operation.duration", "Of a call of the encoder for queries.")
        self._batch = meter.create_histogram(
            "synaptoroute.batch.size", "{text}", "Texts in a call.", explicit_bucket_boundaries_advisory=TEXTS
        )
        self._confidence = meter.create_histogram(
            "synaptoroute.confidence", "1", "Of the best route.", explicit_bucket_boundaries_advisory=PROBABILITIES
        )
        for name, unit, description, read in _GAUGES:
            meter.create_observable_gauge(name, [self._observed(read)], unit, description)

    def close(self) -> None:
        self._router = self._status = None

    def query(self, event: QueryEvent) -> None:
        if isinstance(event, QueriesUnanswered):
            self._queries.add(event.queries, {"route_result": "error", "error.type": event.why.value})
            if event.shed_for is not None:
                self._shed.add(event.queries, {"reason": event.shed_for})
        else:
            results = Counter([decision.name is not None for decision in event.decisions])
            for matched, count in results.items():
                self._queries.add(count, {"route_result": "matched" if matched else "abstained"})
            for decision in event.decisions:
                self._confidence.record(decision.confidence)
        self._durations(event.stages)

    def _durations(self, stages: CallStages) -> None:
        self._duration.record(stages.total_s)
        for stage, start, end in stages.spans():
            if stage in self._stages:
                self._stages[stage].record(end - start)

    def batch(self, event: BatchEncoded, of_encoder: dict[str, str | int]) -> None:
        self._batch.record(event.texts)
        self._encode.record(event.took_s, of_encoder | ({"error.type": "_OTHER"} if event.failed else {}))

    def change(self, event: RoutesChanged) -> None:
        self._changes.add(1, {"origin": event.origin.value})

    def _observed(self, read: Any) -> Any:
        from opentelemetry.metrics import Observation

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            status = self._looked()
            value = read(status) if status is not None else None
            return [] if value is None else [Observation(value)]

        return observe

    def _looked(self) -> RouterStatus | None:
        router, now = self._router, time.monotonic()
        if router is not None and now - self._looked_at >= _STATUS_HOLDS_S:
            try:
                self._status, self._looked_at = router.status(), now
            except SynaptoRouteError:
                self._status = None
        return self._status


def _fit_age_s(status: RouterStatus) -> float | None:
    return None if status.fitted_at is None else max(0.0, time.time() - status.fitted_at)


_GAUGES: Sequence[tuple[str, str, str, Any]] = (
    ("synaptoroute.queue.depth", "{query}", "Queries not yet answered.", lambda status: status.queue.queries),
    ("synaptoroute.index.vectors", "{vector}", "Utterances compared with.", lambda status: status.utterances),
    ("synaptoroute.index.revision", "{change}", "Of the routes.", lambda status: status.revision),
    ("synaptoroute.fit.age", "s", "Since labelled queries were last fitted.", _fit_age_s),
    (
        "synaptoroute.sync.lag",
        "{entry}",
        "Changes of others that are not applied here yet.",
        lambda status: status.sync and status.sync.lag_entries,
    ),
    (
        "synaptoroute.sync.outbox",
        "{change}",
        "Own changes that others cannot see yet.",
        lambda status: status.sync and status.sync.outbox,
    ),
)
