"""The one module that knows httpx2: where the server is, what every request carries, and what failing means."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synaptoroute.client.call import JSON, Answer, Call
from synaptoroute.errors import (
    DeadlineExceededError,
    InvalidInputError,
    MissingExtraError,
    RemoteUnavailableError,
    SynaptoRouteError,
)

if TYPE_CHECKING:
    import httpx2

URL_VARIABLE = "SYNAPTOROUTE_URL"
KEY_VARIABLE = "SYNAPTOROUTE_API_KEY"
#: Connections are dropped before a server does so, commonly after 5 s: what is sent into a closing one is lost.
_IDLE_S = 4.0
_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server is and how the client shows itself; the key never shows in ``repr``.

    Attributes:
        base_url: Without a slash at the end.
        headers: Of every request.
        timeout_s: For one try.
    """

    base_url: str
    timeout_s: float
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, base_url: str | None, api_key: str | None, timeout_s: float) -> Address:
        """As the caller or, where it says nothing, the environment wants it.

        Raises:
            InvalidInputError: There is no base URL, or it, the key or the timeout is not one. The key is not repeated.
        """
        from synaptoroute import __version__

        url = base_url if base_url is not None else os.environ.get(URL_VARIABLE)
        if not url:
            raise InvalidInputError(f"there is no server to ask; give base_url, or set {URL_VARIABLE}")
        key = api_key if api_key is not None else os.environ.get(KEY_VARIABLE)
        headers = {"accept": JSON, "user-agent": f"synaptoroute/{__version__}"}
        if key:
            if not key.isascii() or not key.isprintable() or " " in key:
                raise InvalidInputError("the API key has characters that no key has, such as spaces or line ends")
            headers["authorization"] = f"Bearer {key}"
        if not timeout_s > 0:
            raise InvalidInputError(f"timeout_s is {timeout_s}, wanted seconds")
        return cls(base_url=_checked(url), timeout_s=timeout_s, headers=headers)

    def options(self) -> dict[str, Any]:
        """What either client of httpx2 is made with."""
        library = _library()
        return {
            "headers": self.headers,
            "timeout": library.Timeout(self.timeout_s, connect=min(_CONNECT_S, self.timeout_s)),
            "limits": library.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=_IDLE_S),
            # The key must not be sent on to wherever an answer points.
            "follow_redirects": False,
        }

    def request(self, call: Call[Any], build: Callable[..., httpx2.Request]) -> httpx2.Request:
        """The request of a call."""
        return build(
            call.method,
            f"{self.base_url}{call.path}",
            params=call.query or None,
            content=call.body,
            headers=call.headers,
        )


def blocking(address: Address, options: Mapping[str, Any]) -> httpx2.Client:
    """The library's client for threads; ``options`` win."""
    client: httpx2.Client = _library().Client(**{**address.options(), **options})
    return client


def asynchronous(address: Address, options: Mapping[str, Any]) -> httpx2.AsyncClient:
    """The library's client for event loops; ``options`` win."""
    client: httpx2.AsyncClient = _library().AsyncClient(**{**address.options(), **options})
    return client


def answered(response: httpx2.Response) -> Answer:
    """An answer without the library."""
    return Answer(status=response.status_code, headers=response.headers, body=response.content)


def failures() -> tuple[type[Exception], ...]:
    """What the library raises where there is no answer."""
    library = _library()
    return library.HTTPError, library.InvalidURL, library.StreamError


def failed(exc: Exception, call: Call[Any], address: Address) -> SynaptoRouteError:
    """The package's error for the library's."""
    library = _library()
    where = f"{call.operation}: {address.base_url}"
    error: SynaptoRouteError
    if isinstance(exc, library.ConnectError | library.ConnectTimeout | library.PoolTimeout):
        error = RemoteUnavailableError(
            f"{where} cannot be reached ({exc or type(exc).__name__}); is the server running?"
        )
        error.unsent = True
    elif isinstance(exc, library.TimeoutException):
        error = DeadlineExceededError(f"{where} did not answer within {address.timeout_s:g} s")
    elif isinstance(exc, library.TransportError) and not isinstance(exc, library.UnsupportedProtocol):
        error = RemoteUnavailableError(f"{where} broke off the connection ({exc or type(exc).__name__})")
    else:
        error = InvalidInputError(f"{where} cannot be asked: {exc}")
    error.__cause__ = exc
    return error


def _checked(url: str) -> str:
    library = _library()
    try:
        parsed = library.URL(url)
    except (library.InvalidURL, TypeError) as exc:
        raise InvalidInputError(f"base_url is not a URL: {exc}") from None
    if parsed.userinfo:
        raise InvalidInputError("base_url has a user or password in it; give the key as api_key")
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.query or parsed.fragment:
        raise InvalidInputError(f"base_url is {url!r}, wanted one like http://127.0.0.1:8000")
    return str(parsed).rstrip("/")


def _library() -> Any:
    try:
        import httpx2
    except ImportError as exc:
        raise MissingExtraError("the client", "client") from exc
    return httpx2
