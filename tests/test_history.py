"""History of a router: every revision can be told apart and gone back to, and no stale change overwrites another."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.errors import (
    InvalidInputError,
    RevisionConflictError,
    RevisionNotFoundError,
    RouteNotFoundError,
    SnapshotNotFoundError,
)
from synaptoroute.history import acting_as
from synaptoroute.storage import SQLiteStorage, sqlite
from tests.seeded import SeededEncoder, route, vector

SOURCE = Path(__file__).parents[1] / "src"


@pytest.fixture
def router() -> Iterator[AdaptiveRouter]:
    with AdaptiveRouter(SeededEncoder()) as router:
        yield router


def by_name(router: AdaptiveRouter) -> dict[str, Route]:
    return {route.name: route for route in router.routes}


def rows(router: AdaptiveRouter) -> dict[tuple[str, str], bytes]:
    """(route, utterance) -> the bytes of its vector, by the table that answers."""
    table = router.snapshot
    found: dict[tuple[str, str], bytes] = {}
    for its in table.routes:
        vectors = table.index.vectors_of(table.index.rows_of(table.catalog.slot(its.name)))
        found |= {(its.name, text): row.tobytes() for text, row in zip(its.utterances, vectors, strict=True)}
    return found


# ------------------------------------------------------------------------------------------------------------ log
def test_the_log_tells_each_change_newest_first(router: AdaptiveRouter) -> None:
    router.add_routes([route("a"), route("b")])
    router.update_threshold("a", 0.5)
    router.delete_route("b")
    assert [(e.revision, e.operation, e.route) for e in router.history()] == [
        (3, "delete", "b"),
        (2, "update", "a"),
        (1, "add", "b"),
        (1, "add", "a"),
    ]
    assert [e.revision for e in router.history(route="a", limit=1)] == [2]
    said = json.loads(json.dumps([entry.to_dict() for entry in router.history(limit=1)]))
    assert said[0].keys() == {"revision", "operation", "route", "actor", "at", "cause"}


async def test_who_acts_is_the_router_s_actor_or_whoever_the_context_names() -> None:
    with AdaptiveRouter(SeededEncoder(), actor="service") as router:
        router.add_route(route("a"))
        with acting_as("ann"):
            router.add_route(route("b"))

        async def add(actor: str, name: str) -> None:
            with acting_as(actor):
                await asyncio.sleep(0)
                await asyncio.to_thread(router.add_route, route(name))

        await asyncio.gather(add("ben", "c"), add("cleo", "d"))
        assert {e.route: e.actor for e in router.history()} == {"a": "service", "b": "ann", "c": "ben", "d": "cleo"}
        for nobody in ("", "x" * 201):
            with pytest.raises(InvalidInputError, match="1 to 200"), acting_as(nobody):
                pass
    with pytest.raises(InvalidInputError, match="1 to 200"):
        AdaptiveRouter(SeededEncoder(), actor="")


# --------------------------------------------------------------------------------------- diffs, rollbacks, snapshots
def test_a_diff_tells_what_leads_from_one_revision_to_another_and_back(router: AdaptiveRouter) -> None:
    router.add_routes([route("a", 1, 2), route("b"), route("c")])
    router.update_route("a", utterances=["a 2", "a 3"], threshold=0.5, metadata={"k": [1]})
    router.delete_route("b")
    router.add_route(route("d"))
    router.update_threshold("c", 0.1)
    router.update_threshold("c", None)
    diff = router.diff(1, router.revision)
    assert [(change.name, change.operation) for change in diff.changes] == [
        ("a", "update"),
        ("b", "delete"),
        ("d", "add"),
    ]
    a, b, d = diff.changes
    assert (a.added, a.removed) == (("a 3",), ("a 1",))
    assert a.fields == {"threshold": (None, 0.5), "metadata": ({}, {"k": (1,)})}
    assert (b.before, b.after, b.removed) == (route("b"), None, route("b").utterances)
    assert (d.added, d.fields) == (route("d").utterances, {})
    back = router.diff(router.revision, 1).changes
    assert [(c.name, c.before, c.after) for c in back] == [(c.name, c.after, c.before) for c in diff.changes]
    assert router.diff(2, 2).changes == ()
    assert json.loads(json.dumps(diff.to_dict()))["changes"][0]["fields"]["threshold"] == {"before": None, "after": 0.5}


def test_a_rollback_is_a_change_like_any_other_and_can_be_rolled_back(router: AdaptiveRouter) -> None:
    router.add_route(route("a"))
    router.add_route(route("b"))
    before = by_name(router)
    router.delete_route("a")
    router.update_threshold("b", 0.9)
    after = by_name(router)
    assert router.rollback(2) == 5
    assert by_name(router) == before
    assert {(e.route, e.operation, e.cause) for e in router.history() if e.revision == 5} == {
        ("a", "add", "rollback to 2"),
        ("b", "update", "rollback to 2"),
    }
    assert router.rollback(4) == 6
    assert by_name(router) == after
    assert router.rollback(4) == 6, "nothing to do is no change"
    assert router.rollback(0) == 7
    assert router.routes == ()


def test_a_rollback_encodes_only_what_is_not_stored_any_more() -> None:
    encoder = SeededEncoder()
    with AdaptiveRouter(encoder) as router:
        router.add_route(route("a", 1, 2, 3))
        router.update_route("a", utterances=["a 3", "a 4"])
        router.add_route(route("b", 1))
        encoder.encoded = 0
        router.rollback(1)
        assert encoder.encoded == 2, "a 1 and a 2"
        assert router.get_route("a").utterances == ("a 1", "a 2", "a 3"), "in the order of then"


def test_revisions_that_are_not_known_are_refused_by_name(
    router: AdaptiveRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "HISTORY", 3)
    for name in "abcdef":
        router.add_route(route(name))
    router.save_snapshot("kept")
    for revision in (-1, 0, 2, 7):
        with pytest.raises(RevisionNotFoundError, match="known are those from 3 to 6"):
            router.rollback(revision)
        with pytest.raises(RevisionNotFoundError):
            router.diff(revision, 6)
    router.rollback(3)
    assert set(by_name(router)) == {"a", "b", "c"}
    for name in "defg":
        router.add_route(route(f"new {name}"))
    with pytest.raises(RevisionNotFoundError):
        router.rollback(6)
    router.use_snapshot("kept")
    assert set(by_name(router)) == set("abcdef"), "a snapshot outlives the history"


def test_snapshots_have_names_and_are_used_like_a_rollback(router: AdaptiveRouter) -> None:
    router.add_routes([route("a"), route("b")])
    with acting_as("ann"):
        saved = router.save_snapshot("spring sale")
    assert (saved.routes, saved.revision, saved.actor) == (2, 1, "ann")
    router.delete_route("a")
    router.add_route(route("c"))
    router.update_threshold("b", 0.3)
    assert router.use_snapshot("spring sale") == 5
    assert by_name(router) == {"a": route("a"), "b": route("b")}
    assert router.history(limit=1)[0].cause == "snapshot spring sale"
    assert [snapshot.name for snapshot in router.snapshots()] == ["spring sale"]
    with pytest.raises(InvalidInputError, match="already a snapshot"):
        router.save_snapshot("spring sale")
    with pytest.raises(InvalidInputError, match="not accepted"):
        router.save_snapshot("")
    router.delete_snapshot("spring sale")
    for missing in (router.use_snapshot, router.delete_snapshot):
        with pytest.raises(SnapshotNotFoundError, match="no snapshot 'spring sale'"):
            missing("spring sale")


TEXTS = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put two", "threshold", "delete", "rollback", "save", "use"]),
        st.sampled_from("abc"),
        TEXTS,
    ),
    min_size=1,
    max_size=12,
)


def take(router: AdaptiveRouter, step: str, name: str, numbers: list[int], revisions: int) -> None:
    if step == "put":
        router.put_routes([route(name, *numbers)])
    elif step == "put two":
        router.put_routes([route(name, *numbers), route("d", *numbers[::-1]).replaced(description="two")])
    elif step == "rollback":
        router.rollback(numbers[0] % revisions)
    elif step == "use":
        router.use_snapshot("s")
    elif step == "threshold" and name in router:
        router.update_threshold(name, numbers[0] / 10)
    elif step == "delete" and name in router:
        router.delete_route(name)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.data())
def test_any_revision_can_be_gone_back_to_exactly(steps: list[tuple[str, str, list[int]]], data: Any) -> None:
    with AdaptiveRouter(SeededEncoder()) as router:
        router.save_snapshot("s")
        states = [by_name(router)]
        saved = states[0]
        for step, name, numbers in steps:
            if step == "save":
                router.delete_snapshot("s")
                router.save_snapshot("s")
                saved = by_name(router)
            take(router, step, name, numbers, len(states))
            if router.revision == len(states):
                states.append(by_name(router))
            assert router.revision == len(states) - 1
            assert by_name(router) == (saved if step == "use" else states[-1])
        first, second = (data.draw(st.integers(0, len(states) - 1)) for _ in range(2))
        routes = dict(states[first])
        for change in router.diff(first, second).changes:
            assert routes.get(change.name) == change.before
            if change.after is None:
                del routes[change.name]
            else:
                routes[change.name] = change.after
        assert routes == states[second]
        before = rows(router)
        router.rollback(first)
        assert by_name(router) == states[first]
        after = rows(router)
        assert all(after[key] == row for key, row in before.items() if key in after)
        assert all(row == vector(text).tobytes() for (_, text), row in after.items())
        stored = router.storage.load(router._lane.identity)
        assert {its.name: its for its in stored.routes} == states[first], "the store agrees"


# ---------------------------------------------------------------------------------------- optimistic concurrency
def test_a_change_based_on_an_older_state_of_its_route_is_refused(router: AdaptiveRouter) -> None:
    router.add_route(route("a"))
    router.add_route(route("b"))
    read = router.route_revision("a")
    assert (read, router.route_revision("b"), router.route_revision("ghost")) == (1, 2, 0)
    router.update_threshold("a", 0.5, expected_revision=read)
    stale_changes: tuple[Callable[[], int], ...] = (
        lambda: router.update_threshold("a", 0.9, expected_revision=read),
        lambda: router.update_route("a", threshold=0.5, expected_revision=read),
        lambda: router.add_utterance("a", "a more", expected_revision=read),
        lambda: router.remove_utterance("a", "a 1", expected_revision=read),
        lambda: router.delete_route("a", expected_revision=read),
        lambda: router.put_routes([route("a", 9), route("c")], expected_revisions={"a": read}),
        lambda: router.put_routes([route("b", 9)], expected_revisions={"b": 0}),
        lambda: router.delete_route("ghost", expected_revision=1),
    )
    for stale in stale_changes:
        with pytest.raises(RevisionConflictError, match="nothing was changed"):
            stale()
    assert router.revision == 3
    router.put_routes([route("a", 9), route("c")], expected_revisions={"a": 3, "c": 0})
    router.delete_route("b", expected_revision=2)
    assert [router.route_revision(name) for name in "abc"] == [4, 0, 4]
    with pytest.raises(RouteNotFoundError):
        router.delete_route("ghost", expected_revision=0)


def test_a_stale_change_is_refused_before_anything_is_encoded() -> None:
    encoder = SeededEncoder()
    with AdaptiveRouter(encoder) as router:
        router.add_route(route("a"))
        router.add_utterance("a", "a more")
        encoder.encoded = 0
        with pytest.raises(RevisionConflictError):
            router.update_route("a", utterances=["a other"], expected_revision=1)
        assert encoder.encoded == 0


def test_a_route_that_another_handle_changed_has_no_revision_this_router_could_vouch_for(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as one:
        one.add_routes([route("a"), route("b"), route("c")])
        with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as other:
            other.update_threshold("a", 0.5)
            other.delete_route("b")
        for name in "ab":
            with pytest.raises(RevisionConflictError, match="by another process after revision 1"):
                one.route_revision(name)
        assert one.route_revision("c") == 1


def test_threads_that_change_one_route_lose_nothing_and_overwrite_nothing(router: AdaptiveRouter) -> None:
    router.add_route(Route(name="n", utterances=["n"], metadata={"count": 0}))

    def increment() -> None:
        for _ in range(10):
            while True:
                revision = router.route_revision("n")
                count = router.get_route("n").metadata["count"]
                try:
                    router.update_route("n", metadata={"count": count + 1}, expected_revision=revision)
                    break
                except RevisionConflictError:
                    continue

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert router.get_route("n").metadata == {"count": 40}


RACER = """
import sys
from synaptoroute import AdaptiveRouter, Route
from synaptoroute.errors import RevisionConflictError, StorageInUseError
from synaptoroute.storage import SQLiteStorage
from tests.seeded import SeededEncoder
path, me = sys.argv[1:]
for line in sys.stdin:
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
        revision = router.route_revision("a")
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            router.put_routes([Route(name="a", utterances=[f"a by {me} over {revision}"])],
                              expected_revisions={"a": revision})
            print("won", flush=True)
        except (RevisionConflictError, StorageInUseError):
            # The one who came first has closed the store already, or not yet.
            print("lost", flush=True)
