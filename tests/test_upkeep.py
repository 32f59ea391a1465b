"""Learning in the background: queries never wait for it, and once it is done, timing leaves no trace."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Decision, Reason, Route, upkeep
from synaptoroute.cli.demo import demo_routes
from synaptoroute.decision import cross_fitting, lessons, model
from synaptoroute.decision.background import BACKGROUND
from synaptoroute.decision.head import Head, train_head
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import EncoderError, RouterClosedError, SynaptoRouteError
from synaptoroute.storage import SQLiteStorage

BILLING = Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill"])
WEATHER = Route(name="weather", utterances=["will it rain tomorrow", "what is the forecast", "is it sunny outside"])
MUSIC = Route(name="music", utterances=["play some jazz", "skip this song", "turn up the volume"])
DINING = Route(name="dining", utterances=["book a table for two", "reserve a table at a restaurant"])
QUERIES = ["what's my balance?", "rain today?", "play something", "who painted the Mona Lisa", "turn it up", "owe"]

LEARNER = "synaptoroute-upkeep"


Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class RememberingEncoder:
    """The real encoder. It remembers the background sentences, for which every router asks anew; or fails on them."""

    _background: ClassVar[list[Vectors]] = []

    def __init__(self, encoder: BundledEncoder) -> None:
        self._encoder = encoder
        self.name, self.dim, self.fingerprint = encoder.name, encoder.dim, encoder.fingerprint
        self.failing = False

    def encode(self, texts: Sequence[str]) -> Vectors:
        if texts != BACKGROUND:
            return self._encoder.encode(texts)
        if self.failing:
            raise EncoderError("out of order")
        if not self._background:
            self._background.append(self._encoder.encode(texts))
        return self._background[0]


class Gate:
    """Where whoever learns passes before a head is trained, in whatever thread that is."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def close(self) -> None:
        self.open.clear()
        self.reached.clear()

    def train_head(self, *arguments: Any, **options: Any) -> Head:
        self.reached.set()
        assert self.open.wait(30)
        return train_head(*arguments, **options)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(model, "train_head", gate.train_head)
    yield gate
    gate.open.set()


@pytest.fixture
def remembering(encoder: BundledEncoder) -> RememberingEncoder:
    return RememberingEncoder(encoder)


@pytest.fixture
def router(remembering: RememberingEncoder) -> Iterator[AdaptiveRouter]:
    with AdaptiveRouter(remembering) as router:
        router.add_routes([BILLING, WEATHER, MUSIC])
        yield router


