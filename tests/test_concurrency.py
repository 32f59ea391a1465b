"""One router, many threads, loops and processes: every decision is of one revision, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from synaptoroute import AdaptiveRouter, Decision, Reason, Route
from synaptoroute.decision import lessons
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import (
    DeadlineExceededError,
    InvalidInputError,
    RouteExistsError,
    RouteNotFoundError,
    RouterClosedError,
    RouterOverloadedError,
)
from synaptoroute.storage import SQLiteStorage
from tests.seeded import SeededEncoder, route, small_heads, vectors_of

Table = dict[str, tuple[str, ...]]


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of 60 utterances are in segments and decided in two stages, and are compacted after few changes."""
    for module in ("table", "table_files"):
        monkeypatch.setattr(f"synaptoroute.{module}.SEGMENTED_FROM", 60)
    monkeypatch.setattr("synaptoroute.index.segmented._TAIL_ROWS", 20)
    monkeypatch.setattr(lessons, "EFFORTS", small_heads(100))


class SlowEncoder(SeededEncoder):
    """Takes so long for a text."""

    def __init__(self, text_s: float) -> None:
        super().__init__()
        self.text_s = text_s

    def encode(self, texts: Sequence[str]) -> Vectors:
        time.sleep(self.text_s * len(texts))
        return super().encode(texts)


# ---------------------------------------------------------------------------------------- one revision, whole
class Log:
    """What two writers have changed: revision -> the routes as of then."""

    def __init__(self, router: AdaptiveRouter, table: Table) -> None:
        self._router, self._lock = router, threading.Lock()
        self._table = table
        self.tables = {router.revision: dict(table)}

    def write(self, writer: int, done: threading.Event) -> int:
        """Adds, changes and deletes routes of its own; another writer's changes come between."""
        chance, changes = random.Random(writer), 0  # noqa: S311 - no secrets
        mine: list[str] = []
        while not done.is_set():
            with self._lock:
                # The order of acknowledgements is that of revisions only if no other change comes between.
                what = chance.random()
                if what < 0.5 or len(mine) < 3:
                    name = f"w{writer}n{changes}"
                    mine.append(name)
                    said = route(name, *range(chance.randint(1, 4)))
                    revision = self._router.add_route(said)
                    self._table[name] = said.utterances
                elif what < 0.75:
                    name = chance.choice(mine)
                    utterances = tuple(f"{name} {number}" for number in chance.sample(range(9), 3))
                    revision = self._router.update_route(name, utterances=utterances)
                    self._table[name] = self._router.get_route(name).utterances
                else:
                    name = mine.pop(chance.randrange(len(mine)))
                    revision = self._router.delete_route(name)
                    del self._table[name]
                self.tables[revision] = dict(self._table)
            changes += 1
            done.wait(0.002)
        return changes


def read(router: AdaptiveRouter, reader: int, done: threading.Event) -> list[Decision]:
    chance, seen = random.Random(100 + reader), list[Decision]()  # noqa: S311 - no secrets
    while not done.is_set():
        texts = [f"w{chance.randint(0, 1)}n{chance.randint(0, 40)} {chance.randint(0, 9)}" for _ in range(3)]
        if reader % 2:
            decisions = router.route_many(texts, threshold=-1)
        else:
            decisions = asyncio.run(router.aquery_many(texts, threshold=-1))
        assert len({decision.revision for decision in decisions}) == 1
        seen += decisions[:1] if len(seen) > 20_000 else decisions
    return seen


@pytest.mark.parametrize("lasting_s", [2.5, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("large", [False, True], ids=["head", "segments"])
def test_every_decision_is_of_one_revision(
    tmp_path: Path, large: bool, lasting_s: float, request: pytest.FixtureRequest
) -> None:
    if large:
        request.getfixturevalue("small_is_large")
    first = {f"r{number}": route(f"r{number}").utterances for number in range(30 if large else 4)}
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(tmp_path / "routes.db")) as router:
        router.add_routes(Route(name=name, utterances=said) for name, said in first.items())
        log, done = Log(router, first), threading.Event()
        with ThreadPoolExecutor(10) as pool:
            readers = [pool.submit(read, router, number, done) for number in range(8)]
            writers = [pool.submit(log.write, number, done) for number in range(2)]
            try:
                done.wait(lasting_s)
            finally:
                done.set()
            decisions = [decision for reader in readers for decision in reader.result(30)]
            assert all(writer.result(30) > 3 for writer in writers)
        assert len({decision.revision for decision in decisions}) > 3
        for decision in decisions:
            table = log.tables[decision.revision]
            assert decision.matches
            for match in decision.matches:
                assert match.utterance in table[match.name], (decision, table.get(match.name))
            assert len({match.name for match in decision.matches}) == len(decision.matches) == min(5, len(table))
        assert {each.name: each.utterances for each in router.routes} == log.tables[router.revision]
        assert router.health().queries == 0
        final = log.tables[router.revision]
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(tmp_path / "routes.db")) as router:
        assert {each.name: each.utterances for each in router.routes} == final


