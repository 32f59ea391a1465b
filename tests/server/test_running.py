"""The command in a process of its own: how it starts, and how it ends without losing a request."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from synaptoroute.server.app import create_app
from synaptoroute.server.keys import Scope, new_key
from synaptoroute.server.running import Server, bind, uvicorn_config
from synaptoroute.server.settings import ServerSettings
from tests.server.serving import SAFE_S, GatedEncoder, Process, problem, small_router, until

ROUTES = "route,utterance\n" + "".join(
    f"{name},{name} {number}\n" for name in ("billing", "music") for number in range(5)
)


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    file = tmp_path / "routes.csv"
    file.write_text(ROUTES)
    return file


def ready(url: str) -> httpx2.Response | None:
    try:
        answer = httpx2.get(f"{url}/readyz", timeout=SAFE_S)
    except httpx2.TransportError:
        return None
    return answer if answer.status_code == 200 else None


def test_it_serves_a_store_and_keeps_what_is_changed(tmp_path: Path, routes: Path) -> None:
    key, entry = new_key("ops", Scope.ADMIN)
    (tmp_path / "keys").write_text(entry.line)
    (tmp_path / "settings.toml").write_text(f'keys_file = "{tmp_path / "keys"}"\nshutdown_grace_s = 0\n')
    arguments = ("--db", tmp_path / "routes.db", "--routes", routes, "--config", tmp_path / "settings.toml")
    headers = {"Authorization": f"Bearer {key}"}
    with Process(*arguments) as process:
        until(lambda: ready(process.url))
        body = {"name": "new", "utterances": ["new 1", "new 2"]}
        assert httpx2.post(f"{process.url}/v1/routes", json=body, headers=headers).status_code == 201
        assert httpx2.post(f"{process.url}/v1/routes", json=body).status_code == 401
        process.process.send_signal(signal.SIGTERM)
        assert process.ended()[0] == 0
    with Process(*arguments) as process:
        until(lambda: ready(process.url))
        entries = httpx2.get(f"{process.url}/v1/history", headers=headers).json()["entries"]
        assert (entries[0]["route"], entries[0]["actor"], entries[1]["actor"]) == ("new", "ops", "file")
        process.process.send_signal(signal.SIGINT)
        code, said = process.ended()
        assert (code, key in said, entry.digest.hex() in said) == (0, False, False)


def test_readiness_fails_first_and_a_second_signal_ends_it_at_once(routes: Path) -> None:
    with Process("--routes", routes, SYNAPTOROUTE_SHUTDOWN_GRACE_S="600") as process:
        until(lambda: ready(process.url))
        process.process.send_signal(signal.SIGTERM)
        until(lambda: httpx2.get(f"{process.url}/readyz").status_code == 503)
        assert httpx2.get(f"{process.url}/readyz").json() == {"ready": False, "reason": "draining"}
        answer = httpx2.post(f"{process.url}/v1/route", json={"text": "music 1"})
        assert answer.json()["decisions"][0]["matches"][0]["name"] == "music"
        assert answer.headers["connection"] == "close"
        assert httpx2.get(f"{process.url}/livez").status_code == 200
        process.process.send_signal(signal.SIGTERM)
        assert process.ended()[0] == 128 + signal.SIGTERM


# ------------------------------------------------------------------------------------------------- in this process
class Ending:
    """A server whose encoder can be held up, and which is told to end."""

    def __init__(self, drain_s: float) -> None:
        self.encoder = GatedEncoder()
        self.router = small_router(self.encoder)
        settings = ServerSettings(port=0, drain_s=drain_s)
        self.bound = bind(settings)
        app = create_app(self.router, settings=settings)
        self.state = app.state.server
        self.server = Server(uvicorn_config(settings, app), self.state)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.bound]})
        self.thread.start()
        self.port = self.bound.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        until(lambda: self.state.ready)

    def end(self) -> None:
        self.server.should_exit = True
        until(lambda: self.bound.fileno() == -1)


@pytest.fixture
def ending() -> Iterator[Ending]:
    made = Ending(drain_s=SAFE_S)
    yield made
    made.encoder.gate.set()
    made.server.should_exit = True
    made.thread.join(SAFE_S)
    made.router.close()


def test_what_was_accepted_is_answered_and_nothing_more_is_accepted(ending: Ending) -> None:
    with ThreadPoolExecutor(1) as pool, httpx2.Client(base_url=ending.url, timeout=SAFE_S) as idle:
        idle.get("/livez")
        waiting = pool.submit(httpx2.post, f"{ending.url}/v1/route", json={"text": "wait for it"}, timeout=SAFE_S)
        assert ending.encoder.waiting.acquire(timeout=SAFE_S)
        ending.end()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", ending.port))
        # One that is open already is answered as well, and then closed.
        assert idle.get("/livez").headers["connection"] == "close"
        ending.encoder.gate.set()
        answer = waiting.result(SAFE_S)
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
    ending.thread.join(SAFE_S)
    assert not ending.thread.is_alive()


def test_connections_that_wait_to_be_accepted_are_not_reset(ending: Ending) -> None:
    loop_is_busy = threading.Event()
    ending.server._loop.call_soon_threadsafe(lambda: loop_is_busy.wait(SAFE_S))  # type: ignore[union-attr]
    request = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    connections = [socket.create_connection(("127.0.0.1", ending.port), timeout=SAFE_S) for _ in range(20)]
    for connection in connections:
        connection.sendall(request)
    ending.server.should_exit = True
    loop_is_busy.set()
    for connection in connections:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.close()
    ending.thread.join(SAFE_S)
    assert not ending.thread.is_alive()


def test_what_takes_longer_than_the_limit_is_told_that_the_server_ends() -> None:
    ending = Ending(drain_s=0.2)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx2.post, f"{ending.url}/v1/route", json={"text": "wait for ever"}, timeout=SAFE_S)
        assert ending.encoder.waiting.acquire(timeout=SAFE_S)
        ending.end()
        problem(waiting.result(SAFE_S), 503, "closed")
        ending.thread.join(SAFE_S)
        assert not ending.thread.is_alive()
        ending.encoder.gate.set()
    ending.router.close()


def test_a_router_that_was_passed_stays_open(ending: Ending) -> None:
    ending.end()
    ending.thread.join(SAFE_S)
    assert ending.router.route("music 1").matches[0].name == "music"