@pytest.fixture
def held_up(router: AdaptiveRouter, gate: Gate) -> AdaptiveRouter:
    """A router in the middle of learning, where it stays until the gate opens."""
    gate.close()
    router("show my balance")
    assert gate.reached.wait(30)
    return router


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background waits for a quiet hour before it learns; only ``refit`` does so at once."""
    monkeypatch.setattr(upkeep, "QUIET_S", 3600.0)


def learners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == LEARNER]


def by_head(router: AdaptiveRouter, name: str) -> bool:
    """Whether the route is decided by the learned head, not by neighbours alone."""
    learned = router.snapshot.learned
    return learned is not None and learned.utterances.get(name) == router.get_route(name).utterances


# ------------------------------------------------------------------------------------------------------ the first time
def test_before_anything_is_learned_neighbours_answer_and_the_first_query_wakes_the_learner(
    router: AdaptiveRouter, gate: Gate
) -> None:
    assert not router.snapshot.fitted
    assert not learners()
    gate.close()
    assert router("what's my current balance?").name == "billing"
    assert len(learners()) == 1
    assert router.snapshot.learned is None
    gate.open.set()
    assert router.wait_until_fitted()
    assert router.snapshot.fitted
    assert router.snapshot.learned is not None
    assert not learners()
    assert router("what's my current balance?").name == "billing"
    assert not learners()


def test_queries_are_answered_while_it_learns(held_up: AdaptiveRouter, gate: Gate) -> None:
    answered = [held_up(query) for query in QUERIES * 5]
    assert len(answered) == 30
    assert not held_up.snapshot.fitted
    assert len(learners()) == 1
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(held_up, QUERIES * 5)) == answered
    gate.open.set()
    assert held_up.wait_until_fitted()


def test_queries_are_answered_while_it_computes(remembering: RememberingEncoder) -> None:
    with AdaptiveRouter(remembering) as router:
        router.add_routes(demo_routes()[:6])
        answered = 0
        while not router.snapshot.fitted:
            assert router("wheres my stuff").matches
            answered += 1
        assert answered > 1
        assert router.wait_until_fitted()


def test_a_table_without_routes_has_nothing_to_learn(remembering: RememberingEncoder) -> None:
    with AdaptiveRouter(remembering) as router:
        assert router.snapshot.fitted
        assert router.wait_until_fitted(0)
        assert router("hello").reason is Reason.NO_ROUTES
        router.refit()
        assert router.snapshot.learned is None
        assert not learners()


async def test_starting_learns_before_the_first_query(remembering: RememberingEncoder) -> None:
    router = AdaptiveRouter(remembering)
    router.add_routes([BILLING, WEATHER])
    await router.start()
    assert router.snapshot.fitted
    assert (await router.aquery("what's my current balance?")).name == "billing"
    await router.stop()


# --------------------------------------------------------------------------------------------------- timing, no trace
def fit_by_waiting(router: AdaptiveRouter) -> None:
    assert router.wait_until_fitted()


def fit_under_load(router: AdaptiveRouter) -> None:
    while not router.snapshot.fitted:
        router.route_many(QUERIES)
    assert router.wait_until_fitted()


def fit_in_this_thread(router: AdaptiveRouter) -> None:
    router.refit()
    assert not learners()


@pytest.mark.parametrize("fit", [fit_by_waiting, fit_under_load, fit_in_this_thread])
def test_once_fitted_two_routers_agree_exactly(
    router: AdaptiveRouter, remembering: RememberingEncoder, fit: Callable[[AdaptiveRouter], None]
) -> None:
    router.wait_until_fitted()
    with AdaptiveRouter(remembering) as other:
        other.add_routes([BILLING, WEATHER, MUSIC])
        fit(other)
        assert other.snapshot.fitted
        assert other.route_many(QUERIES) == router.route_many(QUERIES)


def test_how_the_routes_came_about_leaves_no_trace(router: AdaptiveRouter, remembering: RememberingEncoder) -> None:
    router.wait_until_fitted()
    with AdaptiveRouter(remembering) as other:
        other.add_routes([BILLING, WEATHER.replaced(utterances=["how cold is it"]), DINING])
        other.wait_until_fitted()
        other.update_route("weather", utterances=WEATHER.utterances)
        other.delete_route("dining")
        other("show my balance")
        other.add_route(MUSIC)
        other.wait_until_fitted()
        for one, another in zip(router.route_many(QUERIES), other.route_many(QUERIES), strict=True):
            assert another.name == one.name
            # Vectors of texts that were encoded together differ in the last digits.
            assert another.confidence == pytest.approx(one.confidence, abs=1e-3)


# ------------------------------------------------------------------------------------------------------ after a change
@pytest.mark.usefixtures("unhurried")
def test_a_new_route_answers_before_and_after_it_is_learned(router: AdaptiveRouter) -> None:
    router.refit()
    router.add_route(DINING)
    for fitted in (False, True):
        assert router.snapshot.fitted is fitted
        assert by_head(router, "billing")
        assert by_head(router, "dining") is fitted
        for text in DINING.utterances:
            assert router(text).name == "dining"
        assert router("please reserve us a table").name == "dining"
        assert router("what's my current balance?").name == "billing"
        assert len(router("what's my current balance?").matches) == 4
        assert router("who painted the Mona Lisa").name is None
        router.refit()


@pytest.mark.usefixtures("unhurried")
def test_a_dropped_route_never_appears_again(router: AdaptiveRouter) -> None:
    router.refit()
    router.delete_route("billing")
    for fitted in (False, True):
        assert router.snapshot.fitted is fitted
        assert by_head(router, "music")
        for decision in router.route_many([*QUERIES, *BILLING.utterances], threshold=-1):
            assert {match.name for match in decision.matches} == {"weather", "music"}
        router.refit()


@pytest.mark.usefixtures("unhurried")
def test_a_changed_route_is_found_by_its_new_utterance_and_not_by_its_old_one(router: AdaptiveRouter) -> None:
    router.refit()
    router.update_route("billing", utterances=["book a table for two", "reserve a table at a restaurant"])
    for fitted in (False, True):
        assert router.snapshot.fitted is fitted
        assert by_head(router, "billing") is fitted
        decision = router("book a table for two people")
        assert decision.name == "billing"
        assert decision.matches[0].utterance == "book a table for two"
        assert router("will it rain").name == "weather"
        for query in BILLING.utterances:
            matches = router.route(query, threshold=-1).matches
            assert all(match.utterance in router.get_route(match.name).utterances for match in matches)
        router.refit()


@pytest.mark.usefixtures("unhurried")
def test_a_route_that_comes_back_as_it_was_is_known_at_once(router: AdaptiveRouter) -> None:
    router.refit()
    router.delete_route("billing")
    assert not router.snapshot.fitted
    router.add_route(BILLING)
    assert by_head(router, "billing")
    router.update_threshold("weather", 0.4)
    assert router.snapshot.fitted
    assert router("what's my current balance?").name == "billing"


@pytest.mark.usefixtures("unhurried")
def test_when_all_that_was_learned_is_gone_neighbours_answer(router: AdaptiveRouter) -> None:
    router.refit()
    for name in ("billing", "weather", "music"):
        router.delete_route(name)
    assert router("show my balance").reason is Reason.NO_ROUTES
    router.add_route(DINING)
    assert router("book a table for two").name == "dining"


@pytest.mark.usefixtures("unhurried")
def test_allow_holds_for_learned_and_new_routes_alike(router: AdaptiveRouter) -> None:
    router.refit()
    router.add_route(DINING)
    for allow in (["dining"], ["weather"], ["weather", "dining"], ["billing", "music"]):
        for decision in router.route_many([*QUERIES, "book a table"], allow=allow):
            assert {match.name for match in decision.matches} == set(allow)
    assert router.route("book a table", allow=[]).reason is Reason.NO_ROUTES


def test_what_is_loaded_in_several_calls_is_learned_once_at_the_end(remembering: RememberingEncoder) -> None:
    first, second, *_ = demo_routes()
    with AdaptiveRouter(remembering) as router:
        with router.loading():
            router.add_route(first)
            router.add_route(second)
            assert router(first.utterances[0]).name == first.name
            assert router.settled
            assert router.snapshot.learned is None
        assert not router.settled
        assert router.wait_until_fitted(60)
        assert router.snapshot.learned is not None


def test_changes_during_learning_are_learned_next(held_up: AdaptiveRouter, gate: Gate) -> None:
    held_up.add_route(DINING)
    held_up.delete_route("music")
    assert held_up("book a table for two").name == "dining"
    gate.open.set()
    assert held_up.wait_until_fitted()
    learned = held_up.snapshot.learned
    assert learned is not None
    assert set(learned.utterances) == {"billing", "weather", "dining"}
    assert held_up("book a table for two").name == "dining"
    assert not learners()


# ------------------------------------------------------------------------------------------------- waiting, closing
@pytest.mark.parametrize("timeout_s", [0, 0.01])
def test_a_wait_that_takes_too_long_returns_false_and_learning_goes_on(
    held_up: AdaptiveRouter, gate: Gate, timeout_s: float
) -> None:
    assert held_up.wait_until_fitted(timeout_s) is False
    assert len(learners()) == 1
    gate.open.set()
    assert held_up.wait_until_fitted(30) is True


def test_many_may_wait_for_one_learner(held_up: AdaptiveRouter, gate: Gate) -> None:
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(held_up.wait_until_fitted) for _ in range(8)]
        assert len(learners()) == 1
        assert not any(wait.done() for wait in waiting)
        gate.open.set()
        assert all(wait.result(30) for wait in waiting)


def test_closing_ends_a_training_that_has_begun(remembering: RememberingEncoder, gate: Gate) -> None:
    router = AdaptiveRouter(remembering)
    router.add_routes(
        Route(name=f"r{n}", utterances=[f"{n} and {m} make {n + m}" for m in range(5)]) for n in range(40)
    )
    router("3 and 4")
    assert gate.reached.wait(30)
    router.close()
    assert not learners()
    assert not router.snapshot.fitted


@pytest.mark.usefixtures("unhurried")
def test_closing_ends_a_learner_that_waits_for_quiet(router: AdaptiveRouter) -> None:
    router("show my balance")
    assert len(learners()) == 1
    router.close()
    assert not learners()
    router.close()


def test_closing_releases_who_waits_for_learning(held_up: AdaptiveRouter, gate: Gate) -> None:
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(held_up.wait_until_fitted)
        closing = pool.submit(held_up.close)
        with pytest.raises(RouterClosedError):
            waiting.result(30)
        gate.open.set()
        closing.result(30)
    assert not learners()


def test_a_closed_router_learns_no_more(router: AdaptiveRouter) -> None:
    router.close()
    for call in (router.refit, router.wait_until_fitted, router.warm_up):
        with pytest.raises(RouterClosedError):
            call()
    assert not learners()


# ---------------------------------------------------------------------------------------------------------- failures
def test_a_failure_is_raised_to_who_waits_and_tried_again_at_the_next_wait(
    router: AdaptiveRouter, remembering: RememberingEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    remembering.failing = True
    for _ in range(2):
        with pytest.raises(SynaptoRouteError, match="learning failed: out of order") as caught:
            router.wait_until_fitted()
        assert isinstance(caught.value.__cause__, EncoderError)
    assert "learning from the routes" in caplog.text
    assert not learners()
    remembering.failing = False
    assert not router.snapshot.fitted
    assert router.wait_until_fitted()
    assert router.snapshot.learned is not None


def test_a_refit_that_succeeds_ends_a_failure(router: AdaptiveRouter, remembering: RememberingEncoder) -> None:
    remembering.failing = True
    with pytest.raises(SynaptoRouteError, match="learning failed"):
        router.wait_until_fitted()
    remembering.failing = False
    router.refit()
    router.add_utterance("billing", "how much is left on my account")
    router("what's my current balance?")
    assert learners()
    assert router.wait_until_fitted()


def test_after_a_failure_neighbours_answer_and_not_every_query_tries_again(
    router: AdaptiveRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    def broken(*_: object, **__: object) -> None:
        nonlocal tried
        tried += 1
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(model, "train_head", broken)
        with pytest.raises(SynaptoRouteError, match="learning failed"):
            router.wait_until_fitted()
        # As many as were training at a time.
        once = tried
        assert once <= 1 + cross_fitting.THREADS
        for _ in range(3):
            assert router("what's my current balance?").name == "billing"
        assert not learners()
        assert tried == once
        assert not router.snapshot.fitted
    assert router.wait_until_fitted()
    assert router("what's my current balance?").name == "billing"


def test_a_failed_refit_raises_in_its_own_thread_and_leaves_what_was_learned(
    router: AdaptiveRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    router.refit()
    before = router.route_many(QUERIES)

    def broken(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(model, "train_head", broken)
    with pytest.raises(MemoryError):
        router.refit()
    assert router.snapshot.fitted
    assert router.route_many(QUERIES) == before


# ------------------------------------------------------------------------------------------------------ too large
@pytest.fixture
def small_heads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets a head learn from tables of at most so many utterances times routes."""

    def limit(cells: int) -> None:
        monkeypatch.setattr(lessons, "EFFORTS", (replace(lessons.EFFORTS[0], cells=cells),))

    return limit