# ---------------------------------------------------------------------------------- against dict and brute force
class StoredRouter(RuleBasedStateMachine):
    """A router over a real file, held against a dict that is searched by a loop."""

    names = st.sampled_from([f"r{number}" for number in range(12)])
    said = st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True)

    @initialize(segmented_from=st.sampled_from([8, 1_000_000]), tail=st.sampled_from([3, 4_096]))
    def start(self, segmented_from: int, tail: int) -> None:
        self.patch = pytest.MonkeyPatch()
        for module in ("table", "table_files"):
            self.patch.setattr(f"synaptoroute.{module}.SEGMENTED_FROM", segmented_from)
        self.patch.setattr("synaptoroute.index.segmented._TAIL_ROWS", tail)
        # Neighbours alone: what is learned depends on when. Compaction goes on beside.
        self.patch.setattr("synaptoroute.table.RouteTable.fitted", True)
        self.temporary = tempfile.TemporaryDirectory()
        self.path = Path(self.temporary.name) / "routes.db"
        self.router = AdaptiveRouter(SeededEncoder(), SQLiteStorage(self.path))
        self.model: Table = {}

    @rule(names=st.lists(names, min_size=1, max_size=4, unique=True), said=said)
    def add(self, names: list[str], said: list[int]) -> None:
        routes = [route(name, *said) for name in names]
        if any(name in self.model for name in names):
            with pytest.raises(RouteExistsError):
                self.router.add_routes(routes)
        else:
            self.router.add_routes(routes)
            self.model |= {each.name: each.utterances for each in routes}

    @rule(name=names, said=said)
    def update(self, name: str, said: list[int]) -> None:
        wanted = tuple(f"{name} {number}" for number in said)
        if name not in self.model:
            with pytest.raises(RouteNotFoundError):
                self.router.update_route(name, utterances=wanted)
            return
        self.router.update_route(name, utterances=wanted)
        kept = tuple(text for text in self.model[name] if text in wanted)
        self.model[name] = (*kept, *(text for text in wanted if text not in kept))

    @rule(names=st.lists(names, min_size=1, max_size=5), said=said)
    def put(self, names: list[str], said: list[int]) -> None:
        routes = {name: route(name, *said) for name in names}
        self.router.put_routes(routes.values())
        for name, each in routes.items():
            kept = tuple(text for text in self.model.get(name, ()) if text in each.utterances)
            self.model[name] = (*kept, *(text for text in each.utterances if text not in kept))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.router.delete_route(name)
        del self.model[name]

    @rule()
    def reopen(self) -> None:
        self.router.close()
        self.router = AdaptiveRouter(SeededEncoder(), SQLiteStorage(self.path))

    @rule()
    def settle(self) -> None:
        assert self.router.wait_until_fitted(30)

    @rule(words=st.lists(names, min_size=1, max_size=3), top_k=st.integers(1, 4), allow=st.none() | st.sets(names))
    def search(self, words: list[str], top_k: int, allow: set[str] | None) -> None:
        queries = [f"{word} asked" for word in words]
        if allow is not None:
            allow &= self.model.keys()
        for query, decision in zip(queries, self.router.route_many(queries, top_k=top_k, allow=allow), strict=True):
            best = {
                name: max((float(vectors_of([text])[0] @ vectors_of([query])[0]), text) for text in utterances)
                for name, utterances in self.model.items()
                if allow is None or name in allow
            }
            expected = sorted(best.items(), key=lambda item: -item[1][0])[:top_k]
            assert [match.name for match in decision.matches] == [name for name, _ in expected]
            assert [match.utterance for match in decision.matches] == [text for _, (_, text) in expected]
            np.testing.assert_allclose(
                [match.score for match in decision.matches], [score for _, (score, _) in expected], atol=1e-5
            )
            assert (decision.reason is Reason.NO_ROUTES) is not bool(expected)

    @invariant()
    def same_routes(self) -> None:
        assert {each.name: each.utterances for each in self.router.routes} == self.model
        assert len(self.router) == len(self.model)

    def teardown(self) -> None:
        self.router.close()
        self.temporary.cleanup()
        self.patch.undo()


