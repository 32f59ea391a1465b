"""What every handler can reach: the router, the settings, who may ask, and whether the server is up or going down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from synaptoroute.errors import SynaptoRouteError
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server.keys import ANYBODY, Caller, KeyRing, Scope, read_keys
from synaptoroute.server.problems import Problem
from synaptoroute.server.settings import ServerSettings, logger

R = TypeVar("R")


class ServerState:
    """One server around one router.

    Args:
        router: What decides.
        settings: What the operator has set.
        owned: Whether the router is closed with the server.

    Attributes:
        ready: Whether the encoder is loaded and the routes are learned, or that has taken long enough.
        draining: Whether the server is about to end; it still answers, but asks not to be sent more.
        in_flight: Requests being answered.
        started_at: By the monotonic clock.
    """

    def __init__(self, router: AdaptiveRouter, settings: ServerSettings, *, owned: bool) -> None:
        self.router = router
        self.settings = settings
        self.owned = owned
        file_keys = read_keys(settings.keys_file) if settings.keys_file else ()
        self.keys = KeyRing((*settings.keys, *file_keys))
        self.ready = False
        self.draining = False
        self.in_flight = 0
        self.started_at = time.monotonic()

    async def start(self) -> None:
        """Load the encoder and learn from the routes; then the server is ready."""
        wait_s = self.settings.learn_before_ready_s

        def warm_up() -> None:
            self.router.route("warm up")
            self.router.wait_until_fitted(wait_s)

        try:
            await asyncio.to_thread(warm_up)
        except SynaptoRouteError:
            # It is tried again by every query; readiness says that it does not work.
            logger.exception("the router could not be warmed up")
            return
        self.ready = True

    async def stop(self) -> None:
        """Close what the server has opened."""
        if self.owned:
            await self.router.stop(self.settings.drain_s)


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
    """Do in a thread what may take long or wait for the store; the actor of the history goes with it."""
    return await asyncio.to_thread(work, *args, **options)
