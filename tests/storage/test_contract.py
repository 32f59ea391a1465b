"""Every store keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from synaptoroute.storage import PostgresStorage, SQLiteStorage
from synaptoroute.testing import StorageContract
from synaptoroute.testing.storage import Opening
from tests.postgres_server import PostgresServer


class TestSQLiteStorage(StorageContract):
    @pytest.fixture
    def opening(self, tmp_path: Path) -> Opening:
        return lambda: SQLiteStorage(tmp_path / "routes.db")


class TestPostgresStorage(StorageContract):
    @pytest.fixture
    def opening(self, postgres: PostgresServer) -> Opening:
        schema = postgres.schema()
        return lambda: PostgresStorage(postgres.dsn(), schema=schema)