TestStoredRouter = StoredRouter.TestCase
TestStoredRouter.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_one_name_twice_in_a_put_is_refused_or_kept_whole(tmp_path: Path) -> None:
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(tmp_path / "routes.db")) as router:
        router.add_route(route("a", 1))
        with pytest.raises(InvalidInputError, match="'b'"):
            router.put_routes([route("b", 1), route("b", 1, 2)])
        with pytest.raises(InvalidInputError, match="'a'"):
            router.put_routes([route("a", 2), route("a", 2, 3)])
        assert [each.name for each in router.routes] == ["a"]
        assert router.revision == 1


# ------------------------------------------------------------------------------------------ leaving and crowding
async def test_a_thousand_cancelled_queries_leave_nothing_behind() -> None:
    chance = random.Random(0)  # noqa: S311 - no secrets
    with AdaptiveRouter(SlowEncoder(0.0005)) as router:
        router.add_routes([route("a"), route("b")])
        for _ in range(20):
            tasks = [asyncio.create_task(router.aquery(f"a {chance.random()}")) for _ in range(50)]
            for task in tasks:
                if chance.random() < 0.3:
                    await asyncio.sleep(chance.random() * 0.001)
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, Decision | asyncio.CancelledError) for one in done)
        assert (await router.aquery("a 1")).matches[0].name == "a"
        health = router.health()
        assert (health.queries, health.tokens, health.waiting) == (0, 0, 0)
        assert health.cancelled > 0
        assert health.restarts == 0


def test_several_event_loops_in_threads_are_all_answered() -> None:
    with AdaptiveRouter(SlowEncoder(0.0002)) as router:
        router.add_routes([route(f"r{number}") for number in range(6)])

        async def ask(loop: int) -> list[str | None]:
            queries = [f"r{number % 6} {loop} {number}" for number in range(40)]
            decisions = await asyncio.gather(*(router.aquery(query, threshold=-1) for query in queries))
            return [decision.name for decision in decisions]

        with ThreadPoolExecutor(5) as pool:
            loops = [pool.submit(asyncio.run, ask(loop)) for loop in range(4)]
            blocking = pool.submit(lambda: [router.route(f"r{n % 6} t {n}", threshold=-1).name for n in range(40)])
            expected = [f"r{number % 6}" for number in range(40)]
            assert all(loop.result(30) == expected for loop in loops)
            assert blocking.result(30) == expected
        assert router.health().queries == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("large", [False, True], ids=["head", "segments"])
def test_a_child_forked_under_load_answers_and_changes_nothing_here(
    tmp_path: Path, large: bool, request: pytest.FixtureRequest
) -> None:
    if large:
        request.getfixturevalue("small_is_large")
    with AdaptiveRouter(SlowEncoder(0.001), SQLiteStorage(tmp_path / "routes.db")) as router:
        router.add_routes([route(f"r{number}") for number in range(30)])
        router.wait_until_fitted()
        expected = router("r3 what")
        done = threading.Event()

        def load() -> None:
            number = 0
            while not done.is_set():
                number += 1
                router(f"r{number % 30} {number}")

        with ThreadPoolExecutor(3) as pool:
            loads = [pool.submit(load) for _ in range(3)]
            try:
                for _ in range(5):
                    child = os.fork()
                    if child == 0:
                        try:
                            same = router("r3 what") == expected and router("r4 new").matches[0].name == "r4"
                            same &= asyncio.run(router.aquery("r5 newer")).matches[0].name == "r5"
                            same &= router.health().queries == 0
                            os._exit(0 if same else 3)
                        except BaseException:  # noqa: BLE001 - the exit code is the message
                            os._exit(4)
                    assert exit_code(child) == 0
            finally:
                done.set()
            for one in loads:
                one.result(30)
        assert router("r3 what") == expected


