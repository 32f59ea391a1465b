"""PrometheusMetrics: a router's figures for Prometheus, counted as queries go by, put together when scraped."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from synaptoroute import __version__
from synaptoroute.errors import MissingExtraError, SynaptoRouteError
from synaptoroute.forking import PerProcess
from synaptoroute.observability.events import (
    BatchEncoded,
    EncoderChanged,
    Origin,
    QueriesFitted,
    QueryEvent,
    RoutesEvent,
    TableCompacted,
    TableLearned,
    UpkeepEvent,
)
from synaptoroute.observability.families import counter, counter_by, gauge, gauge_by, histogram
from synaptoroute.observability.looplag import LoopLag
from synaptoroute.observability.records import DecisionLog
from synaptoroute.observability.status import RerankerFigures, RouterStatus, SyncFigures, Watched
from synaptoroute.observability.tally import Tally

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

logger = logging.getLogger(__name__)

#: Routes that are counted by name; Prometheus keeps a series for each of them.
ROUTE_NAMES = 200
_SYNC_STATES = ("starting", "following", "resyncing", "waiting", "refused", "stopped")


class PrometheusMetrics:
    """Metrics of one router, in a registry; ``docs/observability.md`` says what each of them means.

    A hook: it attaches itself, and ends with the router or by ``close``. The figures are those of this process; a
    forked child counts from zero. One router for each registry.

    Args:
        router: Whose.
        registry: Where they are looked for; the process's own by default.
        route_names: So many routes are counted by name, the first that were chosen; others as "other".
        records: A log of decisions whose records are counted as well.

    Attributes:
        loop_lag: Measures an event loop, once started in one: ``metrics.loop_lag.start()``.

    Raises:
        MissingExtraError: prometheus-client is not installed.
        InvalidInputError: The router was closed.
        ValueError: The registry has the metrics of a router already.
    """

    def __init__(
        self,
        router: Watched,
        *,
        registry: CollectorRegistry | None = None,
        route_names: int = ROUTE_NAMES,
        records: DecisionLog | None = None,
    ) -> None:
        try:
            from prometheus_client import REGISTRY
        except ImportError as exc:
            raise MissingExtraError("metrics for Prometheus", "api") from exc
        self._router = router
        self._registry = registry if registry is not None else REGISTRY
        self._make_tally = lambda: Tally(route_names)
        self._tally: PerProcess[Tally] = PerProcess()
        self.loop_lag = LoopLag()
        self._records = records
        self._changes = dict.fromkeys(map(str, Origin), 0)
        self._upkeep = {"learned": 0, "compacted": 0, "fitted": 0, "failed": 0}
        self._encoder_changes = 0
        self._learned_at: float | None = None
        self._status: RouterStatus | None = None
        self._closed = False
        self._registry.register(self)
        try:
            router.add_hook(self)
        except BaseException:
            self._registry.unregister(self)
            raise

    def close(self) -> None:
        """Leave router and registry. Closing twice is fine."""
        if not self._closed:
            self._closed = True
            self.loop_lag.stop()
            self._router.remove_hook(self)
            self._registry.unregister(self)

    # ------------------------------------------------------------------------------------------- what it is told
    def on_query(self, event: QueryEvent) -> None:
        """See ``HearsQueries``."""
        self._tally.get(self._make_tally).note(event)

    def on_batch(self, event: BatchEncoded) -> None:
        """See ``HearsBatches``."""
        self._tally.get(self._make_tally).note_batch(event)

    def on_routes(self, event: RoutesEvent) -> None:
        """See ``HearsRoutes``. One at a time, for the router's lock is held."""
        if isinstance(event, EncoderChanged):
            self._encoder_changes += 1
        else:
            self._changes[event.origin.value] += 1

    def on_upkeep(self, event: UpkeepEvent) -> None:
        """See ``HearsUpkeep``."""
        if isinstance(event, TableLearned):
            self._upkeep["learned"] += 1
            self._learned_at = time.time()
        elif isinstance(event, TableCompacted):
            self._upkeep["compacted"] += not event.verified_only
        elif isinstance(event, QueriesFitted):
            self._upkeep["fitted"] += event.applied
        else:
            self._upkeep["failed"] += 1

    # --------------------------------------------------------------------------------------------------- scraping
    def describe(self) -> list[Metric]:
        """The metrics as they would be collected, for the registry to see that none is there twice."""
        return list(self.collect())

    def collect(self) -> Iterator[Metric]:
        """All metrics as of now."""
        try:
            status = self._router.status()
        except SynaptoRouteError as exc:
            logger.warning("the router's state could not be read for metrics: %s", exc)
        else:
            self._status = status
        tally = self._tally.get(self._make_tally)
        # Not yielded one by one: workers wait for the lock after each batch, and whoever reads may take their time.
        with tally.counted():
            counted = [*_of_queries(tally), *_of_stages(tally)]
            known, decided = tally.known, tally.confidence.count
        yield from counted
        if self._status is not None:
            yield from _of_queue(self._status, known, decided)
            yield from self._of_table(self._status)
            if self._status.sync is not None:
                yield from _of_sync(self._status.sync)
            if self._status.reranker is not None:
                yield from _of_reranker(self._status.reranker)
        yield from self._of_changes()
        if self._records is not None:
            outcomes = {"written": self._records.written, "dropped": self._records.dropped}
            yield counter_by("records", "Records of decisions by what became of them.", ("outcome",), outcomes)
        if self.loop_lag.seen:
            help_text = "Seconds by which the event loop was late for a timer."
            yield histogram("event_loop_lag_seconds", help_text, self.loop_lag.histogram)

    def _of_table(self, status: RouterStatus) -> Iterator[Metric]:
        yield gauge("index_revision", "Number of the latest change of the routes.", status.revision)
        yield gauge("index_vectors", "Utterances that queries are compared with.", status.utterances)
        yield gauge("routes", "Routes.", status.routes)
        yield gauge("settled", "1 if everything is learned from the routes and compacted, else 0.", status.settled)
        yield gauge("fitted", "1 if labelled queries are in use, else 0.", status.fitted)
        # A family without a sample where nothing is known: an age of 0 would be a lie.
        now = time.time()
        age = None if status.fitted_at is None else max(0.0, now - status.fitted_at)
        yield gauge("fit_age_seconds", "Seconds since labelled queries were last fitted.", age)
        age = None if self._learned_at is None else max(0.0, now - self._learned_at)
        yield gauge("learned_age_seconds", "Seconds since this process last learned from the routes.", age)
        build = {
            "version": __version__,
            "python": platform.python_version(),
            "encoder": status.encoder,
            "dim": str(status.dim),
        }
        yield gauge_by("build_info", "What is running; always 1.", tuple(build), {tuple(build.values()): 1})

    def _of_changes(self) -> Iterator[Metric]:
        help_text = "Changes of the routes that took effect here, by who made them: own, replica or store."
        yield counter_by("route_changes", help_text, ("origin",), self._changes)
        yield counter("encoder_changes", "How often another encoder has taken over.", self._encoder_changes)
        help_text = "Upkeep that has ended: learned, compacted, fitted or failed."
        yield counter_by("upkeep", help_text, ("outcome",), self._upkeep)


