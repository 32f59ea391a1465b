"""SQLiteStorage: what is stored comes back bit for bit, all or nothing, and a bad file is never touched."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute.errors import (
    EncoderMismatchError,
    RevisionConflictError,
    StorageCorruptError,
    StorageError,
    StorageForeignError,
)
from synaptoroute.models import Route
from synaptoroute.storage import SQLiteStorage, opening, sqlite
from synaptoroute.storage.base import (
    Change,
    DropRoute,
    EncoderIdentity,
    LabelledQueries,
    PutRoute,
    StoredTable,
    StoreState,
)
from synaptoroute.storage.migrations import MIGRATIONS

ENCODER = EncoderIdentity(name="test", dim=4, fingerprint="test-1")


def vectors(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def put(name: str, *utterances: str, seed: int = 0, **fields: Any) -> PutRoute:
    route = Route(name=name, utterances=utterances, **fields)
    return PutRoute(route=route, added=route.utterances, vectors=vectors(len(utterances), seed))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.db"


def test_a_new_store_is_empty_at_revision_zero(path: Path) -> None:
    store = SQLiteStorage(path)
    stored = store.load(ENCODER)
    assert (stored.revision, stored.routes, stored.vectors.shape) == (0, (), (0, 4))
    store.close()


def test_routes_come_back_whole_and_vectors_bit_for_bit(path: Path) -> None:
    first = put("a", "x", "y", seed=1, threshold=0.0, description="d", metadata={"k": [1, None, "é"]})
    second = put("b", "x", seed=2)
    store = SQLiteStorage(path)
    assert store.commit([first], encoder=ENCODER, expected_revision=0) == 1
    assert store.commit([second], encoder=ENCODER, expected_revision=1) == 2
    store.close()

    again = SQLiteStorage(path)
    stored = again.load(ENCODER)
    again.close()
    assert stored.revision == 2
    assert stored.routes == (first.route, second.route)
    assert stored.vectors.tobytes() == np.concatenate([first.vectors, second.vectors]).tobytes()


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), min_size=1, max_size=5
        ),
        max_size=5,
    )
)
def test_whatever_text_is_stored_comes_back(routes: dict[str, list[str]]) -> None:
    store = SQLiteStorage(":memory:")
    changes = [put(name, *Route(name=name, utterances=texts).utterances) for name, texts in routes.items()]
    store.commit(changes, encoder=ENCODER, expected_revision=0)
    assert store.load(ENCODER).routes == tuple(change.route for change in changes)
    store.close()


def test_an_update_keeps_what_stays_in_order_and_adds_at_the_end() -> None:
    store = SQLiteStorage(":memory:")
    store.commit([put("a", "x", "y", "z"), put("b", "q", seed=3)], encoder=ENCODER, expected_revision=0)
    before = store.load(ENCODER).vectors
    added = vectors(1, seed=9)
    route = Route(name="a", utterances=["x", "z", "w"], threshold=0.5)
    store.commit(
        [PutRoute(route=route, added=("w",), vectors=added, removed=("y",))], encoder=ENCODER, expected_revision=1
    )
    stored = store.load(ENCODER)
    assert stored.routes[0] == route
    assert stored.vectors.tobytes() == np.concatenate([before[[0, 2]], added, before[[3]]]).tobytes()
    store.close()


def test_a_dropped_route_takes_its_utterances_with_it(path: Path) -> None:
    store = SQLiteStorage(path)
    store.commit([put("a", "x"), put("b", "y")], encoder=ENCODER, expected_revision=0)
    store.commit([DropRoute(name="a")], encoder=ENCODER, expected_revision=1)
    assert [route.name for route in store.load(ENCODER).routes] == ["b"]
    store.close()
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT count(*) FROM utterances").fetchone() == (1,)
    plain.close()


def test_a_change_based_on_another_revision_is_refused(path: Path) -> None:
    one, other = SQLiteStorage(path), SQLiteStorage(path)
    one.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    with pytest.raises(RevisionConflictError, match="revision 1"):
        other.commit([put("b", "y")], encoder=ENCODER, expected_revision=0)
    assert [route.name for route in other.load(ENCODER).routes] == ["a"]
    one.close()
    other.close()


def test_a_failing_change_leaves_none_of_its_batch() -> None:
    store = SQLiteStorage(":memory:")
    twice = PutRoute(route=Route(name="b", utterances=["y"]), added=("y", "y"), vectors=vectors(2))
    with pytest.raises(StorageError):
        store.commit([put("a", "x"), twice], encoder=ENCODER, expected_revision=0)
    stored = store.load(ENCODER)
    assert (stored.revision, stored.routes) == (0, ())
    store.close()


def test_vectors_of_another_encoder_are_refused_until_none_are_left(path: Path) -> None:
    other = EncoderIdentity(name="other", dim=8, fingerprint="other-1")
    store = SQLiteStorage(path)
    store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    with pytest.raises(EncoderMismatchError, match=r"test-1.*other-1"):
        store.load(other)
    with pytest.raises(EncoderMismatchError):
        store.commit([DropRoute(name="a")], encoder=other, expected_revision=1)
    assert [route.name for route in store.routes()] == ["a"]
    assert store.encoder() == ENCODER
    store.commit([DropRoute(name="a")], encoder=ENCODER, expected_revision=1)
    assert store.encoder() is None
    assert store.load(other).revision == 2
    store.close()


# ------------------------------------------------------------------------------------- bringing a cache up to date
Held = dict[str, tuple[Route, bytes]]


def held(stored: StoredTable) -> Held:
    """Name -> route and the bytes of its vectors, in the order of the store."""
    ends = np.cumsum([len(route.utterances) for route in stored.routes])[:-1]
    parts = np.split(stored.vectors, ends)
    return {route.name: (route, part.tobytes()) for route, part in zip(stored.routes, parts, strict=bool(len(ends)))}


def caught_up(cache: Held, changes: tuple[Change, ...]) -> Held:
    for change in changes:
        if isinstance(change, PutRoute):
            assert change.added == change.route.utterances
            cache = cache | {change.route.name: (change.route, change.vectors.tobytes())}
        else:
            cache = {name: value for name, value in cache.items() if name != change.name}
    return cache


STEPS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["put", "update", "threshold", "drop", "reopen"])), max_size=15
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_every_earlier_state_can_be_brought_up_to_date(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("store") / "routes.db"
    store = SQLiteStorage(path)
    earlier = [(store.state(), held(store.load(ENCODER)))]
    for number, (name, step) in enumerate(steps):
        stored = held(store.load(ENCODER)).get(name)
        changes: dict[str, Change] = {"drop": DropRoute(name=name)}
        if stored is None:
            changes["put"] = put(name, "x", f"y{number}", seed=number)
        else:
            route, added = stored[0], (f"z{number}",)
            updated = route.replaced(utterances=(*route.utterances[1:], *added))
            first = route.utterances[:1]
            changes["update"] = PutRoute(route=updated, added=added, vectors=vectors(1, number), removed=first)
            changed = route.replaced(threshold=number / 20)
            changes["threshold"] = PutRoute(route=changed, added=(), vectors=vectors(0))
        if step == "reopen":
            store.close()
            store = SQLiteStorage(path)
        elif step in changes:
            store.commit([changes[step]], encoder=ENCODER, expected_revision=store.state().revision)
        earlier.append((store.state(), held(store.load(ENCODER))))
    now = held(store.load(ENCODER))
    for state, cache in earlier:
        found = store.changes_since(state, ENCODER)
        assert found is not None
        assert found.state == store.state()
        assert list(caught_up(cache, found.changes).items()) == list(now.items())
    store.close()


def test_a_route_dropped_and_added_again_moves_to_the_end() -> None:
    store = SQLiteStorage(":memory:")
    store.commit([put("a", "x"), put("b", "y")], encoder=ENCODER, expected_revision=0)
    state = store.state()
    store.commit([DropRoute(name="a"), put("a", "z")], encoder=ENCODER, expected_revision=1)
    found = store.changes_since(state, ENCODER)
    assert found is not None
    drop, again = found.changes
    assert drop == DropRoute(name="a")
    assert isinstance(again, PutRoute)
    assert (again.route.utterances, again.added) == (("z",), ("z",))
    store.close()


def test_labelled_queries_come_with_the_changes_and_the_stream() -> None:
    store = SQLiteStorage(":memory:")
    labelled = LabelledQueries(texts=("q",), labels=(None,), vectors=vectors(1), min_confidence=0.0)
    store.save_labelled(labelled, encoder=ENCODER)
    found = store.changes_since(store.state(), ENCODER)
    assert found is not None
    with store.read(ENCODER) as stream:
        for given_back in (found.labelled, stream.labelled):
            assert given_back is not None
            assert (given_back.texts, given_back.labels, given_back.min_confidence) == (("q",), (None,), 0.0)
    store.close()


def test_a_state_of_another_store_or_of_the_future_leads_nowhere(path: Path, tmp_path: Path) -> None:
    store, other = SQLiteStorage(path), SQLiteStorage(tmp_path / "other.db")
    for each in (store, other):
        each.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    state = store.state()
    assert store.changes_since(state, ENCODER) is not None
    assert store.changes_since(other.state(), ENCODER) is None
    assert store.changes_since(replace(state, lineage=other.state().lineage), ENCODER) is None
    assert store.changes_since(replace(state, revision=2), ENCODER) is None
    store.close()
    other.close()


def test_a_state_from_before_a_backup_was_restored_leads_nowhere(path: Path, tmp_path: Path) -> None:
    def changed(*names: str) -> StoreState:
        store = SQLiteStorage(path)
        for name in names:
            store.commit([put(name, "x")], encoder=ENCODER, expected_revision=store.state().revision)
        state = store.state()
        store.close()
        return state

    early = changed("a")
    shutil.copy(path, tmp_path / "backup.db")
    lost = changed("b", "c")
    shutil.copy(tmp_path / "backup.db", path)
    store = SQLiteStorage(path)
    assert store.changes_since(lost, ENCODER) is None
    store.close()
    changed("d", "e", "f")
    store = SQLiteStorage(path)
    assert store.changes_since(lost, ENCODER) is None, "same store, and its revision is there again, but not its routes"
    found = store.changes_since(early, ENCODER)
    assert found is not None
    assert [change.route.name for change in found.changes if isinstance(change, PutRoute)] == ["d", "e", "f"]
    store.close()


def test_two_processes_that_write_in_turn_can_both_be_caught_up_with(path: Path) -> None:
    one, other = SQLiteStorage(path), SQLiteStorage(path)
    states = [one.state()]
    for revision, store in enumerate([one, other, one, other]):
        store.commit([put(f"r{revision}", "x")], encoder=ENCODER, expected_revision=revision)
        states.append(store.state())
    for count, state in enumerate(reversed(states)):
        found = one.changes_since(state, ENCODER)
        assert found is not None
        assert len(found.changes) == count
    one.close()
    other.close()


def test_more_changes_than_are_remembered_lead_nowhere(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "HISTORY", 3)
    states = []
    for revision in range(10):
        store = SQLiteStorage(path)
        states.append(store.state())
        change = put("a", "x") if revision % 2 == 0 else DropRoute(name="a")
        store.commit([change], encoder=ENCODER, expected_revision=revision)
        store.close()
    store = SQLiteStorage(path)
    found = [store.changes_since(state, ENCODER) for state in states]
    assert [changes is not None for changes in found] == [False] * 7 + [True] * 3
    store.commit([put(name, "x") for name in "abcd"], encoder=ENCODER, expected_revision=10)
    assert store.changes_since(states[-1], ENCODER) is None, "four routes and a drop have changed"
    store.close()
    plain = sqlite3.connect(path)
    assert [row[0] for row in plain.execute("SELECT revision FROM dropped")] == [8, 10]
    assert [row[0] for row in plain.execute("SELECT since FROM lineages")] == [8, 9, 10, 11]
    plain.close()


# --------------------------------------------------------------------------------------------- reading as a stream
def test_a_stream_gives_in_batches_what_load_gives_at_once(path: Path) -> None:
    store = SQLiteStorage(path)
    changes = [put(f"r{number}", *"abcde"[: number % 5 + 1], seed=number) for number in range(20)]
    store.commit(changes, encoder=ENCODER, expected_revision=0)
    stored = store.load(ENCODER)
    for rows in (1, 7, 1_000):
        with store.read(ENCODER, rows=rows) as stream:
            assert stream.state == store.state()
            batches = list(stream.batches)
        assert all(len(vectors) >= rows for _, vectors in batches[:-1])
        assert sum((routes for routes, _ in batches), ()) == stored.routes
        assert np.concatenate([vectors for _, vectors in batches]).tobytes() == stored.vectors.tobytes()
    store.close()


def test_a_store_in_memory_can_be_streamed_too() -> None:
    store = SQLiteStorage(":memory:")
    store.commit([put("a", "x"), put("b", "y")], encoder=ENCODER, expected_revision=0)
    with store.read(ENCODER) as stream:
        assert stream.state == store.state()
        store.commit([DropRoute(name="a")], encoder=ENCODER, expected_revision=1)
        assert [route.name for routes, _ in stream.batches for route in routes] == ["a", "b"]
    store.close()


def test_a_stream_shows_one_revision_and_lets_writers_go_on(path: Path) -> None:
    store = SQLiteStorage(path)
    store.commit([put(f"r{number}", "x") for number in range(10)], encoder=ENCODER, expected_revision=0)
    with store.read(ENCODER, rows=1) as stream:
        names = [next(stream.batches)[0][0].name]
        store.commit([DropRoute(name="r5"), put("new", "y")], encoder=ENCODER, expected_revision=1)
        names += [routes[0].name for routes, _ in stream.batches]
        assert stream.state.revision == 1
    assert names == [f"r{number}" for number in range(10)]
    assert len(store.load(ENCODER).routes) == 10
    store.close()
    left = sorted(file.name for file in path.parent.iterdir())
    assert left == ["routes.db", "routes.db-lock"], "nobody else left a log behind"


def test_a_stream_refuses_other_encoders_and_reports_damage_when_it_comes_to_it(path: Path) -> None:
    store = SQLiteStorage(path)
    store.commit([put(f"r{number}", "x") for number in range(10)], encoder=ENCODER, expected_revision=0)
    with (
        pytest.raises(EncoderMismatchError),
        store.read(EncoderIdentity(name="other", dim=4, fingerprint="other-1")),
    ):
        pass
    plain = sqlite3.connect(path)
    plain.execute("UPDATE utterances SET vector = zeroblob(16) WHERE id = 8")
    plain.commit()
    plain.close()
    with store.read(ENCODER, rows=1) as stream:
        assert len([next(stream.batches) for _ in range(7)]) == 7
        with pytest.raises(StorageCorruptError, match="vector is damaged"):
            next(stream.batches)
    store.close()


def test_the_cost_of_a_change_does_not_grow_with_the_table() -> None:
    store = SQLiteStorage(":memory:")
    connection = store._connection
    assert connection is not None
    ticks = [0]

    def tick() -> int:
        ticks[0] += 1
        return 0

    store.commit([put(f"r{number}", "x", "y") for number in range(2_000)], encoder=ENCODER, expected_revision=0)
    connection.set_progress_handler(tick, 100)
    store.commit([put("new", "x", "y")], encoder=ENCODER, expected_revision=1)
    store.commit([DropRoute(name="new")], encoder=ENCODER, expected_revision=2)
    connection.set_progress_handler(None, 0)
    assert ticks[0] < 20, "hundreds of steps of SQLite's machine; looking at every utterance would take 120"
    store.close()


# ------------------------------------------------------------------------------------------------------ migration
def test_a_store_of_schema_2_is_taken_over_with_its_content(path: Path) -> None:
    expected = [put("a", "x", "y", seed=1, threshold=0.5), put("b", "z", seed=2)]
    plain = sqlite3.connect(path)
    for number, script in enumerate(MIGRATIONS[:2], start=1):
        plain.executescript(script)
        plain.execute("INSERT INTO migrations VALUES (?, '2026-01-01')", (number,))
    plain.execute("INSERT INTO encoders VALUES (1, 'test-1', 'test', 4)")
    for route_id, change in enumerate(expected, start=1):
        route = change.route
        plain.execute("INSERT INTO routes VALUES (?, ?, ?, NULL, '{}', 1)", (route_id, route.name, route.threshold))
        for text, vector in zip(route.utterances, change.vectors, strict=True):
            row = (route_id, text, vector.tobytes(), zlib.crc32(vector.tobytes()))
            insert = "INSERT INTO utterances (route_id, text, encoder_id, vector, crc32) VALUES (?, ?, 1, ?, ?)"
            plain.execute(insert, row)
    plain.execute("UPDATE state SET revision = 7")
    plain.execute("PRAGMA user_version = 2")
    plain.execute(f"PRAGMA application_id = {opening.APPLICATION_ID}")
    plain.commit()
    plain.close()

    store = SQLiteStorage(path)
    stored, state = store.load(ENCODER), store.state()
    assert (stored.revision, state.revision) == (7, 7)
    assert stored.routes == tuple(change.route for change in expected)
    assert stored.vectors.tobytes() == np.concatenate([change.vectors for change in expected]).tobytes()
    store.commit([DropRoute(name="a")], encoder=ENCODER, expected_revision=7)
    found = store.changes_since(state, ENCODER)
    assert found is not None
    assert found.changes == (DropRoute(name="a"),)
    store.close()


# ------------------------------------------------------------------------------------------------------ bad files
def test_a_file_of_something_else_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 this is a zip file, honestly")
    with pytest.raises(StorageForeignError, match=r"not a SynaptoRoute database"):
        SQLiteStorage(path)
    assert path.read_bytes().startswith(b"PK")


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE bookmarks (url TEXT)")
    foreign.commit()
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(StorageForeignError, match="another program"):
        SQLiteStorage(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    SQLiteStorage(path).close()
    plain = sqlite3.connect(path)
    plain.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    plain.close()
    with pytest.raises(StorageForeignError, match="upgrade synaptoroute"):
        SQLiteStorage(path)


def test_a_folder_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageForeignError, match="is a folder"):
        SQLiteStorage(tmp_path)
    with pytest.raises(StorageError, match="does not exist"):
        SQLiteStorage(tmp_path / "missing" / "routes.db")


def test_a_damaged_page_is_reported_as_damage(path: Path) -> None:
    store = SQLiteStorage(path)
    changes = [put(f"r{number}", *(f"utterance {number} {n}" for n in range(20))) for number in range(50)]
    store.commit(changes, encoder=ENCODER, expected_revision=0)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 12] = b"\xff" * (4096 * 9)
    path.write_bytes(content)
    with pytest.raises(StorageCorruptError, match="damaged"):
        SQLiteStorage(path).load(ENCODER)


def test_a_truncated_file_is_reported_as_damage(path: Path) -> None:
    store = SQLiteStorage(path)
    changes = [put(f"r{number}", *(f"utterance {number} {n}" for n in range(20))) for number in range(50)]
    store.commit(changes, encoder=ENCODER, expected_revision=0)
    store.close()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StorageCorruptError, match="damaged"):
        SQLiteStorage(path).load(ENCODER)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE utterances SET vector = zeroblob(16) WHERE id = 2",
        "UPDATE utterances SET vector = x'00'",
        "UPDATE routes SET metadata = '{broken'",
        "UPDATE routes SET name = '<script>'",
        "DELETE FROM utterances",
        "DELETE FROM state",
        "DELETE FROM lineages",
    ],
)
def test_content_that_was_tampered_with_is_reported_as_damage(path: Path, statement: str) -> None:
    store = SQLiteStorage(path)
    store.commit([put("a", "x", "y")], encoder=ENCODER, expected_revision=0)
    store.close()
    plain = sqlite3.connect(path)
    plain.execute(statement)
    plain.commit()
    plain.close()
    damaged = SQLiteStorage(path)
    with pytest.raises(StorageCorruptError):
        damaged.load(ENCODER)
    damaged.close()


@pytest.mark.parametrize(("mode", "said"), [(0o555, "clear: cannot open"), (0o600, "clear: cannot look into")])
def test_a_folder_without_permission_gives_a_clear_error(tmp_path: Path, mode: int, said: str) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=mode)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == tmp_path.owner() and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o055)
    # Permissions do not apply to root, so the child becomes nobody after its imports.
    code = f"""
