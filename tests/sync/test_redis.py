"""Several routers hold the same routes, whatever happens between them. The server is real, and so are its failures."""

from __future__ import annotations

import logging
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.errors import (
    EncoderError,
    InvalidInputError,
    InvalidRouteError,
    RouteNotFoundError,
    RouterClosedError,
    SynaptoRouteError,
    SyncForeignError,
)
from synaptoroute.storage import SQLiteStorage
from synaptoroute.storage.base import NotingStorage
from synaptoroute.sync import RedisSyncManager
from tests.seeded import SeededEncoder, route, vectors_of
from tests.sync.conftest import Fleet, assert_same, content
from tests.tcp_proxy import TcpProxy
from tests.valkey_server import ValkeyServer

ROOT = Path(__file__).parents[2]
Eventually = Callable[[Callable[[], bool]], None]


class NoEncoder:
    """A replica's encoder that must not be needed."""

    name, dim, fingerprint = SeededEncoder.name, SeededEncoder.dim, SeededEncoder.fingerprint

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        raise EncoderError(f"asked to encode {len(texts)} texts")


# ------------------------------------------------------------------------------------------------------- every day
def test_what_one_adds_changes_and_drops_the_others_answer_without_encoding(fleet: Fleet) -> None:
    one, other = fleet.replica("one"), fleet.replica("other", encoder=NoEncoder())
    one.router.add_routes([route("billing"), route("weather"), route("music")])
    one.router.update_route("weather", threshold=0.25, description="Forecasts", metadata={"b": [1.5, None], "a": "ß"})
    one.router.add_utterance("billing", "billing again")
    one.router.remove_utterance("billing", "billing 0")
    one.router.delete_route("music")
    assert_same(one, other)
    assert other.router.get_route("weather").metadata == {"a": "ß", "b": (1.5, None)}
    assert other.router.get_route("billing").utterances == ("billing 1", "billing 2", "billing again")
    assert "music" not in other


def test_a_change_of_three_routes_is_never_seen_in_part(fleet: Fleet, eventually: Eventually) -> None:
    one, other = fleet.replica("one"), fleet.replica("other")
    torn: list[set[tuple[str, ...]]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            said = {tuple(text[2:] for text in route.utterances) for route in other.router.routes}
            if len(said) > 1:
                torn.append(said)

    looker = threading.Thread(target=look)
    looker.start()
    for number in range(20):
        one.router.put_routes([route(name, number) for name in "abc"])
        eventually(lambda now=f"c {number}": "c" in other and now in other.router.get_route("c").utterances)  # type: ignore[misc]
    done.set()
    looker.join()
    assert not torn
    assert_same(one, other)


def test_a_replica_that_was_away_goes_on_where_it_was(fleet: Fleet) -> None:
    one, other = fleet.replica("one"), fleet.replica("other")
    one.router.add_route(route("a"))
    assert_same(one, other)
    other.close()
    one.router.add_route(route("b"))
    one.router.delete_route("a")
    again = fleet.replica("other")
    assert_same(one, again)
    assert again.sync.health().resyncs == 0


def test_a_new_replica_gets_everything_and_encodes_nothing(fleet: Fleet) -> None:
    one = fleet.replica("one")
    one.router.add_routes(route(f"route {number}", 0) for number in range(1_200))
    one.router.delete_route("route 7")
    assert one.sync.wait(30)
    other = fleet.replica("other", encoder=NoEncoder())
    assert_same(one, other)
    assert len(other.router) == 1_199


def test_an_own_change_that_came_back_is_noted_by_the_end_and_before_if_nothing_happens(
    fleet: Fleet, eventually: Eventually
) -> None:
    one = fleet.replica("one")
    one.router.add_route(route("a"))
    assert one.sync.wait(30)
    with closing(SQLiteStorage(fleet.files / "one.db")) as looking:
        prefix = f"sync/{fleet.namespace}/"
        eventually(lambda: not looking.notes(f"{prefix}out/"))
        assert looking.notes(f"{prefix}version/a")
        one.router.add_route(route("b"))
        assert one.sync.wait(30)
        one.close()
        assert not looking.notes(f"{prefix}out/")
        assert looking.notes(f"{prefix}version/b")


def test_a_replica_that_died_before_it_noted_that_its_change_came_back_publishes_nothing_twice(
    fleet: Fleet, shared_server: ValkeyServer
) -> None:
    one, other = fleet.replica("one"), fleet.replica("other")
    one.router.add_route(route("a"))
    # What a crash at this moment leaves, at the latest before the change came back.
    with closing(sqlite3.connect(fleet.files / "one.db")) as source:
        waiting = source.execute("SELECT name, value FROM notes WHERE name GLOB ?", (f"sync/{fleet.namespace}/*",))
        notes = dict(waiting.fetchall())
    assert_same(one, other)
    other.router.update_route("a", description="later")
    assert_same(one, other)
    one.close()
    with closing(SQLiteStorage(fleet.files / "one.db")) as store:
        later = dict.fromkeys(store.notes(f"sync/{fleet.namespace}/"))
        at = store.state().revision
        store.save_notes({**later, **notes, f"sync/{fleet.namespace}/at": str(at).encode()})
    with shared_server.client() as client:
        entries = client.xlen(f"synaptoroute:{{{fleet.namespace}}}:stream")
        again = fleet.replica("one")
        assert_same(again, other)
        assert again.router.get_route("a").description == "later"
        assert client.xlen(f"synaptoroute:{{{fleet.namespace}}}:stream") == entries


def test_routes_from_before_are_published_too(fleet: Fleet) -> None:
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(fleet.files / "one.db")) as alone:
        alone.add_routes([route("a"), route("b")])
    assert_same(fleet.replica("one"), fleet.replica("other"))
    assert "b" in fleet.replica("third") or fleet.replica("fourth").sync.wait(30)


