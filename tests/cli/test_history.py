"""The commands about history: log, diff, rollback, snapshots, and the migration to another encoder."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest

from synaptoroute.models import Route
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from tests.cli.test_cli import ROUTES, run
from tests.seeded import SeededEncoder, route


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Two routes at revision 1; at 2, billing has lost an utterance and weather is gone."""
    path = tmp_path / "routes.db"
    with AdaptiveRouter(storage=SQLiteStorage(path), actor="ann") as router:
        router.add_routes(ROUTES)
        billing = ROUTES[0].utterances
        router.put_routes([ROUTES[0].replaced(utterances=(*billing[1:], "the last invoice"), threshold=0.5)])
        router.delete_route("weather")
    return path


def names(db: Path) -> list[str]:
    return [entry["name"] for entry in run("routes", "list", "--db", db, "--json").json]


def test_log_lists_changes_newest_first(db: Path) -> None:
    shown = run("routes", "log", "--db", db)
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[0] == ["revision", "time", "actor", "operation", "route", "part", "of"]
    assert [(line[0], line[3], line[4], line[5]) for line in lines[1:]] == [
        ("3", "ann", "delete", "weather"),
        ("2", "ann", "update", "billing"),
        ("1", "ann", "add", "weather"),
        ("1", "ann", "add", "billing"),
    ]
    entries = run("routes", "log", "--db", db, "--json", "--route", "billing", "-n", 1).json
    assert [(e["revision"], e["operation"], e["cause"]) for e in entries] == [(2, "update", None)]
    assert len(run("routes", "log", "--db", db, "--json", "-n", 0).json) == 4


def test_changes_by_the_commands_are_recorded_as_done_by_the_user(db: Path) -> None:
    run("routes", "remove", "billing", "-u", "the last invoice", "--db", db)
    assert run("routes", "log", "--db", db, "--json", "-n", 1).json[0]["actor"] == getpass.getuser()


def test_diff_shows_what_leads_from_one_revision_to_another(db: Path) -> None:
    shown = run("routes", "diff", 1, 3, "--db", db)
    assert shown.stdout.splitlines() == [
        "~ billing",
        "    - what do I owe",
        "    + the last invoice",
        "    threshold: 0.25 -> 0.5",
        "- weather",
        *(f"    - {text}" for text in ROUTES[1].utterances),
    ]
    assert "2 routes differ between revisions 1 and 3" in shown.stderr
    back = run("routes", "diff", 3, 1, "--db", db, "--json").json
    assert [change["operation"] for change in back["changes"]] == ["update", "add"]
    unknown = run("routes", "diff", 1, 9, "--db", db)
    assert (unknown.code, unknown.stdout) == (1, "")
    assert "known are those from 0 to 3" in unknown.stderr


def test_rollback_makes_a_new_revision(db: Path) -> None:
    done = run("routes", "rollback", 1, "--db", db, "--json")
    assert done.json == {"revision": 4, "routes_changed": 2}
    assert "the routes are those of revision 1: 2 changed, revision 4" in done.stderr
    assert sorted(names(db)) == ["billing", "weather"]
    run("routes", "rollback", 3, "--db", db)
    assert names(db) == ["billing"]
    assert run("routes", "log", "--db", db, "--json", "-n", 1).json[0]["cause"] == "rollback to 3"


def test_snapshots_are_saved_listed_used_and_deleted(db: Path) -> None:
    saved = run("routes", "snapshot", "save", "spring sale", "--db", db, "--json").json
    assert (saved["name"], saved["revision"], saved["routes"]) == ("spring sale", 3, 1)
    run("routes", "add", "greeting", "-u", "hello", "--db", db)
    listed = run("routes", "snapshot", "list", "--db", db)
    assert listed.stdout.splitlines()[1].startswith("spring sale")
    assert run("routes", "snapshot", "list", "--db", db, "--json").json == [saved]
    used = run("routes", "snapshot", "use", "spring sale", "--db", db)
    assert "the routes are those of snapshot 'spring sale': 1 changed, revision 5" in used.stderr
    assert names(db) == ["billing"]
    again = run("routes", "snapshot", "save", "spring sale", "--db", db)
    assert (again.code, again.stdout) == (1, "")
    assert "already a snapshot" in again.stderr
    assert run("routes", "snapshot", "delete", "spring sale", "--db", db).code == 0
    for command in ("use", "delete"):
        gone = run("routes", "snapshot", command, "spring sale", "--db", db)
        assert gone.code == 1
        assert "no snapshot 'spring sale'" in gone.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["log"],
        ["diff", "0", "1"],
        ["rollback", "0"],
        ["snapshot", "list"],
        ["snapshot", "save", "s"],
        ["snapshot", "use", "s"],
        ["snapshot", "delete", "s"],
        ["migrate-encoder"],
    ],
)
def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, command: list[str]) -> None:
    done = run("routes", *command, "--db", tmp_path / "none.db")
    assert done.code == 1
    assert "there is no store" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A store whose encoder no command can make."""
    path = tmp_path / "foreign.db"
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
        router.add_routes([route("apple"), route("berry"), Route(name="cherry", utterances=["cherry"], threshold=0.1)])
        router.delete_route("cherry")
    return path


def test_what_encodes_nothing_works_on_a_store_of_any_encoder(foreign: Path) -> None:
    assert len(run("routes", "log", "--db", foreign, "--json").json) == 4
    assert run("routes", "diff", 1, 2, "--db", foreign).stdout.splitlines() == ["- cherry", "    - cherry"]
    assert run("routes", "snapshot", "save", "s", "--db", foreign).code == 0
    refused = run("routes", "rollback", 1, "--db", foreign)
    assert refused.code == 1
    assert "synaptoroute routes migrate-encoder" in refused.stderr


def test_migrate_encoder_makes_a_store_usable_whose_encoder_is_gone(foreign: Path) -> None:
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(foreign)) as router:
        router.update_threshold("berry", 0.3)
    done = run("routes", "migrate-encoder", "--db", foreign)
    assert done.code == 0
    assert "migrated from seeded to all-MiniLM-L6-v2" in done.stderr
    assert "1 routes have a threshold of their own" in done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines()[1:3]] == ["6", "2"]
    assert "WARNING" not in done.stderr
    assert run("route", "apple 1", "--db", foreign, "--json").lines[0]["matches"][0]["name"] == "apple"
    again = run("routes", "migrate-encoder", "--db", foreign)
    assert (again.code, again.stdout) == (0, "")
    assert "encoded by all-MiniLM-L6-v2" in again.stderr
    assert "already" in again.stderr


def test_migrate_encoder_reports_on_given_queries_where_the_former_encoder_is_at_hand(
    foreign: Path, db: Path, tmp_path: Path
) -> None:
    queries = tmp_path / "queries.csv"
    queries.write_text("query,route\nhow much do I owe,billing\nwho painted this,\n")
    alone = run("routes", "migrate-encoder", "--queries", queries, "--db", db)
    assert alone.code == 2
    assert "--from" in alone.stderr
    wrong = run("routes", "migrate-encoder", "--queries", queries, "--from", "bundled", "--db", foreign)
    assert wrong.code == 1
    assert "holds vectors of seeded" in wrong.stderr
    unknown = run("routes", "migrate-encoder", "--to", "nonsense", "--db", db)
    assert unknown.code == 1
    assert "no encoder 'nonsense'" in unknown.stderr
    same = run("routes", "migrate-encoder", "--from", "bundled", "--queries", queries, "--db", db, "--json")
    assert json.loads(same.stdout)["encoded"] == 0
