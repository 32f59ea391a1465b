"""Backups, their way back, verification and repair: on sound stores, on damaged ones, and beside a writer."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synaptoroute.errors import StorageCorruptError, StorageError, StorageForeignError, StorageInUseError
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage, repairing
from synaptoroute.storage.base import DropRoute, LabelledQueries
from synaptoroute.storage.migrations import MIGRATIONS
from synaptoroute.storage.repairing import repair
from synaptoroute.storage.safekeeping import backup, restore
from synaptoroute.storage.verifying import verify
from tests.seeded import SeededEncoder, route
from tests.storage.test_sqlite import ENCODER, held, put, vectors
from tests.storage.test_writer_lock import other

PAGE = 4_096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.db"


def filled(path: Path, routes: int = 40, utterances: int = 12) -> SQLiteStorage:
    store = SQLiteStorage(path)
    changes = [put(f"r{n}", *(f"utterance {n} {m}" for m in range(utterances)), seed=n) for n in range(routes)]
    store.commit(changes, encoder=ENCODER, expected_revision=0)
    store.save_labelled(
        LabelledQueries(texts=("q", "p"), labels=("r1", None), vectors=vectors(2), min_confidence=0.25), encoder=ENCODER
    )
    return store


def execute(path: Path, *statements: str) -> None:
    plain = sqlite3.connect(path)
    for statement in statements:
        plain.execute(statement)
    plain.commit()
    plain.close()


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


# ------------------------------------------------------------------------------------------------------------- backup
def test_a_backup_of_a_store_in_use_is_whole_and_of_one_revision(path: Path, tmp_path: Path) -> None:
    with other(path) as writer:
        for number in range(5):
            writer.puts(f"r{number}")
        seen = backup(path, tmp_path / "backup.db")
        writer.puts("later")
    assert (seen.revision, seen.routes, seen.utterances) == (5, 5, 5)
    assert verify(tmp_path / "backup.db").sound
    store = SQLiteStorage(tmp_path / "backup.db")
    assert [each.name for each in store.load(ENCODER).routes] == [f"r{n}" for n in range(5)]
    store.close()


def test_a_backup_does_not_replace_a_file_unless_forced_and_then_keeps_it(path: Path, tmp_path: Path) -> None:
    filled(path).close()
    target = tmp_path / "kept" / "backup.db"
    with pytest.raises(StorageError, match="does not exist"):
        backup(path, target)
    target.parent.mkdir()
    target.write_text("precious")
    with pytest.raises(StorageError, match="already a file"):
        backup(path, target)
    assert target.read_text() == "precious"
    backup(path, target, force=True)
    assert verify(target, still=True).sound
    (aside,) = target.parent.glob("backup.db.replaced-*")
    assert aside.read_text() == "precious"


def test_a_damaged_store_gives_no_backup(path: Path, tmp_path: Path) -> None:
    filled(path).close()
    execute(path, "UPDATE utterances SET vector = zeroblob(16) WHERE id = 3")
    with pytest.raises(StorageCorruptError, match=r"route 'r0': 1 of its 12 utterances .* 'synaptoroute repair'"):
        backup(path, tmp_path / "backup.db")
    assert names(path) == ["backup.db-lock", "routes.db", "routes.db-lock"]
    with pytest.raises(StorageError, match="there is no store"):
        backup(tmp_path / "gone.db", tmp_path / "backup.db")
    (tmp_path / "foreign.db").write_text("x" * 2_000)
    with pytest.raises(StorageError, match="not a database"):
        backup(tmp_path / "foreign.db", tmp_path / "backup.db")
    execute(tmp_path / "bookmarks.db", "CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(StorageForeignError, match="another program"):
        backup(tmp_path / "bookmarks.db", tmp_path / "backup.db")


def test_a_backup_that_does_not_fit_on_the_disk_leaves_nothing(path: Path, tmp_path: Path) -> None:
    filled(path, routes=200).close()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        with pytest.raises(StorageError, match="cannot copy"):
            backup(path, tmp_path / "backup.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert names(path) == ["backup.db-lock", "routes.db", "routes.db-lock"]
    assert backup(path, tmp_path / "backup.db").routes == 200


def test_a_store_of_an_older_schema_can_be_backed_up_and_verified(path: Path, tmp_path: Path) -> None:
    plain = sqlite3.connect(path)
    plain.executescript(MIGRATIONS[0])
    plain.execute("INSERT INTO migrations VALUES (1, '2026-01-01')")
    plain.execute("PRAGMA user_version = 1")
    plain.execute(f"PRAGMA application_id = {0x53796E52}")
    plain.commit()
    plain.close()
    assert backup(path, tmp_path / "backup.db").revision == 0
    assert restore(tmp_path / "backup.db", tmp_path / "restored.db").revision == 0
    assert SQLiteStorage(tmp_path / "restored.db").load(ENCODER).revision == 0


# ------------------------------------------------------------------------------------------------------------ restore
def test_what_was_backed_up_comes_back(path: Path, tmp_path: Path) -> None:
    store = filled(path)
    before = held(store.load(ENCODER))
    backup(path, tmp_path / "backup.db")
    store.commit([DropRoute(name="r1"), put("new", "x")], encoder=ENCODER, expected_revision=1)
    store.close()
    with pytest.raises(StorageError, match="already a file"):
        restore(tmp_path / "backup.db", path)
    restore(tmp_path / "backup.db", path, force=True)
    store = SQLiteStorage(path)
    assert held(store.load(ENCODER)) == before
    labelled = store.load(ENCODER).labelled
    assert labelled is not None
    assert labelled.min_confidence == 0.25
    store.close()
    (aside,) = tmp_path.glob("routes.db.replaced-*")
    replaced = SQLiteStorage(aside)
    assert "new" in held(replaced.load(ENCODER))
    replaced.close()


def test_restoring_begins_a_new_lineage(path: Path, tmp_path: Path) -> None:
    """A cache of what the store was after the backup must not be believed, one from before may be."""
    store = SQLiteStorage(path)
    states = [store.state()]
    for revision, name in enumerate("abcd"):
        store.commit([put(name, "x")], encoder=ENCODER, expected_revision=revision)
        states.append(store.state())
        if revision == 1:
            backup(path, tmp_path / "backup.db")
    store.close()
    restore(tmp_path / "backup.db", path, force=True)
    store = SQLiteStorage(path)
    restored = store.state()
    assert restored.lineage not in {state.lineage for state in states}
    assert [store.changes_since(state, ENCODER) is not None for state in states] == [True, True, True, False, False]
    for revision, name in enumerate("efg", start=2):
        store.commit([put(name, "x")], encoder=ENCODER, expected_revision=revision)
    assert [store.changes_since(state, ENCODER) is not None for state in states] == [True, True, True, False, False]
    store.close()


def test_a_store_that_is_being_written_is_not_replaced(path: Path, tmp_path: Path) -> None:
    filled(path).close()
    backup(path, tmp_path / "backup.db")
    with other(path) as writer:
        state = SQLiteStorage(path).state()
        assert state.revision == 1
        assert writer.puts("a") == "2"
        for replace in (lambda: restore(tmp_path / "backup.db", path, force=True), lambda: broken_then_repaired(path)):
            with pytest.raises(StorageInUseError) as caught:
                replace()
            assert caught.value.pid == writer.process.pid
        assert writer.puts("b") == "3"


def broken_then_repaired(path: Path) -> None:
    execute(path, "UPDATE utterances SET vector = zeroblob(16) WHERE id = 3")
    repair(path)


def test_who_reads_the_store_while_it_is_replaced_harms_nothing(path: Path, tmp_path: Path) -> None:
    filled(path).close()
    backup(path, tmp_path / "backup.db")
    with other(path) as reader:
        restore(tmp_path / "backup.db", path, force=True)
        store = SQLiteStorage(path)
        assert store.commit([put("after", "x")], encoder=ENCODER, expected_revision=1) == 2
        assert store._connection is not None
        store._writer.release()
        assert "was replaced since it was opened" in reader.puts("lost")
        # With its last connection SQLite would take a log away; this one is no longer the reader's.
        reader.end()
        assert store.commit([put("again", "x")], encoder=ENCODER, expected_revision=2) == 3
        store.close()
    seen = verify(path)
    assert (seen.sound, seen.revision, seen.routes) == (True, 3, 42)


def test_a_damaged_backup_is_not_restored(path: Path, tmp_path: Path) -> None:
    filled(path).close()
    backup(path, tmp_path / "backup.db")
    content = bytearray((tmp_path / "backup.db").read_bytes())
    content[5 * PAGE : 6 * PAGE] = bytes(PAGE)
    (tmp_path / "backup.db").write_bytes(content)
    with pytest.raises(StorageCorruptError, match="damaged"):
        restore(tmp_path / "backup.db", path, force=True)
    assert verify(path).sound


# ------------------------------------------------------------------------------------------------------------- verify
def test_a_sound_store_verifies_and_is_not_touched(path: Path) -> None:
    filled(path).close()
    before = path.read_bytes()
    seen = verify(path)
    assert (seen.sound, seen.routes, seen.utterances, seen.revision, seen.caches) == (True, 40, 480, 1, [])
    assert path.read_bytes() == before
    repaired = repair(path)
    assert (repaired.aside, repaired.losses, repaired.routes) == (None, [], 40)
    assert path.read_bytes() == before


TAMPERED = {
    "UPDATE utterances SET vector = zeroblob(16) WHERE id = 15": "route 'r1'",
    "UPDATE utterances SET vector = x'00' WHERE id = 15": "route 'r1'",
    "UPDATE utterances SET text = 'another text' WHERE id = 15": "route 'r1'",
    "UPDATE utterances SET route_id = 3 WHERE id = 15": "route 'r1'",
    "DELETE FROM utterances WHERE id = 15": "route 'r1'",
    "DELETE FROM utterances WHERE route_id = 2": "route 'r1'",
    "UPDATE routes SET threshold = 0.1 WHERE id = 2": "route 'r1'",
    "UPDATE routes SET metadata = '{\"a\": 1}' WHERE id = 2": "route 'r1'",
    "UPDATE routes SET name = 'other' WHERE id = 2": "route 'other'",
    "DELETE FROM routes WHERE id = 2": "state",
    "UPDATE state SET revision = 7": "state",
    "DELETE FROM state": "state",
    "DELETE FROM lineages": "state",
    "UPDATE labelled_queries SET label = 'r2'": "labelled queries",
    "DELETE FROM labelled_queries WHERE id = 1": "labelled queries",
    "UPDATE operating_point SET min_confidence = 0.9": "labelled queries",
    "INSERT INTO chosen_point VALUES (1, 0.9, NULL, '2026-01-01T00:00:00+00:00', 7)": "operating point",
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_every_change_behind_our_back_is_found_by_load_and_verify_and_mended(path: Path, statement: str) -> None:
    store = filled(path)
    before = store.load(ENCODER)
    store.close()
    execute(path, statement)
    damaged = SQLiteStorage(path)
    with pytest.raises(StorageCorruptError):
        damaged.load(ENCODER)
    damaged.close()
    seen = verify(path)
    assert TAMPERED[statement] in {finding.where for finding in seen.findings}

    done = repair(path)
    assert done.aside is not None
    assert done.aside.exists()
    assert verify(path).sound
    store = SQLiteStorage(path)
    after = store.load(ENCODER)
    store.close()
    assert after.revision == done.revision > before.revision
    kept, had = held(after), held(before)
    # At most the route that was changed and the one its utterance went to lack something, nothing is made up.
    assert len([name for name in had if kept.get(name) != had[name]]) <= 2
    for name, (each, _) in kept.items():
        assert set(each.utterances) <= set(had[name][0].utterances)
        assert each.threshold == had[name][0].threshold
    if "labelled" not in TAMPERED[statement]:
        assert after.labelled is not None
    complete = {"DELETE FROM state", "UPDATE state SET revision = 7", "DELETE FROM lineages"}
    assert bool([loss for loss in done.losses if loss.what != "the history"]) is (statement not in complete)


def test_damage_of_the_cache_is_told_apart_from_damage_of_the_store(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("table", "table_files"):
        monkeypatch.setattr(f"synaptoroute.{module}.SEGMENTED_FROM", 8)
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
        router.add_routes([route(f"r{n}") for n in range(10)])
        router.wait_until_fitted()
    AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)).close()
    assert verify(path).caches == []
    (generation,) = path.with_name("routes.db-index").glob("gen-*")
    content = bytearray((generation / "vectors.bin").read_bytes())
    content[17] ^= 4
    (generation / "vectors.bin").write_bytes(content)
    seen = verify(path)
    assert seen.sound
    assert [(each.where, each.what) for each in seen.caches] == [(str(generation), "vectors is damaged")]
    assert generation.exists()


# ------------------------------------------------------------------------------------------------------------- repair
def damages(path: Path, step: int) -> dict[str, Callable[[bytearray], object]]:
    """Every ``step``-th page, in turn zeroed and overwritten; and ends that are missing."""
    pages = range(0, path.stat().st_size // PAGE, step)

    def zeroed(page: int) -> Callable[[bytearray], object]:
        return lambda content: content.__setitem__(slice(page * PAGE, (page + 1) * PAGE), bytes(PAGE))

    def garbage(page: int) -> Callable[[bytearray], object]:
        noise = np.random.default_rng(page).bytes(PAGE)
        return lambda content: content.__setitem__(slice(page * PAGE, (page + 1) * PAGE), noise)

    def cut(content: bytearray) -> None:
        del content[len(content) // 2 :]

    return (
        {f"zeroed {page}": zeroed(page) for page in pages[::2]}
        | {f"garbage {page}": garbage(page) for page in pages[1::2]}
        | {"cut": cut, "cut within a page": lambda content: content.__delitem__(slice(-1_000, None))}
    )


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_whatever_page_is_lost_the_rest_is_salvaged(path: Path, tmp_path: Path, step: int) -> None:
    """One page at a time is zeroed or overwritten. No row is in the result that was not stored, and most are there."""
    store = filled(path)
    before = held(store.load(ENCODER))
    store.close()
    sound = path.read_bytes()
    kept, hopeless = {}, []
    for name, damage in damages(path, step).items():
        file = tmp_path / f"{name.replace(' ', '-')}.db"
        content = bytearray(sound)
        damage(content)
        file.write_bytes(content)
        try:
            done = repair(file)
        except StorageError as exc:
            hopeless.append((name, str(exc)))
            assert file.read_bytes() == content, "what cannot be repaired is left alone"
            continue
        assert done.aside is None or done.aside.read_bytes() == content
        assert verify(file).sound
        again = SQLiteStorage(file)
        after = held(again.load(ENCODER))
        again.close()
        for route_name, (each, _) in after.items():
            assert set(each.utterances) <= set(before[route_name][0].utterances)
        kept[name] = sum(len(each.utterances) for each, _ in after.values())
        assert kept[name] == 480 or done.losses
    shares = sorted(kept.values())
    assert len(hopeless) <= 5, hopeless
    assert shares[len(shares) // 2] > 400, kept
    assert not [file for file in tmp_path.iterdir() if ".part" in file.name]


def test_a_store_without_anything_to_read_is_refused_and_left_alone(path: Path) -> None:
    for content in (b"", b"garbage" * 1_000, b"SQLite format 3\x00" + bytes(5_000)):
        path.write_bytes(content)
        with pytest.raises(StorageError, match=r"restore a backup|not a database"):
            repair(path)
        assert path.read_bytes() == content
    path.unlink()
    with pytest.raises(StorageError, match="there is no store"):
        repair(path)


def test_what_is_only_in_the_log_is_salvaged_too(path: Path, tmp_path: Path) -> None:
    store = filled(path)
    store.commit([put(f"log{n}", "x") for n in range(3)], encoder=ENCODER, expected_revision=1)
    for suffix in ("", "-wal"):
        (tmp_path / f"copy.db{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    store.close()
    copy = tmp_path / "copy.db"
    execute(copy, "UPDATE utterances SET vector = zeroblob(16) WHERE id = 3")
    assert repair(copy).routes == 43


def test_probing_for_rows_behind_damage_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairing, "_MOST_LOOKS", 3)
    filled(path).close()
    content = bytearray(path.read_bytes())
    # The leaf of the table, not of its index, that holds a route in the middle.
    starts = range(0, len(content), PAGE)
    page = next(at for at in starts if content[at] == 0x0D and b"utterance 20 3" in content[at : at + PAGE])
    content[page : page + PAGE] = b"\xff" * PAGE
    path.write_bytes(content)
    done = repair(path)
    assert done.losses
    assert verify(path).sound


def test_the_next_process_routes_by_what_was_repaired(path: Path) -> None:
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
        router.add_routes([route("ann"), route("bob"), route("cid")])
    execute(path, "UPDATE routes SET name = 'eve' WHERE name = 'bob'")
    code = f"""
from synaptoroute.storage.repairing import repair
done = repair({str(path)!r})
print(done.routes, [loss.what for loss in done.losses])
"""
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert seen.stdout == "2 [\"route 'eve'\", 'the history']\n"
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
        assert router.route("ann asked", threshold=-1).matches[0].name == "ann"
        assert router.add_route(route("bob")) == 3
