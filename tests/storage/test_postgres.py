"""PostgresStorage beyond the contract: servers that are wrong, away, frozen or read-only; secrets stay secret."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
import pytest

from synaptoroute.errors import (
    InvalidInputError,
    MissingExtraError,
    RevisionConflictError,
    StorageCorruptError,
    StorageError,
    StorageForeignError,
)
from synaptoroute.storage import PostgresStorage
from synaptoroute.storage import postgres as module
from synaptoroute.storage.base import DropRoute, StoreState
from synaptoroute.storage.postgres_migrations import MIGRATIONS
from synaptoroute.storage.postgres_rows import given, kept
from synaptoroute.testing.storage import ENCODER, put
from tests.postgres_server import PASSWORD, PostgresServer
from tests.tcp_proxy import TcpProxy

T = TypeVar("T")


@pytest.fixture
def schema(postgres: PostgresServer) -> str:
    return postgres.schema()


@pytest.fixture
def store(postgres: PostgresServer, schema: str) -> Iterator[PostgresStorage]:
    store = PostgresStorage(postgres.dsn(), schema=schema)
    yield store
    store.close()


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[TcpProxy]:
    with TcpProxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """One to stop and freeze, which the others must not notice."""
    server = PostgresServer()
    yield server
    server.close()


def plainly(postgres: PostgresServer, statement: str, **fields: str) -> None:
    with psycopg.connect(postgres.dsn(**fields), autocommit=True) as connection:
        connection.execute(statement.encode())


def names(store: PostgresStorage) -> list[str]:
    return [route.name for route in store.load(ENCODER).routes]


# -------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    "dsn",
    [
        "hunter2",
        "postgresql://me:hun%zzter2@host/db",
        "postgresql://me:h@unter2@host/db",
        "postgresql://me:h/unter2@host/db",
        "host=x port=hunter2",
    ],
)
def test_a_connection_string_that_cannot_be_read_is_refused_and_not_repeated(dsn: str) -> None:
    with pytest.raises(InvalidInputError, match="wanted postgresql://") as refused:
        PostgresStorage(dsn)
    assert "unter2" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("schema", ["", "Routes", "a-b", "x; DROP TABLE y", "x" * 42, "1a"])
def test_a_schema_must_be_a_plain_name(postgres: PostgresServer, schema: str) -> None:
    with pytest.raises(InvalidInputError, match="schema"):
        PostgresStorage(postgres.dsn(), schema=schema)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"password": "wrong-Canary"}, "password authentication failed"),
        ({"user": "nobody", "password": "wrong-Canary"}, "password authentication failed"),
        ({"dbname": "missing"}, 'database "missing" does not exist'),
        ({"port": "1"}, "refused"),
    ],
)
def test_what_is_wrong_is_said_at_once_and_without_the_password(
    postgres: PostgresServer, wrong: dict[str, str], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    started = time.monotonic()
    with pytest.raises(StorageError, match=says) as refused:
        PostgresStorage(postgres.dsn(**wrong))
    assert time.monotonic() - started < 5
    for text in (str(refused.value), repr(refused.value.__cause__), caplog.text):
        assert "Canary" not in text


def test_the_password_is_in_no_repr_and_in_no_log(store: PostgresStorage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    store.close()
    for text in (repr(store), repr(store.database), repr(store.database.address), caplog.text):
        assert PASSWORD not in text
    assert store.database.shown in repr(store)


def test_without_pgvector_it_says_how_to_get_it(postgres: PostgresServer) -> None:
    plainly(postgres, "CREATE DATABASE plain")
    # Where extensions are looked for: somewhere else, as on a server that has none.
    plainly(postgres, "ALTER DATABASE plain SET extension_control_path = '/nonexistent'")
    with pytest.raises(StorageForeignError, match=r"no pgvector.*postgresql-\d+-pgvector.*github.com/pgvector"):
        PostgresStorage(postgres.dsn(dbname="plain"))


def test_a_user_who_may_not_switch_pgvector_on_is_told_to_ask(postgres: PostgresServer) -> None:
    plainly(postgres, "CREATE DATABASE bare")
    plainly(postgres, "CREATE ROLE modest LOGIN PASSWORD 'modest'")
    modest = dict.fromkeys(("user", "password"), "modest")
    with pytest.raises(StorageForeignError, match="CREATE EXTENSION vector"):
        PostgresStorage(postgres.dsn(dbname="bare", **modest))
    plainly(postgres, "CREATE EXTENSION vector", dbname="bare")
    with pytest.raises(StorageError, match="permission denied"):
        PostgresStorage(postgres.dsn(dbname="bare", **modest))


def test_a_server_that_is_too_old_is_refused(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synaptoroute.postgres.database.LEAST_SERVER", 99)
    with pytest.raises(StorageForeignError, match=r"is PostgreSQL \d+, 99 or newer is needed"):
        PostgresStorage(postgres.dsn())


def test_a_pgvector_that_is_too_old_is_refused(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synaptoroute.postgres.database.LEAST_PGVECTOR", (99, 0))
    with pytest.raises(StorageForeignError, match=r"pgvector 0\..*99.0 or newer.*ALTER EXTENSION"):
        PostgresStorage(postgres.dsn())


def test_a_database_that_is_not_in_utf_8_is_refused(postgres: PostgresServer) -> None:
    plainly(postgres, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StorageForeignError, match="LATIN1, UTF8 is needed"):
        PostgresStorage(postgres.dsn(dbname="latin"))


def test_a_schema_of_another_program_or_a_newer_version_is_left_alone(
    postgres: PostgresServer, store: PostgresStorage, schema: str
) -> None:
    other = postgres.schema()
    plainly(postgres, f"CREATE SCHEMA {other}; CREATE TABLE {other}.bookmarks (url text)")
    with pytest.raises(StorageForeignError, match="another program"):
        PostgresStorage(postgres.dsn(), schema=other)
    newer = len(MIGRATIONS) + 1
    plainly(postgres, f"SET search_path = {schema}; INSERT INTO migrations VALUES ({newer}, now())")  # noqa: S608
    with pytest.raises(StorageForeignError, match="upgrade synaptoroute"):
        PostgresStorage(postgres.dsn(), schema=schema)


def test_without_the_driver_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'synaptoroute\[postgres\]'"):
        PostgresStorage("host=localhost")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE utterances SET vector = array_fill(0.5::float4, ARRAY[4])::vector WHERE id = 2",
        "UPDATE utterances SET vector = '[1]'",
        "UPDATE routes SET metadata = '{broken'",
        "UPDATE routes SET name = '<script>'",
        "DELETE FROM utterances",
        "DELETE FROM state",
        "DELETE FROM lineages",
    ],
)
def test_content_that_was_tampered_with_is_reported_as_damage(
    postgres: PostgresServer, store: PostgresStorage, schema: str, statement: str
) -> None:
    store.commit([put("a", "x", "y")], encoder=ENCODER, expected_revision=0)
    plainly(postgres, f"SET search_path = {schema}, public; {statement}")
    with pytest.raises(StorageCorruptError):
        store.load(ENCODER)


@pytest.mark.parametrize("text", ["", "a", "\\", "\\0", "\0", "\\\0", "\0\\", "\\\\0\0\0\\", "x\\y\\0z"])
def test_every_text_has_a_form_that_the_server_takes(text: str) -> None:
    assert "\0" not in kept(text)
    assert given(kept(text)) == text


# ----------------------------------------------------------------------------------------- processes and threads
def test_several_may_open_an_empty_database_at_once(postgres: PostgresServer) -> None:
    plainly(postgres, "CREATE DATABASE fresh")
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: PostgresStorage(postgres.dsn(dbname="fresh")), range(6)))
    assert len({store.state().store_id for store in stores}) == 1
    for store in stores:
        store.close()


def test_of_many_who_commit_at_once_one_wins_every_revision(postgres: PostgresServer, schema: str) -> None:
    def write(number: int) -> tuple[int, int]:
        store, won, lost = PostgresStorage(postgres.dsn(), schema=schema), 0, 0
        while won < 15:
            try:
                change = put(f"w{number}n{won}", "x")
                store.commit([change], encoder=ENCODER, expected_revision=store.state().revision)
                won += 1
            except RevisionConflictError:
                lost += 1
        store.close()
        return won, lost

    PostgresStorage(postgres.dsn(), schema=schema).close()
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(write, range(4)))
    store = PostgresStorage(postgres.dsn(), schema=schema)
    assert store.state().revision == sum(won for won, _ in counts) == 60
    assert len(names(store)) == 60
    store.close()


def test_a_forked_child_connects_anew(store: PostgresStorage) -> None:
    store.commit([put("parent", "x")], encoder=ENCODER, expected_revision=0)
    child = os.fork()
    if child == 0:
        try:
            store.commit([put("child", "y")], encoder=ENCODER, expected_revision=1)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the exit code is the message
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert names(store) == ["parent", "child"]


WRITER = """
import sys
from synaptoroute.storage import PostgresStorage
from synaptoroute.testing.storage import ENCODER, put
store = PostgresStorage(sys.argv[1], schema=sys.argv[2])
revision = store.state().revision
while True:
    changes = [put(f"r{revision}_{n}", "x", "y", seed=revision) for n in range(3)]
    revision = store.commit(changes, encoder=ENCODER, expected_revision=revision)
    print(revision, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9_of_the_writer(postgres: PostgresServer, schema: str) -> None:
    for _ in range(2):
        command = [sys.executable, "-c", WRITER, postgres.dsn(), schema]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        store = PostgresStorage(postgres.dsn(), schema=schema)
        stored = store.load(ENCODER)
        store.close()
        assert stored.revision >= int(acknowledged[-1])
        assert len(stored.routes) == 3 * stored.revision
        assert all(route.utterances == ("x", "y") for route in stored.routes)


# -------------------------------------------------------------------------------------------- lost on the way
@pytest.mark.parametrize("cut", [TcpProxy.reset, TcpProxy.half_open])
def test_connections_that_were_cut_meanwhile_are_replaced(
    postgres: PostgresServer, schema: str, proxy: TcpProxy, cut: Callable[[TcpProxy], object]
) -> None:
    store = PostgresStorage(postgres.dsn(port=proxy.port), schema=schema)
    for revision in range(5):
        assert store.commit([put(f"r{revision}", "x")], encoder=ENCODER, expected_revision=revision) == revision + 1
        cut(proxy)
    assert store.state().revision == 5
    store.close()


def test_writes_beside_a_cutter_are_each_stored_exactly_once(
    postgres: PostgresServer, schema: str, proxy: TcpProxy
) -> None:
    store = PostgresStorage(postgres.dsn(port=proxy.port), schema=schema)
    done, cuts, chance = threading.Event(), [0], random.Random(0)  # noqa: S311 - no secrets

    def cut() -> None:
        while not done.wait(chance.uniform(0.01, 0.2)):
            cuts[0] += proxy.reset()

    cutter = threading.Thread(target=cut)
    cutter.start()
    acknowledged: list[str] = []
    unsure = 0
    until = time.monotonic() + 60
    while time.monotonic() < until and (cuts[0] <= 20 or len(acknowledged) <= 20):
        name = f"r{len(acknowledged) + unsure}"
        try:
            revision = store.state().revision
            assert store.commit([put(name, "x")], encoder=ENCODER, expected_revision=revision) == revision + 1
            acknowledged.append(name)
        except StorageError:
            unsure += 1
    done.set()
    cutter.join()
    stored = names(store)
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored)) == store.state().revision
    assert len(acknowledged) > 20
    assert cuts[0] > 20
    store.close()