import os
from synaptoroute.errors import StorageError
from synaptoroute.storage import SQLiteStorage
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    SQLiteStorage({str(locked / "routes.db")!r})
except StorageError as exc:
    print("clear:", exc)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.startswith(said), result.stderr
    assert list(locked.iterdir()) == []


def test_a_full_disk_fails_the_change_and_keeps_the_rest(path: Path) -> None:
    code = f"""
import resource, signal, sys
from tests.storage.test_sqlite import ENCODER, put
from synaptoroute.errors import StorageError
from synaptoroute.storage import SQLiteStorage
store = SQLiteStorage({str(path)!r})
store.commit([put("kept", "x")], encoder=ENCODER, expected_revision=0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
big = put("big", *(str(n) * 200 for n in range(5_000)))
try:
    store.commit([big], encoder=ENCODER, expected_revision=1)
except StorageError as exc:
    print("refused")
print([route.name for route in store.load(ENCODER).routes])
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
print(store.commit([big], encoder=ENCODER, expected_revision=1))
store.close()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines() == ["refused", "['kept']", "2"], result.stderr


# ----------------------------------------------------------------------------------------- processes and threads
WRITER = """
import sys
from tests.storage.test_sqlite import ENCODER, put
from synaptoroute.storage import SQLiteStorage
store = SQLiteStorage(sys.argv[1])
revision = store.load(ENCODER).revision
while True:
    names = [f"r{revision}_{n}" for n in range(3)]
    changes = [put(name, "x", "y", seed=revision) for name in names]
    revision = store.commit(changes, encoder=ENCODER, expected_revision=revision)
    print(revision, flush=True)
