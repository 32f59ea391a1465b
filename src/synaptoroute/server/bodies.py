"""Bodies of requests: read with their bytes counted, and checked before anything looks at what they say."""

from __future__ import annotations

import asyncio
import re

from pydantic_core import from_json
from starlette.types import Message, Receive

from synaptoroute.server.problems import Problem

#: Of a body; no endpoint knows half as many. Each unknown one would become an error, and take a hundred times its size.
MAX_FIELDS = 64
#: A NUL in a string, with an even number of backslashes before its own.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class GoneError(Exception):
    """The client has left before its body was complete; nobody is left to be told."""


async def whole(receive: Receive, limit: int) -> bytes:
    """A body, whose bytes are counted as they come: a length can be left out, or be wrong.

    Raises:
        Problem: It has more bytes than the limit.
        GoneError: It ended early.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise too_large(limit)
        return body
    # In one piece: a million parts of a byte would take forty times the limit.
    parts = bytearray()
    while True:
        if message["type"] != "http.request":
            raise GoneError
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise too_large(limit)
        if not message.get("more_body", False):
            return bytes(parts)
        message = await receive()


def counted(receive: Receive, limit: int, timeout_s: float) -> Receive:
    """``receive`` that gives no more than the limit, and within the time; else it raises Problem."""
    size = 0
    ends_at_s = asyncio.get_running_loop().time() + timeout_s

    async def counting() -> Message:
        nonlocal size
        try:
            async with asyncio.timeout_at(ends_at_s):
                message = await receive()
        except TimeoutError:
            raise too_slow(timeout_s) from None
        size += len(message.get("body", b""))
        if size > limit:
            raise too_large(limit)
        return message

    return counting


def replayed(body: bytes, receive: Receive) -> Receive:
    """``receive`` that gives the body that was read, and then what comes after it."""
    given = False

    async def replaying() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replaying


def without_nul(body: bytes) -> bytes:
    """The body. Raises Problem if a string in it has a NUL: PostgreSQL has none in texts, and nobody means one."""
    if b"\\u0000" in body and _NUL.search(body):
        raise Problem("invalid_request", "a string has a NUL character (\\u0000); remove it")
    return body


def check(body: bytes) -> None:
    """Raise Problem unless the body is JSON that is not nested beyond 200, free of NUL, NaN and lone surrogates."""
    try:
        content = from_json(without_nul(body), allow_inf_nan=False)
    except ValueError as exc:
        # What the parser says is what is wrong and where, without the content.
        raise Problem("invalid_json", f"the body is not JSON: {str(exc)[:200]}") from None
    if isinstance(content, dict) and len(content) > MAX_FIELDS:
        raise Problem("invalid_request", f"the body has {len(content):,} fields, at most {MAX_FIELDS} are accepted")


def too_large(limit: int) -> Problem:
    """Of a body that has more bytes than this."""
    return Problem("body_too_large", f"the body has more than {limit:,} bytes, which is the most that is accepted here")


def too_slow(timeout_s: float) -> Problem:
    """Of a body that took longer than this."""
    return Problem("body_timeout", f"the body was not complete within {timeout_s:g} s", headers={"Connection": "close"})
