"""A server that is started with the usual limit of open files takes as many connections as it is set to."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from synaptoroute.bench.http.service import serving
from synaptoroute.server.running import allow_connections
from tests.server.abuse.wire import connected, exchange, request

USUAL = 256


@contextmanager
def limited(soft: int) -> Iterator[None]:
    """For processes that are started meanwhile."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


def test_more_connections_than_the_limit_was_are_served(demo_store: Path) -> None:
    with ExitStack() as stack:
        with limited(USUAL):
            service = stack.enter_context(serving(["--db", str(demo_store)]))
        for _ in range(2 * USUAL):
            stack.enter_context(connected(service))
        assert exchange(service, request("POST", "/v1/route", b'{"text": "where is my parcel"}')).status == 200
        assert "Traceback" not in service.said()


def test_a_limit_that_cannot_be_raised_is_said(caplog: pytest.LogCaptureFixture) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        allow_connections(1)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
        if before[1] != resource.RLIM_INFINITY:
            allow_connections(before[1])
            assert "max_connections" in caplog.text
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
