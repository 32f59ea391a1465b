"""Real servers on free ports of loopback, in a thread or a process of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from synaptoroute import AdaptiveRouter
from synaptoroute.encoder.base import Vectors
from synaptoroute.server.app import create_app
from synaptoroute.server.keys import KeyEntry, Scope, new_key
from synaptoroute.server.running import Server, address_of, bind, uvicorn_config
from synaptoroute.server.settings import ServerSettings
from synaptoroute.server.state import ServerState
from tests.seeded import SeededEncoder, route

#: Nothing here takes this long unless it hangs.
SAFE_S = 30.0
SOURCE = Path(__file__).parents[2] / "src"


class Served:
    """A server that runs, and a client of it."""

    def __init__(self, url: str, state: ServerState, keys: dict[str, str]) -> None:
        self.url, self.state, self.keys = url, state, keys
        self.port = int(url.rpartition(":")[2])
        self.client = httpx2.Client(base_url=url, timeout=SAFE_S)

    def ask(self, method: str, path: str, *, key: str | None = None, **options: Any) -> httpx2.Response:
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {self.keys.get(key, key)}"
        return self.client.request(method, path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        return self.ask("POST", path, **({} if body is None else {"json": body}), **options)

    def finished(self, answer: httpx2.Response, **options: Any) -> dict[str, Any]:
        """The job that the answer is about, once it has ended."""
        assert answer.status_code == 202, answer.text
        ended: dict[str, Any] = until(lambda: _ended(self.get(answer.headers["location"], **options).json()))
        return ended

    def raw(self, content: bytes) -> bytes:
        """What the server answers to these bytes until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=SAFE_S) as connection:
            connection.sendall(content)
            return read_all(connection)


def _ended(job: dict[str, Any]) -> dict[str, Any] | None:
    return job if job["state"] in {"done", "failed", "cancelled"} else None


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def until(found: Callable[[], Any]) -> Any:
    """What is found, once it is; looked for again and again."""
    ends_s = time.monotonic() + SAFE_S
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < ends_s, "it has not come about"
        time.sleep(0.01)


@contextmanager
def serving(router: AdaptiveRouter, *, keys: Sequence[str] = (), **settings: Any) -> Iterator[Served]:
    """A server over the router in a thread, ready; with a key for each of the scopes that are named."""
    made: dict[str, str] = {}
    entries: list[KeyEntry] = []
    for scope in keys:
        made[scope], entry = new_key(f"{scope}-key", Scope[scope.upper()])
        entries.append(entry)
    chosen = ServerSettings(port=0, keys=tuple(entries), **settings)
    bound = bind(chosen)
    app = create_app(router, settings=chosen)
    state: ServerState = app.state.server
    server = Server(uvicorn_config(chosen, app), state)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="test-server")
    thread.start()
    served = Served(address_of(bound, chosen), state, made)
    try:
        until(lambda: state.ready)
        yield served
    finally:
        served.client.close()
        server.should_exit = True
        thread.join(SAFE_S)
        assert not thread.is_alive()


class GatedEncoder(SeededEncoder):
    """Waits at its gate with texts that begin with ``wait``."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.waiting = threading.Semaphore(0)

    def encode(self, texts: Sequence[str]) -> Vectors:
        if any(text.startswith("wait") for text in texts):
            self.waiting.release()
            assert self.gate.wait(SAFE_S)
        return super().encode(texts)


def small_router(encoder: SeededEncoder | None = None) -> AdaptiveRouter:
    """Three routes of a few utterances, in memory."""
    router = AdaptiveRouter(encoder or SeededEncoder())
    router.add_routes([route(name, *range(6)) for name in ("billing", "music", "weather")])
    return router


class Process:
    """``synaptoroute serve`` in a process of its own.

    Args:
        arguments: Beside ``--port 0``.
        environment: Beside that of the tests.
    """

    def __init__(self, *arguments: object, **environment: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SYNAPTOROUTE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "synaptoroute", "serve", "--port", "0", *map(str, arguments)],
            env=clean | {"PYTHONPATH": str(SOURCE)} | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)

    @property
    def url(self) -> str:
        """Where it listens, once it does."""

        def found() -> str | None:
            assert self.process.poll() is None, "".join(self.said)
            lines = [line for line in list(self.said) if line.startswith("listening on ")]
            return lines[0].split()[2] if lines else None

        return str(until(found))

    def ended(self, within_s: float = SAFE_S) -> tuple[int, str]:
        """Its exit code and what it said."""
        code = self.process.wait(within_s)
        self._reader.join(SAFE_S)
        return code, "".join(self.said)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SAFE_S)
        self._reader.join(SAFE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem details of an answer, which must be of that status and code."""
    content: dict[str, Any] = json.loads(answer.content)
    assert (answer.status_code, content.get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert content["status"] == status
    assert content["request_id"] == answer.headers["x-request-id"]
    assert content["instance"]
    return content
