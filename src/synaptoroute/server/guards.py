"""The one middleware, plain ASGI: every request passes it, and every answer leaves through it."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synaptoroute.history import acting_as
from synaptoroute.observability.context import request_id
from synaptoroute.server import routing
from synaptoroute.server.admission import Admission, Head, head_of, with_encoded_slashes
from synaptoroute.server.bodies import GoneError, check, counted, replayed, too_large, too_slow, whole, without_nul
from synaptoroute.server.headers import SECURITY, Headers
from synaptoroute.server.problems import Problem, problem_of
from synaptoroute.server.settings import logger
from synaptoroute.server.state import ServerState
from synaptoroute.server.trimming import LARGE_BYTES
from synaptoroute.server.watching import redact

access = logging.getLogger("synaptoroute.access")

_JSON: Headers = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
_PROBLEM: Headers = ((b"content-type", b"application/problem+json"), (b"cache-control", b"no-store"))
_CLOSE: Headers = ((b"connection", b"close"),)
_LATER = {"Retry-After": "1"}
#: A body that is read by its endpoint as it comes, not beforehand.
STREAMED = frozenset({"/v1/import"})
LABELLED = frozenset({"/v1/fit", "/v1/evaluate"})
#: From this size on, a body is checked in a thread: the loop would stand still for a millisecond and more.
_CHECKED_IN_LOOP_BYTES = 128 << 10


class Guard:
    """Lets requests in, reads their bodies, and turns what goes wrong into problems.

    Args:
        app: What answers.
        state: Of the server.
        admission: What is let in.
    """

    def __init__(self, app: ASGIApp, state: ServerState, admission: Admission) -> None:
        self.app = app
        self._state = state
        self._admission = admission
        # FastAPI notes the path's template for its spans, if the request comes that far.
        self._traced = state.watching.traced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self.app(scope, receive, send)
            return
        head = head_of(scope)
        state = self._state
        leaving = _Leaving(send, head.request_id, state)
        began_s = perf_counter()
        state.in_flight += 1
        requests = state.watching.requests
        requests.begun()
        current = request_id.set(head.request_id)
        try:
            await self._guarded(scope, head, receive, leaving)
        finally:
            state.in_flight -= 1
            requests.answered(leaving.scope or scope, leaving.route, leaving.status, perf_counter() - began_s)
            if state.settings.access_log:
                _log_access(scope, head, leaving, began_s)
            request_id.reset(current)

    async def _guarded(self, scope: Scope, head: Head, receive: Receive, leaving: _Leaving) -> None:
        """Whatever goes wrong is answered as a problem, if nothing was answered yet."""
        leaving.scope = with_encoded_slashes(scope)
        try:
            await self._admitted(leaving.scope, head, receive, leaving)
        except Problem as problem:
            await leaving.problem(problem, scope)
        except GoneError:
            pass
        except asyncio.CancelledError:
            if not leaving.started:
                await leaving.problem(Problem("closed", "the server ends; ask another", headers=_LATER), scope)
            raise
        except Exception as exc:
            failed = problem_of(exc)
            if failed.status >= 500:
                # Without the path, which may name more than a log should hold.
                logger.exception("request %s failed: %s", head.request_id, failed.code)
            if not leaving.started:
                await leaving.problem(failed, scope)
            elif not leaving.complete:
                raise

    async def _admitted(self, scope: Scope, head: Head, receive: Receive, leaving: _Leaving) -> None:
        if self._traced:
            redact(scope)
        caller, leaving.extra = await self._admission.caller(scope, head)
        path, settings = scope["path"], self._state.settings
        limit = (
            settings.max_import_bytes
            if path in STREAMED
            else settings.max_labelled_bytes
            if path in LABELLED
            else settings.max_body_bytes
        )
        if head.length is not None and head.length > limit:
            raise too_large(limit)
        if path in STREAMED:
            self._state.trimmer.soon()
            receive = counted(receive, limit, settings.body_timeout_s)
        elif head.length or head.chunked:
            if head.chunked or (head.length or 0) >= LARGE_BYTES:
                self._state.trimmer.soon()
            try:
                async with asyncio.timeout(settings.body_timeout_s):
                    body = await whole(receive, limit)
            except TimeoutError:
                raise too_slow(settings.body_timeout_s) from None
            if path == routing.PATH and scope["method"] == "POST" and not self._traced:
                leaving.route = path
                await self._state.turnstile.passed()
                await leaving.json(await routing.answer(self._state, without_nul(body)))
                return
            if len(body) > _CHECKED_IN_LOOP_BYTES:
                await asyncio.to_thread(check, body)
            else:
                check(body)
            receive = replayed(body, receive)
        scope.setdefault("state", {})
        scope["state"]["request_id"] = head.request_id
        if caller is None:
            await self.app(scope, receive, leaving)
            return
        scope["state"]["caller"] = caller
        with acting_as(caller.actor):
            await self.app(scope, receive, leaving)


class _Leaving:
    """``send`` with what every answer has: the request's id and headers for browsers."""

    __slots__ = ("_id", "_send", "_state", "complete", "extra", "route", "scope", "started", "status")

    def __init__(self, send: Send, request_id: str, state: ServerState) -> None:
        self._send = send
        self._state = state
        self._id = (b"x-request-id", request_id.encode("ascii"))
        self.extra: Headers = ()
        self.status = 0
        #: As it was handed on, and the path's template if nobody will note it there; for metrics.
        self.scope: Scope | None = None
        self.route: str | None = None
        self.started = False
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            own = list(message.get("headers", ()))
            names = {name for name, _ in own}
            added = [pair for pair in SECURITY if pair[0] not in names]
            if b"cache-control" not in names:
                added.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*own, self._id, *self.extra, *self._closing, *added]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True
        await self._send(message)

    @property
    def _closing(self) -> Headers:
        """Of a server that ends, whoever asks again shall ask over a new connection, which leads elsewhere."""
        return _CLOSE if self._state.draining else ()

    async def json(self, body: bytes) -> None:
        """Answer with JSON."""
        await self._send_whole(200, body, _JSON)

    async def problem(self, problem: Problem, scope: Scope) -> None:
        """Answer with a problem."""
        raw: bytes = scope.get("raw_path") or b""
        body = problem.body(instance=raw.decode("ascii", "replace")[:1_000], request_id=self._id[1].decode())
        own = tuple((name.lower().encode(), value.encode()) for name, value in problem.headers.items())
        self.extra = tuple(pair for pair in self.extra if pair[0] not in {name for name, _ in own})
        await self._send_whole(problem.status, body, (*_PROBLEM, *own))

    async def _send_whole(self, status: int, body: bytes, own: Headers) -> None:
        self.started, self.status = True, status
        headers = [*own, (b"content-length", b"%d" % len(body)), self._id, *self.extra, *self._closing, *SECURITY]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
        self.complete = True


def _log_access(scope: Scope, head: Head, leaving: _Leaving, began_s: float) -> None:
    """One line a request. Without the query string, in which routes may be searched for by a text."""
    client = scope["client"][0] if scope.get("client") else "-"
    took_ms = (perf_counter() - began_s) * 1000
    path = (scope.get("raw_path") or b"").decode("ascii", "replace")[:200]
    # Once as words for people, once as fields for JSON lines.
    fields = {"client": client, "method": scope["method"], "path": path, "status": leaving.status, "took_ms": took_ms}
    shown = "%s %s %s %d %.1f ms %s"
    access.info(shown, client, scope["method"], path, leaving.status, took_ms, head.request_id, extra=fields)
