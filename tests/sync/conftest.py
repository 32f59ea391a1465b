"""One real Valkey server for all tests of this folder, a namespace for each, and replicas that are closed after it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from synaptoroute.sync import RedisSyncManager
from tests.seeded import SeededEncoder
from tests.tcp_proxy import TcpProxy
from tests.valkey_server import ValkeyServer


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """For tests that leave it as it is."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """For tests that freeze, flush or kill it."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    with ValkeyServer(folder) as server:
        yield server


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def proxy(shared_server: ValkeyServer) -> Iterator[TcpProxy]:
    with TcpProxy(shared_server.port) as proxy:
        yield proxy


class Fleet:
    """Makes replicas that belong together. ``files`` is where their stores are."""

    def __init__(self, files: Path, namespace: str, port: int) -> None:
        self.files = files
        self.namespace = namespace
        self.port = port
        self._made = ExitStack()

    def manager(self, *, port: int | None = None, **options: Any) -> RedisSyncManager:
        given: dict[str, Any] = {"namespace": self.namespace, "timeout_s": 1.0, **options}
        return RedisSyncManager(f"redis://127.0.0.1:{port or self.port}", **given)

    def replica(self, name: str, *, port: int | None = None, encoder: Any = None, **options: Any) -> Replica:
        manager = self.manager(port=port, **options)
        storage = SQLiteStorage(self.files / f"{name}.db")
        try:
            router = AdaptiveRouter(encoder or SeededEncoder(), storage, sync_manager=manager)
        except BaseException:
            storage.close()
            raise
        return self._made.enter_context(Replica(router, manager))

    def close(self) -> None:
        self._made.close()


class Replica:
    """A router with its sync manager; also what tests ask of both."""

    def __init__(self, router: AdaptiveRouter, sync: RedisSyncManager) -> None:
        self.router = router
        self.sync = sync

    def __enter__(self) -> Replica:
        return self

    def __exit__(self, *_: object) -> None:
        self.router.close()

    def close(self) -> None:
        self.router.close()

    def __contains__(self, name: str) -> bool:
        return name in self.router


def content(router: AdaptiveRouter) -> dict[str, Any]:
    """All there is of each route, with the bytes of its vectors."""
    table = router.snapshot
    vectors, places = table.vectors_by_route()
    return {
        route.name: (route.model_dump(), vectors[places == place].tobytes()) for place, route in enumerate(table.routes)
    }


def assert_same(*replicas: Replica) -> None:
    """Once each has seen what the others have published: equal to the last bit, in memory and on disk."""
    with ThreadPoolExecutor(len(replicas)) as pool:
        # Twice: what one had still to publish, another may not have waited for.
        for _ in range(2):
            reached = list(pool.map(lambda replica: replica.sync.wait(30), replicas))
            assert all(reached), [replica.sync.health() for replica in replicas]
    first, *others = replicas
    for other in others:
        assert content(other.router) == content(first.router)
        assert other.sync.health().digest == first.sync.health().digest
    for replica in replicas:
        health = replica.sync.health()
        assert health.outbox == 0
        assert health.routes == len(replica.router)
        stored = {route.name: route for route in replica.router.storage.routes()}  # type: ignore[attr-defined]
        assert stored == {route.name: route for route in replica.router.routes}


@pytest.fixture
def fleet(tmp_path: Path, namespace: str, shared_server: ValkeyServer) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, namespace, shared_server.port)
    yield fleet
    fleet.close()


@pytest.fixture
def own_fleet(tmp_path: Path, namespace: str, own_server: ValkeyServer) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, namespace, own_server.port)
    yield fleet
    fleet.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait for something to become true, up to 30 s."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    return wait
