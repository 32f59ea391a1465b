"""``synaptoroute routes generate`` against a server that speaks the chat API."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from typer.testing import CliRunner

from synaptoroute.cli import app
from synaptoroute.encoder import BundledEncoder
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from tests.generating.chat_server import ChatServer, listed
from tests.generating.test_generating import GOOD, ROUTES


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SYNAPTOROUTE_", "OPENAI_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory, encoder: BundledEncoder) -> Path:
    path = tmp_path_factory.mktemp("generate") / "routes.db"
    with AdaptiveRouter(encoder, SQLiteStorage(path)) as router:
        router.add_routes(ROUTES)
        router.wait_until_fitted()
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["routes", "generate", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def utterances(db: Path) -> int:
    storage = SQLiteStorage(db)
    try:
        return sum(len(route.utterances) for route in storage.routes())
    finally:
        storage.close()


def test_it_prints_and_applies_only_on_request(learned: Path, httpserver: HTTPServer) -> None:
    server = ChatServer(httpserver)
    server.says = lambda body: listed(*GOOD)
    options = (
        "billing",
        "--db",
        learned,
        "--model",
        "small",
        "--llm-url",
        server.url,
        "--count",
        3,
        "--hard-negatives",
        0,
    )
    code, stdout, stderr = run(*options)
    assert (code, tuple(stdout.splitlines())) == (0, GOOD)
    assert "1 requests, 150 tokens; of 6 withheld queries" in " ".join(stderr.split())
    assert utterances(learned) == 18
    code, stdout, _ = run(*options, "--apply", "--force", "--json")
    assert (code, tuple(json.loads(stdout)["utterances"])) == (0, GOOD)
    assert utterances(learned) == 21


def test_a_dry_run_needs_neither_server_nor_key(learned: Path) -> None:
    code, stdout, _ = run("weather", "--db", learned, "--model", "small", "--dry-run")
    assert code == 0
    assert stdout.startswith("question\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--dry-run", "--apply"], 2, "give --apply or --dry-run"),
        (["--force"], 2, "--force is for --apply"),
        ([], 1, "no API key for ChatEndpoint"),
        (["--held-out", "nowhere.csv"], 1, "cannot read nowhere.csv"),
    ],
)
def test_wrong_usage_is_said(learned: Path, arguments: list[str], code: int, said: str) -> None:
    found, _, stderr = run("billing", "--db", learned, "--model", "small", *arguments)
    assert found == code
    assert said in " ".join(stderr.split())
