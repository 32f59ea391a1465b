"""Hooks: what may be attached to a router to hear what it does, and how the router tells them.

A hook has one or several of the methods ``on_query``, ``on_batch``, ``on_routes``, ``on_upkeep`` and ``on_sync``. They
are called in the thread in which it happens and must return at once; a query waits for ``on_query``, a change for
``on_routes``. What a hook raises is logged and goes no further.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from synaptoroute.errors import (
    DeadlineExceededError,
    InvalidInputError,
    RouteNotFoundError,
    RouterClosedError,
    RouterOverloadedError,
)
from synaptoroute.models import Decision
from synaptoroute.observability.events import (
    BatchEncoded,
    Conditions,
    QueriesDecided,
    QueriesUnanswered,
    QueryEvent,
    RoutesEvent,
    SyncChanged,
    Unanswered,
    UpkeepEvent,
)
from synaptoroute.observability.stages import CallStages

logger = logging.getLogger(__name__)

#: A hook that fails is complained about this often at most, with how often it failed since.
_COMPLAIN_EVERY_S = 60.0


@runtime_checkable
class HearsQueries(Protocol):
    """Is told of every call, in the thread and context of its caller."""

    def on_query(self, event: QueryEvent, /) -> None:
        """A call was answered, or not."""
        ...


@runtime_checkable
class HearsBatches(Protocol):
    """Is told of every call of the encoder for queries, in the thread that made it."""

    def on_batch(self, event: BatchEncoded, /) -> None:
        """The encoder was called."""
        ...


@runtime_checkable
class HearsRoutes(Protocol):
    """Is told when routes have changed, while further changes wait."""

    def on_routes(self, event: RoutesEvent, /) -> None:
        """Another table, or another encoder, is in use."""
        ...


@runtime_checkable
class HearsUpkeep(Protocol):
    """Is told when something was learned or compacted, or could not be."""

    def on_upkeep(self, event: UpkeepEvent, /) -> None:
        """It has ended."""
        ...


@runtime_checkable
class HearsSync(Protocol):
    """Is told when keeping in step with other replicas begins to go otherwise."""

    def on_sync(self, event: SyncChanged, /) -> None:
        """Its state has changed."""
        ...


@runtime_checkable
class ClosedWithRouter(Protocol):
    """A hook that the router closes when it is closed itself."""

    def close(self) -> None:
        """Write what waits, and let go. Closing twice is fine."""
        ...


Hook = HearsQueries | HearsBatches | HearsRoutes | HearsUpkeep | HearsSync
_KINDS = (HearsQueries, HearsBatches, HearsRoutes, HearsUpkeep, HearsSync)


class Hooks:
    """The hooks of one router, by what they hear. May be used from any thread.

    Attributes:
        queries: Hear of calls. Empty tuples cost a call next to nothing.
        batches: Hear of the encoder.
        routes: Hear of changes.
        upkeep: Hear of learning.
        sync: Hear of synchronising.
    """

    __slots__ = ("_adding", "_all", "_complained", "_failures", "batches", "queries", "routes", "sync", "upkeep")

    def __init__(self) -> None:
        self._adding = threading.Lock()
        self._all: tuple[Hook, ...] = ()
        self._failures: dict[int, int] = {}
        self._complained: dict[int, float] = {}
        self._sort()

    def add(self, hook: Hook) -> None:
        """Tell it from now on.

        Raises:
            InvalidInputError: It hears nothing, or it is there already.
        """
        if not isinstance(hook, _KINDS):
            raise InvalidInputError(
                f"{type(hook).__name__} is no hook: it has none of the methods on_query, on_batch, on_routes, "
                "on_upkeep and on_sync"
            )
        with self._adding:
            if any(other is hook for other in self._all):
                raise InvalidInputError(f"this {type(hook).__name__} is attached already")
            self._all = (*self._all, hook)
            self._sort()

    def remove(self, hook: object) -> None:
        """Tell it no more; nothing happens if it is not there."""
        with self._adding:
            self._all = tuple(other for other in self._all if other is not hook)
            self._sort()

    def close(self) -> None:
        """Remove all, and close those that can be closed."""
        hooks = self._all
        for hook in hooks:
            self.remove(hook)
            if isinstance(hook, ClosedWithRouter):
                try:
                    hook.close()
                except Exception:
                    logger.exception("the hook %s could not be closed", type(hook).__name__)

    def _sort(self) -> None:
        self.queries = tuple(hook for hook in self._all if isinstance(hook, HearsQueries))
        self.batches = tuple(hook for hook in self._all if isinstance(hook, HearsBatches))
        self.routes = tuple(hook for hook in self._all if isinstance(hook, HearsRoutes))
        self.upkeep = tuple(hook for hook in self._all if isinstance(hook, HearsUpkeep))
        self.sync = tuple(hook for hook in self._all if isinstance(hook, HearsSync))

    # ------------------------------------------------------------------------------------------------- telling
    def decided(
        self, texts: Sequence[str], conditions: Conditions, decisions: Sequence[Decision], stages: CallStages
    ) -> None:
        """A call was answered."""
        stages.ended = time.monotonic()
        event = QueriesDecided(texts, conditions, decisions, stages)
        for hook in self.queries:
            try:
                hook.on_query(event)
            except Exception as exc:  # noqa: BLE001 - a hook must not cost an answer
                self._complain(hook, exc)

    def unanswered(self, queries: object, exc: BaseException, stages: CallStages) -> None:
        """A call ended with this error."""
        stages.ended = time.monotonic()
        event = QueriesUnanswered(
            why=_why(exc),
            error=type(exc).__name__,
            shed_for=exc.shed_for if isinstance(exc, RouterOverloadedError) else None,
            queries=len(queries) if isinstance(queries, Sequence) and not isinstance(queries, str) else 1,
            stages=stages,
        )
        for hook in self.queries:
            try:
                hook.on_query(event)
            except Exception as failure:  # noqa: BLE001 - nor hide the error
                self._complain(hook, failure)

    def batch_encoded(self, event: BatchEncoded) -> None:
        """The encoder was called."""
        for hook in self.batches:
            try:
                hook.on_batch(event)
            except Exception as exc:  # noqa: BLE001 - a hook must not cost an answer
                self._complain(hook, exc)

    def routes_changed(self, event: RoutesEvent) -> None:
        """Another table, or another encoder, is in use."""
        for hook in self.routes:
            try:
                hook.on_routes(event)
            except Exception as exc:  # noqa: BLE001 - the change is durable already
                self._complain(hook, exc)

    def upkeep_done(self, event: UpkeepEvent) -> None:
        """Something was learned or compacted, or could not be."""
        for hook in self.upkeep:
            try:
                hook.on_upkeep(event)
            except Exception as exc:  # noqa: BLE001 - what was learned is in use already
                self._complain(hook, exc)

    def sync_changed(self, event: SyncChanged) -> None:
        """Synchronising goes otherwise than before."""
        for hook in self.sync:
            try:
                hook.on_sync(event)
            except Exception as exc:  # noqa: BLE001 - synchronising goes on
                self._complain(hook, exc)

    def _complain(self, hook: Hook, exc: Exception) -> None:
        key, now = id(hook), time.monotonic()
        with self._adding:
            self._failures[key] = failures = self._failures.get(key, 0) + 1
            if now - self._complained.get(key, -_COMPLAIN_EVERY_S) < _COMPLAIN_EVERY_S:
                return
            self._complained[key] = now
        # The class of the error alone: its words may repeat a query.
        logger.error("the hook %s has failed %d times, last with %s", type(hook).__name__, failures, type(exc).__name__)
        logger.debug("how the hook failed", exc_info=exc)


def _why(exc: BaseException) -> Unanswered:
    if isinstance(exc, RouterOverloadedError):
        return Unanswered.SHED
    if isinstance(exc, DeadlineExceededError):
        return Unanswered.EXPIRED
    if isinstance(exc, RouterClosedError):
        return Unanswered.CLOSED
    if isinstance(exc, (InvalidInputError, RouteNotFoundError)):
        return Unanswered.INVALID
    if isinstance(exc, asyncio.CancelledError | KeyboardInterrupt | SystemExit | GeneratorExit):
        return Unanswered.CANCELLED
    return Unanswered.FAILED
