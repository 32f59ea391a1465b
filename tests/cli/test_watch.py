"""A file of routes that is saved again and again, well and badly, over a store and over a running server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from synaptoroute.cli.remote import Remote
from tests.cli.running import Running, environment, served, until
from tests.cli.test_cli import run

BILLING: dict[str, Any] = {"name": "billing", "utterances": ["pay my bill", "show my balance"]}
WEATHER: dict[str, Any] = {"name": "weather", "utterances": ["will it rain", "is it sunny"]}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SYNAPTOROUTE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with served(folder=tmp_path_factory.mktemp("server")) as running:
        yield running


def save(*routes: dict[str, Any], path: str = "routes.json") -> None:
    """As editors do: written beside it, then put in its place."""
    Path("saving.tmp").write_text(json.dumps(list(routes)))
    Path("saving.tmp").replace(path)


class Watching:
    """``synaptoroute watch --json`` as a process of its own."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "synaptoroute", "watch", "--json", "--interval", "0.05", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )

    def next(self) -> Any:
        """What became of the next state of the file."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


@contextmanager
def watching(*arguments: object) -> Iterator[Watching]:
    watch = Watching(*arguments)
    try:
        yield watch
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(timeout=60) == 0
    finally:
        if watch.process.poll() is None:
            watch.process.kill()
        watch.process.communicate()


def names(db: str = "watched.db") -> list[str]:
    return [route["name"] for route in run("routes", "list", "--db", db, "--json").json]


def test_every_good_state_is_applied_and_every_bad_one_told_with_its_line() -> None:
    save(BILLING)
    with watching("routes.json", "--db", "watched.db") as watch:
        first = watch.next()
        assert first["applied"] is True
        assert [(change["route"], change["operation"]) for change in first["changes"]] == [("billing", "add")]
        save(BILLING, WEATHER)
        assert [change["route"] for change in watch.next()["changes"]] == ["weather"]
        Path("routes.json").write_text('[\n{"name": "billing",\n')
        broken = watch.next()
        assert (broken["applied"], broken["changes"]) == (False, [])
        assert "routes.json: line 3: not JSON" in broken["error"]
        save({**BILLING, "utterances": []})
        assert "billing" in watch.next()["error"]
        Path("routes.json").write_text("[]")
        assert "there is no route in it" in watch.next()["error"]
        Path("routes.json").unlink()
        assert "cannot read" in watch.next()["error"]
        assert names() == ["billing", "weather"], "the last good state stays"
        save({**BILLING, "utterances": ["pay my bill", "settle up"]})
        (change,) = watch.next()["changes"]
        assert (change["added"], change["removed"]) == (["settle up"], ["show my balance"])
        assert names() == ["billing", "weather"], "without --prune nothing is deleted"


def test_with_prune_the_file_is_all_there_is() -> None:
    save(BILLING, WEATHER)
    with watching("routes.json", "--db", "watched.db", "--prune") as watch:
        watch.next()
        save(WEATHER)
        (change,) = watch.next()["changes"]
        assert (change["route"], change["operation"]) == ("billing", "delete")
        assert names() == ["weather"]


def test_a_file_that_is_being_written_is_waited_for() -> None:
    save(BILLING)
    with watching("routes.json", "--db", "watched.db") as watch:
        watch.next()
        text = json.dumps([BILLING, WEATHER])
        with Path("routes.json").open("w") as file:
            for character in text:
                file.write(character)
                file.flush()
                os.fsync(file.fileno())
        while not (state := watch.next())["applied"]:
            assert "routes.json" in state["error"], "a slow disk may show a half, which changes nothing"
        assert [change["route"] for change in state["changes"]] == ["weather"]


def test_once_applies_and_ends_and_says_what_is_wrong() -> None:
    save(BILLING)
    done = run("watch", "routes.json", "--db", "watched.db", "--once")
    assert done.code == 0
    assert done.stdout.splitlines()[0] == "+ billing"
    assert done.stderr.endswith("routes.json: 1 route changed, revision 1\n")
    assert run("watch", "routes.json", "--db", "watched.db", "--once").stderr.endswith("routes.json: nothing to do\n")
    Path("routes.json").write_text("[")
    assert run("watch", "routes.json", "--db", "watched.db", "--once").code == 1
    assert run("watch", "routes.json", "--db", "new.db", "--once").code == 1
    assert not Path("new.db").exists(), "a file that is not valid leaves no store behind"
    assert run("watch", "routes.json", "--db", "a.db", "--url", "http://127.0.0.1:1", "--once").code == 2


def test_a_running_server_follows_a_file(server: Running) -> None:
    save(BILLING, WEATHER)
    with watching("routes.json", "--url", server.url, "--prune") as watch:
        assert {change["route"] for change in watch.next()["changes"]} == {"billing", "weather"}
        assert Remote(url=server.url).json("/v1/status")["routes"] == 2
        Path("routes.json").write_text("[")
        assert watch.next()["applied"] is False
        save(WEATHER)
        assert [change["operation"] for change in watch.next()["changes"]] == ["delete"]
        assert Remote(url=server.url).json("/v1/status")["routes"] == 1


def test_a_server_that_is_not_there_is_one_line() -> None:
    save(BILLING)
    result = run("watch", "routes.json", "--url", "http://127.0.0.1:9", "--once")
    assert result.code == 1
    assert result.stderr.startswith("error: cannot reach http://127.0.0.1:9: ")
    assert "is no address of a server" in run("watch", "routes.json", "--url", "file:///etc", "--once").stderr


def test_a_server_can_follow_the_file_by_itself(tmp_path: Path) -> None:
    save(BILLING)
    with served("--routes", "routes.json", "--watch", "--prune", folder=tmp_path) as running:
        server = Remote(url=running.url)
        if "1 route changed" not in running.said and "nothing to do" not in running.said:
            until(running.process, "nothing to do|1 route changed")
        save(WEATHER)
        until(running.process, "2 routes changed")
        assert [route["name"] for route in server.json("/v1/routes")["routes"]] == ["weather"]
        Path("routes.json").write_text("[")
        until(running.process, "line 1: not JSON.*left as they were")
        assert server.json("/v1/status")["routes"] == 1


def test_watch_and_prune_of_serve_need_what_they_work_on() -> None:
    assert "--watch takes the file of --routes" in run("serve", "--watch", "--port", 0).stderr
    save(BILLING)
    assert "--prune goes with --watch" in run("serve", "--prune", "--routes", "routes.json", "--port", 0).stderr
