"""What Prometheus gets to see, from a registry of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from synaptoroute import AdaptiveRouter
from synaptoroute.errors import EncoderError, InvalidQueryError, RouterClosedError
from synaptoroute.observability.events import QueriesDecided
from synaptoroute.observability.prometheus import PrometheusMetrics
from synaptoroute.observability.stages import CallStages
from synaptoroute.observability.tally import OTHER, Histogram, Tally
from synaptoroute.storage import SQLiteStorage
from tests.observability.conftest import GatedEncoder, Listener, small_router
from tests.seeded import SeededEncoder, route

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(registry: CollectorRegistry) -> Samples:
    """All samples, by name and labels, as Prometheus would parse them."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"synaptoroute_{name}", frozenset(labels.items())))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_queries_are_counted_by_what_became_of_them(registry: CollectorRegistry) -> None:
    with small_router(GatedEncoder(), min_confidence=0.6) as router:
        PrometheusMetrics(router, registry=registry)
        matched = router.route_many(["billing 3", "music 2", "billing 3"])
        assert [decision.name for decision in matched] == ["billing", "music", "billing"]
        assert not router.route("something else", threshold=1.0)
        with pytest.raises(InvalidQueryError):
            router.route("")
        with pytest.raises(EncoderError):
            router.route("fail please")
        samples = scraped(registry)
        results = {result: value(samples, "requests_total", route_result=result) for result in ("matched", "abstained")}
        assert results == {"matched": 3, "abstained": 1}
        assert value(samples, "requests_total", route_result="error") == 2
        assert value(samples, "unanswered_total", why="invalid") == 1
        assert value(samples, "unanswered_total", why="failed") == 1
        assert value(samples, "unanswered_total", why="shed") == 0
        assert value(samples, "decisions_total", reason="matched") == 3
        assert value(samples, "decisions_total", reason="below_threshold") == 1
        assert value(samples, "route_decisions_total", route="billing") == 2
        assert value(samples, "encoder_failures_total") == 1
        # Four calls of which two had an error; each took its time.
        assert value(samples, "request_duration_seconds_count") == 4
        assert value(samples, "confidence_count") == 4
        assert value(samples, "confidence_bucket", le="1.0") == 4
        assert value(samples, "search_duration_seconds_count") == 2


def test_a_scrape_sees_what_was_asked_before_it_and_counters_never_fall(registry: CollectorRegistry) -> None:
    with small_router() as router:
        PrometheusMetrics(router, registry=registry)
        seen = -1.0
        for number in range(0, 1_500, 100):
            for _ in range(100):
                router.route("music 1")
            count = value(scraped(registry), "requests_total", route_result="matched")
            assert count == number + 100
            assert count > seen
            seen = count
        samples = scraped(registry)
        assert value(samples, "cache_hits_total", cache="decisions") == 1_499
        assert value(samples, "cache_misses_total", cache="decisions") == 1
        assert value(samples, "cache_misses_total", cache="vectors") == 1
        assert value(samples, "batch_size_count") == 1


async def test_calls_of_many_texts_are_counted_text_by_text(registry: CollectorRegistry) -> None:
    with small_router() as router:
        PrometheusMetrics(router, registry=registry)
        texts = [f"weather {number}" for number in range(200)]
        await router.aquery_many(texts)
        await router.aquery_many(texts)
        samples = scraped(registry)
        matched, abstained = (
            value(samples, "requests_total", route_result=result) or 0 for result in ("matched", "abstained")
        )
        assert matched + abstained == 400
        assert value(samples, "request_duration_seconds_count") == 2
        assert value(samples, "cache_hits_total", cache="decisions") == 200
        assert value(samples, "batch_size_sum") == 200


def test_the_state_of_the_router_is_read_when_it_is_scraped(registry: CollectorRegistry, tmp_path: Path) -> None:
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(tmp_path / "routes.db")) as router:
        PrometheusMetrics(router, registry=registry)
        assert value(scraped(registry), "routes") == 0
        router.add_routes([route("billing"), route("music")])
        router.delete_route("music")
        router.wait_until_fitted()
        samples = scraped(registry)
        assert value(samples, "routes") == 1
        assert value(samples, "index_vectors") == 3
        assert value(samples, "index_revision") == 2
        assert value(samples, "settled") == 1
        assert value(samples, "queue_depth") == 0
        assert value(samples, "route_changes_total", origin="own") == 2
        assert value(samples, "fit_age_seconds") is None
        assert value(samples, "fitted") == 0
        assert value(samples, "sync_lag_entries") is None
        (build,) = [labels for name, labels in samples if name == "synaptoroute_build_info"]
        assert dict(build)["encoder"] == "seeded"