def test_a_table_too_large_for_a_head_is_decided_in_two_stages(
    router: AdaptiveRouter, small_heads: Callable[[int], None]
) -> None:
    small_heads(35)
    assert not router.snapshot.fitted
    assert router.wait_until_fitted()
    assert router.snapshot.fitted
    assert router.snapshot.learned is None
    assert router.snapshot.two_stage is not None
    assert router("what's my current balance?").name == "billing"
    assert router("who painted the Mona Lisa").name is None
    assert not learners()
    router.refit()
    assert router.snapshot.learned is None


def test_a_table_that_grows_too_large_forgets_its_head_and_one_that_shrinks_learns_again(
    router: AdaptiveRouter, small_heads: Callable[[int], None]
) -> None:
    small_heads(36)
    assert router.wait_until_fitted()
    assert router.snapshot.learned is not None
    router.add_route(DINING)
    assert not router.snapshot.fitted
    assert router("book a table for two").matches[0].name == "dining"
    assert router.wait_until_fitted()
    assert router.snapshot.fitted
    assert router.snapshot.learned is None
    assert router("book a table for two").matches[0].name == "dining"
    router.delete_route("music")
    router.delete_route("dining")
    assert router.wait_until_fitted()
    assert router.snapshot.learned is not None


# ---------------------------------------------------------------------------------------------------------- forking
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_in_the_middle_of_learning_learns_on_its_own(
    remembering: RememberingEncoder, gate: Gate, tmp_path: Path
) -> None:
    expected = fitted_decisions(remembering)
    with AdaptiveRouter(remembering, SQLiteStorage(tmp_path / "routes.db")) as router:
        router.add_routes([BILLING, WEATHER, MUSIC])
        gate.close()
        router("show my balance")
        assert gate.reached.wait(30)
        child = os.fork()
        if child == 0:
            try:
                gate.open.set()
                alone = not learners() and not router.snapshot.fitted
                good = alone and router.wait_until_fitted() and router.route_many(QUERIES) == expected
                os._exit(0 if good else 3)
            except BaseException:  # noqa: BLE001 - the exit code is the message
                os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        # The parent's own learner is where it was.
        assert len(learners()) == 1
        gate.open.set()
        assert router.wait_until_fitted()
        assert router.route_many(QUERIES) == expected


def fitted_decisions(encoder: RememberingEncoder) -> list[Decision]:
    with AdaptiveRouter(encoder) as router:
        router.add_routes([BILLING, WEATHER, MUSIC])
        router.refit()
        return router.route_many(QUERIES)


@pytest.mark.parametrize("ends", ["the change", "the upkeep"])
def test_work_gives_way_while_a_change_of_another_replica_is_applied(
    ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or until the router is closed."""
    monkeypatch.setattr(upkeep, "GIVES_WAY_S", 600.0)
    began, go, passed = threading.Event(), threading.Event(), threading.Event()

    def work(_: object, checkpoint: Callable[[], None]) -> None:
        began.set()
        assert go.wait(30)
        checkpoint()
        passed.set()

    table: Any = object()
    worker = upkeep.Upkeep(lambda: table, lambda _: passed.is_set(), work)
    worker.wake()
    assert began.wait(30)
    with worker.giving_way():
        go.set()
        assert not passed.wait(0.05)
        if ends == "the upkeep":
            worker.close()
            assert not passed.is_set()
    if ends == "the change":
        assert passed.wait(30)
        worker.close()
