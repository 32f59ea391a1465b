"""Traces and metrics by the SDK of OpenTelemetry, kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from synaptoroute import AdaptiveRouter
from synaptoroute.errors import EncoderError, InvalidQueryError
from synaptoroute.observability.context import request_id
from synaptoroute.observability.otel import OpenTelemetryHook
from tests.observability.conftest import GatedEncoder, small_router
from tests.seeded import SeededEncoder


class Telemetry:
    """Providers whose spans and metrics can be looked at."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(**options)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self._reader])

    def hook(self, router: AdaptiveRouter, **options: Any) -> OpenTelemetryHook:
        return OpenTelemetryHook(router, tracer_provider=self.tracers, meter_provider=self.meters, **options)

    def spans(self) -> dict[str, ReadableSpan]:
        """The finished ones by name, of one call."""
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    yield telemetry
    telemetry.tracers.shutdown()
    telemetry.meters.shutdown()


def test_a_call_is_a_span_below_its_callers_with_one_for_each_stage(
    router: AdaptiveRouter, telemetry: Telemetry
) -> None:
    telemetry.hook(router)
    token = request_id.set("request-9")
    with telemetry.tracers.get_tracer("test").start_as_current_span("caller") as caller:
        router.route_many(["billing xyzzy", "music 2"])
    request_id.reset(token)
    spans = telemetry.spans()
    assert set(spans) == {
        "caller",
        "synaptoroute.route",
        "synaptoroute.queue",
        "embeddings seeded",
        "synaptoroute.search",
        "synaptoroute.decide",
    }
    call = spans["synaptoroute.route"]
    assert call.parent is not None
    assert call.parent.span_id == caller.get_span_context().span_id
    attributes = dict(call.attributes or {})
    assert attributes["synaptoroute.queries"] == 2
    assert attributes["synaptoroute.request_id"] == "request-9"
    assert attributes["synaptoroute.revision"] == router.revision
    assert attributes["synaptoroute.routes"] == ("billing", "music")
    stages = [
        spans[name]
        for name in ("synaptoroute.queue", "embeddings seeded", "synaptoroute.search", "synaptoroute.decide")
    ]
    moments = [moment for span in stages for moment in (span.start_time or 0, span.end_time or 0)]
    assert moments == sorted(moments)
    # Times of day are computed from another clock, in floating point: a microsecond is lost at most.
    assert (call.start_time or 0) - 1_000 <= moments[0]
    assert moments[-1] <= (call.end_time or 0) + 1_000
    for span in stages:
        assert span.parent is not None
        assert span.parent.span_id == call.context.span_id
    assert "xyzzy" not in "".join(span.to_json() for span in telemetry.exporter.get_finished_spans())


def test_the_span_of_encoding_speaks_as_the_conventions_for_generative_ai_have_it(
    router: AdaptiveRouter, telemetry: Telemetry
) -> None:
    telemetry.hook(router)
    router.route("billing new")
    span = telemetry.spans()["embeddings seeded"]
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "custom",
        "gen_ai.request.model": "seeded",
        "gen_ai.embeddings.dimension.count": 32,
    }
    assert span.kind is SpanKind.INTERNAL


def test_a_server_that_encodes_is_called_as_a_client(telemetry: Telemetry) -> None:
    class Remote(SeededEncoder):
        provider = "openai"

    with small_router(Remote()) as router:
        telemetry.hook(router)
        router.route("billing new")
    assert telemetry.spans()["embeddings seeded"].kind is SpanKind.CLIENT


def test_a_known_decision_is_one_span(router: AdaptiveRouter, telemetry: Telemetry) -> None:
    router.route("music 1")
    telemetry.hook(router)
    router.route("music 1")
    assert set(telemetry.spans()) == {"synaptoroute.route"}
    assert dict(telemetry.spans()["synaptoroute.route"].attributes or {})["synaptoroute.known"] is True


