"""FastAPI: a decision as a dependency, and a router that lives as long as the application. The extra ``[api]``.

::

    app = FastAPI(lifespan=router_lifespan(lambda: AdaptiveRouter(storage=SQLiteStorage("routes.db"))))

    @app.post("/chat")
    async def chat(message: Message, decision: Annotated[Decision, Depends(routed(field="text"))]): ...
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from json import JSONDecodeError
from typing import Any, Literal, Unpack

from synaptoroute.asking import deadline_of, terms
from synaptoroute.errors import (
    DeadlineExceededError,
    InvalidInputError,
    InvalidQueryError,
    MissingExtraError,
    RouterClosedError,
    RouterOverloadedError,
)
from synaptoroute.models import Decision
from synaptoroute.router import AdaptiveRouter, RouteOptions

try:
    from fastapi import HTTPException, Path, Query, Request
    from fastapi.exceptions import RequestValidationError
except ImportError as exc:
    raise MissingExtraError("the dependency for FastAPI", "api") from exc

Place = Literal["body", "query", "path"]
#: Of ``request.state``.
_STATE = "synaptoroute"
#: What a closed router, or one past its deadline, asks callers to wait.
_LATER_S = 5


def router_lifespan(
    make: Callable[[], AdaptiveRouter],
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, AdaptiveRouter]]]:
    """For ``FastAPI(lifespan=...)``: a router that is warm before the first request and closed after the last.

    Args:
        make: Opens the router, in a thread. An application with more to open calls what this returns in its own
            lifespan, and yields its state beside the other.
    """

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[dict[str, AdaptiveRouter]]:
        router = await asyncio.to_thread(make)
        try:
            await router.start()
            yield {_STATE: router}
        finally:
            await router.stop()

    return lifespan


def router_of(request: Request) -> AdaptiveRouter:
    """The router of ``router_lifespan``, itself a dependency. Raises InvalidInputError if there is none."""
    found = getattr(request.state, _STATE, None)
    if not isinstance(found, AdaptiveRouter):
        raise InvalidInputError(
            "there is no router; give one to routed(router), or make the application with "
            "FastAPI(lifespan=router_lifespan(...))"
        )
    return found


def routed(
    router: AdaptiveRouter | None = None, *, field: str = "text", of: Place = "body", **options: Unpack[RouteOptions]
) -> Callable[..., Awaitable[Decision]]:
    """A dependency that gives the decision for a text of the request.

    A text that is missing or cannot be routed is answered with 422, in FastAPI's own form but without the text; too
    many queries with 503 and ``Retry-After``, a passed deadline with 504. An abstention is a decision like any other.

    Args:
        router: Decides; that of ``router_lifespan`` unless given.
        field: Where the text is: a field of the JSON body, or a parameter of the query or the path.
        of: Which of these. A body is only read: its model stays the endpoint's, or nobody's.
        **options: See ``RouteOptions``.

    Raises:
        InvalidInputError: An option is out of its range.
    """
    terms(options, None)
    deadline_of(options)

    async def decided(request: Request, text: str) -> Decision:
        deciding = router if router is not None else router_of(request)
        try:
            return await deciding.aquery(text, **options)
        except InvalidQueryError as exc:
            raise _unprocessable("value_error", (of, field), str(exc)) from None
        except (RouterOverloadedError, RouterClosedError, DeadlineExceededError) as exc:
            raise _unavailable(exc) from exc

    async def of_body(request: Request) -> Decision:
        return await decided(request, await _text_of_body(request, field))

    async def of_query(request: Request, text: str = Query(alias=field)) -> Decision:
        return await decided(request, text)

    async def of_path(request: Request, text: str = Path(alias=field)) -> Decision:
        return await decided(request, text)

    return {"body": of_body, "query": of_query, "path": of_path}[of]


async def _text_of_body(request: Request, field: str) -> str:
    try:
        body = await request.json()
    except (JSONDecodeError, UnicodeDecodeError):
        raise _unprocessable("json_invalid", ("body",), "JSON decode error") from None
    if not isinstance(body, dict):
        raise _unprocessable("dict_type", ("body",), "Input should be a valid dictionary")
    if field not in body:
        raise _unprocessable("missing", ("body", field), "Field required")
    if not isinstance(body[field], str):
        raise _unprocessable("string_type", ("body", field), "Input should be a valid string")
    return str(body[field])


def _unprocessable(kind: str, location: tuple[str, ...], message: str) -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": location, "msg": message}])


def _unavailable(exc: Exception) -> HTTPException:
    later_s = max(1, math.ceil(exc.retry_after_s)) if isinstance(exc, RouterOverloadedError) else _LATER_S
    status = 504 if isinstance(exc, DeadlineExceededError) else 503
    return HTTPException(status, str(exc), headers={"Retry-After": str(later_s)})
