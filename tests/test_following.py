"""Routers that share a store: each sees what the others commit, and no change is lost or overwrites another."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.decision import lessons
from synaptoroute.errors import RouteExistsError, RouteNotFoundError, RouterClosedError, StorageError
from synaptoroute.storage import BaseStorage, PostgresStorage, SQLiteStorage
from tests.postgres_server import PostgresServer
from tests.seeded import SeededEncoder, route, small_heads
from tests.tcp_proxy import TcpProxy

Opening = Callable[[], BaseStorage]


@pytest.fixture(params=["sqlite", "postgres"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens the same store, as each process would."""
    if request.param == "sqlite":
        return lambda: SQLiteStorage(tmp_path / "routes.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    schema = server.schema()
    # So rarely do they look by themselves that whoever follows was notified.
    return lambda: PostgresStorage(server.dsn(), schema=schema, poll_s=60)


@pytest.fixture
def dsn_and_schema(postgres: PostgresServer) -> tuple[str, str]:
    return postgres.dsn(), postgres.schema()


def eventually(seen: Callable[[], bool], within_s: float = 20) -> bool:
    until = time.monotonic() + within_s
    while not seen():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def contents(router: AdaptiveRouter) -> list[Route]:
    return list(router.routes)


def alike(one: AdaptiveRouter, other: AdaptiveRouter) -> bool:
    """The same routes in the same order, with the same vectors, as a router sees them that opens the store now."""
    if (one.revision, contents(one)) != (other.revision, contents(other)):
        return False
    vectors = [router.snapshot.vectors_by_route()[0].tobytes() for router in (one, other)]
    return vectors[0] == vectors[1]


# ---------------------------------------------------------------------------------------------------------- refresh
def test_a_refresh_takes_over_every_kind_of_change(opening: Opening) -> None:
    with AdaptiveRouter(SeededEncoder(), opening()) as one, AdaptiveRouter(SeededEncoder(), opening()) as other:
        one.add_routes([route("a"), route("b"), route("c")])
        assert other.refresh() == one.revision
        assert other.route("a 1", threshold=-1).name == "a"
        one.add_utterance("a", "a more")
        one.remove_utterance("a", "a 0")
        one.update_threshold("b", 0.5)
        one.delete_route("c")
        one.add_route(route("d"))
        one.delete_route("d")
        one.add_route(route("d", "again"))
        other.refresh()
        assert alike(one, other)
        with AdaptiveRouter(SeededEncoder(), opening()) as fresh:
            assert alike(fresh, other)
        table = other.snapshot
        assert other.refresh() == one.revision
        assert other.snapshot is table, "nothing has changed, so nothing that was learned or decided is thrown away"


def test_a_refresh_encodes_nothing(opening: Opening) -> None:
    encoder = SeededEncoder()
    with AdaptiveRouter(SeededEncoder(), opening()) as one, AdaptiveRouter(encoder, opening()) as other:
        one.add_routes([route(f"r{number}") for number in range(50)])
        other.refresh()
        assert len(other) == 50
        assert encoder.encoded == 0


def test_what_was_labelled_elsewhere_is_learned_from_too(opening: Opening) -> None:
    queries = [f"{name} asked {number}" for name in "abc" for number in range(12)]
    labels = [query[0] for query in queries]
    with AdaptiveRouter(SeededEncoder(), opening()) as one, AdaptiveRouter(SeededEncoder(), opening()) as other:
        one.add_routes([route("a"), route("b"), route("c")])
        other.refresh()
        one.fit(queries, labels, force=True)
        other.refresh()
        labelled = other.snapshot.labelled
        assert labelled is not None
        assert labelled.texts == tuple(queries)
        other.refresh()
        assert other.snapshot.labelled is labelled
        one.forget_fit()
        other.refresh()
        assert other.snapshot.labelled is None


def test_what_leads_nowhere_is_read_anew(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlite", "postgres"):
        monkeypatch.setattr(f"synaptoroute.storage.{module}.HISTORY", 2)
    with AdaptiveRouter(SeededEncoder(), opening()) as one, AdaptiveRouter(SeededEncoder(), opening()) as other:
        one.add_routes([route(f"r{number}") for number in range(30)])
        for number in range(0, 30, 2):
            one.delete_route(f"r{number}")
        other.refresh()
        other.refresh()
        assert alike(one, other)
        other.add_route(route("from the other"))
        one.refresh()
        assert alike(one, other)


def test_a_refresh_while_the_table_is_compacted(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("table", "table_files"):
        monkeypatch.setattr(f"synaptoroute.{module}.SEGMENTED_FROM", 60)
    monkeypatch.setattr("synaptoroute.index.segmented._TAIL_ROWS", 20)
    monkeypatch.setattr(lessons, "EFFORTS", small_heads(100))
    with AdaptiveRouter(SeededEncoder(), opening()) as one, AdaptiveRouter(SeededEncoder(), opening()) as other:
        for start in range(0, 200, 20):
            one.add_routes([route(f"r{number}") for number in range(start, start + 20)])
            other.refresh()
            other.delete_route(f"r{start}")
            one.refresh()
        assert other.wait_until_fitted(30)
        one.refresh()
        assert one.wait_until_fitted(30)
        assert alike(one, other)
        assert other.route("r155 0", threshold=-1).name == "r155"


# --------------------------------------------------------------------------------------------- planned anew
def test_a_change_that_comes_second_is_planned_anew(opening: Opening) -> None:
    encoder = SeededEncoder()
    with AdaptiveRouter(SeededEncoder(), opening()) as one, AdaptiveRouter(encoder, opening()) as other:
        one.add_route(route("a"))
        other.add_route(route("b"))
        assert encoder.encoded == 3, "planning anew encodes nothing again"
        one.refresh()
        one.add_utterance("b", "b more")
        other.add_utterance("b", "b even more")
        one.refresh()
        other.refresh()
        assert alike(one, other)
        assert one.get_route("b").utterances == ("b 0", "b 1", "b 2", "b more", "b even more")


def test_a_plan_that_no_longer_holds_fails_as_it_would_have(opening: Opening) -> None:
    with AdaptiveRouter(SeededEncoder(), opening()) as one, AdaptiveRouter(SeededEncoder(), opening()) as other:
        one.add_route(route("a"))
        with pytest.raises(RouteExistsError):
            other.add_route(route("a", "otherwise"))
        assert other.get_route("a").utterances == ("a 0", "a 1", "a 2")
        one.delete_route("a")
        with pytest.raises(RouteNotFoundError):
            other.add_utterance("a", "a more")
        assert one.revision == other.revision == 2


def test_many_who_write_at_once_lose_nothing(opening: Opening) -> None:
    def write(number: int) -> int:
        with AdaptiveRouter(SeededEncoder(), opening()) as router:
            for change in range(15):
                router.add_route(route(f"w{number}n{change}"))
                if change % 3 == 0:
                    router.delete_route(f"w{number}n{change}")
            return router.revision

    opening().close()
    with ThreadPoolExecutor(4) as pool:
        revisions = list(pool.map(write, range(4)))
    with AdaptiveRouter(SeededEncoder(), opening()) as router:
        assert router.revision == max(revisions) == 4 * 20
        assert {each.name for each in router.routes} == {
            f"w{number}n{change}" for number in range(4) for change in range(15) if change % 3
        }


WRITER = """
import sys
from synaptoroute import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from tests.seeded import SeededEncoder, route
with AdaptiveRouter(SeededEncoder(), SQLiteStorage(sys.argv[1])) as router:
    for number in range(20):
        router.add_route(route(f"{sys.argv[2]}{number}"))
"""


def test_two_processes_share_a_sqlite_file_and_take_turns_to_write(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
        for turn, name in enumerate("xy", start=1):
            writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), name])
            seen = [router.revision]
            while writer.poll() is None:
                seen.append(router.refresh())
                time.sleep(0.01)
            assert writer.returncode == 0
            seen.append(router.refresh())
            assert seen == sorted(seen)
            assert len(router) == router.revision == seen[-1] == 20 * turn
        assert router.route("x7 0", threshold=-1).name == "x7"
        # The last one has closed the store, so that there is room for another writer.
        assert router.add_route(route("mine")) == 41


# ---------------------------------------------------------------------------------------------------- followed
@pytest.fixture
def replicas(dsn_and_schema: tuple[str, str]) -> Iterator[list[AdaptiveRouter]]:
    dsn, schema = dsn_and_schema
    routers = [AdaptiveRouter(SeededEncoder(), PostgresStorage(dsn, schema=schema, poll_s=60)) for _ in range(3)]
    yield routers
    for router in routers:
        router.close()


def test_replicas_on_postgres_follow_each_other(replicas: list[AdaptiveRouter]) -> None:
    for number in range(12):
        replicas[number % 3].add_route(route(f"r{number}"))
    assert eventually(lambda: {router.revision for router in replicas} == {12})
    assert alike(replicas[0], replicas[1])
    assert alike(replicas[0], replicas[2])
    assert replicas[1].route("r5 0", threshold=-1).name == "r5"


def test_a_forked_child_follows_too(dsn_and_schema: tuple[str, str]) -> None:
    dsn, schema = dsn_and_schema
    with AdaptiveRouter(SeededEncoder(), PostgresStorage(dsn, schema=schema)) as router:
        router.add_route(route("before"))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                router.route("before 0", threshold=-1)
                os.write(writing, b"x")
                found = eventually(lambda: router.route("after 0", threshold=-1).name == "after")
                os._exit(0 if found else 1)
            except BaseException:  # noqa: BLE001 - the exit code is the message
                os._exit(2)
        os.read(reading, 1)
        router.add_route(route("after"))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.close(reading)
        os.close(writing)
        router.delete_route("before")


def test_queries_go_on_while_the_database_is_away_and_it_is_followed_again(postgres: PostgresServer) -> None:
    schema = postgres.schema()
    with TcpProxy(postgres.port) as proxy:
        through = PostgresStorage(postgres.dsn(port=proxy.port), schema=schema, timeout_s=1.0, poll_s=0.1)
        direct = PostgresStorage(postgres.dsn(), schema=schema)
        with AdaptiveRouter(SeededEncoder(), through) as cut_off, AdaptiveRouter(SeededEncoder(), direct) as other:
            other.add_route(route("a"))
            assert eventually(lambda: "a" in cut_off)
            for away in ("black_hole", "refusing"):
                setattr(proxy, away, True)
                if away == "refusing":
                    proxy.reset()
                with pytest.raises(StorageError):
                    cut_off.add_route(route("b"))
                assert cut_off.route("a 0", threshold=-1).name == "a"
                name = f"{away} meanwhile"
                other.add_route(route(name))
                assert name not in cut_off
                setattr(proxy, away, False)
                assert eventually(lambda name=name: name in cut_off)  # type: ignore[misc] # an early value
            cut_off.add_route(route("b"))
            assert eventually(lambda: "b" in other)
            assert alike(cut_off, other)


def test_a_router_that_was_closed_or_forgotten_follows_no_more(dsn_and_schema: tuple[str, str]) -> None:
    dsn, schema = dsn_and_schema
    before = {thread for thread in threading.enumerate() if thread.name == "synaptoroute-watch"}
    router = AdaptiveRouter(SeededEncoder(), PostgresStorage(dsn, schema=schema))
    router.close()
    assert {thread for thread in threading.enumerate() if thread.name == "synaptoroute-watch"} <= before
    with pytest.raises(RouterClosedError):
        router.refresh()