def test_what_was_changed_in_the_store_without_synchronising_is_published(fleet: Fleet) -> None:
    one, other = fleet.replica("one"), fleet.replica("other")
    one.router.add_routes([route("a"), route("b"), route("c")])
    assert_same(one, other)
    one.close()
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(fleet.files / "one.db")) as alone:
        alone.update_threshold("a", 0.5)
        alone.delete_route("b")
        alone.add_route(route("d"))
    one = fleet.replica("one")
    assert_same(one, other)
    assert other.router.get_route("a").threshold == 0.5
    assert sorted(name for name in "abcd" if name in other) == ["a", "c", "d"]


def test_in_memory_stores_take_part(fleet: Fleet) -> None:
    with (
        AdaptiveRouter(SeededEncoder(), sync_manager=fleet.manager()) as one,
        AdaptiveRouter(SeededEncoder(), sync_manager=fleet.manager()) as other,
    ):
        one.add_route(route("a"))
        assert one.sync_manager is not None
        assert other.sync_manager is not None
        assert one.sync_manager.wait(30)
        assert other.sync_manager.wait(30)
        assert "a" in other


# ------------------------------------------------------------------------------------------------------- conflicts
def test_of_two_changes_at_the_same_time_all_keep_the_same(fleet: Fleet) -> None:
    replicas = [fleet.replica(name) for name in ("one", "two", "three")]
    for round_ in range(10):
        with ThreadPoolExecutor(3) as pool:
            done = [
                pool.submit(replica.router.put_routes, [route("contested", f"by {place} in {round_}")])
                for place, replica in enumerate(replicas)
            ]
            for each in done:
                each.result()
        assert_same(*replicas)


