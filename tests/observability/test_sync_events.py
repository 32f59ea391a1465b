"""What is told of keeping replicas in step, with a real server between them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from synaptoroute import AdaptiveRouter
from synaptoroute.observability.events import Origin, RoutesChanged, SyncChanged
from synaptoroute.observability.prometheus import PrometheusMetrics
from synaptoroute.storage import SQLiteStorage
from synaptoroute.sync import RedisSyncManager
from tests.observability.conftest import SAFE_S, Listener
from tests.observability.test_prometheus import scraped, value
from tests.seeded import SeededEncoder, route
from tests.valkey_server import ValkeyServer


def until(reached: Callable[[], object]) -> None:
    ends = time.monotonic() + SAFE_S
    while not reached():
        assert time.monotonic() < ends, "it has not come about"
        time.sleep(0.01)


def test_a_server_that_goes_and_comes_back_is_told_and_seen(tmp_path: Path) -> None:
    namespace, listener, registry = uuid.uuid4().hex, Listener(), CollectorRegistry()

    def replica(name: str, **options: object) -> AdaptiveRouter:
        manager = RedisSyncManager(server.url, namespace=namespace, timeout_s=1.0)
        storage = SQLiteStorage(tmp_path / f"{name}.db")
        return AdaptiveRouter(SeededEncoder(), storage, sync_manager=manager, **options)  # type: ignore[arg-type]

    with (
        ValkeyServer(tmp_path) as server,
        replica("first") as first,
        replica("second", hooks=[listener]) as second,
    ):
        PrometheusMetrics(second, registry=registry)
        first.add_route(route("billing"))
        until(lambda: "billing" in second)
        until(lambda: [event.state for event in listener.of(SyncChanged)][-1:] == ["following"])
        (change,) = listener.of(RoutesChanged)
        assert (change.origin, change.put, change.cause) == (Origin.REPLICA, ("billing",), None)
        samples = scraped(registry)
        assert value(samples, "sync_state", state="following") == 1
        assert value(samples, "sync_applied_total") == 1
        assert value(samples, "sync_lag_entries") is not None
        assert value(samples, "route_changes_total", origin="replica") == 1

        listener.events.clear()
        server.kill()
        second.add_route(route("music"))
        until(lambda: [event.state for event in listener.of(SyncChanged)][-1:] == ["waiting"])
        waiting = listener.of(SyncChanged)[-1]
        assert (waiting.former, waiting.error) == ("following", "SyncUnavailableError")
        samples = scraped(registry)
        assert value(samples, "sync_state", state="waiting") == 1
        assert value(samples, "sync_outbox") == 1

        server.start()
        until(lambda: [event.state for event in listener.of(SyncChanged)][-1:] == ["following"])
        until(lambda: "music" in first)
        samples = scraped(registry)
        reconnects = value(samples, "sync_reconnects_total")
        assert reconnects is not None
        assert reconnects >= 1
