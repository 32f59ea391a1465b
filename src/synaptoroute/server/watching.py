"""What the server tells of itself: hooks on its router as the settings want them, and what became of requests."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi.telemetry import TelemetryConfig
from starlette.types import Scope

from synaptoroute.errors import InvalidInputError, InvalidSettingError, MissingExtraError, StorageError
from synaptoroute.observability.families import counter_by, gauge, histogram_by
from synaptoroute.observability.prometheus import PrometheusMetrics
from synaptoroute.observability.records import DecisionLog
from synaptoroute.observability.tally import SECONDS, Histogram
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server.settings import ServerSettings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from synaptoroute.observability.otel import OpenTelemetryHook

METRICS = "/metrics"
#: Asked again and again by machines; no traces of these.
_UNTRACED = frozenset({"/livez", "/readyz", METRICS})
#: Where FastAPI's telemetry looks for the address of a collector.
_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: The path template of requests that were answered before one was found, or that have none.
NOWHERE = "none"
#: The status of requests whose client left before there was one.
_GONE = 499


class Watching:
    """The hooks of one server. Requests are counted in its event loop, and read in any thread.

    Args:
        router: Of the server.
        settings: What is wanted.

    Raises:
        InvalidSettingError: Records cannot be written, or OpenTelemetry is not installed.
    """

    def __init__(self, router: AdaptiveRouter, settings: ServerSettings) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._router, self._settings = router, settings
        self.requests = Requests()
        #: What /metrics shows; None without metrics.
        self.registry: CollectorRegistry | None = None
        self._metrics: PrometheusMetrics | None = None
        self._records: DecisionLog | None = None
        self._telemetry: OpenTelemetryHook | None = None
        try:
            if settings.records is not None:
                self._records = _records(settings)
                router.add_hook(self._records)
            if settings.telemetry:
                self._telemetry = _telemetry(router, settings)
            if settings.metrics:
                self.registry = CollectorRegistry()
                self._metrics = PrometheusMetrics(router, registry=self.registry, records=self._records)
                self.registry.register(self.requests)
                ProcessCollector(registry=self.registry)
        except BaseException:
            self.close()
            raise

    @property
    def traced(self) -> bool:
        """Whether requests are traced."""
        return self._telemetry is not None

    def start(self) -> None:
        """Measure the running event loop."""
        if self._metrics is not None:
            self._metrics.loop_lag.start()

    def close(self) -> None:
        """Write what waits, and leave the router."""
        for hook in (self._metrics, self._telemetry, self._records):
            if hook is not None:
                self._router.remove_hook(hook)
                hook.close()


class Requests:
    """What became of requests; a collector for a registry of Prometheus."""

    def __init__(self) -> None:
        self._counts = Counter[tuple[str, str, int]]()
        self._seconds: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(SECONDS))
        self.in_flight = 0

    def begun(self) -> None:
        """One more is being answered."""
        self.in_flight += 1

    def answered(self, scope: Scope, known_route: str | None, status: int, took_s: float) -> None:
        """One was answered, or its client left.

        Args:
            scope: As it was handed to the application, which notes the route there.
            known_route: The path template, if it was answered before that.
            status: 0 if there was none.
            took_s: Seconds.
        """
        self.in_flight -= 1
        method: str = scope["method"] if scope["method"] in _METHODS else "other"
        template = known_route or str(getattr(scope.get("route"), "path_format", NOWHERE))
        self._counts[method, template, status or _GONE] += 1
        self._seconds[template].add(took_s)

    def refused(self, route: str, count: int) -> None:
        """So many calls of a path got 503 before the application saw them."""
        self._counts["POST", route, 503] += count

    def collect(self) -> Iterator[Metric]:
        """The metrics as of now."""
        counts: dict[tuple[str, ...], int] = {
            (method, route, str(status)): n for (method, route, status), n in list(self._counts.items())
        }
        labels = ("method", "route", "status")
        yield counter_by("http_requests", "Requests by path template and status.", labels, counts)
        help_text = "Seconds from a request's head to the end of its answer, by path template."
        yield histogram_by("http_request_duration_seconds", help_text, "route", dict(self._seconds))
        yield gauge("http_requests_in_flight", "Requests being answered.", self.in_flight)


def telemetry_options(settings: ServerSettings) -> TelemetryConfig:
    """What FastAPI's own telemetry does: nothing unless it is switched on, for it would follow any global provider."""
    wanted = settings.telemetry
    return {
        "tracing": wanted,
        "metrics": wanted,
        "logs": wanted,
        "auto_configure": wanted,
        "exclude": lambda scope: scope["path"] in _UNTRACED,
    }


def redact(scope: Scope) -> None:
    """Take the query string, which may hold the text that routes are searched for, from the request's span."""
    if scope["query_string"]:
        from opentelemetry import trace

        trace.get_current_span().set_attribute("url.query", "REDACTED")


def _records(settings: ServerSettings) -> DecisionLog:
    assert settings.records is not None  # noqa: S101 - the caller has asked
    key = settings.records_key.get_secret_value() if settings.records_key is not None else None
    try:
        return DecisionLog(
            settings.records,
            queries=settings.records_queries,
            key=key,
            max_bytes=settings.records_mib << 20,
            files=settings.records_files,
        )
    except InvalidInputError as exc:
        raise InvalidSettingError(f"setting records_key: {exc}") from exc
    except StorageError as exc:
        raise InvalidSettingError(f"setting records: {exc}; choose a folder that can be written") from exc


def _require_somewhere() -> None:
    """Raise InvalidSettingError if what is told would go nowhere."""
    from opentelemetry import metrics, trace

    providers = trace.get_tracer_provider(), metrics.get_meter_provider()
    unset = all(type(provider).__name__.strip("_").startswith("Proxy") for provider in providers)
    if unset and not any(os.environ.get(name) for name in _ENDPOINTS):
        raise InvalidSettingError(
            "setting telemetry: traces and metrics have nowhere to go; set OTEL_EXPORTER_OTLP_ENDPOINT to the address "
            "of a collector, such as http://127.0.0.1:4318, or switch telemetry off"
        )


def _telemetry(router: AdaptiveRouter, settings: ServerSettings) -> OpenTelemetryHook:
    from importlib.util import find_spec

    from synaptoroute.observability.otel import OpenTelemetryHook

    try:
        if find_spec("opentelemetry.sdk") is None or find_spec("opentelemetry.exporter.otlp.proto.http") is None:
            raise MissingExtraError("traces and metrics by OpenTelemetry", "otel")
    except ModuleNotFoundError as exc:
        raise MissingExtraError("traces and metrics by OpenTelemetry", "otel") from exc
    _require_somewhere()
    return OpenTelemetryHook(router, query_texts=settings.telemetry_queries)
