"""A real Chromium, and pages that watch themselves: an error in a page or a breach of its policy fails the test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright, Request, expect

#: Names under which systems install it.
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Nothing here takes this long unless it hangs.
SAFE_MS = 30_000
VIEWS = ("try", "routes", "evaluate", "lint", "map", "traffic", "history", "feedback")
expect.set_options(timeout=SAFE_MS)

_WATCH = """
window.breaches = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.breaches.push(`${event.violatedDirective} ${event.blockedURI}`);
});
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


def chromium_path(playwright: Playwright) -> str | None:
    """A Chromium of the system, or the one that Playwright has downloaded; None if there is neither."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    own = Path(playwright.chromium.executable_path)
    return found or (str(own) if own.exists() else None)


def launched(playwright: Playwright) -> Browser:
    """A browser with a profile of its own that is thrown away; skips the test where there is none."""
    path = chromium_path(playwright)
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium, or playwright install chromium")
    return playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))


class Visit:
    """A page of the playground, and what went wrong in it.

    Attributes:
        page: Playwright's.
        url: Of the server.
        expected: Statuses of answers that the test provokes.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.expected: set[int] = set()
        self.wrong: list[str] = []
        self.refused: list[int] = []
        page.set_default_timeout(SAFE_MS)
        page.add_init_script(_WATCH)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", self._asked)
        page.on("response", lambda response: self.refused.append(response.status) if response.status >= 400 else None)

    def _said(self, message: ConsoleMessage) -> None:
        # The status of an answer is looked at below; the console only says that there was one.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.wrong.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.wrong.append(f"asked elsewhere: {request.url}")

    def open(self, view: str = "") -> Page:
        """Show a view, loaded anew."""
        self.page.goto(f"{self.url}/")
        if view:
            self.go(view)
        self.page.locator("main h1").wait_for()
        return self.page

    def go(self, view: str) -> None:
        """Go to another view in the same page."""
        self.page.evaluate("view => { location.hash = '#/' + view; }", view)
        name = view.split("/")[0]
        self.page.locator(f"main .view-{name} h1").wait_for()

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """What a script of the page gives."""
        return self.page.evaluate(script, argument)

    def check(self) -> None:
        """Fail if anything went wrong."""
        self.wrong += [f"answered {status}" for status in self.refused if status not in self.expected]
        self.wrong += [f"policy: {breach}" for breach in self.page.evaluate("window.breaches ?? []")]
        assert not self.wrong, "\n".join(self.wrong)


@contextmanager
def visiting(browser: Browser, url: str, **options: Any) -> Iterator[Visit]:
    """A page in a context of its own, checked when it is left. Options are those of Playwright's ``new_context``."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, "reduced_motion": "reduce"} | options)
    try:
        visit = Visit(context.new_page(), url)
        yield visit
        visit.check()
    finally:
        context.close()


def button(page: Page | Locator, name: str, *, exact: bool = True) -> Locator:
    """The button of that name."""
    return page.get_by_role("button", name=name, exact=exact)


def toast(page: Page, text: str) -> None:
    """Wait until it is said in the corner of the page."""
    expect(page.locator(".toast").filter(has_text=text).first).to_be_visible()