"""


@pytest.mark.slow  # tests/faults/test_killing.py kills more of them, in less time
def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        store = SQLiteStorage(path)
        stored = store.load(ENCODER)
        store.close()
        assert stored.revision >= int(acknowledged[-1])
        assert len(stored.routes) == 3 * stored.revision
        assert all(route.utterances == ("x", "y") for route in stored.routes)


def test_a_forked_child_opens_its_own_connection(path: Path) -> None:
    store = SQLiteStorage(path)
    store.commit([put("parent", "x")], encoder=ENCODER, expected_revision=0)
    store.close()
    store = SQLiteStorage(path)
    child = os.fork()
    if child == 0:
        try:
            store.commit([put("child", "y")], encoder=ENCODER, expected_revision=1)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the exit code is the message
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert [route.name for route in store.load(ENCODER).routes] == ["parent", "child"]
    store.close()


def test_a_forked_child_cannot_share_memory() -> None:
    store = SQLiteStorage(":memory:")
    child = os.fork()
    if child == 0:
        try:
            store.load(ENCODER)
        except StorageError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    store.close()


def test_a_writer_waits_for_another_process_instead_of_failing(path: Path) -> None:
    store = SQLiteStorage(path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    release.start()
    started = time.monotonic()
    assert store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0) == 1
    assert time.monotonic() - started > 0.2
    release.join()
    other.close()
    store.close()


def test_a_killed_migration_starts_over(path: Path) -> None:
    half_made = sqlite3.connect(path)
    half_made.execute("BEGIN IMMEDIATE")
    half_made.execute("CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL) STRICT")
    half_made.close()
    store = SQLiteStorage(path)
    assert store.load(ENCODER).revision == 0
    store.close()


def test_the_file_says_what_it_is_and_uses_a_write_ahead_log(path: Path) -> None:
    SQLiteStorage(path).close()
    plain = sqlite3.connect(path)
    assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert plain.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert [row[0] for row in plain.execute("SELECT version FROM migrations")] == list(range(1, len(MIGRATIONS) + 1))
    plain.close()


def test_a_sound_store_checks_out_and_a_closed_one_says_so(path: Path) -> None:
    store = SQLiteStorage(path)
    assert store.check() == []
    assert repr(store) == f"SQLiteStorage({str(path)!r})"
    assert store.path == str(path)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.load(ENCODER)


# --------------------------------------------------------------------------------------------------- files beside it
def test_files_may_be_kept_beside_the_database_and_nowhere_for_one_in_memory(path: Path) -> None:
    storage = SQLiteStorage(path)
    assert storage.cache_folder == path.with_name("routes.db-index")
    assert not storage.cache_folder.exists()
    storage.close()
    in_memory = SQLiteStorage(":memory:")
    assert in_memory.cache_folder is None
    in_memory.close()