def exit_code(child: int, within_s: float = 30) -> int:
    """Of a child that must not hang."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


async def test_ten_times_too_much_is_turned_away_and_afterwards_all_is_well() -> None:
    with AdaptiveRouter(SlowEncoder(0.001)) as router:
        router.add_routes([route("a"), route("b")])
        await asyncio.to_thread(router.wait_until_fitted)
        asked = [f"a {number}" for number in range(10_240)]
        done = await asyncio.gather(*(router.aquery(text, threshold=-1) for text in asked), return_exceptions=True)
        shed = [one for one in done if isinstance(one, RouterOverloadedError)]
        answered = [one for one in done if isinstance(one, Decision)]
        assert len(shed) + len(answered) == len(asked)
        assert len(answered) >= 1_024
        assert all(one.retry_after_s > 0 for one in shed)
        assert {decision.name for decision in answered} == {"a"}
        assert router.health().shed == len(shed) > 0
        assert (router.health().queries, router.health().waiting) == (0, 0)
        assert (await router.aquery("b late", threshold=-1)).name == "b"


async def test_the_loop_beats_on_while_a_thread_adds_many_routes() -> None:
    with AdaptiveRouter(SlowEncoder(0.0001)) as router:
        router.add_routes([route("a"), route("b")])
        await router.start()
        adding = asyncio.create_task(
            asyncio.to_thread(router.add_routes, [route(f"r{number}", *range(20)) for number in range(200)])
        )
        beats = answers = 0
        while not adding.done():
            await asyncio.sleep(0.002)
            beats += 1
            if beats % 5 == 0:
                decision = await router.aquery(f"a {beats}", threshold=-1)
                assert decision.matches[0].name == "a"
                answers += 1
        await adding
        # It takes 0.4 s at least; a loop that had to wait for it would have beaten once or twice.
        assert beats > 10
        assert answers > 1


# --------------------------------------------------------------------------------------------------- deadlines
@pytest.mark.parametrize("deadline_s", [-1, -0.001, float("nan")])
def test_a_deadline_that_is_no_time_from_now_is_refused(deadline_s: float) -> None:
    with AdaptiveRouter(SeededEncoder()) as router, pytest.raises(InvalidInputError, match="deadline_s"):
        router.route("a", deadline_s=deadline_s)


class GatedEncoder(SeededEncoder):
    """Waits at a gate; says how many calls have got there."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.go_on.set()
        self.arrived = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.arrived += 1
        assert self.go_on.wait(30)
        return super().encode(texts)


async def test_a_deadline_that_passes_is_told_and_the_text_is_never_encoded() -> None:
    encoder = GatedEncoder()
    with AdaptiveRouter(encoder, cache_bytes=0) as router:
        router.add_routes([route("a"), route("b")])
        await asyncio.to_thread(router.wait_until_fitted)
        encoder.go_on.clear()
        before, encoder.arrived = encoder.encoded, 0
        busy = []
        for number in range(2):
            busy.append(asyncio.create_task(router.aquery(f"a {number}")))
            while encoder.arrived <= number:  # noqa: ASYNC110 - it is another thread that arrives
                await asyncio.sleep(0.001)
        # Now both workers are at the gate.
        with pytest.raises(DeadlineExceededError):
            await router.aquery("b too late", deadline_s=0.05)
        encoder.go_on.set()
        await asyncio.gather(*busy)
        assert (await router.aquery("b in time", deadline_s=30)).matches[0].name == "b"
        assert encoder.encoded == before + 3
        assert router.health().expired == 1


@pytest.fixture
def closing() -> Iterator[AdaptiveRouter]:
    router = AdaptiveRouter(SlowEncoder(0.001))
    router.add_routes([route("a"), route("b")])
    yield router
    router.close()


def test_closing_under_load_answers_or_refuses_each(closing: AdaptiveRouter) -> None:
    refused = threading.Event()

    def ask(reader: int) -> int:
        answered = 0
        while True:
            try:
                assert closing.route(f"a {reader} {answered}", threshold=-1).name == "a"
            except RouterClosedError:
                refused.set()
                return answered
            answered += 1

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(ask, reader) for reader in range(6)]
        time.sleep(0.1)
        closing.close()
        assert sum(reader.result(30) for reader in readers) > 0
    assert refused.is_set()
    assert closing.health().queries == 0