def _of_queries(tally: Tally) -> Iterator[Metric]:
    yield counter_by("requests", "Queries by what became of them.", ("route_result",), tally.results)
    yield counter_by("decisions", "Decisions by their reason.", ("reason",), tally.reasons)
    yield counter_by("stage_decisions", "Decisions by the stage that made them.", ("stage",), tally.made_by)
    yield counter_by("route_decisions", "Queries that a route was chosen for, by route.", ("route",), tally.routes)
    yield counter_by("unanswered", "Queries without an answer, by why.", ("why",), tally.unanswered)
    yield counter_by("shed", "Queries turned away, by what there was too much of.", ("reason",), tally.shed)
    yield histogram("confidence", "Calibrated confidence of the best route.", tally.confidence)
    yield histogram("top_score", "Cosine of the nearest utterance of the best route.", tally.score)


def _of_stages(tally: Tally) -> Iterator[Metric]:
    yield histogram("request_duration_seconds", "Seconds from a call to its answer or error.", tally.durations)
    help_text = "Seconds from a call until a worker began with it."
    yield histogram("queue_wait_seconds", help_text, tally.stages["queue"])
    yield histogram("encode_duration_seconds", "Seconds of a call of the encoder for queries.", tally.encoding)
    help_text = "Seconds of a call spent on finding and ranking the nearest routes."
    yield histogram("search_duration_seconds", help_text, tally.stages["search"])
    help_text = "Seconds of a call spent on holding the ranked routes against the limits."
    yield histogram("decide_duration_seconds", help_text, tally.stages["decide"])
    yield histogram("batch_size", "Texts in a call of the encoder for queries.", tally.batches)
    yield counter("encoder_failures", "Calls of the encoder for queries that failed.", tally.encoder_failures)


