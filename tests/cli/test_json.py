"""Every command that prints data prints it as JSON too, in shapes that stay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from synaptoroute.encoder import BundledEncoder
from synaptoroute.models import Route
from synaptoroute.route_files import write_routes
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from tests.cli.test_cli import commands, run

#: Why a command has no --json.
WITHOUT = {
    "routes export": "prints a file of routes, JSON unless --format says otherwise",
    "feedback export": "prints a file of labelled queries, for evaluate and fit",
    "bench report": "writes pages; the manifests that it reads are the JSON",
    "serve": "prints no data, it answers requests",
    "mcp": "prints no data, it answers requests",
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SYNAPTOROUTE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def db(tmp_path: Path, encoder: BundledEncoder) -> Path:
    path = tmp_path / "routes.db"
    with AdaptiveRouter(encoder, SQLiteStorage(path)) as router:
        router.add_route(Route(name="billing", utterances=["pay my bill", "show my balance"]))
        router.save_snapshot("spring")
    return path


def test_every_command_has_json_or_a_reason_not_to() -> None:
    leaves = {" ".join(path): command for path, command in commands() if not hasattr(command, "commands")}
    assert set(WITHOUT) <= set(leaves), "the list of exceptions names commands that are there"
    for name, command in leaves.items():
        has = any("--json" in parameter.opts for parameter in command.params)
        assert has != (name in WITHOUT), f"{name}: {'has --json after all' if has else 'has no --json'}"


SHAPES: list[tuple[list[str], Any]] = [
    (["routes", "list"], [{"name", "utterance_count", "threshold", "description"}]),
    (["routes", "show", "billing"], {"name", "utterances"}),
    (["routes", "add", "weather", "-u", "rain"], {"name", "utterance_count", "revision"}),
    (["routes", "remove", "billing"], {"name", "utterance", "revision"}),
    (["routes", "import", "more.json"], {"added", "changed", "unchanged", "revision"}),
    (
        ["import", "more.json", "--no-check"],
        {"file", "format", "stored", "output", "added", "changed", "unchanged", "revision", "routes", "notes"},
    ),
    (["routes", "log"], [{"revision", "operation", "route", "actor", "at", "cause"}]),
    (["routes", "diff", "0", "1"], {"first", "second", "changes"}),
    (["routes", "rollback", "0"], {"revision", "routes_changed"}),
    (["routes", "snapshot", "list"], [{"name", "revision", "routes", "actor", "at"}]),
    (["routes", "snapshot", "save", "summer"], {"name", "revision", "routes", "actor", "at"}),
    (["routes", "snapshot", "use", "spring"], {"revision", "routes_changed"}),
    (["routes", "snapshot", "delete", "spring"], {"deleted"}),
    (["backup", "copy.db"], {"file", "routes", "utterances", "revision"}),
    (["verify"], {"sound", "routes", "utterances", "revision", "findings", "caches"}),
    (["lint"], {"counts", "findings"}),
    (["fit", "--forget"], {"forgotten"}),
    (["init", "new.json"], {"files"}),
    (["config", "show"], {"file", "settings"}),
    (["config", "check"], {"sound", "file", "problems", "warnings"}),
    (["watch", "more.json", "--once"], {"applied", "before", "revision", "changes", "error"}),
]


@pytest.mark.parametrize(("arguments", "keys"), SHAPES, ids=[" ".join(arguments) for arguments, _ in SHAPES])
@pytest.mark.usefixtures("db")
def test_shapes(arguments: list[str], keys: Any) -> None:
    write_routes([Route(name="news", utterances=["what happened today"])], "more.json")
    result = run("--quiet", *arguments, "--json")
    assert (result.code, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 1, "one object on one line and nothing beside it"
    shown = result.json
    if isinstance(keys, list):
        assert [set(each) for each in shown] == keys
    else:
        assert set(shown) == keys


def test_a_restored_store_is_told_as_the_backup_was(db: Path) -> None:
    backup = run("backup", "copy.db", "--json").json
    assert (backup["file"], backup["routes"]) == ("copy.db", 1)
    restored = run("restore", "copy.db", "--db", "again.db", "--json").json
    assert restored == {**backup, "file": "again.db"}
