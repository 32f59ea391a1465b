"""Bytes as they are sent and come back, without a library that would put them right."""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from synaptoroute.bench.http.service import Service

#: A word that stands in hostile texts and must never come back.
MARK = "xyzzy-do-not-repeat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One answer. Status 0: the server hung up without one."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        content = json.loads(self.body)
        assert isinstance(content, dict)
        return content


class _Kept(io.BufferedReader):
    """Stays open when an answer has been read: more may follow."""

    def close(self) -> None:
        pass


class _Stream:
    """What ``HTTPResponse`` takes for a socket."""

    def __init__(self, reader: _Kept) -> None:
        self._reader = reader

    def makefile(self, *_args: object, **_kwargs: object) -> _Kept:
        return self._reader


@contextmanager
def connected(service: Service, timeout_s: float = 30) -> Iterator[socket.socket]:
    with socket.create_connection((service.host, service.port), timeout=timeout_s) as connection:
        yield connection


def send(connection: socket.socket, pieces: Iterable[bytes]) -> bool:
    """Whether all could be sent; a server may have hung up before the end."""
    try:
        for piece in pieces:
            connection.sendall(piece)
    except (ConnectionError, TimeoutError):
        return False
    return True


def answers(connection: socket.socket, methods: Iterable[str] = ("POST",)) -> list[Seen]:
    """The answers to requests of these methods; the last one is of status 0 if the server hung up instead."""
    reader = _Kept(socket.SocketIO(connection, "r"))
    seen = []
    for method in methods:
        response = http.client.HTTPResponse(_Stream(reader), method=method)  # type: ignore[arg-type]
        try:
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            seen.append(Seen(status=response.status, headers=headers, body=response.read()))
        except (http.client.HTTPException, ConnectionError):
            seen.append(Seen(status=0, headers={}, body=b""))
            break
    return seen


def exchange(service: Service, *pieces: bytes, method: str = "POST", timeout_s: float = 30) -> Seen:
    """The one answer to these bytes."""
    with connected(service, timeout_s) as connection:
        send(connection, pieces)
        (seen,) = answers(connection, [method])
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    return seen


def request(
    method: str,
    path: str | bytes,
    body: bytes | None = None,
    headers: Iterable[tuple[str | bytes, str | bytes]] = (),
    *,
    host: bytes | None = b"127.0.0.1",
) -> bytes:
    """A request; only what is said is right about it."""
    lines = [b" ".join((method.encode(), _bytes(path), b"HTTP/1.1"))]
    given = [(_bytes(name), _bytes(value)) for name, value in headers]
    names = {name.lower() for name, _ in given}
    if host is not None and b"host" not in names:
        given.insert(0, (b"Host", host))
    if body is not None:
        if b"content-type" not in names:
            given.append((b"Content-Type", b"application/json"))
        if not names & {b"content-length", b"transfer-encoding"}:
            given.append((b"Content-Length", b"%d" % len(body)))
    lines += [name + b": " + value for name, value in given]
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunked(piece: bytes, count: int) -> Iterator[bytes]:
    """A body of so many equal chunks."""
    chunk = b"%x\r\n" % len(piece) + piece + b"\r\n"
    for _ in range(count):
        yield chunk
    yield b"0\r\n\r\n"


def faults(seen: Seen, *, accepted: frozenset[int] = frozenset(), may_hang_up: bool = False) -> str | None:
    """What is wrong with an answer to something hostile; None if nothing is.

    Args:
        seen: It should be a problem with a status of 4xx.
        accepted: Statuses that are fine as well, whatever their content.
        may_hang_up: No answer at all is fine.
    """
    if seen.status == 0:
        return None if may_hang_up else "no answer"
    if MARK.encode() in seen.body:
        return f"{seen.status} repeats the text"
    if seen.status in accepted:
        return None
    if not 400 <= seen.status < 500:
        return f"status {seen.status}: {seen.body[:200]!r}"
    if seen.headers.get("content-type") != "application/problem+json":
        return f"{seen.status} is of type {seen.headers.get('content-type')}"
    if not seen.body:
        return None if seen.headers.get("content-length") else f"{seen.status} without content"
    try:
        problem = seen.problem
    except (ValueError, AssertionError):
        return f"{seen.status} is no problem: {seen.body[:200]!r}"
    if problem.get("status") != seen.status or not all(
        isinstance(problem.get(name), str) for name in ("type", "title", "detail", "code")
    ):
        return f"{seen.status} is no whole problem: {seen.body[:200]!r}"
    return None


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
