"""A connection to Redis or Valkey on which no call lasts longer than it may, whatever the server does or does not do.

redis-py tries a failed command again by itself, so that its time limits multiply (measured with 8.1: 30 s and more with
``socket_timeout=5`` and a frozen server), and a limit counts from the last byte, so that a slow enough server is waited
for without end. Here nothing is tried again, and a call that has taken its time has its socket shut from outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from synaptoroute.errors import InvalidInputError, MissingExtraError, SyncForeignError, SyncUnavailableError
from synaptoroute.sync.scripts import FORMAT, OPEN, PUBLISH

#: Anything older has had no fixes for years, and its scripts may not write after commands such as XADD.
OLDEST_SERVER = (6, 2, 0)
_SCHEMES = ("redis", "rediss", "unix")
#: How often calls that take too long are looked for.
_WATCHED_EVERY_S = 0.1
_READ_BYTES = 1 << 18
#: What the server says when it is there but cannot serve us just now.
_FOR_NOW = ("LOADING", "READONLY", "OOM", "MISCONF", "BUSY", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN")


def shown(url: str) -> str:
    """The address without user, password or options; it ends up in logs."""
    try:
        parts = urlsplit(url)
        if "@" in parts.path + parts.query + parts.fragment:
            # A password with a character that should have been written as %2F and the like: it may be anywhere.
            return f"{parts.scheme}://..."
        where = parts.hostname or ""
        if where and parts.port:
            where += f":{parts.port}"
    except ValueError:
        return "(an address that cannot be read)"
    return f"{parts.scheme}://{where}{parts.path}"


class Link:
    """One connection, for one thread at a time; made when first needed and again after a failure.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, with user, password and database as redis-py reads them.
        namespace: Whose keys.
        timeout_s: Most that connecting or a call may take, beside what the call is told to wait for.

    Raises:
        MissingExtraError: redis-py is not installed.
        InvalidInputError: The address cannot be read.
    """

    def __init__(self, url: str, namespace: str, timeout_s: float) -> None:
        try:
            import redis
        except ImportError as exc:
            raise MissingExtraError("keeping replicas the same through Redis", "redis") from exc
        self._errors = redis.exceptions
        self._shown = shown(url)
        self._timeout_s = timeout_s
        prefix = f"synaptoroute:{{{namespace}}}:"
        names = ("meta", "stream", "state", "versions", "dropped", "sizes", "origins")
        self._keys = {name: prefix + name for name in names}
        self._connection = self._made(redis, url)
        self._deadline: float | None = None
        self._waits_s = timeout_s
        self._shut = False
        #: How often a connection was made.
        self.connections = 0

    def __repr__(self) -> str:
        return f"Link({self._shown!r})"

    def _made(self, redis: Any, url: str) -> Any:
        from redis.backoff import NoBackoff
        from redis.connection import parse_url
        from redis.retry import Retry

        if urlsplit(url).scheme not in _SCHEMES:
            raise InvalidInputError(f"the address {self._shown} is not one of Redis: redis://, rediss:// or unix://")
        try:
            options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        except ValueError:
            # What is wrong with it may repeat the password.
            raise InvalidInputError(f"the address {self._shown} cannot be read; check its port and options") from None
        kind = options.pop("connection_class", redis.Connection)
        # After the address, whose options would otherwise win. Naming the driver would cost two calls at each start.
        options |= {"retry": Retry(NoBackoff(), 0), "protocol": 2, "decode_responses": False, "driver_info": None}
        options |= {"socket_timeout": self._timeout_s, "health_check_interval": 0, "socket_read_size": _READ_BYTES}
        if not issubclass(kind, redis.UnixDomainSocketConnection):
            options |= {"socket_connect_timeout": self._timeout_s, "socket_keepalive": True}
        return kind(**options)

    # ------------------------------------------------------------------------------------------------- calls
    def open(self, epoch: str, fingerprint: str, encoder: str) -> list[Any]:
        """Look at the stream, and begin it if there is none: seq, head, entries, routes, digest, horizon.

        Raises:
            SyncForeignError: It can never be used like this.
            SyncUnavailableError: It cannot be used now.
        """
        arguments = [FORMAT, epoch, fingerprint, encoder]
        with self._limited("be opened"):
            word, *found = self._run(OPEN, arguments)
        match word:
            case b"open":
                return found
            case b"foreign":
                key = found[0].decode(errors="replace")
                raise SyncForeignError(f"{self._shown}: the key {key!r} is not ours; choose another namespace")
            case b"format":
                seen = found[0].decode(errors="replace")[:80]
                raise SyncForeignError(
                    f"{self._shown}: the stream is {seen!r}, this version reads {FORMAT!r}; use one version of "
                    "synaptoroute for all replicas, or another namespace"
                )
        seen = " ".join(part.decode(errors="replace")[:80] for part in reversed(found) if part)
        raise SyncForeignError(
            f"{self._shown}: the stream has vectors of the encoder {seen}, this router's are of {encoder} "
            f"{fingerprint}; they cannot be compared. Use the same encoder, or another namespace"
        )

    def check_version(self) -> None:
        """Raises SyncForeignError if the server is too old."""
        with self._limited("tell its version"):
            try:
                said = self._call("INFO", "server")
            except self._errors.NoPermissionError:
                return
        info = dict(line.split(":", 1) for line in said.decode(errors="replace").splitlines() if ":" in line)
        seen = str(info.get("redis_version", ""))
        parts = seen.split(".")
        if all(part.isdecimal() for part in parts) and tuple(map(int, parts)) < OLDEST_SERVER:
            wanted = ".".join(map(str, OLDEST_SERVER[:2]))
            raise SyncForeignError(f"{self._shown} is Redis {seen}, wanted {wanted} or newer, or Valkey; upgrade it")

    def publish(self, arguments: Sequence[str | bytes | int]) -> bytes:
        """Run ``PUBLISH`` and return its word."""
        with self._limited("take an entry"):
            return bytes(self._run(PUBLISH, arguments)[0])

    def entries_after(self, entry_id: str, count: int, wait_s: float) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """At most so many entries after that one; waits for the first. Empty if there was none in that time."""
        block = ("BLOCK", max(1, int(1000 * wait_s))) if wait_s else ()
        with self._limited("send entries", wait_s):
            found = self._call("XREAD", "COUNT", count, *block, "STREAMS", self._keys["stream"], entry_id)
            return [(entry, _pairs(fields or [])) for entry, fields in found[0][1]] if found else []

    def versions(self, checkpoint: Callable[[], None]) -> dict[bytes, bytes]:
        """Of all routes, also of dropped ones. Changes made meanwhile may be among them."""
        found: dict[bytes, bytes] = {}
        cursor = b"0"
        while True:
            checkpoint()
            with self._limited("tell its versions"):
                cursor, part = self._call("HSCAN", self._keys["versions"], cursor, "COUNT", 2_000)
                found.update(_pairs(part))
            if cursor == b"0":
                return found

    def records(self, names: Sequence[str]) -> list[bytes | None]:
        """The record of each route; None for one that is not there any more."""
        with self._limited("send records"):
            return list(self._call("HMGET", self._keys["state"], *names))

    def numbers(self) -> dict[bytes, bytes]:
        """The number of the last entry of each writer."""
        with self._limited("tell its writers"):
            return _pairs(self._call("HGETALL", self._keys["origins"]))

    def _run(self, script: str, arguments: Sequence[str | bytes | int]) -> list[Any]:
        keys = list(self._keys.values())
        sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            found = self._call("EVALSHA", sha, len(keys), *keys, *arguments)
        except self._errors.NoScriptError:
            found = self._call("EVAL", script, len(keys), *keys, *arguments)
        return list(found)

    def _call(self, *command: str | bytes | int) -> Any:
        if not self._connection.is_connected:
            self.connections += 1
        self._connection.send_command(*command)
        # After the limit was set the socket may have been made anew, with the usual one.
        return self._connection.read_response(timeout=self._waits_s)

    # -------------------------------------------------------------------------------------------------- limits
    @contextmanager
    def _limited(self, doing: str, wait_s: float = 0.0) -> Iterator[None]:
        """Errors translated; the connection is dropped after any, since an answer may still be on its way."""
        if self._shut:
            raise SyncUnavailableError(f"{self._shown}: closed")
        errors = self._errors
        self._waits_s = self._timeout_s + wait_s
        self._deadline = time.monotonic() + 2 * self._timeout_s + wait_s
        try:
            yield
        except (errors.AuthenticationError, errors.NoPermissionError) as exc:
            self._drop()
            raise SyncForeignError(
                f"{self._shown} refuses the user, the password or the command: {_said(exc)}"
            ) from None
        except (errors.BusyLoadingError, errors.ReadOnlyError, errors.OutOfMemoryError) as exc:
            self._drop()
            raise SyncUnavailableError(f"{self._shown} cannot {doing} now: {_said(exc)}") from None
        except errors.ResponseError as exc:
            self._drop()
            said = _said(exc)
            if said.startswith(_FOR_NOW):
                raise SyncUnavailableError(f"{self._shown} cannot {doing} now: {said}") from None
            if "WRONGPASS" in said or "NOAUTH" in said or "no password is set" in said:
                raise SyncForeignError(f"{self._shown} refuses the user or password") from None
            raise SyncForeignError(f"{self._shown} cannot {doing}: {said}") from None
        except (errors.RedisError, OSError, ValueError, AttributeError, IndexError, TypeError) as exc:
            # The last ones are what redis-py raises when its socket is shut under it, or an answer makes no sense.
            self._drop()
            raise SyncUnavailableError(f"{self._shown} could not {doing}: {_said(exc)}") from None
        finally:
            self._deadline = None

    def _drop(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.disconnect()

    def interrupt_if_late(self, now: float) -> None:
        """Shut the socket under a call that has taken too long. From another thread."""
        deadline = self._deadline
        if deadline is not None and now > deadline:
            self._interrupt()

    def shut(self) -> None:
        """End the call under way and refuse others. From another thread."""
        self._shut = True
        self._interrupt()

    def _interrupt(self) -> None:
        sock = getattr(self._connection, "_sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                # That of the base class: an encrypted one would wait for the other side.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the connection. By the thread that used it."""
        self._shut = True
        self._drop()


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _said(exc: BaseException) -> str:
    return f"{exc}"[:200] or type(exc).__name__


def watch(links: Sequence[Link], stopping: threading.Event) -> None:
    """Interrupt calls that take too long, until told to stop."""
    while not stopping.wait(_WATCHED_EVERY_S):
        now = time.monotonic()
        for link in links:
            link.interrupt_if_late(now)
