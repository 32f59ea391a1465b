"""``serve``: the application on uvicorn, from a clean start to an end that loses nothing.

The end, after SIGTERM: readiness says no and answers ask for the connection to be closed, but everything is still
served for a while, so that load balancers notice; then nothing new is accepted, what was accepted is answered, and what
takes longer than the drain limit is turned away. A second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import os
import resource
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from synaptoroute.errors import InvalidSettingError
from synaptoroute.server.admission import is_loopback
from synaptoroute.server.app import create_app
from synaptoroute.server.connections import protocol_for
from synaptoroute.server.keys import KeyRing
from synaptoroute.server.settings import ServerSettings, logger
from synaptoroute.server.state import ServerState
from synaptoroute.server.trimming import keep_little

#: How long an idle connection is left open after nothing new is accepted: a request on its way arrives within it.
_LINGER_S = 1.0
_LOOK_S = 0.05
#: Files beside connections: stores, libraries, pipes.
_OTHER_FILES = 256


def serve(
    settings: ServerSettings, *, app: FastAPI | None = None, started: Callable[[str], None] | None = None
) -> None:
    """Serve until a signal ends it.

    Args:
        settings: Of the server.
        app: Of ``create_app``; made from the settings unless given.
        started: Told the address once it is listened on.

    Raises:
        InvalidSettingError: The address cannot be listened on, or may not be without keys.
    """
    require_keys(settings, app.state.server.keys if app is not None else KeyRing(settings.keys, settings.keys_file))
    keep_little()
    allow_connections(settings.max_connections)
    bound = bind(settings)
    try:
        app = app if app is not None else create_app(settings)
        state: ServerState = app.state.server
        state.alone = True
        server = Server(uvicorn_config(settings, app), state)
        if started is not None:
            started(address_of(bound, settings))
        server.run(sockets=[bound])
    finally:
        bound.close()


def allow_connections(count: int) -> None:
    """Raise this process's soft limit of open files, often 1,024, as far as so many connections need and it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        logger.warning(
            "setting max_connections is %d, but only %d files may be open; lower it, or raise the limit (ulimit -Hn)",
            count,
            allowed,
        )


def bind(settings: ServerSettings) -> socket.socket:
    """A socket that listens where the settings say. Raises InvalidSettingError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as exc:
        raise InvalidSettingError(
            f"setting host: {settings.host!r} is no address of this machine ({exc.strerror}); take 127.0.0.1 or 0.0.0.0"
        ) from exc
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(1_024)
    except OSError as exc:
        bound.close()
        raise InvalidSettingError(
            f"settings host and port: cannot listen on {settings.host}:{settings.port}: {exc.strerror}; stop what uses "
            "it, or choose another"
        ) from exc
    bound.settimeout(0)
    return bound


def require_keys(settings: ServerSettings, keys: KeyRing) -> None:
    """Raise InvalidSettingError if others than this machine could do everything without a key."""
    if not len(keys) and not is_loopback(settings.host):
        raise InvalidSettingError(
            f"setting keys: listening on {settings.host} lets others in, which needs an API key; make one with "
            "`synaptoroute keys new --name me --scope admin`, or set host to 127.0.0.1"
        )


def address_of(bound: socket.socket, settings: ServerSettings) -> str:
    """The address to type into a browser."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{'https' if settings.tls_certificate else 'http'}://{host}:{port}"


def uvicorn_config(settings: ServerSettings, app: FastAPI) -> uvicorn.Config:
    """What uvicorn is told. Raises InvalidSettingError for a certificate that cannot be used."""
    config = uvicorn.Config(
        app,
        http=protocol_for(app.state.server),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies) or None,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    try:
        config.load()
    except OSError as exc:  # ssl.SSLError is one.
        raise InvalidSettingError(
            f"settings tls_certificate and tls_key: they cannot be used ({exc.strerror or type(exc).__name__}); both "
            "are PEM files, and the key belongs to the certificate"
        ) from exc
    return config


class Server(uvicorn.Server):
    """uvicorn's server with another end.

    Args:
        config: Loaded.
        state: Of the application.
    """

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self._state = state
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The first signal begins the end, the second is it."""
        if self._state.draining:
            # Nothing is lost: what was acknowledged is on disk. Waiting threads would keep the process alive.
            os._exit(128 + sig)
        self._state.draining = True
        grace_s = self._state.settings.shutdown_grace_s if sig == signal.SIGTERM else 0.0
        if self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._loop.call_later, grace_s, self._end)

    def _end(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was accepted, then close."""
        self._state.draining = True
        for bound in sockets or ():
            await self._take_waiting(bound)
        for server in self.servers:
            server.close()
        for bound in sockets or ():
            bound.close()
        ends_at_s = asyncio.get_running_loop().time() + self._state.settings.drain_s
        await self._until_idle(ends_at_s)
        for task in list(self.server_state.tasks):
            task.cancel()
        if self.server_state.tasks:
            logger.error("%d requests were not answered within drain_s", len(self.server_state.tasks))
            await asyncio.wait(self.server_state.tasks, timeout=1)
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.close()
        await self.lifespan.shutdown()

    async def _take_waiting(self, bound: socket.socket) -> None:
        """Accept the connections that the system has accepted already: closing the socket would reset them."""
        loop = asyncio.get_running_loop()
        waiting = []
        with suppress(OSError):
            while True:
                waiting.append(bound.accept()[0])
        for accepted in waiting:
            accepted.settimeout(0)
            with suppress(OSError):
                await loop.connect_accepted_socket(self._protocol, accepted, ssl=self.config.ssl)

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _until_idle(self, ends_at_s: float) -> None:
        """Wait until every connection is closed; idle ones are, unless a request is on its way."""
        loop = asyncio.get_running_loop()
        lingers_until_s = min(loop.time() + _LINGER_S, ends_at_s)
        while self.server_state.connections or self.server_state.tasks:
            now_s = loop.time()
            if now_s >= ends_at_s:
                return
            if now_s >= lingers_until_s:
                connections: list[Any] = list(self.server_state.connections)
                for connection in connections:
                    if connection.idle and not _readable(connection.transport):
                        connection.transport.close()
            await asyncio.sleep(_LOOK_S)


def _readable(transport: asyncio.Transport) -> bool:
    """Whether something has come that the loop has not read yet."""
    found = transport.get_extra_info("socket")
    try:
        poll = select.poll()
        poll.register(found.fileno(), select.POLLIN)
        return any(event & select.POLLIN and not event & select.POLLHUP for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False
