"""A real server with the demo's routes, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from synaptoroute.bench.http.service import Service, serving
from synaptoroute.client import Client, Retries


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One for a whole file; its tests put back what they change."""
    with serving(["--demo"], settings={"SYNAPTOROUTE_LOG_LEVEL": "warning"}) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, retries=Retries(attempts=1)) as client:
        yield client
