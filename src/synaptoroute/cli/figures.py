"""The figures of a running server, put together from what it tells in three places."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synaptoroute.cli.remote import Remote, RemoteError

#: What an endpoint answers that this server does not have.
_ABSENT = frozenset({404, 405, 501})
_LABELS_AT = "{"
Metrics = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What a server told at one moment.

    Attributes:
        status: Of ``/v1/status``.
        ready: By ``/readyz``.
        traffic: Of ``/v1/traffic``; None where there is no such thing.
        metrics: Of ``/metrics``, name -> labels as they stand there -> value; None where there is no such thing.
        at_s: When, by the monotonic clock.
    """

    status: Mapping[str, Any]
    ready: bool
    traffic: Mapping[str, Any] | None
    metrics: Metrics | None
    at_s: float

    def figures(self, before: "Samples | None") -> dict[str, Any]:
        """What people look at. Rates and percentiles are of the time since ``before``, else as the server counts them.

        ``queries_per_s``, ``abstained`` (a share), ``shed_per_s``, ``latency_ms`` and ``queue_wait_p95_ms`` are None
        where nothing is known of them.
        """
        status, health = self.status, self.status["health"]
        since = before if before is not None and before.metrics and self.metrics else None
        seconds = list(self.traffic["seconds"]["queries"]) if self.traffic else []
        return {
            "ready": self.ready,
            "version": status["version"],
            "uptime_s": status["uptime_s"],
            "encoder": status["encoder"],
            "routes": status["routes"],
            "utterances": status["utterances"],
            "revision": status["revision"],
            "settled": status["settled"],
            "queries_per_s": self._queries_per_s(since, seconds),
            "abstained": self._abstained(),
            "shed_per_s": self._rate(since, "synaptoroute_shed_total"),
            "latency_ms": self._latency(since),
            "queue": {name: health.get(name) for name in ("queries", "waiting", "encoding", "workers")},
            "queue_wait_p95_ms": _ms(self._quantile(since, "synaptoroute_queue_wait_seconds", 0.95)),
            "drift_psi": self._drift(),
            "sync": self._sync(),
            "seconds": seconds,
        }

    def _queries_per_s(self, since: "Samples | None", seconds: list[int]) -> float | None:
        rate = self._rate(since, "synaptoroute_requests_total")
        if rate is None and len(seconds) > 1:
            # The last second is not over yet.
            whole = seconds[-11:-1]
            rate = sum(whole) / len(whole)
        return rate

    def _abstained(self) -> float | None:
        if self.traffic is None:
            return None
        totals = self.traffic["totals"]
        return totals["abstained"] / totals["queries"] if totals["queries"] else None

    def _latency(self, since: "Samples | None") -> dict[str, float | None]:
        # Queries from before the server was ready are not in its traffic.
        if self.traffic is not None and self.traffic["totals"]["queries"]:
            return {name: self.traffic["latency_ms"][name] for name in ("p50", "p95", "p99")}
        name = "synaptoroute_request_duration_seconds"
        return {f"p{percent}": _ms(self._quantile(since, name, percent / 100)) for percent in (50, 95, 99)}

    def _drift(self) -> float | None:
        drift = self.traffic["confidence"]["drift"] if self.traffic else None
        return None if drift is None else float(drift["psi"])

    def _sync(self) -> dict[str, Any] | None:
        sync = self.status.get("sync")
        if sync is None:
            return None
        lag = next(iter(self.of("synaptoroute_sync_lag_entries").values()), None)
        return {"state": str(sync.get("state")), "lag": lag}

    def _rate(self, since: "Samples | None", name: str) -> float | None:
        """How much all counters of that name have grown, per second."""
        if since is None or self.at_s <= since.at_s:
            return None
        now, then = sum(self.of(name).values()), sum(since.of(name).values())
        # A server that was started anew counts from zero.
        return (now - then if now >= then else now) / (self.at_s - since.at_s)

    def _quantile(self, since: "Samples | None", name: str, share: float) -> float | None:
        """What so many of the observations were within, linear inside a bucket; of all there were, without ``since``.

        As Prometheus's histogram_quantile: beyond the last bound, the last bound.
        """
        buckets = {_bound(labels): count for labels, count in self.of(f"{name}_bucket").items()}
        former = since.of(f"{name}_bucket") if since is not None else {}
        earlier = {_bound(labels): count for labels, count in former.items()}
        counted = sorted((bound, count - earlier.get(bound, 0.0)) for bound, count in buckets.items())
        if not counted or counted[-1][1] <= 0:
            return None
        wanted = share * counted[-1][1]
        below_bound = below_count = 0.0
        for bound, count in counted:
            if count >= wanted:
                if math.isinf(bound):
                    return below_bound
                part = (wanted - below_count) / (count - below_count) if count > below_count else 0.0
                return below_bound + (bound - below_bound) * part
            below_bound, below_count = bound, count
        return below_bound

    def of(self, name: str) -> Mapping[str, float]:
        """The samples of a metric by their labels; none if it is not there."""
        return (self.metrics or {}).get(name, {})


def sampled(server: Remote) -> Samples:
    """What the server tells now.

    Raises:
        RemoteError: It cannot be reached, or the key may not read its status.
    """
    status = server.json("/v1/status")
    try:
        server.json("/readyz")
        ready = True
    except RemoteError as exc:
        if exc.status is None:
            raise
        ready = False
    text = _if_there(server.text, "/metrics")
    return Samples(
        status=status,
        ready=ready,
        traffic=_if_there(server.json, "/v1/traffic"),
        metrics=None if text is None else parsed(text),
        at_s=time.monotonic(),
    )


def parsed(text: str) -> dict[str, dict[str, float]]:
    """The samples of Prometheus's text format by name and labels; lines that are none are left out."""
    metrics: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, brace, rest = line.partition(_LABELS_AT)
        if brace:
            labels, _, rest = rest.rpartition("}")
        else:
            name, _, rest = line.partition(" ")
            labels = ""
        try:
            metrics.setdefault(name.strip(), {})[labels] = float(rest.split()[0])
        except (IndexError, ValueError):
            continue
    return metrics


def _if_there(ask: Any, path: str) -> Any:
    try:
        return ask(path)
    except RemoteError as exc:
        if exc.status in _ABSENT:
            return None
        raise


def _bound(labels: str) -> float:
    for label in labels.split(","):
        name, _, value = label.partition("=")
        if name.strip() == "le":
            return float(value.strip().strip('"'))
    return math.inf


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1_000
