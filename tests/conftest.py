"""Fixtures shared by all tests. Encoders, stores and files are real; nothing is patched."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.encoder import BundledEncoder
from synaptoroute.route_files import read_routes
from synaptoroute.storage import SQLiteStorage
from tests.postgres_server import PostgresServer, ServerUnavailableError

# Whoever runs the tests in the background may have Ctrl-C ignored, and what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def encoder() -> BundledEncoder:
    """The bundled encoder, loaded once for all tests."""
    return BundledEncoder()


@pytest.fixture(scope="session")
def learned_demo(tmp_path_factory: pytest.TempPathFactory, encoder: BundledEncoder) -> Path:
    """A store of the demo's routes with what is learned from them, made once; for ``demo_store``."""
    path = tmp_path_factory.mktemp("demo") / "store.db"
    with (resources.files("synaptoroute") / "demo" / "routes.json").open("rb") as file:
        routes = read_routes(file, "json")
    with AdaptiveRouter(encoder, SQLiteStorage(path)) as router:
        router.add_routes(routes)
        router.wait_until_fitted()
    return path


@pytest.fixture
def demo_store(learned_demo: Path, tmp_path: Path) -> Path:
    """A copy of that store of the test's own, at store.db in its folder."""
    return Path(shutil.copy(learned_demo, tmp_path / "store.db"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server with pgvector that all tests share, each in a schema of its own. Leave it running."""
    try:
        server = PostgresServer()
    except (OSError, ServerUnavailableError) as exc:
        pytest.skip(f"no PostgreSQL server can be started here: {exc}")
    yield server
    server.close()
