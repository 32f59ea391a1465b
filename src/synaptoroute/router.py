"""AdaptiveRouter: the object users hold. It wires encoder, table and store, for sync and async callers.

Here it routes, opens and closes; ``changing``, ``learning`` and ``revisions`` hold its other calls, ``committing`` the
way of every change.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self, Unpack

from synaptoroute.asking import RouteOptions, Terms, deadline_of, probability, terms
from synaptoroute.batching import BatcherHealth
from synaptoroute.changing import Changing
from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.encoder.static import StaticEncoder
from synaptoroute.errors import InvalidInputError, RouterClosedError, RouterOverloadedError
from synaptoroute.explaining import Explaining, Explanation
from synaptoroute.following import Following
from synaptoroute.forking import PerProcess
from synaptoroute.history import checked_actor
from synaptoroute.lane import Lane
from synaptoroute.models import Decision, clean_query
from synaptoroute.observability.hooks import Hook, Hooks
from synaptoroute.observability.stages import CallStages
from synaptoroute.observability.status import RouterStatus
from synaptoroute.profile import OptimizationProfile
from synaptoroute.replica import RouterReplica
from synaptoroute.rerank.base import BaseReranker
from synaptoroute.rerank.breaker import TieBreaker
from synaptoroute.rerank.tie_break import TieBreak
from synaptoroute.revisions import Revisions
from synaptoroute.storage.base import BaseStorage
from synaptoroute.storage.sqlite import SQLiteStorage
from synaptoroute.sync.base import BaseSyncManager, TellingSyncManager
from synaptoroute.upkeep import Upkeep

__all__ = ["AdaptiveRouter", "OptimizationProfile", "RouteOptions"]


class AdaptiveRouter(Changing, Revisions):
    """Routes text to the route it most likely belongs to, or abstains.

    Queries never wait for changes: they read one immutable table, and a change swaps in the next one after it is
    durable. Everything may be called from any thread and from several event loops; ``aquery`` keeps the loop free.
    What is asked by many at once is encoded by as many threads as there are cores; what does not fit into the queue is
    turned away at once.

    Args:
        encoder: Texts to vectors; the bundled encoder by default.
        storage: Where routes live; in memory by default.
        profile: How much of the machine one query may take.
        first_stage: Whether a static first stage answers what it is sure of without the encoder, several times as
            fast; see docs/first-stage.md. Unset, with the profile THROUGHPUT alone.
        min_confidence: Least calibrated probability of being right. Unset, routes without a threshold need 0.5.
        cache_bytes: Memory for the vectors of texts asked lately; 0 also stops keeping decisions.
        actor: Who changes routes through this router, for the history; ``history.acting_as`` says so for a while.
        sync_manager: Keeps the routes the same as those of other routers; closed with this one.
        hooks: Told what the router does, as by ``add_hook``; closed with the router.
        reranker: Asked where the first routes are close, if it helps with these routes; a ``TieBreak`` says when.

    Raises:
        EncoderMismatchError: The store was written with another encoder.
        StorageError: The store cannot be read.
        SyncError: The sync manager can never work like this.
    """

    def __init__(
        self,
        encoder: BaseEncoder | None = None,
        storage: BaseStorage | None = None,
        *,
        profile: OptimizationProfile = OptimizationProfile.BALANCED,
        first_stage: bool | None = None,
        min_confidence: float | None = None,
        cache_bytes: int = 32 << 20,
        actor: str | None = None,
        sync_manager: BaseSyncManager | None = None,
        hooks: Iterable[Hook] = (),
        reranker: BaseReranker | TieBreak | None = None,
    ) -> None:
        if reranker is not None and not isinstance(reranker, TieBreak):
            reranker = TieBreak(reranker=reranker)
        self._breaker = TieBreaker(reranker) if reranker is not None else None
        self._hooks = Hooks()
        for hook in hooks:
            self._hooks.add(hook)
        self._profile = OptimizationProfile(profile)
        self._first_stage = self._profile is OptimizationProfile.THROUGHPUT if first_stage is None else first_stage
        self._storage = storage if storage is not None else SQLiteStorage(":memory:")
        self._min_confidence = probability(min_confidence)
        self._plain_terms = terms({}, self._min_confidence)
        self._actor = checked_actor(actor)
        self._lock = PerProcess()
        self._migrating = threading.Lock()
        self._closed = False
        self._journal = None
        self._upkeep = Upkeep(
            lambda: self._table, lambda table: self._lane.settled(table), self._settle, failed=self._upkeep_failed
        )
        self._cache_bytes = cache_bytes
        self._lane = self._open_lane(encoder if encoder is not None else BundledEncoder(profile=self._profile))
        self._encoded = {}
        self._following = Following(self._storage, lambda: self._lane)
        self._following.begin(self._follow)
        self._sync = sync_manager
        if sync_manager is not None:
            if isinstance(sync_manager, TellingSyncManager):
                sync_manager.tell(self._hooks.sync_changed)
            sync_manager.attach(
                RouterReplica(
                    self._storage, lambda: self._lane.identity, lambda: self._table, self._change_from_elsewhere
                )
            )

    def _open_lane(self, encoder: BaseEncoder) -> Lane:
        return Lane(
            encoder,
            self._storage,
            profile=self._profile,
            plain=self._plain_terms,
            first_encoder=StaticEncoder() if self._first_stage else None,
            cache_bytes=self._cache_bytes,
            wake=self._upkeep.wake,
            hooks=self._hooks,
            breaker=self._breaker,
        )

    @property
    def encoder(self) -> BaseEncoder:
        """The encoder."""
        return self._lane.encoder

    @property
    def min_confidence(self) -> float | None:
        """Least probability of being right that calls get which name none; None leaves it to the calibration."""
        return self._min_confidence

    @property
    def actor(self) -> str | None:
        """Who changes routes here and now, for the history; None if nobody said."""
        return self._acting

    @property
    def storage(self) -> BaseStorage:
        """The store."""
        return self._storage

    @property
    def sync_manager(self) -> BaseSyncManager | None:
        """What keeps the routes the same as those of other routers; its ``health()`` tells how that goes."""
        return self._sync

    @property
    def reranker(self) -> BaseReranker | None:
        """Who is asked where the first routes are close; None if nobody is."""
        return self._breaker.tie_break.reranker if self._breaker else None

    # ------------------------------------------------------------------------------------------------- routing
    def __call__(self, query: str) -> Decision:
        """Route one query; same as ``route(query)``."""
        return self.route(query)

    def route(self, query: str, **options: Unpack[RouteOptions]) -> Decision:
        """Route one query of 1 to 32,768 characters; see ``RouteOptions``.

        Raises:
            InvalidQueryError: The text cannot be routed.
            InvalidInputError: An option is out of its range.
            RouteNotFoundError: A name in ``allow`` is not a route.
            EncoderError: The encoder failed.
            RouterOverloadedError: Too many queries wait already.
            DeadlineExceededError: ``deadline_s`` has passed.
            RouterClosedError: The router was closed.
        """
        return self.route_many([query], **options)[0]

    def route_many(self, queries: Sequence[str], **options: Unpack[RouteOptions]) -> list[Decision]:
        """Route several queries, all on the same revision; one Decision each, in order. Raises as ``route`` does."""
        if not self._hooks.queries:
            texts, asked, deadline_s = self._asked(queries, options)
            return self._lane.known(texts, asked) or self._decided(texts, asked, deadline_s)
        stages = CallStages()
        try:
            texts, asked, deadline_s = self._asked(queries, options)
            decisions = self._lane.known(texts, asked) or self._decided(texts, asked, deadline_s, stages)
        except BaseException as exc:
            self._hooks.unanswered(queries, exc, stages)
            raise
        self._hooks.decided(texts, asked, decisions, stages)
        return decisions

    def _decided(
        self, texts: list[str], asked: Terms, deadline_s: float | None, stages: CallStages | None = None
    ) -> list[Decision]:
        while True:
            lane = self._lane
            call = lane.begin(texts, asked, stages)
            try:
                while call.rest:
                    call.add(lane.batcher.run(call.rest, asked, deadline_s=deadline_s, stages=stages))
            except RouterClosedError:
                if lane is self._lane:
                    raise
            else:
                return call.decisions

    async def aquery(self, query: str, **options: Unpack[RouteOptions]) -> Decision:
        """``route`` without blocking the event loop."""
        return (await self.aquery_many([query], **options))[0]

    async def aquery_many(self, queries: Sequence[str], **options: Unpack[RouteOptions]) -> list[Decision]:
        """``route_many`` without blocking the event loop."""
        if not self._hooks.queries:
            texts, asked, deadline_s = self._asked(queries, options)
            return self._lane.known(texts, asked) or await self._adecided(texts, asked, deadline_s)
        stages = CallStages()
        try:
            texts, asked, deadline_s = self._asked(queries, options)
            decisions = self._lane.known(texts, asked) or await self._adecided(texts, asked, deadline_s, stages)
        except BaseException as exc:
            self._hooks.unanswered(queries, exc, stages)
            raise
        self._hooks.decided(texts, asked, decisions, stages)
        return decisions

    async def _adecided(
        self, texts: list[str], asked: Terms, deadline_s: float | None, stages: CallStages | None = None
    ) -> list[Decision]:
        while True:
            lane = self._lane
            call = await lane.abegin(texts, asked, stages)
            try:
                while call.rest:
                    call.add(await lane.batcher.arun(call.rest, asked, deadline_s=deadline_s, stages=stages))
            except RouterClosedError:
                if lane is self._lane:
                    raise
            else:
                return call.decisions

    # ---------------------------------------------------------------------------------------------- explaining
    def explain(self, query: str, **options: Unpack[RouteOptions]) -> Explanation:
        """Route one query and say what made the decision; for people, not for every request. Raises as ``route``."""
        return self.explain_many([query], **options)[0]

    def explain_many(self, queries: Sequence[str], **options: Unpack[RouteOptions]) -> list[Explanation]:
        """``explain`` for several queries, all on the same revision, in order; they are encoded as one call."""
        stages = CallStages()
        try:
            texts, asked, deadline_s = self._asked(queries, options)
            explained = self._explained(texts, asked, options, deadline_s, stages)
        except BaseException as exc:
            self._hooks.unanswered(queries, exc, stages)
            raise
        self._hooks.decided(texts, asked, [each.decision for each in explained], stages)
        return explained

    def _explained(
        self, texts: list[str], asked: Terms, options: RouteOptions, deadline_s: float | None, stages: CallStages
    ) -> list[Explanation]:
        while True:
            lane = self._lane
            try:
                key = self._explaining(lane, texts, asked, options)
                return lane.batcher.run(texts, key, deadline_s=deadline_s, stages=stages)
            except RouterClosedError:
                if lane is self._lane:
                    raise

    async def aexplain(self, query: str, **options: Unpack[RouteOptions]) -> Explanation:
        """``explain`` without blocking the event loop."""
        return (await self.aexplain_many([query], **options))[0]

    async def aexplain_many(self, queries: Sequence[str], **options: Unpack[RouteOptions]) -> list[Explanation]:
        """``explain_many`` without blocking the event loop."""
        stages = CallStages()
        try:
            texts, asked, deadline_s = self._asked(queries, options)
            explained = await self._aexplained(texts, asked, options, deadline_s, stages)
        except BaseException as exc:
            self._hooks.unanswered(queries, exc, stages)
            raise
        self._hooks.decided(texts, asked, [each.decision for each in explained], stages)
        return explained

    async def _aexplained(
        self, texts: list[str], asked: Terms, options: RouteOptions, deadline_s: float | None, stages: CallStages
    ) -> list[Explanation]:
        while True:
            lane = self._lane
            try:
                key = self._explaining(lane, texts, asked, options)
                return await lane.batcher.arun(texts, key, deadline_s=deadline_s, stages=stages)
            except RouterClosedError:
                if lane is self._lane:
                    raise

    def _explaining(self, lane: Lane, texts: list[str], asked: Terms, options: RouteOptions) -> Explaining:
        by_call = options.get("min_confidence") is not None
        return lane.explaining(texts, asked, "call" if by_call else "router")

    def _asked(self, queries: Sequence[str], options: RouteOptions) -> tuple[list[str], Terms, float | None]:
        """Clean texts, how to decide them, and within how long."""
        self._require_open()
        self._following.go_on()
        if isinstance(queries, str):
            raise InvalidInputError("a list of queries is wanted here; route takes a single text")
        asked = terms(options, self._min_confidence) if options else self._plain_terms
        return [clean_query(query) for query in queries], asked, deadline_of(options)

    def health(self) -> BatcherHealth:
        """How many queries wait, are being encoded, were turned away; and how the workers are."""
        return self._lane.batcher.health()

    def status(self) -> RouterStatus:
        """What it is doing now: routes, queue, caches, synchronising; for metrics and for people."""
        lane = self._lane
        table, cache = lane.table, lane.batcher.cache
        return RouterStatus(
            revision=table.revision,
            routes=len(table),
            utterances=len(table.index),
            settled=lane.settled(table),
            fitted=table.labelled is not None,
            fitted_at=self._fitted_at(table),
            encoder=lane.identity.name,
            fingerprint=lane.identity.fingerprint,
            provider=str(getattr(lane.encoder, "provider", "custom")),
            dim=lane.identity.dim,
            vector_hits=cache.hits if cache else 0,
            vector_misses=cache.misses if cache else 0,
            cache_bytes=cache.used_bytes if cache else 0,
            first_stage=lane.has_first_stage,
            first_decided=lane.first_decided,
            first_left=lane.first_left,
            queue=lane.batcher.health(),
            sync=self._sync.health() if self._sync else None,
            reranker=self._breaker.health() if self._breaker else None,
        )

    # --------------------------------------------------------------------------------------------------- hooks
    def add_hook(self, hook: Hook) -> None:
        """Tell a hook what the router does from now on; see ``observability.hooks``. It is closed with the router.

        Raises:
            InvalidInputError: It has none of the methods that are called, or it is attached already.
        """
        self._require_open()
        self._hooks.add(hook)

    def remove_hook(self, hook: Hook) -> None:
        """Tell it no more, and leave it open; nothing happens if it is not attached."""
        self._hooks.remove(hook)

    def turned_away(self, queries: int) -> None:
        """Tell the hooks of queries that were turned away before they came here, as by a server that is full."""
        if self._hooks.queries:
            self._hooks.unanswered(range(queries), RouterOverloadedError("turned away before"), CallStages())

    # ------------------------------------------------------------------------------------------------ lifetime
    async def start(self) -> Self:
        """Load the encoder and learn from the routes before the first query. Calling it is optional."""
        await asyncio.to_thread(self.warm_up)
        return self

    def warm_up(self, timeout_s: float | None = None) -> bool:
        """Do now what queries would otherwise do, or do without: load the encoder, learn from the routes.

        Returns:
            False if learning took longer than the timeout; it goes on.
        """
        self._require_open()
        self._lane.encode(["warm up"])
        return self.wait_until_fitted(timeout_s)

    async def stop(self, drain_s: float | None = None) -> None:
        """``close`` without blocking the event loop."""
        await asyncio.to_thread(self.close, drain_s)

    def close(self, drain_s: float | None = None) -> None:
        """Answer what was accepted, then release threads and the store; further calls raise RouterClosedError.

        Closing twice is fine.

        Args:
            drain_s: What is not answered after this long fails with RouterClosedError; None waits for all.
        """
        with self._changing:
            self._closed = True
        self._following.close()
        if self._sync is not None:
            self._sync.close()
        self._close_shadows()
        self._lane.batcher.close(drain_s)
        self._upkeep.close()
        self._storage.close()
        self._hooks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        return f"AdaptiveRouter({len(self)} routes, revision {self.revision}, encoder={self.encoder.name!r})"
