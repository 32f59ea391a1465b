"""``backup``, ``restore``, ``verify`` and ``repair`` at the terminal: exit codes, reports, and what is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from synaptoroute.encoder import BundledEncoder
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from tests.cli.test_cli import ROUTES, run, spawn
from tests.storage.test_writer_lock import other


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNAPTOROUTE_DB", raising=False)


@pytest.fixture
def db(tmp_path: Path, encoder: BundledEncoder) -> Path:
    path = tmp_path / "store.db"
    with AdaptiveRouter(encoder, SQLiteStorage(path)) as router:
        router.add_routes(ROUTES)
    return path


def damage(db: Path) -> None:
    connection = sqlite3.connect(db)
    with connection:
        connection.execute("UPDATE utterances SET text = 'altered' WHERE id = 2")
    connection.close()


def test_backup_verify_and_restore(db: Path) -> None:
    done = run("backup", "backup.db", "--db", db)
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr == f"backed up 2 routes with 8 utterances of {db}, revision 1, to backup.db\n"
    assert run("verify", "--db", "backup.db").code == 0
    assert run("routes", "remove", "billing", "--db", db).code == 0
    refused = run("restore", "backup.db", "--db", db)
    assert refused.code == 1
    assert "--force" in refused.stderr
    restored = run("restore", "backup.db", "--force", "--db", db)
    assert restored.stderr == f"restored 2 routes with 8 utterances, revision 1, from backup.db to {db}\n"
    assert len(run("routes", "list", "--json", "--db", db).json) == 2
    assert run("restore", "backup.db", "--db", "new.db").code == 0
    assert run("restore", "gone.db", "--db", "new.db").code == 1


def test_verify_and_repair_of_a_damaged_store(db: Path) -> None:
    damage(db)
    found = run("verify", "--db", db, "--json")
    assert found.code == 1
    assert found.json["sound"] is False
    assert {"where": "route 'billing'", "what": "1 of its 4 utterances are damaged"} in found.json["findings"]
    listed = run("verify", "--db", db)
    assert "billing" in listed.stdout
    assert "synaptoroute repair" in listed.stderr
    done = run("repair", "--db", db)
    assert done.code == 0
    assert "1 of the 4 utterances of route 'billing'" in done.stdout
    assert "salvaged 2 routes with 7 utterances, revision 2; the damaged store is " in done.stderr
    assert run("verify", "--db", db).code == 0
    again = run("repair", "--db", db, "--json")
    assert (again.code, again.json["aside"], again.json["losses"]) == (0, None, [])
    assert "sound and was left alone" in again.stderr
    assert run("route", "--db", db, "pay my bill").stdout.count("billing") >= 1


def test_a_store_that_is_no_store_at_all_is_one_line_of_error(db: Path) -> None:
    db.write_bytes(b"SQLite format 3\x00" + bytes(9_000))
    for command in (["verify"], ["repair"], ["backup", "b.db"]):
        done = run(*command, "--db", db)
        assert done.code == 1
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
    assert run("verify", "--db", "gone.db").code == 1


def test_while_a_service_writes_a_backup_can_be_made_and_changes_say_who_writes(db: Path) -> None:
    with other(db) as service:
        # It has another encoder, and so may not change this store, but it has taken the right to write.
        assert service.puts("x").startswith("EncoderMismatchError")
        assert spawn("backup", "backup.db", "--db", db).code == 0
        for command in (
            ["routes", "remove", "billing"],
            ["restore", "backup.db", "--force"],
        ):
            done = spawn(*command, "--db", db)
            assert (done.code, done.stdout) == (1, "")
            assert f"is being written by process {service.process.pid}," in done.stderr
        asked = spawn("route", "--db", db, "--json", "pay my bill")
        assert (asked.code, asked.stderr) == (0, "")
