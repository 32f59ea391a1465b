"""One HTTP connection of the load generator: as little work as can be, for the server shares its cores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

#: Status, and the body of the answer to the request of that number; status 0 if the connection broke.
Done = Callable[["Connection", int, bytes], None]

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Connection(asyncio.Protocol):
    """Sends a request at a time, already made, and finds the end of its answer.

    Args:
        done: Told of each answer.

    Attributes:
        number: Of the request.
        due: When it should have been sent, by ``perf_counter``.
        sent: When it was.
        busy: An answer is awaited.
        open: It can be used.
    """

    __slots__ = ("_buffer", "_done", "_needed", "_transport", "busy", "due", "number", "open", "sent")

    def __init__(self, done: Done) -> None:
        self._done = done
        self._buffer = b""
        self._needed = 0
        self._transport: asyncio.Transport | None = None
        self.number, self.due, self.sent = 0, 0.0, 0.0
        self.busy = self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It can be used."""
        self._transport = transport  # type: ignore[assignment]  # of a stream
        self.open = True

    def ask(self, number: int, request: bytes, due: float) -> None:
        """Send a request."""
        self.number, self.due, self.busy = number, due, True
        self.sent = perf_counter()
        if self._transport is None or not self.open:
            self._end(0, b"")
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Part of an answer."""
        if self._buffer:
            data = self._buffer + data
        if not self._needed:
            end = data.find(_HEAD_END)
            if end < 0:
                self._buffer = data
                return
            self._needed = end + len(_HEAD_END) + _length(data[:end])
        if len(data) < self._needed:
            self._buffer = data
            return
        status, body = int(data[9:12]), data[data.index(_HEAD_END) + len(_HEAD_END) : self._needed]
        self._buffer, self._needed = b"", 0
        self._end(status, body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """It cannot be used any more."""
        self.open = False
        if self.busy:
            self._end(0, b"")

    def close(self) -> None:
        """Hang up."""
        self.busy = False
        if self._transport is not None:
            self._transport.close()

    def _end(self, status: int, body: bytes) -> None:
        self.busy = False
        self._done(self, status, body)


def _length(head: bytes) -> int:
    head = head.lower()
    at = head.find(_LENGTH)
    if at < 0:
        raise ValueError("an answer without Content-Length")
    return int(head[at + len(_LENGTH) :].partition(b"\r")[0])


def request(host: str, port: int, body: bytes, key: str | None = None) -> bytes:
    """``POST /v1/route`` as it goes over the wire."""
    lines = [
        "POST /v1/route HTTP/1.1",
        f"Host: {host}:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *([f"Authorization: Bearer {key}"] if key else []),
    ]
    return "\r\n".join(lines).encode() + _HEAD_END + body
