"""What every handler can reach: the router, the settings, who may ask, and whether the server is up or going down."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, Request

from synaptoroute.corrections import Corrections
from synaptoroute.errors import RevisionConflictError, SynaptoRouteError
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server.headers import SECURITY
from synaptoroute.server.insight import Insight
from synaptoroute.server.jobs import JobStore
from synaptoroute.server.keys import ANYBODY, Caller, KeyRing, Scope
from synaptoroute.server.problems import Problem
from synaptoroute.server.settings import ServerSettings, logger
from synaptoroute.server.shedding import Shedding, Turnstile
from synaptoroute.server.trimming import Trimmer, settle
from synaptoroute.server.watching import Watching

if TYPE_CHECKING:
    from synaptoroute.server.linting import Linter

R = TypeVar("R")

#: Changes made or waiting at once; they take turns anyway.
_CHANGES_AT_ONCE = 4
_CHANGES_WAITING = 64
#: Between two attempts to get ready, where the encoder is elsewhere and cannot be reached.
_AGAIN_S = 5.0


class ServerState:
    """One server around one router.

    Args:
        router: What decides.
        settings: What the operator has set.
        owned: Whether the router is closed with the server.

    Attributes:
        ready: Whether the encoder is loaded and the routes are learned, or that has taken long enough.
        draining: Whether the server is about to end; it still answers, but asks not to be sent more.
        alone: Whether the process is this server and nothing else, so that its memory may be dealt with.
        in_flight: Requests being answered.
        started_at: By the monotonic clock.
        insight: What is found out about the router while it is served.
        jobs: What takes longer than a request.
        importing: Held by the one import that is being read, which takes many times its size in memory.
        linter: Remembers what it found.
        watching: What the server tells of itself.
        corrections: What people say about decisions.
        shedding: Refuses queries unread, for a moment after the router had to refuse one.
        turnstile: Through which queries come to the router.
        trimmer: Told of large bodies, whose memory it gives back.
    """

    def __init__(self, router: AdaptiveRouter, settings: ServerSettings, *, owned: bool) -> None:
        self.router = router
        self.settings = settings
        self.owned = owned
        self.keys = KeyRing(settings.keys, settings.keys_file)
        self.ready = False
        self.draining = False
        self.alone = False
        self.in_flight = 0
        self.started_at = time.monotonic()
        self.insight = Insight(router)
        self.jobs = JobStore(settings)
        self.importing = asyncio.Semaphore(1)
        self.linter = _new_linter()
        self.watching = Watching(router, settings)
        self.corrections = Corrections(router)
        self.trimmer = Trimmer()
        self.shedding = Shedding(SECURITY, "/v1/route", self._refused)
        self.turnstile = Turnstile()
        # Apart from the threads that look things up: those shall not wait for changes that wait for one another.
        self._changing = ThreadPoolExecutor(_CHANGES_AT_ONCE, "synaptoroute-change")
        self._changes = 0

    async def start(self) -> None:
        """Load the encoder and learn from the routes; then the server is ready."""
        self.watching.start()
        while not self.ready:
            try:
                # Not by a query, which would be counted and recorded.
                await asyncio.to_thread(self.router.warm_up, self.settings.learn_before_ready_s)
                if self.alone:
                    # Learning has taken far more than what it has left.
                    await asyncio.to_thread(settle)
                self.ready = True
            except SynaptoRouteError:
                logger.exception("the router could not be warmed up; it is tried again in %g s", _AGAIN_S)
                await asyncio.sleep(_AGAIN_S)
        self.insight.begin()

    def _refused(self, queries: int) -> None:
        """So many were refused unread. Of batches nobody knows how many texts they had."""
        self.router.turned_away(queries)
        self.watching.requests.refused("/v1/route", queries)

    async def change(self, work: Callable[..., R], /, *args: Any, **options: Any) -> R:
        """Do in a thread what changes something; the actor of the history goes with it.

        Raises:
            Problem: Too many changes wait already.
        """
        if self._changes >= _CHANGES_WAITING:
            raise Problem("overloaded", "too many changes wait already", headers={"Retry-After": "5"})
        call = functools.partial(contextvars.copy_context().run, work, *args, **options)
        self._changes += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._changing, call)
        finally:
            self._changes -= 1

    async def stop(self) -> None:
        """Close what the server has opened."""
        self.insight.close()
        await asyncio.to_thread(self.jobs.close)
        self._changing.shutdown(wait=False, cancel_futures=True)
        if self.owned:
            await self.router.stop(self.settings.drain_s)
        await asyncio.to_thread(self.watching.close)


def state_of(request: Request) -> ServerState:
    """The server a request came to."""
    state: ServerState = request.app.state.server
    return state


def caller_of(request: Request) -> Caller:
    """Who asks; found out before the request came here."""
    caller: Caller = request.scope.get("state", {}).get("caller", ANYBODY)
    return caller


State = Annotated[ServerState, Depends(state_of)]
Asking = Annotated[Caller, Depends(caller_of)]


class Needs:
    """A dependency of an endpoint that only keys of a scope may call."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __call__(self, request: Request) -> None:
        """Raise a Problem if the caller may not."""
        caller = caller_of(request)
        if caller.scope < self.scope:
            raise Problem(
                "forbidden",
                f"the key {caller.name!r} has the scope {caller.scope.word}, {self.scope.word} is needed here",
            )


#: For ``dependencies=[...]`` of an endpoint; each endpoint below /v1 has one of them.
READ = Depends(Needs(Scope.READ))
WRITE = Depends(Needs(Scope.WRITE))
ADMIN = Depends(Needs(Scope.ADMIN))


async def in_thread(work: Callable[..., R], /, *args: Any, **options: Any) -> R:
    """Do in a thread what looks something up and may wait for the store. Changes are made by ``ServerState.change``."""
    return await asyncio.to_thread(work, *args, **options)


async def changed(state: ServerState, work: Callable[..., R], /, *args: Any, **options: Any) -> R:
    """``state.change`` of what expects a revision, as If-Match says. Raises Problem if it is another by now."""
    try:
        return await state.change(work, *args, **options)
    except RevisionConflictError as exc:
        raise Problem("revision_conflict", str(exc)) from exc


def _new_linter() -> Linter:
    from synaptoroute.server.linting import Linter

    return Linter()