def test_the_age_of_a_fit_outlives_a_restart_and_ends_when_the_fit_is_forgotten(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    store = tmp_path / "routes.db"
    queries = [f"{name} {number}" for name in ("billing", "music") for number in range(50, 60)]
    began = time.time()
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(store)) as router:
        router.add_routes([route("billing"), route("music")])
        router.fit(queries, [query.split()[0] for query in queries], force=True)
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(store)) as router:
        PrometheusMetrics(router, registry=registry)
        samples = scraped(registry)
        age = value(samples, "fit_age_seconds")
        assert age is not None
        assert 0 < age <= time.time() - began
        assert value(samples, "fitted") == 1
        router.forget_fit()
        assert value(scraped(registry), "fit_age_seconds") is None
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(store)) as router:
        assert router.status().fitted_at is None


def test_no_text_of_a_query_reaches_the_metrics(registry: CollectorRegistry) -> None:
    with small_router(GatedEncoder()) as router:
        PrometheusMetrics(router, registry=registry)
        router.route("billing xyzzy")
        with pytest.raises(EncoderError):
            router.route("fail xyzzy")
        assert "xyzzy" not in generate_latest(registry).decode()


def test_beyond_the_cap_routes_are_counted_as_others() -> None:
    with small_router() as router:
        registry = CollectorRegistry()
        PrometheusMetrics(router, registry=registry, route_names=2)
        for name in ("music", "billing", "weather", "music", "weather"):
            assert router.route(f"{name} 1").name == name
        samples = scraped(registry)
        found = {name: value(samples, "route_decisions_total", route=name) for name in ("music", "billing", "weather")}
        assert found == {"music": 2, "billing": 1, "weather": None}
        assert value(samples, "route_decisions_total", route=OTHER) == 2


def test_metrics_end_with_the_router_and_a_registry_takes_one_router(registry: CollectorRegistry) -> None:
    with small_router() as router:
        metrics = PrometheusMetrics(router, registry=registry)
        with small_router() as other:
            with pytest.raises(ValueError, match="Duplicated"):
                PrometheusMetrics(other, registry=registry)
            other.route("music 1")
        assert value(scraped(registry), "requests_total", route_result="matched") == 0
    assert generate_latest(registry) == b""
    metrics.close()
    with pytest.raises(RouterClosedError):
        PrometheusMetrics(router, registry=registry)
    assert generate_latest(registry) == b""


async def test_how_late_the_event_loop_is_can_be_seen(registry: CollectorRegistry) -> None:
    with small_router() as router:
        metrics = PrometheusMetrics(router, registry=registry)
        assert value(scraped(registry), "event_loop_lag_seconds_count") is None
        metrics.loop_lag.start()
        # Blocks the loop on purpose: that is what is to be seen.
        time.sleep(0.4)  # noqa: ASYNC251
        # The timer is due already: the loop comes to it before this.
        await asyncio.sleep(0.01)
        samples = scraped(registry)
        total = value(samples, "event_loop_lag_seconds_sum")
        assert total is not None
        assert total >= 0.25
        metrics.loop_lag.stop()
        count = metrics.loop_lag.histogram.count
        await asyncio.sleep(0.25)
        assert metrics.loop_lag.histogram.count == count


def _in_child(router: AdaptiveRouter, registry: CollectorRegistry, pipe: multiprocessing.connection.Connection) -> None:
    router.route("billing 3")
    pipe.send(value(scraped(registry), "requests_total", route_result="matched"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_from_zero(registry: CollectorRegistry) -> None:
    with small_router() as router:
        PrometheusMetrics(router, registry=registry)
        router.route_many(["music 1", "music 2"])
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=_in_child, args=(router, registry, there))
        process.start()
        assert here.recv() == 1
        process.join()
        assert value(scraped(registry), "requests_total", route_result="matched") == 2


def test_a_histogram_counts_a_bound_as_up_to_it() -> None:
    one, many = Histogram((0.1, 0.5)), Histogram((0.1, 0.5))
    for number in (0.1, 0.2, 0.5, 0.6):
        one.add(number)
    many.add_many([0.1, 0.2, 0.5, 0.6])
    many.add_many([])
    assert one.cumulative() == many.cumulative() == [("0.1", 1), ("0.5", 3), ("+Inf", 4)]
    assert one.sum == pytest.approx(many.sum) == pytest.approx(1.4)


def test_notes_do_not_pile_up_and_none_is_lost_or_counted_twice() -> None:
    listener = Listener()
    with small_router(hooks=[listener]) as router:
        router.route("music 1")
    (event,) = listener.of(QueriesDecided)
    tally = Tally(10)
    for _ in range(5_000):
        tally.note(QueriesDecided(event.texts, event.conditions, event.decisions, CallStages()))
        assert len(tally._notes) < 600
    with tally.counted():
        assert tally.results["matched"] == 5_000
        assert tally.durations.count == 5_000