def _of_queue(status: RouterStatus, known: int, decided: int) -> Iterator[Metric]:
    queue = status.queue
    yield gauge("queue_depth", "Queries accepted and not yet answered.", queue.queries)
    yield gauge("queue_tokens", "Tokens of these, estimated.", queue.tokens)
    yield gauge("queue_waiting_texts", "Texts to encode that no worker has taken yet.", queue.waiting)
    yield gauge("encoding_texts", "Texts being encoded.", queue.encoding)
    yield gauge("workers", "Threads that encode.", queue.workers)
    yield counter("worker_restarts", "How often a worker died and was replaced.", queue.restarts)
    help_text = "Texts encoded once for several calls that waited at the same time."
    yield counter("coalesced", help_text, queue.coalesced)
    hits = {"decisions": known, "vectors": status.vector_hits}
    yield counter_by("cache_hits", "Queries found in a cache.", ("cache",), hits)
    misses = {"decisions": decided - known, "vectors": status.vector_misses}
    yield counter_by("cache_misses", "Queries not found in a cache.", ("cache",), misses)
    yield gauge("cache_bytes", "Memory taken by vectors of texts asked lately.", status.cache_bytes)


def _of_sync(sync: SyncFigures) -> Iterator[Metric]:
    states: dict[tuple[str, ...], float] = {(state,): int(state == sync.state) for state in _SYNC_STATES}
    yield gauge_by("sync_state", "1 for the state that keeping in step is in, else 0.", ("state",), states)
    yield gauge("sync_lag_entries", "Changes of others that are not applied here yet.", sync.lag_entries)
    yield gauge("sync_last_contact_seconds", "Seconds since the server last answered.", sync.last_contact_s)
    yield gauge("sync_outbox", "Own changes that others cannot see yet.", sync.outbox)
    yield counter("sync_applied", "Changes of others that were applied.", sync.applied)
    yield counter("sync_published", "Own changes that were handed to the server.", sync.published)
    yield counter("sync_reconnects", "Connections made after the first.", sync.reconnects)
    yield counter("sync_full_resyncs", "How often all routes were compared with the others'.", sync.resyncs)
    yield counter("sync_repairs", "Routes that differed for no known reason and were put right.", sync.repairs)
    yield counter("sync_conflicts", "Changes of others that a later own one has overruled.", sync.conflicts)
    yield counter("sync_poison", "Entries set aside for they could not be read or trusted.", sync.poison)


def _of_reranker(reranker: RerankerFigures) -> Iterator[Metric]:
    outcomes = {
        "kept": reranker.asked - reranker.changed - reranker.failed,
        "changed": reranker.changed,
        "failed": reranker.failed,
    }
    help_text = "Ties the reranker was asked about, by what became of the first decision."
    yield counter_by("reranked", help_text, ("outcome",), outcomes)
    help_text = "Seconds that asking the reranker took, all together."
    yield counter("rerank_seconds", help_text, reranker.took_s)