def test_an_own_change_that_waits_is_not_undone_by_an_earlier_one_of_others(own_fleet: Fleet, proxy: TcpProxy) -> None:
    """Its place in the order will be later, so here it stays, and there it arrives."""
    one, other = own_fleet.replica("one"), own_fleet.replica("other")
    one.router.add_route(route("contested"))
    assert_same(one, other)
    one.sync._links[1].shut()  # its publishing connection; reading goes on
    one.router.put_routes([route("contested", "mine")])
    other.router.put_routes([route("contested", "theirs")])
    other.router.add_route(route("after"))
    deadline = time.monotonic() + 30
    while "after" not in one:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert one.router.get_route("contested").utterances == ("contested mine",)
    assert one.sync.health().conflicts == 1
    one.close()
    assert_same(own_fleet.replica("one"), other)
    assert other.router.get_route("contested").utterances == ("contested mine",)


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 40))])
def test_replicas_under_random_changes_faults_and_restarts_converge(
    own_fleet: Fleet, own_server: ValkeyServer, seed: int
) -> None:
    """Every sequence of changes on any replica, resets, lost data, restarts of replicas and of the server."""
    rng = random.Random(seed)  # noqa: S311 - repeatable
    with TcpProxy(own_server.port) as proxy:
        names = ["one", "two", "three"]
        replicas = {name: own_fleet.replica(name, port=proxy.port) for name in names}
        for _ in range(60):
            name = rng.choice(names)
            router = replicas[name].router
            some = f"r{rng.randrange(6)}"
            match rng.randrange(12):
                case 0:
                    proxy.reset()
                case 1 if rng.random() < 0.5:
                    with own_server.client() as client:
                        client.flushall()
                case 2:
                    replicas[name].close()
                    replicas[name] = own_fleet.replica(name, port=proxy.port)
                case 3 if rng.random() < 0.5:
                    own_server.kill()
                    own_server.start()
                case 4 | 5 if some in router:
                    # Another replica's drop may come in between.
                    with suppress(RouteNotFoundError):
                        router.delete_route(some)
                case 6:
                    proxy.half_open()
                case _:
                    router.put_routes([route(some, rng.randrange(100), rng.randrange(100))])
        assert_same(*replicas.values())


# ------------------------------------------------------------------------------------------------- a bad connection
@pytest.mark.parametrize("seconds", [3, pytest.param(120, marks=pytest.mark.slow)])
def test_nothing_is_lost_while_connections_are_cut_every_50_ms(fleet: Fleet, proxy: TcpProxy, seconds: float) -> None:
    replicas = [fleet.replica(name, port=proxy.port) for name in ("one", "two", "three")]
    with proxy.cutting_every(0.05) as cutting, ThreadPoolExecutor(3) as pool:
        until = time.monotonic() + seconds

        def write(place: int) -> list[str]:
            written: list[str] = []
            while time.monotonic() < until:
                written.append(f"by {place} number {len(written)}")
                replicas[place].router.add_route(route(written[-1], 0))
                time.sleep(0.005)
            return written

        acknowledged = [name for names in pool.map(write, range(3)) for name in names]
    assert_same(*replicas)
    assert cutting.cuts > 20
    assert sum(replica.sync.health().reconnects for replica in replicas) > 10
    for replica in replicas:
        assert {route.name for route in replica.router.routes} == set(acknowledged)
        assert replica.sync.health().poison == 0


def test_what_changes_while_the_server_is_away_is_published_later_also_after_a_restart(
    own_fleet: Fleet, own_server: ValkeyServer
) -> None:
    one, other = own_fleet.replica("one"), own_fleet.replica("other")
    one.router.add_route(route("a"))
    assert_same(one, other)
    own_server.kill()
    one.router.add_routes([route("b"), route("c")])
    one.router.delete_route("a")
    other.router.add_route(route("d"))
    one.close()
    one = own_fleet.replica("one")
    assert one.sync.health().outbox == 2
    assert one.sync.health().state == "waiting"
    own_server.start()
    assert_same(one, other)
    assert sorted(name for name in "abcd" if name in one) == ["b", "c", "d"]


def test_a_frozen_server_holds_up_nothing(own_fleet: Fleet, own_server: ValkeyServer, eventually: Eventually) -> None:
    one, other = own_fleet.replica("one", timeout_s=0.3), own_fleet.replica("other", timeout_s=0.3)
    one.router.add_route(route("a"))
    assert_same(one, other)
    own_server.freeze()
    try:
        one.router.add_route(route("b"))
        assert one.router("b 0").matches
        eventually(lambda: one.sync.health().state == "waiting")
        assert "could not" in str(one.sync.health().error)
        # Attaching looks at the server once, closing tells it nothing that must be answered.
        third = own_fleet.replica("third", timeout_s=0.3)
        third.router.add_route(route("c"))
        assert third.sync.health().state == "waiting"
        assert not third.sync.wait(0.1)
        third.close()
    finally:
        own_server.thaw()
    assert_same(one, other, own_fleet.replica("third"))
    assert "c" in other