def test_an_answer_that_is_lost_is_found_again(
    postgres: PostgresServer, schema: str, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit arrives and is stored, its acknowledgement is not: it must be neither repeated nor denied."""
    from synaptoroute.storage.postgres_writing import Commit

    store, runs, run = PostgresStorage(postgres.dsn(port=proxy.port), schema=schema), [0], Commit.run

    def cut_after_the_first(self: Commit, connection: Any, **how: Any) -> int:
        revision = run(self, connection, **how)
        runs[0] += 1
        if runs[0] == 1:
            proxy.reset()
            raise psycopg.OperationalError("the answer did not come through")
        return revision

    monkeypatch.setattr(Commit, "run", cut_after_the_first)
    assert store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0) == 1
    assert runs == [2]
    assert (names(store), store.state().revision) == (["a"], 1)
    store.close()


@pytest.mark.parametrize("how", ["black hole", "refused"])
def test_without_the_server_everything_fails_within_its_time_and_recovers(
    postgres: PostgresServer, schema: str, proxy: TcpProxy, how: str
) -> None:
    store = PostgresStorage(postgres.dsn(port=proxy.port), schema=schema, timeout_s=1.0)
    if how == "black hole":
        proxy.black_hole = True
    else:
        proxy.refusing = True
        proxy.reset()
    started = time.monotonic()
    with pytest.raises(StorageError, match="cannot write"):
        store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    assert time.monotonic() - started < 3.5, "three times its timeout, and half a second of a busy machine"
    with pytest.raises(StorageError, match="cannot read"):
        store.state()
    proxy.black_hole = proxy.refusing = False
    proxy.reset()
    assert eventually(lambda: store.commit([put("b", "x")], encoder=ENCODER, expected_revision=0) == 1)
    assert names(store) == ["b"]
    store.close()


def test_a_frozen_and_a_restarted_server(own_server: PostgresServer) -> None:
    store = PostgresStorage(own_server.dsn(), timeout_s=1.0)
    store.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    own_server.signal_all(signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(StorageError):
            store.commit([put("b", "x")], encoder=ENCODER, expected_revision=1)
        assert time.monotonic() - started < 3.5
    finally:
        own_server.signal_all(signal.SIGCONT)
    revision = eventually(lambda: store.state().revision)
    own_server.stop(signal.SIGKILL)
    own_server.start()
    assert eventually(lambda: store.commit([put("c", "x")], encoder=ENCODER, expected_revision=revision))
    assert {"a", "c"} <= set(names(store))
    store.close()


def test_a_standby_can_be_read_and_says_so_when_written_to(own_server: PostgresServer) -> None:
    primary = PostgresStorage(own_server.dsn())
    primary.commit([put("a", "x")], encoder=ENCODER, expected_revision=0)
    standby_server = PostgresServer(standby_of=own_server)
    hosts = f"127.0.0.1,127.0.0.1 port={own_server.port},{standby_server.port} target_session_attrs=read-write"
    following = PostgresStorage(own_server.dsn(host=hosts).replace(f" port={own_server.port} user", " user"))
    try:
        standby = PostgresStorage(standby_server.dsn())
        assert eventually(lambda: names(standby) == ["a"])
        with pytest.raises(StorageError, match=r"read-only .*target_session_attrs=read-write"):
            standby.commit([put("b", "x")], encoder=ENCODER, expected_revision=1)
        seen = threading.Semaphore(0)
        watch = standby.watch(counting(seen))
        assert seen.acquire(timeout=10)
        following.commit([put("b", "y")], encoder=ENCODER, expected_revision=1)
        assert seen.acquire(timeout=10), "a standby passes no notification on, but is looked at"
        watch.close()
        assert eventually(lambda: names(standby) == ["a", "b"])
        state = standby.state()

        own_server.stop(signal.SIGKILL)
        standby_server.promote()
        assert eventually(lambda: following.commit([put("c", "z")], encoder=ENCODER, expected_revision=2) == 3)
        assert names(standby) == ["a", "b", "c"]
        assert following.state().lineage != state.lineage, "who was promoted may have lost something"
        standby.close()
    finally:
        following.close()
        primary.close()
        standby_server.close()


# ------------------------------------------------------------------------------------------------------- following
def test_a_watch_tells_of_every_commit_and_of_labelled_queries(postgres: PostgresServer, schema: str) -> None:
    # So rarely does it look by itself that every call below is due to a notification.
    store = PostgresStorage(postgres.dsn(), schema=schema, poll_s=60)
    told = threading.Semaphore(0)
    watch = store.watch(counting(told))
    assert told.acquire(timeout=10), "once at the beginning"
    other = PostgresStorage(postgres.dsn(), schema=schema)
    for revision in range(20):
        other.commit([put(f"r{revision}", "x")], encoder=ENCODER, expected_revision=revision)
        assert told.acquire(timeout=10)
    store.save_labelled(None, encoder=ENCODER)
    assert told.acquire(timeout=10)
    store.commit([put("own", "x")], encoder=ENCODER, expected_revision=20)
    assert told.acquire(timeout=10)
    watch.close()
    watch.close()
    other.close()
    store.close()


def test_a_watch_survives_cuts_and_what_it_calls(postgres: PostgresServer, schema: str, proxy: TcpProxy) -> None:
    store = PostgresStorage(postgres.dsn(port=proxy.port), schema=schema, poll_s=0.05)
    seen: list[int] = []
    failing = [True]

    def changed(_state: StoreState | None) -> bool:
        if failing[0]:
            failing[0] = False
            raise StorageError("not now")
        seen.append(store.state().revision)
        return seen[-1] < 4

    watch = store.watch(changed)
    assert eventually(lambda: 0 in seen), "called again after it failed"
    other = PostgresStorage(postgres.dsn(), schema=schema)
    for revision in range(4):
        other.commit([put(f"r{revision}", "x")], encoder=ENCODER, expected_revision=revision)
        assert eventually(lambda at=revision + 1: at in seen), "also after a cut"  # type: ignore[misc] # an early value
        proxy.reset()
    calls = len(seen)
    other.commit([DropRoute(name="r0")], encoder=ENCODER, expected_revision=4)
    other.close()
    watch.close()
    assert len(seen) == calls, "it has said that it wants to hear no more"
    store.close()


def test_more_changes_than_are_remembered_lead_nowhere(
    postgres: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HISTORY", 3)
    states = []
    for revision in range(10):
        store = PostgresStorage(postgres.dsn(), schema=schema)
        states.append(store.state())
        change = put("a", "x") if revision % 2 == 0 else DropRoute(name="a")
        store.commit([change], encoder=ENCODER, expected_revision=revision)
        store.close()
    store = PostgresStorage(postgres.dsn(), schema=schema)
    found = [store.changes_since(state, ENCODER) for state in states]
    assert [changes is not None for changes in found] == [False] * 7 + [True] * 3
    store.commit([put(name, "x") for name in "abcd"], encoder=ENCODER, expected_revision=10)
    assert store.changes_since(states[-1], ENCODER) is None, "four routes and a drop have changed"
    store.close()
    with psycopg.connect(postgres.dsn()) as plain:
        for table, column, left in (
            ("dropped", "revision", [10]),
            ("commits", "revision", [9, 10, 11]),
            ("lineages", "since", [8, 9, 10, 11]),
        ):
            rows = plain.execute(f"TABLE {schema}.{table} ORDER BY {column}".encode()).fetchall()
            assert [row[0] for row in rows] == left, table


def counting(told: threading.Semaphore) -> Callable[[StoreState | None], bool]:
    def changed(_state: StoreState | None) -> bool:
        told.release()
        return True

    return changed


def eventually(value: Callable[[], T]) -> T:
    """What a call returns once it returns something true; it may fail with a StorageError meanwhile."""
    until = time.monotonic() + 20
    while True:
        try:
            if found := value():
                return found
        except StorageError:
            if time.monotonic() > until:
                raise
        assert time.monotonic() < until
        time.sleep(0.05)
