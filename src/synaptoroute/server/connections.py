"""One connection: uvicorn's protocol with limits on what may come before a request is complete."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from synaptoroute.server.admission import request_id_of
from synaptoroute.server.problems import Problem
from synaptoroute.server.routing import PATH
from synaptoroute.server.state import ServerState

#: Of the first line and all headers. Eight times what browsers send; the parser itself has no limit.
MAX_HEAD_BYTES = 65_536
_PATH = PATH.encode()
#: Of a body that is taken in, without being read, for the sake of the connection: below 1 MB.
_LENGTH_DIGITS = 6


def protocol_for(state: ServerState) -> type[HttpToolsProtocol]:
    """The class of a server's connections."""

    class Connection(_Connection):
        head_timeout_s = state.settings.head_timeout_s
        max_connections = state.settings.max_connections
        served = state

    return Connection


class _Connection(HttpToolsProtocol):
    """Closes what is slow to say what it wants, what comes beyond the number allowed, and heads without end.

    Attributes:
        head_timeout_s: For a head to be complete, from the connection's or the request's first byte on.
        max_connections: Further ones are closed at once.
        served: The server.
    """

    head_timeout_s: float
    max_connections: int
    served: ServerState
    _shed = False
    _head_bytes = 0
    _in_head = False
    _refused: Problem | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._timer = self.loop.call_later(self.head_timeout_s, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget about it."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; if it ends within a head, the rest of it must come in time."""
        super().data_received(data)
        if (self._in_head or self._shed) and self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.head_timeout_s, self._late)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        """A piece of the first line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be answered."""
        self._in_head = False
        full = len(self.tasks) >= self.served.settings.max_in_flight
        self._shed = (full or self.served.shedding.goes_on(self.loop.time())) and self._may_be_shed()
        if not self._shed:
            self._stop_timer()
            super().on_headers_complete()
            self.cycle.transport = _Joined(self.cycle.transport, self.loop)  # type: ignore[assignment]  # writes and closes

    def on_body(self, body: bytes) -> None:
        """A piece of the body, of no interest if it will not be read."""
        if not self._shed:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """All of the request is there."""
        if not self._shed:
            super().on_message_complete()
            return
        self._shed = False
        self._stop_timer()
        closing = self.served.draining or not self.parser.should_keep_alive()
        self.transport.write(self.served.shedding.answer(request_id_of(self.headers), closing=closing))
        if closing:
            self.transport.close()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or too much of it, as a problem, and close the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            # An answer under way comes first, and is the last one: written now, the refusal would be taken for it.
            self.cycle.keep_alive = False
            self.pipeline.clear()
            self.flow.pause_reading()
            return
        problem = self._refused or Problem("invalid_http", msg)
        body = json.dumps(problem.to_dict()).encode("ascii")
        lines = [
            STATUS_LINE[problem.status],
            b"content-type: application/problem+json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"connection: close\r\n\r\n",
            body,
        ]
        self.transport.write(b"".join(lines))
        self.transport.close()

    @property
    def idle(self) -> bool:
        """Whether no request is being read or answered."""
        return not self._in_head and not self._shed and (self.cycle is None or self.cycle.response_complete)

    def _may_be_shed(self) -> bool:
        """Only the call that asks the router, if it is small and no other is before it on this connection."""
        waiting = self.cycle is not None and not self.cycle.response_complete
        if self.url != _PATH or waiting or self.expect_100_continue:
            return False
        lengths = [value for name, value in self.headers if name == b"content-length"]
        return len(lengths) == 1 and len(lengths[0]) <= _LENGTH_DIGITS and self.parser.get_method() == b"POST"

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refused = Problem("head_too_large", f"the head has more than {MAX_HEAD_BYTES:,} bytes")
            raise ValueError(self._refused.detail)

    def _late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Joined:
    """Head and body of an answer in one write: each is a call of the system, and wakes whoever waits for it.

    Args:
        transport: Of the connection.
        loop: What is held back goes out in its next turn at the latest.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Hold back the first piece, and send it with the second."""
        if self._held:
            data, self._held = self._held + data, b""
            self._transport.write(data)
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Close the connection, once all is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)