@pytest.mark.parametrize("fault", ["black hole", "refusing", "half open", "slow drip", "latency"])
def test_recovers_by_itself_from_a_bad_line(fleet: Fleet, proxy: TcpProxy, fault: str, eventually: Eventually) -> None:
    one = fleet.replica("one", port=proxy.port, timeout_s=0.3)
    other = fleet.replica("other")
    one.router.add_route(route("a"))
    assert_same(one, other)
    match fault:
        case "black hole":
            proxy.black_hole = True
        case "refusing":
            proxy.refusing = True
            proxy.reset()
        case "half open":
            proxy.half_open()
        case "slow drip":
            # Each byte comes in time, the whole answer never does.
            proxy.bytes_per_s = 20
        case "latency":
            proxy.latency_s = 0.1
    other.router.add_route(route("b", *range(40)))
    one.router.add_route(route("c"))
    if fault not in ("half open", "latency"):
        eventually(lambda: one.sync.health().state == "waiting")
        assert "b" not in one
    proxy.black_hole, proxy.refusing, proxy.bytes_per_s = False, False, None
    assert_same(one, other)
    assert {"a", "b", "c"} == {route.name for route in one.router.routes}


@pytest.mark.parametrize("lives", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_what_a_killed_replica_acknowledged_reaches_the_others(fleet: Fleet, proxy: TcpProxy, lives: int) -> None:
    """Killed anywhere: before its change is durable, before it is published, before it has seen that it was."""
    other = fleet.replica("other")
    random_ = random.Random(lives)  # noqa: S311 - repeatable
    proxy.latency_s = 0.003
    acknowledged: list[str] = []
    for life in range(lives):
        arguments = [f"redis://127.0.0.1:{proxy.port}", fleet.namespace, str(fleet.files / "one.db"), f"life {life}"]
        with subprocess.Popen(
            [sys.executable, "-m", "tests.sync.writing", *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            acknowledged += [child.stdout.readline().strip() for _ in range(random_.randrange(1, 40))]
            time.sleep(random_.uniform(0, 0.01))
            child.kill()
            acknowledged += [line.strip() for line in child.stdout if line.endswith("\n")]
    one = fleet.replica("one")
    assert_same(one, other)
    names = {route.name for route in other.router.routes}
    assert names >= set(acknowledged)
    # Of each life, the last change may be durable and not acknowledged.
    assert len(names) <= len(acknowledged) + lives


# ----------------------------------------------------------------------------------------------------------- gaps
def test_a_flushed_server_is_filled_again_and_nothing_that_was_dropped_comes_back(
    own_fleet: Fleet, own_server: ValkeyServer, eventually: Eventually
) -> None:
    one, other = own_fleet.replica("one"), own_fleet.replica("other")
    one.router.add_routes(route(f"r{number}") for number in range(20))
    assert_same(one, other)
    other.close()
    one.router.delete_route("r3")
    assert one.sync.wait(30)
    with own_server.client() as client:
        client.flushall()
    eventually(lambda: one.sync.health().resyncs == 2)
    other = own_fleet.replica("other")
    assert_same(one, other)
    assert "r3" not in other
    assert_same(one, other, own_fleet.replica("third"))
    assert len(one.router) == 19


def test_a_replica_for_which_too_much_was_trimmed_compares_everything(fleet: Fleet) -> None:
    one, other = fleet.replica("one", max_entries=5), fleet.replica("other")
    one.router.add_routes([route("a"), route("b")])
    assert_same(one, other)
    other.close()
    for number in range(20):
        one.router.add_route(route(f"r{number}"))
    one.router.delete_route("a")
    one.router.update_threshold("b", 0.5)
    assert one.sync.wait(30)
    again = fleet.replica("other", encoder=NoEncoder())
    assert_same(one, again)
    assert again.sync.health().resyncs == 1
    assert "a" not in again


def test_the_stream_stays_within_its_bytes(fleet: Fleet, shared_server: ValkeyServer) -> None:
    one, other = fleet.replica("one", max_stream_bytes=50_000), fleet.replica("other")
    for number in range(40):
        one.router.put_routes([route(f"r{number % 4}", *range(number, number + 20))])
    assert_same(one, other)
    with shared_server.client() as client:
        meta = f"synaptoroute:{{{fleet.namespace}}}:meta"
        assert int(client.hget(meta, "bytes")) <= 50_000
        assert 1 <= client.xlen(meta.replace("meta", "stream")) < 40


def test_a_fail_over_that_loses_the_latest_entries_loses_no_change(own_fleet: Fleet, own_server: ValkeyServer) -> None:
    """As if an asynchronous copy that was behind had taken over: keys are as they were some entries ago."""
    one, other = own_fleet.replica("one"), own_fleet.replica("other")
    one.router.add_routes([route("a"), route("b")])
    assert_same(one, other)
    with own_server.client() as client:
        copies = {key: client.dump(key) for key in client.keys("*")}
        one.router.add_route(route("c"))
        one.router.delete_route("a")
        other.router.update_threshold("b", 0.25)
        assert_same(one, other)
        client.flushall()
        for key, copy in copies.items():
            client.restore(key, 0, copy)
    third = own_fleet.replica("third")
    assert_same(one, other)
    assert_same(one, other, third)
    assert sorted(name for name in "abc" if name in third) == ["b", "c"]
    assert third.router.get_route("b").threshold == 0.25


def test_an_own_change_that_was_overruled_before_a_gap_stays_overruled(fleet: Fleet, eventually: Eventually) -> None:
    """It had been published, but its replica died before it saw that."""
    one, other = fleet.replica("one"), fleet.replica("other", max_entries=3)
    one.router.add_route(route("a"))
    assert_same(one, other)
    # What it reads cannot be applied meanwhile.
    with one.router._changing:
        one.router.put_routes([route("a", "mine")])
        eventually(lambda: other.router.get_route("a").utterances == ("a mine",))
        other.router.put_routes([route("a", "theirs, later")])
        for number in range(10):
            other.router.add_route(route(f"r{number}"))
        assert one.sync.health().outbox == 1
        with (
            closing(sqlite3.connect(fleet.files / "one.db")) as dead,
            closing(sqlite3.connect(fleet.files / "two.db")) as copy,
        ):
            dead.backup(copy)
    again = fleet.replica("two")
    assert_same(again, other)
    assert again.router.get_route("a").utterances == ("a theirs, later",)


def test_keys_that_the_server_has_evicted_are_made_anew(own_fleet: Fleet, own_server: ValkeyServer) -> None:
    one, other = own_fleet.replica("one"), own_fleet.replica("other")
    one.router.add_routes([route("a"), route("b")])
    assert_same(one, other)
    for key in ("state", "versions", "meta", "stream"):
        with own_server.client() as client:
            client.delete(f"synaptoroute:{{{own_fleet.namespace}}}:{key}")
        one.router.add_route(route(f"after {key}"))
        assert_same(one, other)


# ---------------------------------------------------------------------------------------------------------- drift
def test_what_drifts_is_put_right(fleet: Fleet, eventually: Eventually) -> None:
    one, other = fleet.replica("one"), fleet.replica("other", check_every_s=0.2)
    one.router.add_routes([route("a"), route("b"), route("c")])
    assert_same(one, other)
    good = content(one.router)
    # Behind the back of the sync manager, as a bug would.
    from synaptoroute.storage.base import Change, DropRoute, PutRoute

    bad = PutRoute(route=route("a", "wrong"), added=("a wrong",), vectors=vectors_of(["a wrong"]), removed=())
    with other.router._changing:
        behind: list[Change] = [DropRoute(name="a"), bad, DropRoute(name="b")]
        identity, revision = other.router._lane.identity, other.router.revision
        revision = other.router.storage.commit(behind, encoder=identity, expected_revision=revision)
        other.router._swap_in(other.router.snapshot.applied(behind, revision), behind)
    assert content(other.router) != good
    eventually(lambda: content(other.router) == good)
    assert other.sync.health().repairs == 2
    assert_same(one, other)


# --------------------------------------------------------------------------------------------------------- poison
def test_poison_is_set_aside_counted_and_passed_over(
    fleet: Fleet, shared_server: ValkeyServer, eventually: Eventually
) -> None:
    one, other = fleet.replica("one"), fleet.replica("other")
    one.router.add_route(route("a"))
    assert_same(one, other)
    stream = f"synaptoroute:{{{fleet.namespace}}}:stream"
    with shared_server.client() as client:
        ((_, good),) = client.xrevrange(stream, count=1)
        record = good[b"r1"]
        poison: list[dict[bytes, bytes]] = [
            {b"hello": b"world"},
            good | {b"n": b"x"},
            good | {b"r1": b""},
            good | {b"v1": b"not a version"},
            {b"u": b"u", b"p": b"p", b"n": b"1", b"r1": b"\x00" * (5 << 20)},
        ]
        for fields in poison:
            client.xadd(stream, fields)
        client.xadd(stream, {"late": "1"}, id="9000000000000-7")
        eventually(lambda: one.sync.health().poison >= 3)
        assert record
    one.router.add_route(route("b"))
    other.router.add_route(route("c"))
    assert_same(one, other)
    assert one.sync.health().poison >= 3
    assert isinstance(one.router.storage, NotingStorage)
    notes = one.router.storage.notes(f"sync/{fleet.namespace}/dead/")
    assert len(notes) >= 3
    assert all(len(note) < 5_000 for note in notes.values())


def test_dead_letters_are_bounded(fleet: Fleet, shared_server: ValkeyServer, eventually: Eventually) -> None:
    one = fleet.replica("one")
    assert one.sync.wait(30)
    with shared_server.client() as client:
        for number in range(250):
            client.xadd(f"synaptoroute:{{{fleet.namespace}}}:stream", {"number": str(number)})
    eventually(lambda: one.sync.health().poison == 250)
    assert isinstance(one.router.storage, NotingStorage)
    assert len(one.router.storage.notes(f"sync/{fleet.namespace}/dead/")) == 100


def test_with_a_key_only_those_who_know_it_are_heard(fleet: Fleet, eventually: Eventually) -> None:
    key = "0123456789abcdef"
    one, other = fleet.replica("one", key=key), fleet.replica("other", key=key.encode())
    one.router.add_route(route("a"))
    assert_same(one, other)
    for number, wrong in enumerate((None, "fedcba9876543210")):
        stranger = fleet.replica(f"stranger {number}", key=wrong)
        assert stranger.sync.wait(30)
        assert "a" not in stranger
        stranger.router.add_route(route(f"evil {number}"))
        eventually(lambda seen=number: one.sync.health().poison > seen)  # type: ignore[misc]
        stranger.close()
    assert {route.name for route in one.router.routes} == {"a"}
    one.router.add_route(route("b"))
    eventually(lambda: "b" in other)


# ---------------------------------------------------------------------------------------------------- wrong servers
def test_another_encoder_is_refused_before_anything_is_mixed(fleet: Fleet) -> None:
    class Another(SeededEncoder):
        name, fingerprint = "another", "another-1"

    fleet.replica("one").router.add_route(route("a"))
    with pytest.raises(SyncForeignError, match=r"encoder seeded seeded-1.*another another-1"):
        fleet.replica("other", encoder=Another())


def test_a_replica_does_not_leave_its_encoder_while_it_is_one(fleet: Fleet) -> None:
    class Another(SeededEncoder):
        name, fingerprint = "another", "another-1"

    one = fleet.replica("one")
    with pytest.raises(InvalidInputError, match="without a sync manager"):
        one.router.migrate_encoder(Another())


def test_the_stream_of_another_application_is_refused_and_left_alone(fleet: Fleet, shared_server: ValkeyServer) -> None:
    prefix = f"synaptoroute:{{{fleet.namespace}}}:"
    with shared_server.client() as client:
        for key in ("stream", "meta"):
            if key == "stream":
                client.xadd(f"{prefix}stream", {"u": "theirs"})
            else:
                client.set(f"{prefix}meta", "theirs")
            with pytest.raises(SyncForeignError, match=f"{key}' is not ours"):
                fleet.replica("one")
            assert client.exists(prefix + key)
            client.delete(prefix + key)
        client.hset(f"{prefix}meta", mapping={"format": "synaptoroute-sync-99"})
        with pytest.raises(SyncForeignError, match="synaptoroute-sync-99"):
            fleet.replica("one")


def test_a_server_that_is_too_old_is_refused(fleet: Fleet, proxy: TcpProxy) -> None:
    proxy.rewrite = b"redis_version:7.2.4", b"redis_version:6.0.9"
    with pytest.raises(SyncForeignError, match=r"Redis 6\.0\.9, wanted 6\.2 or newer"):
        fleet.replica("one", port=proxy.port)


def test_passwords_are_shown_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "valkey"
    folder.mkdir()
    with ValkeyServer(folder, "--requirepass", "right-5ecret") as server:
        address = f"127.0.0.1:{server.port}"
        with AdaptiveRouter(
            SeededEncoder(), sync_manager=RedisSyncManager(f"redis://:right-5ecret@{address}/3")
        ) as router:
            assert router.sync_manager is not None
            assert router.sync_manager.wait(30)
            shown = [repr(router.sync_manager), str(router.sync_manager.health()), repr(router)]
            server.kill()
            router.add_route(route("a"))
            time.sleep(0.3)
            shown.append(str(router.sync_manager.health()))
        server.start()
        for url in (f"redis://:wrong-5ecret@{address}", f"redis://{address}", f"redis://me:wrong-5ecret@{address}"):
            with pytest.raises(SyncForeignError, match="refuses the user") as refused:
                AdaptiveRouter(SeededEncoder(), sync_manager=RedisSyncManager(url))
            shown += [str(refused.value), repr(refused.value.__cause__)]
    for url in ("http://:5ecret@host", "redis://:5ecret@host:port", "redis://:a/5ecret@host", "redis://h/0?db=5ecret"):
        with pytest.raises(InvalidInputError) as invalid:
            RedisSyncManager(url)
        shown += [str(invalid.value), repr(invalid.value.__cause__)]
    assert "5ecret" not in "".join(shown) + caplog.text + "".join(capfd.readouterr())


def test_a_server_that_answers_too_slowly_at_the_start_does_not_hold_it_up(fleet: Fleet, proxy: TcpProxy) -> None:
    proxy.bytes_per_s = 20
    began = time.monotonic()
    one = fleet.replica("one", port=proxy.port, timeout_s=0.3)
    # Its answer takes a minute, of which no byte is late.
    assert time.monotonic() - began < 20
    assert one.sync.health().state == "waiting"
    proxy.bytes_per_s = None
    assert one.sync.wait(30)


def test_an_address_that_nobody_answers_at_is_no_error(fleet: Fleet) -> None:
    one = fleet.replica("one", port=1)
    one.router.add_route(route("a"))
    assert one.sync.health().state == "waiting"
    assert not one.sync.wait(0.1)
    assert one.router("a 0").matches


def test_options_that_make_no_sense_are_refused(fleet: Fleet) -> None:
    for options in ({"namespace": ""}, {"namespace": "a b"}, {"key": "short"}, {"timeout_s": 0}, {"max_entries": 0}):
        with pytest.raises(InvalidInputError):
            RedisSyncManager("redis://h", **options)
    one = fleet.replica("one")
    with pytest.raises(InvalidInputError, match="has a router already"):
        AdaptiveRouter(SeededEncoder(), sync_manager=one.sync)


def test_a_route_too_large_to_be_sent_is_refused_before_anything_changes(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synaptoroute.sync.redis.MAX_RECORD_BYTES", 40_000)
    one = fleet.replica("one")
    one.router.add_route(route("a"))
    with pytest.raises(InvalidRouteError, match="too large to be sent"):
        one.router.add_routes([route("b"), route("c", *range(300))])
    assert [route.name for route in one.router.routes] == ["a"]
    assert one.sync.wait(30)


# -------------------------------------------------------------------------------------------------------- lifetime
def test_closing_ends_every_thread_and_connection(fleet: Fleet, shared_server: ValkeyServer) -> None:
    one = fleet.replica("one")
    assert one.sync.wait(30)
    one.router.add_route(route("a"))
    one.close()
    one.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("synaptoroute-sync")]
    assert one.sync.health().state == "stopped"
    with pytest.raises(RouterClosedError):
        one.router.add_route(route("b"))
    # What was acknowledged right before is on its way, or waits in the store.
    assert_same(fleet.replica("one"), other := fleet.replica("other"))
    assert "a" in other


def test_a_forked_child_routes_and_leaves_synchronising_to_its_parent(fleet: Fleet) -> None:
    import os

    one, other = fleet.replica("one"), fleet.replica("other")
    one.router.add_routes([route("a"), route("b")])
    assert_same(one, other)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert one.sync.health().state == "stopped"
            assert not one.sync.wait()
            assert one.router("a 0").matches
            try:
                one.router.add_route(route("from the child"))
            except SynaptoRouteError as exc:
                code = 0 if "make the router after the fork" in str(exc) else 2
            one.sync.close()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    one.router.add_route(route("c"))
    assert_same(one, other)
