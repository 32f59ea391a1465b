"""``synaptoroute import``: other routers' files into a store or a file, with a report."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from synaptoroute.cli import app, foreign
from synaptoroute.route_files import read_routes
from synaptoroute.storage import SQLiteStorage
from tests.importing.test_formats import FIXTURES


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SYNAPTOROUTE_")]:
        monkeypatch.delenv(name)


def run(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["import", *map(str, arguments)], input=stdin, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def stored(db: str = "routes.db") -> dict[str, float | None]:
    storage = SQLiteStorage(db)
    try:
        return {route.name: route.threshold for route in storage.routes()}
    finally:
        storage.close()


def test_routes_are_stored_and_decide_by_what_they_learned_not_by_the_thresholds_of_the_file() -> None:
    code, stdout, stderr = run(FIXTURES / "semantic_router_0.yaml", "--json")
    assert code == 0
    report: dict[str, Any] = json.loads(stdout)
    assert (report["format"], report["stored"], report["added"], report["revision"]) == (
        "semantic-router-0",
        True,
        2,
        1,
    )
    weather = report["routes"][1]
    assert weather["threshold"] is None
    assert weather["threshold_there"] == {"value": 0.61, "scale": "score", "default": False}
    assert weather["held_out"]["asked"] == 4
    assert sum(weather["held_out"][how] for how in ("right", "wrong", "abstained")) == 4
    assert {note["severity"] for note in report["notes"]} == {"warning", "info"}
    assert "4 warnings" in stderr
    assert stored() == {"billing": None, "weather": None}


def test_the_report_for_people_says_each_thing_once() -> None:
    code, stdout, stderr = run(FIXTURES / "litellm.json", "--format", "litellm", "--no-check")
    assert code == 0
    assert "score 0.5" in stdout
    assert stdout.count("thresholds were chosen for") == 1
    assert "and 1 more" in stdout
    assert "held out" not in stderr


def test_a_dry_run_stores_nothing_and_makes_no_store() -> None:
    code, stdout, stderr = run(FIXTURES / "redisvl.yaml", "--dry-run", "--json")
    assert code == 0
    report = json.loads(stdout)
    assert (report["stored"], report["added"], report["revision"]) == (False, 2, None)
    assert report["routes"][0]["held_out"]["asked"] == 2
    assert "nothing was stored" in stderr
    assert not Path("routes.db").exists()


def test_a_dry_run_over_a_store_says_what_would_change() -> None:
    run(FIXTURES / "rows.csv", "--no-check")
    code, stdout, _ = run(FIXTURES / "redisvl.yaml", "--dry-run", "--no-check", "--json", "--on-conflict", "merge")
    assert code == 0
    assert (json.loads(stdout)["changed"], json.loads(stdout)["revision"]) == (2, None)
    assert run(FIXTURES / "redisvl.yaml", "--dry-run", "--no-check")[0] == 1


def test_kept_thresholds_are_scores() -> None:
    assert run(FIXTURES / "redisvl.yaml", "--keep-thresholds", "--no-check")[0] == 0
    assert stored() == {"billing": pytest.approx(0.7), "weather": None}


def test_routes_can_be_written_to_a_file_of_our_own() -> None:
    code, _, stderr = run(FIXTURES / "dialogflow_cx", "--output", "routes.yaml", "--no-check")
    assert code == 0
    assert {route.name for route in read_routes("routes.yaml")} == {"hours", "order, food"}
    assert "2 routes written to routes.yaml" in stderr
    assert not Path("routes.db").exists()


def test_stdin_is_read_as_bytes() -> None:
    code, stdout, _ = run("-", "--dry-run", "--no-check", "--json", stdin=(FIXTURES / "rasa.yml").read_bytes())
    assert code == 0
    assert json.loads(stdout)["format"] == "rasa"


def test_too_many_utterances_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_CHECKED_UP_TO", 3)
    code, stdout, stderr = run(FIXTURES / "rows.csv", "--json")
    assert code == 0
    assert json.loads(stdout)["routes"][0]["held_out"] is None
    assert "nothing was asked held out" in stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["broken.json"], 1, "error: broken.json: line 1: not JSON"),
        (["broken.json", "--output", "x.json", "--dry-run"], 2, "give --output or --dry-run"),
        (["broken.json", "--format", "word"], 2, "Invalid value"),
        (["nowhere.json"], 1, "error: cannot read nowhere.json"),
    ],
)
def test_what_is_wrong_is_said_with_the_code_of_the_house(arguments: list[str], code: int, said: str) -> None:
    Path("broken.json").write_text("{")
    found, stdout, stderr = run(*arguments)
    assert (found, stdout) == (code, "")
    assert said in " ".join(stderr.split())
    assert not Path("routes.db").exists()


def test_help_tells_the_two_imports_apart() -> None:
    assert "routes import" in " ".join(run("--help")[1].split())
    stream = io.StringIO(CliRunner().invoke(app, ["routes", "import", "--help"]).stdout)
    assert "synaptoroute import" in " ".join(stream.read().split())
