"""Make the screenshots of docs/playground.md: a server over the demo's routes, a little traffic, and a Chromium.

python scripts/screenshot_playground.py [--chromium PATH]
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
QUERIES = (resources.files("synaptoroute") / "demo" / "queries.csv").read_text(encoding="utf-8")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: What the documentation may show without growing too heavy.
MOST_BYTES = 200_000
SIZE = (1200, 780)
#: Said before the labelled queries, so that traffic is not made of what was fitted.
OPENINGS = ("hi, ", "hello there, ", "quick question: ", "please help, ", "not sure who to ask but ", "hey ")
#: Queries that may be decided wrongly; those that are become feedback.
UNSEEN = (
    ("do you sell gift cards", None),
    ("the parcel was left in the rain and is soaked", "report_damage"),
    ("can I pay in instalments", None),
    ("I typed the wrong street at the checkout", "change_address"),
    ("how long is the guarantee on the toaster", "warranty_claim"),
    ("which of your shops is open on Sunday", None),
)
#: For what has to be learned first.
WAIT_S = 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("--chromium", default=next(filter(None, map(shutil.which, NAMES)), None))
    chromium = parser.parse_args().chromium
    if chromium is None:
        sys.exit("there is no Chromium on this machine; install one, or name it with --chromium")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "synaptoroute",
            "serve",
            "--demo",
            "--port",
            "0",
            "--db",
            f"{folder}/routes.db",
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            try:
                url = listening(server)
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
                    for scene in BEFORE_FIT:
                        take(browser, url, *scene)
                    prepare(url)
                    for scene in AFTER_FIT:
                        take(browser, url, *scene)
                    browser.close()
            finally:
                server.terminate()


def listening(server: subprocess.Popen[str]) -> str:
    for line in server.stderr or ():
        if line.startswith("listening on "):
            return line.split()[2]
    sys.exit("the server has not started")


def ask(url: str, method: str, path: str, body: Any = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - the server that was just started
        f"{url}{path}", content, {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310
        return json.load(answer)


def prepare(url: str) -> None:
    """A fit, some changes, feedback, and traffic of which some is unlike what was fitted."""
    rows = list(csv.DictReader(QUERIES.splitlines()))
    queries = [{"text": row["query"], "label": row["route"] or None} for row in rows]
    finished(url, ask(url, "POST", "/v1/fit", {"queries": queries, "force": True}))
    ask(url, "POST", "/v1/routes/refund_status/utterances", {"utterances": ["where has my money got to"]})
    ask(url, "POST", "/v1/snapshots", {"name": "before the sale"})
    ask(url, "POST", "/v1/routes/order_status/utterances", {"utterances": ["is it out for delivery yet"]})
    for text, expected in UNSEEN:
        decision = ask(url, "POST", "/v1/route", {"text": text})["decisions"][0]
        if decision["name"] != expected:
            wrong = ask(url, "POST", "/v1/feedback", {"text": text, "expected": expected})
    finished(url, ask(url, "POST", f"/v1/feedback/{wrong['id']}/propose"))
    while not ask(url, "GET", "/v1/status")["settled"]:
        time.sleep(0.5)
    ask(url, "GET", "/v1/traffic")
    texts = [f"{opening}{row['query']}" for opening in OPENINGS for row in rows]
    for second in range(45):
        for part in range(1 + second % 4):
            first = (7 * second + 3 * part) % len(texts)
            ask(url, "POST", "/v1/route", {"texts": texts[first : first + 2 + second % 5]})
        time.sleep(0.9)


def finished(url: str, job: dict[str, Any]) -> None:
    while job["state"] in {"queued", "running"}:
        time.sleep(0.2)
        job = ask(url, "GET", f"/v1/jobs/{job['id']}")
    if job["state"] != "done":
        sys.exit(f"a job has {job['state']}: {job['problem']}")


def take(browser: Any, url: str, name: str, theme: str, size: tuple[int, int], play: Callable[[Page], None]) -> None:
    width, height = size
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce", locale="en-GB"
    )
    page.set_default_timeout(WAIT_S * 1000)
    page.goto(url)
    page.locator(".facts b").first.wait_for()
    play(page)
    page.wait_for_timeout(600)
    target = IMAGES / f"{name}.png"
    page.screenshot(path=target)
    page.close()
    size_bytes = target.stat().st_size
    print(f"{target.relative_to(ROOT)}: {size_bytes:,} bytes")
    if size_bytes > MOST_BYTES:
        sys.exit(f"{target.name} is larger than {MOST_BYTES:,} bytes")


def go(page: Page, view: str) -> None:
    page.evaluate("view => { location.hash = '#/' + view; }", view)
    page.locator(f".view-{view.split('/')[0]} h1").wait_for()


# --------------------------------------------------------------------------------------------------------- scenes
def trying(page: Page) -> None:
    page.locator(".query").fill("the vase I ordered arrived in pieces")
    page.locator(".nearest li").first.wait_for()


def editing(page: Page) -> None:
    go(page, "routes/order_status")
    page.locator(".utterances input").first.wait_for()


def conflict(page: Page) -> None:
    editing(page)
    page.get_by_label("Add utterances, one a line").fill("when does it get here")
    page.get_by_label("Add utterances, one a line").press("Enter")
    page.evaluate(
        """async () => {
          const headers = { "Content-Type": "application/json" };
          const body = JSON.stringify({ utterances: ["it should have been here by now"] });
          await fetch("v1/routes/order_status/utterances", { method: "POST", headers, body });
        }"""
    )
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator(".versions").wait_for()


def evaluating(page: Page) -> None:
    go(page, "evaluate")
    page.get_by_label("Labelled queries").fill(QUERIES)
    page.wait_for_timeout(400)
    page.get_by_role("button", name="Evaluate").click()
    page.locator(".matrix").wait_for()


def confusions(page: Page) -> None:
    evaluating(page)
    page.wait_for_timeout(400)
    page.locator(".confusions").evaluate("element => element.parentElement.scrollIntoView({ block: 'start' })")


def linting(page: Page) -> None:
    go(page, "lint")
    page.locator(".finding").first.wait_for()


def mapping(page: Page) -> None:
    go(page, "map")
    page.locator(".overlaps li").first.wait_for()
    page.locator(".view-map input").first.fill("the vase I ordered arrived in pieces")
    page.locator(".map-verdict b").wait_for()


def watching(page: Page) -> None:
    go(page, "traffic")
    page.get_by_text("Population stability index").wait_for()
    url, texts = page.url.partition("/#")[0], [line.rpartition(",")[0] for line in QUERIES.splitlines()[1:]]
    for part in range(40):
        ask(url, "POST", "/v1/route", {"texts": [f"{text} ({part})" for text in texts[part : part + 1 + part % 6]]})
        page.wait_for_timeout(300)


def remembering(page: Page) -> None:
    go(page, "history")
    page.locator(".revisions li").first.wait_for()


def correcting(page: Page) -> None:
    go(page, "feedback")
    page.locator(".proposal").first.wait_for()


Scene = tuple[str, str, tuple[int, int], Callable[[Page], None]]
#: What the router was fitted on, it gets right.
BEFORE_FIT: tuple[Scene, ...] = (
    ("evaluate", "light", SIZE, evaluating),
    ("confusions", "dark", SIZE, confusions),
)
AFTER_FIT: tuple[Scene, ...] = (
    ("try", "light", (1200, 900), trying),
    ("try-dark", "dark", SIZE, trying),
    ("narrow", "light", (400, 800), trying),
    ("routes", "light", SIZE, editing),
    ("lint", "light", SIZE, linting),
    ("map", "light", (1200, 860), mapping),
    ("map-dark", "dark", (1200, 860), mapping),
    ("traffic", "light", (1200, 900), watching),
    ("history", "light", SIZE, remembering),
    ("feedback", "light", SIZE, correcting),
    # The last, for it changes a route.
    ("conflict", "light", SIZE, conflict),
)

if __name__ == "__main__":
    main()
