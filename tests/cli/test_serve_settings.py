"""One file of settings for the commands and the server, and what the server makes of an encoder and of Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from synaptoroute.cli.remote import Remote
from synaptoroute.models import Route
from synaptoroute.route_files import write_routes
from tests.cli.running import environment, served
from tests.cli.test_cli import run
from tests.valkey_server import ValkeyServer


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SYNAPTOROUTE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))


def settings() -> dict[str, tuple[Any, str]]:
    result = run("config", "show", "--json")
    assert result.code == 0, result.stderr
    return {each["key"]: (each["value"], each["source"]) for each in result.json["settings"]}


def test_the_servers_settings_are_shown_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("synaptoroute.toml").write_text('db = "a.db"\n[server]\nport = 8123\nrate_limit = "5/second"\n')
    monkeypatch.setenv("SYNAPTOROUTE_REDIS", "redis://:very-secret@host:1")
    monkeypatch.setenv("SYNAPTOROUTE_DRAIN_S", "7")
    shown = settings()
    assert shown["db"] == ("a.db", "file")
    assert shown["server.port"] == (8123, "file")
    assert shown["server.rate_limit"] == ("5/second", "file")
    assert shown["server.drain_s"] == (7.0, "environment")
    assert shown["server.host"] == ("127.0.0.1", "default")
    assert shown["server.redis"] == ("********", "environment")
    assert run("config", "check").stderr == "synaptoroute.toml is sound\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 8000\n", "line 1: unknown key 'port'; put it below [server]"),
        ("[server]\nportt = 8000\n", "portt in synaptoroute.toml is no setting, perhaps port is meant"),
        ("[server]\nport = 80000\n", "setting port, in synaptoroute.toml"),
    ],
)
def test_mistakes_in_the_servers_table_are_found_by_check(text: str, said: str) -> None:
    Path("synaptoroute.toml").write_text(text)
    result = run("config", "check")
    assert result.code == 1
    assert said in result.stderr


def test_the_file_in_the_folder_serves(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    write_routes([Route(name="billing", utterances=["pay my bill"])], folder / "routes.json")
    (folder / "synaptoroute.toml").write_text(
        'db = "store.db"\nroutes = "routes.json"\nurl = "http://127.0.0.1:1"\nquiet = false\n[server]\nmax_top_k = 7\n'
    )
    with served("--config", folder / "synaptoroute.toml", folder=tmp_path) as running:
        assert Remote(url=running.url).json("/v1/status")["routes"] == 1
    assert (folder / "store.db").exists(), "paths of a file are relative to its folder"
    with served(folder=folder) as running:
        assert Remote(url=running.url).json("/v1/status")["routes"] == 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SYNAPTOROUTE_ENCODER": "nonsense"}, "setting encoder: there is no encoder 'nonsense'"),
        ({"SYNAPTOROUTE_REDIS": "nonsense"}, "redis"),
        ({"SYNAPTOROUTE_REDIS": "redis://127.0.0.1:1", "SYNAPTOROUTE_REDIS_KEY": "short"}, "redis_key"),
    ],
)
def test_what_cannot_be_used_stops_the_start_and_is_named(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "synaptoroute", "serve", "--port", "0"],
        env=environment(**variables), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("error:") == 1
    assert done.stderr.splitlines()[-1].startswith("error:")


def test_servers_with_the_same_redis_hold_the_same_routes(tmp_path: Path) -> None:
    key = "a-secret-of-the-servers"
    with ValkeyServer(tmp_path) as valkey:
        shared = {"SYNAPTOROUTE_REDIS": valkey.url, "SYNAPTOROUTE_REDIS_KEY": key}
        with served(folder=tmp_path, **shared) as first, served(folder=tmp_path, **shared) as second:
            one, other = Remote(url=first.url), Remote(url=second.url)
            body = json.dumps({"name": "billing", "utterances": ["pay my bill"]}).encode()
            assert one.post("/v1/routes", body)["name"] == "billing"
            while not other.json("/v1/routes")["routes"]:
                assert second.process.poll() is None
                time.sleep(0.02)
            status = other.json("/v1/status")
            assert (status["routes"], status["sync"]["state"]) == (1, "following")
            assert run("top", "--url", second.url, "--once", "--json").json["sync"]["state"] == "following"
