"""One process writes to a file at a time: who else tries is told who does, and a dead writer holds nothing."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from synaptoroute.errors import RevisionConflictError, StorageCorruptError, StorageError, StorageInUseError
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage, writer_lock
from synaptoroute.storage.base import LabelledQueries
from synaptoroute.storage.writer_lock import WriterLock
from tests.seeded import SeededEncoder, route
from tests.storage.test_sqlite import ENCODER, put, vectors

OTHER = """
import sys
from tests.storage.test_sqlite import ENCODER, put
from synaptoroute.storage import SQLiteStorage
store = SQLiteStorage(sys.argv[1])
print("open", flush=True)
for line in sys.stdin:
    name = line.strip()
    try:
        print(store.commit([put(name, "x")], encoder=ENCODER, expected_revision=store.state().revision), flush=True)
    except Exception as exc:
        print(type(exc).__name__, exc, flush=True)
store.close()
"""


class Other:
    """Another process that has the store open."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(path.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self._said() == "open"

    def puts(self, name: str) -> str:
        """Has it add a route; what became of that."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return self._said()

    def _said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate(timeout=60)


@contextmanager
def other(path: Path) -> Iterator[Other]:
    process = Other(path)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.db"


def test_who_writes_first_writes_alone_until_it_closes(path: Path) -> None:
    store = SQLiteStorage(path)
    with other(path) as writer:
        assert writer.puts("a") == "1"
        with pytest.raises(StorageInUseError, match=f"written by process {writer.process.pid}, and only one") as caught:
            store.commit([put("b", "y")], encoder=ENCODER, expected_revision=1)
        assert caught.value.pid == writer.process.pid
        labelled = LabelledQueries(texts=("q",), labels=("a",), vectors=vectors(1))
        with pytest.raises(StorageInUseError):
            store.save_labelled(labelled, encoder=ENCODER)
        with pytest.raises(StorageInUseError):
            store.save_learned(b"x")
        assert writer.puts("c") == "2"
        assert [each.name for each in store.load(ENCODER).routes] == ["a", "c"], "reading goes on"
        writer.end()
    with pytest.raises(RevisionConflictError, match="revision 2"):
        store.commit([put("b", "y")], encoder=ENCODER, expected_revision=0)
    assert store.commit([put("b", "y")], encoder=ENCODER, expected_revision=2) == 3
    with other(path) as late:
        assert late.puts("d").startswith(f"StorageInUseError {path} is being written by process {os.getpid()}")
    store.close()


def test_a_killed_writer_holds_nothing(path: Path) -> None:
    with other(path) as writer:
        assert writer.puts("a") == "1"
        writer.process.send_signal(signal.SIGKILL)
        writer.process.communicate()
    store = SQLiteStorage(path)
    assert store.commit([put("b", "y")], encoder=ENCODER, expected_revision=1) == 2
    store.close()


def test_a_router_beside_a_writer_answers_and_says_why_it_cannot_change(path: Path) -> None:
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as first:
        first.add_routes([route("ann"), route("bob")])
    out, into = os.pipe()
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
        router.wait_until_fitted()
        with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as writer:
            writer.add_route(route("cid"))
            child = os.fork()
            if child == 0:
                try:
                    os.write(into, f"{router.route('ann asked', threshold=-1).matches[0].name} ".encode())
                    router.add_route(route("dan"))
                except BaseException as exc:  # noqa: BLE001 - told below
                    os.write(into, type(exc).__name__.encode())
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            os.close(into)
            with os.fdopen(out) as said:
                assert said.read() == "ann StorageInUseError"
        assert router.add_route(route("dan")) == 3, "it has seen what the other committed"
        assert [each.name for each in router.routes] == ["ann", "bob", "cid", "dan"]


def test_a_forked_child_does_not_inherit_the_right_to_write(path: Path) -> None:
    store = SQLiteStorage(path)
    store.commit([put("parent", "x")], encoder=ENCODER, expected_revision=0)
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(into, f"{len(store.load(ENCODER).routes)} ".encode())
            store.commit([put("child", "y")], encoder=ENCODER, expected_revision=1)
        except StorageInUseError as exc:
            os.write(into, f"refused because of {exc.pid}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(into)
    with os.fdopen(out) as said:
        assert said.read() == f"1 refused because of {os.getpid()}"
    assert store.commit([put("again", "y")], encoder=ENCODER, expected_revision=1) == 2
    store.close()


def test_a_living_child_does_not_keep_the_lock_of_its_dead_parent(path: Path) -> None:
    code = f"""
import os, time
from tests.storage.test_sqlite import ENCODER, put
from synaptoroute.storage import SQLiteStorage
store = SQLiteStorage({str(path)!r})
store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
child = os.fork()
if child == 0:
    os.close(1)
    time.sleep(600)
