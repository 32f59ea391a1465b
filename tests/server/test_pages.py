"""The pages and their files are served without a key, from this package alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from synaptoroute.server.pages import FOLDER
from tests.server.serving import Served, problem, serving, small_router

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_names_only_files_that_are_there(served: Served, path: str) -> None:
    answer = served.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    named = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
    assert len(named) > 5
    for name in named:
        assert served.get(f"/{name.removeprefix('./')}").status_code == 200, name


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_has_no_script_or_style_of_its_own_and_nothing_from_elsewhere(served: Served, path: str) -> None:
    text = served.get(path).text
    assert all(not body.strip() for body in re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL))
    assert not re.search(r"<style|\sstyle=|\son\w+=|https?:|//", text)


def test_every_file_is_served_with_its_type_and_asked_about_each_time(served: Served) -> None:
    for path in FILES:
        answer = served.get(f"/static/{path}")
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "no-cache"
        if (kind := TYPES.get(Path(path).suffix)) is not None:
            assert answer.headers["content-type"].split(";")[0] == kind
        again = served.get(f"/static/{path}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/static/", "/static/nothing.js", "/static/%2e%2e/pages.py", "/static/..%2fpages.py"])
def test_nothing_else_is_served(served: Served, path: str) -> None:
    assert served.get(path).status_code == 404
    assert b"404" in served.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())


def test_scripts_ask_for_nothing_from_elsewhere() -> None:
    """What is vendored is hashed below; what is ours names no other place."""
    for path in FILES:
        if path.endswith((".js", ".css")) and not path.startswith("vendor/"):
            text = (FOLDER / path).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://|@import|eval\(|new Function|innerHTML|insertAdjacentHTML", text), path


def test_pages_need_no_key_and_what_they_call_does() -> None:
    with small_router() as router, serving(router, keys=("read",)) as served:
        for path in ("/", "/docs", "/favicon.ico", "/static/js/main.js"):
            assert served.get(path).status_code == 200
        for path in ("/v1/traffic", "/v1/map"):
            problem(served.get(path), 401, "unauthorized")
            assert served.get(path, key="read").status_code == 200


def test_the_description_can_be_switched_off() -> None:
    with small_router() as router, serving(router, docs=False) as served:
        problem(served.get("/docs"), 404, "not_found")
        assert served.get("/openapi.json").status_code == 404
        assert served.get("/").status_code == 200


def test_vendored_files_are_as_they_were_published() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "scripts" / "vendor_playground.py", "--check"], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    manifest = json.loads((FOLDER / "vendor" / "manifest.json").read_text(encoding="utf-8"))
    assert {entry["name"]: entry["licence"] for entry in manifest["packages"]} == {
        "uplot": "MIT",
        "swagger-ui-dist": "Apache-2.0",
    }
    for entry in manifest["packages"]:
        assert (FOLDER / "vendor" / entry["name"] / "LICENSE").exists()