async def test_spans_of_concurrent_calls_have_their_own_parents(router: AdaptiveRouter, telemetry: Telemetry) -> None:
    telemetry.hook(router)
    tracer = telemetry.tracers.get_tracer("test")

    async def ask(number: int) -> tuple[int, str]:
        with tracer.start_as_current_span(f"caller {number}") as span:
            await router.aquery(f"weather {number}")
            return span.get_span_context().span_id, f"caller {number}"

    callers = dict(await asyncio.gather(*(ask(number) for number in range(8))))
    calls = [span for span in telemetry.exporter.get_finished_spans() if span.name == "synaptoroute.route"]
    assert {span.parent.span_id for span in calls if span.parent} == set(callers)


def test_texts_are_written_when_that_is_switched_on(router: AdaptiveRouter, telemetry: Telemetry) -> None:
    telemetry.hook(router, query_texts=True)
    router.route_many([f"billing {number}" for number in range(50)])
    attributes = dict(telemetry.spans()["synaptoroute.route"].attributes or {})
    texts = attributes["synaptoroute.query_texts"]
    assert isinstance(texts, tuple)
    assert len(texts) == 32
    assert texts[0] == "billing 0"


def test_a_failure_is_an_error_and_a_wrong_query_is_the_callers(telemetry: Telemetry) -> None:
    with small_router(GatedEncoder()) as router:
        telemetry.hook(router)
        with pytest.raises(EncoderError):
            router.route("fail xyzzy")
        failed = telemetry.spans()["synaptoroute.route"]
        assert failed.status.status_code is StatusCode.ERROR
        assert dict(failed.attributes or {})["error.type"] == "EncoderError"
        assert "secret" not in failed.to_json()
        telemetry.exporter.clear()
        with pytest.raises(InvalidQueryError):
            router.route("")
        wrong = telemetry.spans()["synaptoroute.route"]
        assert wrong.status.status_code is StatusCode.UNSET
        assert dict(wrong.attributes or {})["synaptoroute.unanswered"] == "invalid"
        (encoded,) = telemetry.points("gen_ai.client.operation.duration")
        assert encoded.attributes["error.type"] == "_OTHER"


def test_calls_that_are_not_sampled_have_no_spans_but_are_counted() -> None:
    telemetry = Telemetry(sampler=ALWAYS_OFF)
    with small_router() as router:
        telemetry.hook(router)
        router.route("music 1")
        assert telemetry.spans() == {}
        (matched,) = telemetry.points("synaptoroute.requests")
        assert (matched.value, dict(matched.attributes)) == (1, {"route_result": "matched"})
    telemetry.tracers.shutdown()
    telemetry.meters.shutdown()


def test_metrics_say_what_those_for_prometheus_say(router: AdaptiveRouter, telemetry: Telemetry) -> None:
    hook = telemetry.hook(router, tracing=False)
    router.route_many(["music 1", "music 2"])
    router.route("something else", threshold=1.0)
    router.add_utterance("music", "music more")
    router.wait_until_fitted()
    results = {point.attributes["route_result"]: point.value for point in telemetry.points("synaptoroute.requests")}
    assert results == {"matched": 2, "abstained": 1}
    (duration,) = telemetry.points("synaptoroute.request.duration")
    assert duration.count == 2
    assert duration.explicit_bounds[0] == 0.00001
    (wait,) = telemetry.points("synaptoroute.queue.wait")
    assert wait.count == 2
    (confidence,) = telemetry.points("synaptoroute.confidence")
    assert confidence.count == 3
    (vectors,) = telemetry.points("synaptoroute.index.vectors")
    assert vectors.value == 19
    assert telemetry.points("synaptoroute.fit.age") == []
    assert telemetry.points("synaptoroute.sync.lag") == []
    (changes,) = telemetry.points("synaptoroute.route.changes")
    assert (changes.value, changes.attributes["origin"]) == (1, "own")
    assert telemetry.spans() == {}
    hook.close()
    assert telemetry.points("synaptoroute.index.vectors") == []


def test_after_another_encoder_has_taken_over_spans_name_it(router: AdaptiveRouter, telemetry: Telemetry) -> None:
    class Other(SeededEncoder):
        name, fingerprint, provider = "other", "other-1", "somebody"

    telemetry.hook(router)
    router.migrate_encoder(Other())
    router.route("billing new")
    span = telemetry.spans()["embeddings other"]
    assert dict(span.attributes or {})["gen_ai.provider.name"] == "somebody"
