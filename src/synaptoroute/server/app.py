"""``create_app``: the ASGI application around a router."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from synaptoroute import __version__
from synaptoroute.errors import SynaptoRouteError
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server import (
    atlas,
    feedback,
    files,
    health,
    history,
    linting,
    metrics,
    operating,
    pages,
    routes,
    routing,
    traffic,
    working,
)
from synaptoroute.server.admission import Admission
from synaptoroute.server.guards import Guard
from synaptoroute.server.loading import load_settings
from synaptoroute.server.opening import open_router
from synaptoroute.server.problems import Problem, invalid, problem_of
from synaptoroute.server.settings import ServerSettings, logger
from synaptoroute.server.state import ServerState
from synaptoroute.server.watching import telemetry_options

#: The groups of endpoints; a module with a ``router`` is added to the server here.
ROUTERS: tuple[APIRouter, ...] = (
    routing.router,
    routes.router,
    files.router,
    working.router,
    operating.router,
    feedback.router,
    linting.router,
    history.router,
    health.router,
    metrics.router,
    traffic.router,
    atlas.router,
    pages.router,
)

_OF_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}


def create_app(
    over: AdaptiveRouter | ServerSettings | None = None, *, settings: ServerSettings | None = None
) -> FastAPI:
    """The application for an ASGI server.

    Args:
        over: A router, which stays the caller's to close; or settings, whose router the application opens and closes;
            None takes the settings from the environment.
        settings: Beside a router; from the environment unless given.

    Raises:
        InvalidSettingError: The settings cannot be used.
        SynaptoRouteError: The store cannot be opened.
    """
    if isinstance(over, AdaptiveRouter):
        return _Service(ServerState(over, settings or load_settings(), owned=False))
    settings = over or settings or load_settings()
    return _Service(ServerState(open_router(settings), settings, owned=True))


class _Service(FastAPI):
    def __init__(self, state: ServerState) -> None:
        super().__init__(
            title="SynaptoRoute",
            version=__version__,
            description="Routes text to the route whose example utterances it is closest to, or to none.",
            docs_url=None,
            redoc_url=None,
            openapi_url="/openapi.json" if state.settings.docs else None,
            redirect_slashes=False,
            lifespan=_lifespan,
            telemetry=telemetry_options(state.settings),
        )
        self.state.server = state
        self._admission = Admission(state)
        for router in ROUTERS:
            self.include_router(router)
        self.add_exception_handler(Problem, _answered)
        self.add_exception_handler(SynaptoRouteError, _answered)
        self.add_exception_handler(RequestValidationError, _answered)
        self.add_exception_handler(HTTPException, _answered)
        self.add_exception_handler(Exception, _answered)

    def build_middleware_stack(self) -> ASGIApp:
        """The guard stands outside everything else, so that it sees every request and every mistake."""
        return Guard(super().build_middleware_stack(), self.state.server, self._admission)

    def openapi(self) -> dict[str, Any]:
        """The description of the interface, with what the guard answers."""
        from synaptoroute.server.description import described

        return described(self, super().openapi, ROUTERS)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: ServerState = app.state.server
    starting: list[asyncio.Task[Any]] = [asyncio.create_task(state.start())]
    if state.settings.docs:
        # Beforehand and in a thread: made when it is first asked for, it would hold up everybody for a second.
        starting.append(asyncio.create_task(asyncio.to_thread(app.openapi)))
    try:
        yield
    finally:
        for task in starting:
            task.cancel()
        await state.stop()


def _answered(request: Request, exc: Exception) -> Response:
    problem = _problem(exc)
    request_id = request.scope.get("state", {}).get("request_id", "")
    if problem.status >= 500 and not isinstance(exc, Problem) and problem.code != "internal_error":
        logger.error("request %s failed: %s: %s", request_id, problem.code, exc)
    raw: bytes = request.scope.get("raw_path") or b""
    return Response(
        problem.body(instance=raw.decode("ascii", "replace")[:1_000], request_id=request_id),
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def _problem(exc: Exception) -> Problem:
    if isinstance(exc, Problem):
        return exc
    if isinstance(exc, RequestValidationError):
        return invalid(exc.errors())
    if isinstance(exc, HTTPException):
        code = _OF_STATUS.get(exc.status_code, "invalid_request" if exc.status_code < 500 else "internal_error")
        return Problem(code, str(exc.detail), headers=exc.headers, status=exc.status_code)
    return problem_of(exc)
