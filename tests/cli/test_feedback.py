"""The commands of the correction loop."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest

from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from tests.cli.test_cli import ROUTES, run


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("feedback") / "routes.db"
    with AdaptiveRouter(storage=SQLiteStorage(path), actor="ann") as router:
        router.add_routes(ROUTES)
        router.wait_until_fitted()
    return path


def test_feedback_is_added_proposed_and_accepted(learned: Path) -> None:
    db = learned
    said = run("feedback", "add", "the sky looks grey", "--expected", "billing", "--note", "from a ticket", "--db", db)
    assert said.code == 0
    assert "weather was decided, billing is right; said 1 x" in said.stderr
    again = run("feedback", "add", "The sky looks GREY", "--expected", "billing", "--db", db, "--json").json
    assert (again["id"], again["count"], again["actor"]) == (1, 2, getpass.getuser())
    listed = run("feedback", "list", "--db", db)
    assert listed.stdout.splitlines()[0].split() == ["number", "state", "said", "decided", "right", "text"]
    assert "the sky looks grey" in listed.stdout
    proposed = run("feedback", "propose", 1, "--db", db)
    assert proposed.code == 0
    assert "add_utterance" in proposed.stdout
    assert "recommended: " in proposed.stdout
    assert "note: from a ticket" in proposed.stdout
    assert run("feedback", "show", 1, "--db", db).stdout == proposed.stdout
    wrong = run("feedback", "accept", 1, "no_such", "--db", db)
    assert (wrong.code, wrong.stdout) == (1, "")
    assert "no such option" in wrong.stderr
    done = run("feedback", "accept", 1, "add_utterance", "--db", db, "--json")
    assert done.json["state"] == "accepted"
    assert "add_utterance is done, revision 2" in done.stderr
    assert "the sky looks grey" in run("routes", "show", "billing", "--db", db).stdout
    entry = run("routes", "log", "--db", db, "--json", "-n", 1).json[0]
    assert (entry["actor"], entry["cause"]) == (getpass.getuser(), "feedback 1: add_utterance")


def test_feedback_is_dismissed_and_forgotten(learned: Path) -> None:
    db = learned
    number = run("feedback", "add", "something else", "--none", "--db", db, "--json").json["id"]
    other = run("feedback", "add", "something else", "--expected", "billing", "--db", db)
    assert f"wants something else for the same text: {number}" in other.stderr
    assert run("feedback", "dismiss", number, "--note", "no", "--db", db).code == 0
    listed = run("feedback", "list", "--state", "dismissed", "--db", db, "--json").json
    assert [(each["id"], each["outcome"]["note"]) for each in listed] == [(number, "no")]
    exported = [json.loads(line) for line in run("feedback", "export", "--db", db).stdout.splitlines()]
    assert {"query": "something else", "route": "billing"} in exported
    assert run("feedback", "forget", number, "--db", db).code == 0
    gone = run("feedback", "show", number, "--db", db)
    assert (gone.code, gone.stdout) == (1, "")
    assert run("feedback", "list", "--state", "lost", "--db", db).code == 1
    for wrong in (["--none", "--expected", "billing"], []):
        assert run("feedback", "add", "text", *wrong, "--db", db).code == 2


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for command in (["add", "text", "--none"], ["list"], ["propose", "1"], ["dismiss", "1"], ["forget", "1"]):
        done = run("feedback", *command, "--db", tmp_path / "none.db")
        assert done.code == 1
        assert "there is no store" in done.stderr
    assert not list(tmp_path.iterdir())