"""


def test_of_two_processes_that_race_exactly_one_wins_each_round(tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)).close()
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=SOURCE.parent,
            env={"PYTHONPATH": f"{SOURCE}:{SOURCE.parent}"},
        )
        for number in range(2)
    ]

    def tell_both(line: str) -> list[str]:
        for racer in racers:
            assert racer.stdin
            racer.stdin.write(line + "\n")
            racer.stdin.flush()
        return [racer.stdout.readline().strip() for racer in racers if racer.stdout]

    for rounds in range(5):
        assert tell_both("open") == ["ready", "ready"]
        outcome = tell_both("go")
        assert sorted(outcome) == ["lost", "won"]
        with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as router:
            assert router.get_route("a").utterances == (f"a by {outcome.index('won')} over {rounds}",)
    for racer in racers:
        racer.communicate(timeout=30)
        assert racer.returncode == 0


# ------------------------------------------------------------------------------------------------ all of the routes
def test_replacing_all_routes_is_one_change_and_encodes_only_what_is_new() -> None:
    encoder = SeededEncoder()
    with AdaptiveRouter(encoder) as router:
        router.add_routes([route("a"), route("b")])
        before = encoder.encoded
        told: list[tuple[int, int]] = []
        wanted = [route("b", 0, 1, 9), route("c", 1)]
        revision = router.replace_routes(wanted, progress=lambda done, total: told.append((done, total)))
        assert revision == 2
        assert list(by_name(router).values()) == wanted
        assert encoder.encoded == before + 2
        assert told[-1] == (2, 2)
        assert {entry.cause for entry in router.history() if entry.revision == 2} == {"replacement of all routes"}
        assert router.replace_routes(wanted) == revision
        with pytest.raises(InvalidInputError, match="given twice"):
            router.replace_routes([route("a"), route("a", 5)])


def test_going_back_can_be_tied_to_what_was_seen(router: AdaptiveRouter) -> None:
    router.add_route(route("a"))
    router.save_snapshot("one")
    seen = router.revision
    router.add_route(route("b"))
    changes: tuple[Callable[[], object], ...] = (
        lambda: router.rollback(0, expected_revision=seen),
        lambda: router.use_snapshot("one", expected_revision=seen),
        lambda: router.replace_routes([], expected_revision=seen),
    )
    for change in changes:
        with pytest.raises(RevisionConflictError, match="the routes are at revision 2, not at 1"):
            change()
        assert set(by_name(router)) == {"a", "b"}
    assert router.use_snapshot("one", expected_revision=router.revision) == 3
    assert router.rollback(2, expected_revision=3) == 4
    assert router.replace_routes([], expected_revision=4) == 5
    assert len(router) == 0
