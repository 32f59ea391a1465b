"""Servers that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.serving import Served, serving, small_router


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server without keys over three routes. For tests that change nothing."""
    with small_router() as router, serving(router) as served:
        yield served


@pytest.fixture
def fresh() -> Iterator[Served]:
    """The same of the test's own."""
    with small_router() as router, serving(router) as served:
        yield served
