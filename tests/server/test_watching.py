"""/metrics, records, logs and traces of a server."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from synaptoroute.errors import InvalidSettingError
from synaptoroute.server.app import create_app
from synaptoroute.server.loading import load_settings
from synaptoroute.server.settings import ServerSettings
from tests.server.serving import SAFE_S, Process, Served, problem, serving, small_router, until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def metrics_of(served: Served, **options: str) -> Samples:
    answer = served.get("/metrics", **options)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"synaptoroute_{name}", frozenset(labels.items())))


def test_requests_are_counted_by_template_and_status_and_queries_by_result(fresh: Served) -> None:
    fresh.post("/v1/route", {"texts": ["music 1", "weather 2"]})
    fresh.post("/v1/route", {"text": ""})
    fresh.get("/v1/routes/billing")
    fresh.get("/v1/routes/no%2Fbody")
    fresh.get("/secret/xyzzy")
    fresh.ask("BREW", "/v1/routes")
    samples = metrics_of(fresh)
    assert value(samples, "http_requests_total", method="POST", route="/v1/route", status="200") == 1
    assert value(samples, "http_requests_total", method="POST", route="/v1/route", status="422") == 1
    assert value(samples, "http_requests_total", method="GET", route="/v1/routes/{name}", status="200") == 1
    assert value(samples, "http_requests_total", method="GET", route="/v1/routes/{name}", status="404") == 1
    assert value(samples, "http_requests_total", method="GET", route="none", status="404") == 1
    assert not [labels for _, labels in samples if ("method", "BREW") in labels]
    assert "xyzzy" not in fresh.get("/metrics").text
    assert value(samples, "http_requests_in_flight") == 1
    assert value(samples, "requests_total", route_result="matched") == 2
    # The server has warmed up, and that was no query.
    assert value(samples, "request_duration_seconds_count") == 1
    until(lambda: value(metrics_of(fresh), "event_loop_lag_seconds_count"))
    assert ("process_resident_memory_bytes", frozenset()) in samples


def test_the_format_is_the_one_that_is_asked_for(served: Served) -> None:
    plain = served.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    opened = served.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")


def test_metrics_need_a_key_where_there_are_keys_unless_they_are_open() -> None:
    with small_router() as router:
        with serving(router, keys=["read"]) as served:
            problem(served.get("/metrics"), 401, "unauthorized")
            assert value(metrics_of(served, key="read"), "routes") == 3
        with serving(router, keys=["read"], metrics_open=True) as served:
            assert value(metrics_of(served), "routes") == 3
            problem(served.get("/v1/routes"), 401, "unauthorized")
        with serving(router, metrics=False) as served:
            problem(served.get("/metrics"), 404, "not_found")


def test_metrics_are_answered_while_requests_are_turned_away() -> None:
    with small_router() as router, serving(router, max_in_flight=1) as served:
        served.state.in_flight += 1
        try:
            problem(served.get("/v1/routes"), 503, "overloaded")
            samples = metrics_of(served)
        finally:
            served.state.in_flight -= 1
        assert value(samples, "http_requests_total", method="GET", route="none", status="503") == 1


def test_a_server_leaves_the_router_as_it_found_it(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    with small_router() as router:
        with serving(router, records=path) as served:
            served.post("/v1/route", {"text": "music 1"}, headers={"X-Request-ID": "mine-1"})
        router.route("music 2")
        (record,) = map(json.loads, path.read_text().splitlines())
        assert (record["request_id"], record["route"]) == ("mine-1", "music")
        assert "music 1" not in path.read_text()
        assert router._hooks.queries == ()


def test_settings_that_cannot_work_stop_the_start_and_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_router() as router:
        blocked = tmp_path / "file"
        blocked.write_text("")
        with pytest.raises(InvalidSettingError, match="setting records:"):
            create_app(router, settings=ServerSettings(records=blocked / "decisions.jsonl"))
        with pytest.raises(InvalidSettingError, match="setting records_key:"):
            create_app(router, settings=ServerSettings(records=tmp_path / "r.jsonl", records_queries="hash"))
        assert router._hooks.queries == ()
        monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
        with pytest.raises(InvalidSettingError, match=r"setting telemetry: .*OTEL_EXPORTER_OTLP_ENDPOINT"):
            create_app(router, settings=ServerSettings(telemetry=True, records=tmp_path / "r.jsonl"))
        assert router._hooks.queries == ()
    with pytest.raises(InvalidSettingError, match="records_queries"):
        load_settings(records_queries="everything")
    assert "0123456789abcdef" not in repr(ServerSettings(records_key="0123456789abcdef"))


class Collector:
    """A collector of OpenTelemetry on a free port, which keeps what it is sent."""

    def __init__(self) -> None:
        received = self.received = dict[str, list[bytes]]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                received.setdefault(self.path, []).append(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(SAFE_S)
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def test_a_process_traces_requests_down_to_the_stages_and_logs_in_json(collector: Collector, tmp_path: Path) -> None:
    environment = {
        "SYNAPTOROUTE_TELEMETRY": "true",
        "SYNAPTOROUTE_ACCESS_LOG": "true",
        "SYNAPTOROUTE_SHUTDOWN_GRACE_S": "0",
        "SYNAPTOROUTE_RECORDS": str(tmp_path / "decisions.jsonl"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
    }
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with Process("--demo", **environment) as process:
        with httpx2.Client(base_url=process.url, timeout=SAFE_S) as client:
            headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "X-Request-ID": "seen-1"}
            answer = client.post("/v1/route", json={"text": "xyzzy where is my parcel"}, headers=headers)
            assert answer.status_code == 200, answer.text
            assert client.get("/v1/routes", params={"query": "xyzzy"}).status_code == 200
            client.get("/livez")
            until(lambda: b"synaptoroute.index.vectors" in b"".join(collector.received.get("/v1/metrics", [])))
        process.process.send_signal(signal.SIGTERM)
        code, said = process.ended()
    assert code == 0, said
    assert "xyzzy" not in said
    assert (tmp_path / "decisions.jsonl").read_text().count("\n") == 1
    logged = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    (asked,) = [line for line in logged if line.get("path") == "/v1/route"]
    assert (asked["request_id"], asked["status"], asked["method"]) == ("seen-1", 200, "POST")
    assert asked["logger"] == "synaptoroute.access"

    sent = b"".join(body for bodies in collector.received.values() for body in bodies)
    assert b"xyzzy" not in sent
    traces = [ExportTraceServiceRequest.FromString(body) for body in collector.received["/v1/traces"]]
    spans = [
        span
        for request in traces
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    own = {span.name: span for span in spans if span.trace_id.hex() == trace_id}
    assert {
        "POST /v1/route",
        "synaptoroute.route",
        "embeddings all-MiniLM-L6-v2-routing",
        "synaptoroute.search",
    } <= set(own)
    by_id = {span.span_id: span for span in own.values()}
    above = by_id[own["synaptoroute.route"].parent_span_id]
    while above.name != "POST /v1/route":
        above = by_id[above.parent_span_id]
    assert above.parent_span_id.hex() == "00f067aa0ba902b7"
    assert not [span for span in spans if "livez" in span.name]
    metrics = [ExportMetricsServiceRequest.FromString(body) for body in collector.received["/v1/metrics"]]
    names = {
        metric.name
        for request in metrics
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert {"http.server.request.duration", "synaptoroute.requests", "synaptoroute.index.vectors"} <= names
    assert b"/v1/route" in sent
