"""The contract of sync managers, held by the one for Redis against a real server."""

from __future__ import annotations

import pytest

from synaptoroute.sync import RedisSyncManager
from synaptoroute.testing import SyncContract
from tests.valkey_server import ValkeyServer


class TestRedis(SyncContract):
    @pytest.fixture(autouse=True)
    def _server(self, shared_server: ValkeyServer, namespace: str) -> None:
        self._url, self._namespace = shared_server.url, namespace

    def make(self) -> RedisSyncManager:
        return RedisSyncManager(self._url, namespace=self._namespace, timeout_s=2.0)


class TestRedisWithAKey(TestRedis):
    def make(self) -> RedisSyncManager:
        return RedisSyncManager(self._url, namespace=self._namespace, key="sixteen or more of them", timeout_s=2.0)
