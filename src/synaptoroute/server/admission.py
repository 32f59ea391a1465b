"""Who and what is let in: the checks that need a request's head alone, before anything of it is read or parsed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from starlette.types import Scope

from synaptoroute.server.keys import Caller
from synaptoroute.server.problems import Problem
from synaptoroute.server.rates import Rates, client_of
from synaptoroute.server.settings import ServerSettings
from synaptoroute.server.shedding import too_many
from synaptoroute.server.state import ServerState
from synaptoroute.server.watching import METRICS

#: Answered without a key, from any host, and however busy the server is: orchestrators ask there.
HEALTH = frozenset({"/livez", "/readyz"})
#: Pages and files of the browser's side, which hold no data; what they call needs a key.
OPEN = frozenset({"/", "/docs", "/openapi.json", "/favicon.ico"})
OPEN_BELOW = ("/static/",)
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_SLASH = re.compile(rb"%2[fF]")
_JSON = re.compile(rb"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
#: Bodies there are files of several formats.
_NOT_JSON = frozenset({"/v1/import"})


class Head(NamedTuple):
    """What matters of a request's headers."""

    request_id: str
    host: bytes | None
    key: bytes | None
    origin: bytes | None
    content_type: bytes
    length: int | None
    chunked: bool


def head_of(scope: Scope) -> Head:
    """Look through the headers once, the last of a name counting.

    A length that is no number counts as none: the body is counted anyway.
    """
    found: dict[bytes, bytes] = dict(scope["headers"])
    get = found.get
    request_id, length = get(b"x-request-id"), get(b"content-length")
    return Head(
        request_id.decode("ascii")
        if request_id and _REQUEST_ID.fullmatch(request_id)
        else f"{random.getrandbits(64):016x}",
        get(b"host"),
        _key(get(b"authorization"), get(b"x-api-key")),
        get(b"origin"),
        get(b"content-type", b""),
        int(length[:18]) if length and length.isdigit() else None,
        b"transfer-encoding" in found,
    )


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The client's own; None unless it is one."""
    found = next((value for name, value in headers if name == b"x-request-id"), None)
    return found if found and _REQUEST_ID.fullmatch(found) else None


def _key(authorization: bytes | None, api_key: bytes | None) -> bytes | None:
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return api_key.strip() if api_key is not None else None


def with_encoded_slashes(scope: Scope) -> Scope:
    """The scope, in whose path %2F stays: so a route's name may have a slash and still be one part of the path."""
    raw = scope.get("raw_path") or b""
    if b"%2" in raw and _SLASH.search(raw):
        return {**scope, "path": unquote(_SLASH.sub(b"%252F", raw).decode("ascii", "replace"))}
    return scope


def is_open(path: str) -> bool:
    """Whether a path is answered without a key."""
    return path in HEALTH or path in OPEN or path.startswith(OPEN_BELOW)


class Admission:
    """The checks of one server.

    Args:
        state: Of the server.
    """

    def __init__(self, state: ServerState) -> None:
        settings = state.settings
        self._state = state
        self._hosts, self._below = _allowed(settings)
        self._rates = Rates(settings) if settings.rate_limit is not None else None

    async def caller(self, scope: Scope, head: Head) -> tuple[Caller | None, tuple[tuple[bytes, bytes], ...]]:
        """Who asks, None where nobody needs to say, and headers for the answer. Raises Problem if it is not let in."""
        path = scope["path"]
        if path in HEALTH:
            return None, ()
        # This one is counted already. How busy the server is shall be seen above all when it is too busy.
        if self._state.in_flight > self._state.settings.max_in_flight and path != METRICS:
            raise too_many()
        if "\x00" in path or b"%00" in scope["query_string"]:
            raise Problem("invalid_path", "the path or query has a NUL character")
        self._require_host(head)
        caller = self._state.keys.caller(head.key)
        if caller is None and not is_open(path) and not (path == METRICS and self._state.settings.metrics_open):
            raise Problem(
                "unauthorized",
                "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY",
                headers={"WWW-Authenticate": 'Bearer realm="synaptoroute"'},
            )
        if scope["method"] not in _READING:
            self._require_own_origin(head)
            self._require_json(path, head)
        if self._rates is None:
            return caller, ()
        allowance = await self._rates.ask(self._client(scope, caller))
        if not allowance.passed:
            headers = {name.decode(): value.decode() for name, value in allowance.headers}
            raise Problem("rate_limited", "more requests than this client may send; wait", headers=headers)
        return caller, allowance.headers

    def _client(self, scope: Scope, caller: Caller | None) -> str:
        if caller is not None and caller.name is not None:
            return f"key:{caller.name}"
        client = scope.get("client")
        return f"address:{client_of(client[0])}" if client else "address:unknown"

    def _require_host(self, head: Head) -> None:
        """A page of another site whose name was made to point here (DNS rebinding) sends its own name."""
        if self._hosts is None:
            return
        host = _hostname(head.host or b"")
        if host in self._hosts or any(host.endswith(below) for below in self._below):
            return
        raise Problem("host_not_allowed", "the Host header names no host of this server; see the setting allowed_hosts")

    def _require_own_origin(self, head: Head) -> None:
        """Without keys, pages of other sites could change routes from the browser of somebody on this machine."""
        if head.origin is None or len(self._state.keys):
            return
        try:
            own = urlsplit(head.origin.decode("ascii", "replace")).netloc.lower()
        except ValueError:
            own = ""
        if own.encode("ascii", "replace") != (head.host or b"").lower():
            raise Problem("cross_origin", "pages of other sites may not do this while the server has no API keys")

    def _require_json(self, path: str, head: Head) -> None:
        if (head.length or head.chunked) and path not in _NOT_JSON and not _JSON.fullmatch(head.content_type):
            raise Problem("unsupported_media_type", "the body must be JSON: Content-Type: application/json")


def _allowed(settings: ServerSettings) -> tuple[frozenset[str] | None, tuple[str, ...]]:
    """Names to answer to, and endings of such names; None for any."""
    names = settings.allowed_hosts
    if not names:
        if not is_loopback(settings.host):
            return None, ()
        names = LOOPBACK
    if "*" in names:
        return None, ()
    below = tuple(name[1:].lower() for name in names if name.startswith("*."))
    return frozenset(name.lower() for name in names if not name.startswith("*.")), below


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    import ipaddress

    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _hostname(host: bytes) -> str:
    text = host.decode("ascii", "replace").lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0]
