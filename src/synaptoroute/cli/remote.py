"""A running server, asked by commands. By the standard library alone: these commands need no extra."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

import typer

from synaptoroute.cli import configured
from synaptoroute.errors import SynaptoRouteError

DEFAULT_URL = "http://127.0.0.1:8000"
#: Answers of a server are small; what is larger comes from something else.
_MOST_BYTES = 64 << 20
_FAILURES_FROM = 400

Url = Annotated[
    str, typer.Option("--url", envvar=configured.variable("url"), help="The address of the running server.")
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar=configured.variable("api_key"),
        show_envvar=True,
        show_default=False,
        help="The key to show; better in the environment, for others on this machine can read arguments.",
    ),
]


class RemoteError(SynaptoRouteError):
    """The server cannot be reached, or does not do what it was asked.

    Attributes:
        status: Of its answer; None without one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Remote:
    """A server.

    Attributes:
        url: Its address, perhaps with a path in front of its own.
        key: What is shown to it; None shows none.
        timeout_s: For each call.
    """

    url: str
    key: str | None = None
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in {"http", "https"} or not urlsplit(self.url).hostname:
            raise RemoteError(f"{self.url!r} is no address of a server, wanted such as {DEFAULT_URL}")

    def json(self, path: str, **parameters: str | int) -> Any:
        """What the server answers, parsed. Raises RemoteError."""
        return self._parsed(path, self._asked(path, parameters))

    def text(self, path: str) -> str:
        """What the server answers. Raises RemoteError."""
        return self._asked(path, {}).decode("utf-8", "replace")

    def post(self, path: str, body: bytes, content_type: str = "application/json", **parameters: str | int) -> Any:
        """Send something; what the server answers, parsed. Raises RemoteError."""
        return self._parsed(path, self._asked(path, parameters, body, content_type))

    def _asked(
        self, path: str, parameters: dict[str, str | int], body: bytes | None = None, content_type: str | None = None
    ) -> bytes:
        query = f"?{urlencode(parameters)}" if parameters else ""
        headers = {"Accept": "*/*", "User-Agent": "synaptoroute"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}{path}{query}", data=body, headers=headers)  # noqa: S310
        try:
            with _OPENER.open(request, timeout=self.timeout_s) as answer:
                content: bytes = answer.read(_MOST_BYTES)
                return content
        except urllib.error.HTTPError as exc:
            with exc:
                raise RemoteError(self._told(path, exc.code, exc.read(1 << 16)), exc.code) from None
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "reason", exc)
            raise RemoteError(f"cannot reach {self.url}: {reason}; is it running? name another with --url") from exc

    def _told(self, path: str, status: int, body: bytes) -> str:
        """The problem that the server tells, in one line."""
        try:
            problem = json.loads(body)
            said = problem.get("detail") or problem.get("title")
        except (ValueError, AttributeError):
            said = None
        hint = "; give a key with --api-key or SYNAPTOROUTE_API_KEY" if status == 401 and self.key is None else ""
        return f"{self.url}{path}: {status} {said or 'without a reason'}{hint}"

    def _parsed(self, path: str, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError as exc:
            raise RemoteError(f"{self.url}{path} answered something other than JSON; is it a SynaptoRoute?") from exc


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key is shown to the server that was named, and to no other."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


#: Without proxies of the environment for loopback, as urllib knows it.
_OPENER = urllib.request.build_opener(_NoRedirects)
