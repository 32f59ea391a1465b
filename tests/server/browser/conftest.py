"""A browser for the tests of a module, and servers over the demo's routes for it to visit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from synaptoroute import AdaptiveRouter
from synaptoroute.encoder import BundledEncoder
from synaptoroute.storage import SQLiteStorage
from tests.server.browser.visiting import Visit, launched, visiting
from tests.server.serving import Served, serving


# Not for the session: Playwright's event loop would run in the thread of other modules' asynchronous tests.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = launched(playwright)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def demo(learned_demo: Path, encoder: BundledEncoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The demo's routes, for tests that leave them as they are, or nearly so."""
    path = tmp_path_factory.mktemp("shared") / "store.db"
    path.write_bytes(learned_demo.read_bytes())
    with AdaptiveRouter(encoder, SQLiteStorage(path)) as router, serving(router) as served:
        yield served


@pytest.fixture
def own_demo(demo_store: Path, encoder: BundledEncoder) -> Iterator[Served]:
    """The same of the test's own."""
    with AdaptiveRouter(encoder, SQLiteStorage(demo_store)) as router, serving(router) as served:
        yield served


@pytest.fixture
def visit(browser: Browser, demo: Served) -> Iterator[Visit]:
    with visiting(browser, demo.url) as visit:
        yield visit


@pytest.fixture
def own(browser: Browser, own_demo: Served) -> Iterator[Visit]:
    with visiting(browser, own_demo.url) as visit:
        yield visit