print(child, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    child = int(done.stdout)
    try:
        store = SQLiteStorage(path)
        assert store.commit([put("b", "y")], encoder=ENCODER, expected_revision=1) == 2
        store.close()
    finally:
        os.kill(child, signal.SIGKILL)


def test_stores_of_one_process_share_the_right_and_write_in_turn(path: Path) -> None:
    stores = [SQLiteStorage(path) for _ in range(3)]
    made: list[int] = []

    def write(store: SQLiteStorage, number: int) -> None:
        for count in range(20):
            while True:
                try:
                    change = [put(f"r{number}-{count}", "x")]
                    made.append(store.commit(change, encoder=ENCODER, expected_revision=store.state().revision))
                    break
                except RevisionConflictError:
                    continue

    threads = [threading.Thread(target=write, args=(store, number)) for number, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(1, 61))
    stores[0].close()
    stores[1].close()
    with other(path) as late:
        assert late.puts("z").startswith("StorageInUseError"), "one is still open"
        stores[2].close()
        assert late.puts("z") == "61"


def test_keeping_what_was_learned_does_not_make_a_reader_the_writer(path: Path) -> None:
    store = SQLiteStorage(path)
    store.save_learned(b"learned")
    with other(path) as writer:
        assert writer.puts("a") == "1"
    assert store.load_learned() == b"learned"
    store.close()


def test_opening_a_store_makes_nobody_its_writer(path: Path) -> None:
    store = SQLiteStorage(path)
    with other(path) as writer:
        assert writer.puts("a") == "1"
    store.close()


def test_only_the_writer_checkpoints(path: Path) -> None:
    reader, writer = SQLiteStorage(path), SQLiteStorage(path)
    writer.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    pages = []
    for store in (reader, writer):
        assert store._connection is not None
        pages.append(store._connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0])
        assert store._connection.execute("PRAGMA mmap_size").fetchone()[0] == 0
        store.close()
    assert pages == [0, 1_000]


def test_opening_a_file_twice_does_not_drop_the_locks_of_the_first(path: Path) -> None:
    """Closing any descriptor of a file drops this process's POSIX locks on it. Without them, another process that
    closes the file takes the write-ahead log away, and what is committed from then on is lost."""
    store = SQLiteStorage(path)
    store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    SQLiteStorage(path).close()
    with other(path):
        pass
    assert store.commit([put("b", "y")], encoder=ENCODER, expected_revision=1) == 2
    with other(path):
        pass
    code = f"""
from tests.storage.test_sqlite import ENCODER
from synaptoroute.storage import SQLiteStorage
print(SQLiteStorage({str(path)!r}).load(ENCODER).revision)
"""
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert seen.stdout == "2\n"
    store.close()


def test_a_file_that_was_replaced_is_not_written_to(path: Path) -> None:
    store = SQLiteStorage(path)
    store.load(ENCODER)
    path.rename(path.with_name("old.db"))
    SQLiteStorage(path).close()
    with pytest.raises(StorageError, match="was replaced since it was opened"):
        store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    with other(path) as writer:
        assert writer.puts("b") == "1"
    store.close()


def test_a_file_named_in_two_ways_has_one_lock(path: Path) -> None:
    link = path.with_name("link.db")
    store = SQLiteStorage(path)
    link.symlink_to(path)
    with other(link) as writer:
        assert writer.puts("a") == "1"
        with pytest.raises(StorageInUseError):
            store.commit([put("b", "y")], encoder=ENCODER, expected_revision=1)
    store.close()


def test_whatever_the_lock_file_says_the_error_is_clear(path: Path) -> None:
    with other(path) as writer:
        assert writer.puts("a") == "1"
        for said in (b"", b"garbage", b"\xff\xfe", b"12 elsewhere", b"9" * 400):
            path.with_name("routes.db-lock").write_bytes(said)
            with pytest.raises(StorageInUseError, match="only one process at a time"):
                WriterLock(path).acquire()


def test_the_wal_reset_bug_is_warned_of_once(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    monkeypatch.setattr(writer_lock, "_here", writer_lock._Process())
    for _ in range(2):
        store = SQLiteStorage(path)
        store.commit([], encoder=ENCODER, expected_revision=store.state().revision)
        store.close()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "WAL-reset bug" in caplog.text
    caplog.clear()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    monkeypatch.setattr(writer_lock, "_here", writer_lock._Process())
    store = SQLiteStorage(path)
    store.commit([], encoder=ENCODER, expected_revision=store.state().revision)
    store.close()
    assert not caplog.records


def test_a_store_that_was_truncated_to_nothing_is_not_taken_for_a_new_one(path: Path) -> None:
    path.touch()
    store = SQLiteStorage(path)
    store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    store.close()
    os.truncate(path, 0)
    with pytest.raises(StorageCorruptError, match="has been written to before"):
        SQLiteStorage(path)
    path.with_name("routes.db-lock").unlink()
    assert SQLiteStorage(path).state().revision == 0
