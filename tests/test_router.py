"""AdaptiveRouter: both quick starts, every mutation, and that queries see one revision whole."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from synaptoroute import AdaptiveRouter, OptimizationProfile, Reason, Route
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import (
    EncoderError,
    EncoderMismatchError,
    EncoderOutputError,
    InvalidInputError,
    InvalidQueryError,
    InvalidRouteError,
    RouteExistsError,
    RouteNotFoundError,
    RouterClosedError,
    StorageError,
    SynaptoRouteError,
)
from synaptoroute.storage import SQLiteStorage

BILLING = Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill"])
WEATHER = Route(name="weather", utterances=["will it rain tomorrow", "what is the forecast", "is it sunny outside"])
MUSIC = Route(name="music", utterances=["play some jazz", "skip this song", "turn up the volume"])


@pytest.fixture
def router(encoder: BundledEncoder) -> Iterator[AdaptiveRouter]:
    with AdaptiveRouter(encoder) as router:
        router.add_routes([BILLING, WEATHER, MUSIC])
        yield router


class CountingEncoder:
    """A real encoder that remembers what it was asked."""

    def __init__(self, encoder: BundledEncoder) -> None:
        self._encoder = encoder
        self.asked: list[str] = []
        self.name, self.dim, self.fingerprint = encoder.name, encoder.dim, encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return self._encoder.encode(texts)


class BrokenEncoder:
    """Gives whatever it is told to give."""

    name, dim, fingerprint = "broken", 4, "broken-1"

    def __init__(self) -> None:
        self.answer: Any = None

    def encode(self, texts: Sequence[str]) -> Any:
        if self.answer is None:
            return np.eye(4, dtype=np.float32)[[len(text) % 4 for text in texts]]
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


# -------------------------------------------------------------------------------------------------- quick starts
def test_the_quick_start_for_scripts(encoder: BundledEncoder, tmp_path: Path) -> None:
    router = AdaptiveRouter(encoder, SQLiteStorage(tmp_path / "routes.db"))
    router.add_route(BILLING)
    assert router("what's my current balance?").name == "billing"
    router.close()


async def test_the_quick_start_for_services(encoder: BundledEncoder) -> None:
    router = AdaptiveRouter(encoder, profile=OptimizationProfile.THROUGHPUT)
    router.add_route(BILLING)
    await router.start()
    decision = await router.aquery("what's my current balance?")
    await router.stop()
    assert decision.name == "billing"


def test_nothing_needs_to_be_given() -> None:
    with AdaptiveRouter() as router:
        router.add_route(BILLING)
        assert router("what's my current balance?")


# ------------------------------------------------------------------------------------------------------ deciding
def test_a_decision_explains_itself(router: AdaptiveRouter) -> None:
    decision = router("what's my current balance?")
    assert decision.name == "billing"
    assert decision.reason is Reason.MATCHED
    assert decision.revision == router.revision == 1
    assert decision.matches[0].name == "billing"
    assert len(decision.matches) == 3
    assert decision.matches[0].utterance == "show my balance"
    assert decision.score == decision.matches[0].score
    assert decision.confidence == decision.matches[0].confidence > 0.5
    assert decision.margin == decision.confidence - decision.matches[1].confidence


@pytest.mark.parametrize(
    "query", ["how tall is the highest mountain in Europe", "who painted the Mona Lisa", "my cat sleeps on the sofa"]
)
def test_it_abstains_on_plainly_unrelated_text_without_any_threshold(router: AdaptiveRouter, query: str) -> None:
    decision = router(query)
    assert decision.name is None
    assert not decision
    assert decision.reason is Reason.BELOW_CONFIDENCE
    assert decision.matches


@pytest.mark.parametrize("routes", [[BILLING], [BILLING, WEATHER], [BILLING, WEATHER, MUSIC]])
def test_tables_of_one_two_and_three_routes_match_and_abstain(encoder: BundledEncoder, routes: list[Route]) -> None:
    with AdaptiveRouter(encoder) as router:
        router.add_routes(routes)
        assert router("please show me my balance").name == "billing"
        assert router("who painted the Mona Lisa").name is None


def test_without_routes_it_abstains(encoder: BundledEncoder) -> None:
    with AdaptiveRouter(encoder) as router:
        decision = router("hello")
        assert (decision.name, decision.reason, decision.score) == (None, Reason.NO_ROUTES, None)
        assert decision.to_dict()["matches"] == []


def test_zero_is_a_threshold_and_none_is_not(router: AdaptiveRouter) -> None:
    unrelated = "who painted the Mona Lisa"
    assert router.route(unrelated).name is None
    assert router.route(unrelated, threshold=-1).name is not None
    assert router.route(unrelated, min_confidence=0.0).name is not None
    router.update_threshold(router(unrelated).matches[0].name, 0.0)
    assert router.route(unrelated).name is not None


def test_a_routes_own_threshold_decides_and_a_calls_comes_first(router: AdaptiveRouter) -> None:
    query = "what's my current balance?"
    router.update_threshold("billing", 0.99)
    assert router.route(query).reason is Reason.BELOW_THRESHOLD
    assert router.route(query, threshold=0.2).name == "billing"
    score = router.route(query, threshold=0.2).score
    assert score is not None
    assert router.route(query, threshold=score).name == "billing"
    router.update_threshold("billing", None)
    assert router.route(query).name == "billing"


def test_a_confidence_asked_for_holds_beside_a_threshold(router: AdaptiveRouter) -> None:
    assert router.route("show my balance", threshold=0.1, min_confidence=1.0).reason is Reason.BELOW_CONFIDENCE


def test_raising_a_threshold_never_adds_a_match(router: AdaptiveRouter) -> None:
    queries = ["what's my balance", "rain today?", "play something", "who are you"]
    for low, high in itertools.pairwise(np.linspace(-1, 1, 21)):
        at_low = router.route_many(queries, threshold=float(low))
        at_high = router.route_many(queries, threshold=float(high))
        for less, more in zip(at_low, at_high, strict=True):
            assert more.name is None or more.name == less.name


def test_allow_leaves_the_others_out(router: AdaptiveRouter) -> None:
    decision = router.route("show my balance", allow=["weather", "music"], threshold=-1)
    assert {match.name for match in decision.matches} == {"weather", "music"}
    assert router.route("show my balance", allow=[]).reason is Reason.NO_ROUTES
    with pytest.raises(RouteNotFoundError, match="nonsense"):
        router.route("show my balance", allow=["nonsense"])


def test_allow_holds_when_the_head_knows_only_routes_that_are_gone(encoder: BundledEncoder) -> None:
    with AdaptiveRouter(encoder) as router:
        router.add_route(BILLING)
        router.refit()
        router.delete_route("billing")
        assert router.route("show my balance", allow=[]).reason is Reason.NO_ROUTES
        router.add_route(WEATHER)
        assert router.route("show my balance", allow=["weather"]).matches[0].name == "weather"


def test_a_query_is_answered_while_the_background_sentences_cannot_be_encoded() -> None:
    encoder = BrokenEncoder()
    with AdaptiveRouter(encoder) as router:
        router.add_route(Route(name="a", utterances=["x"]))
        encoder.answer = [[0, 1, 0, 0]]
        assert router("x").matches[0].name == "a"


def test_many_agree_with_each_alone(router: AdaptiveRouter) -> None:
    queries = ["what's my balance", "rain today?", "play something", "who are you", "turn it up"]
    for together, query in zip(router.route_many(queries), queries, strict=True):
        alone = router.route(query)
        assert together.name == alone.name
        assert [m.name for m in together.matches] == [m.name for m in alone.matches]
        assert together.confidence == pytest.approx(alone.confidence, abs=1e-5)
    assert router.route_many([]) == []


@pytest.mark.parametrize("query", ["", "   ", "x" * 1_000_000, "\ud800", None, 7])
def test_bad_queries_raise_and_the_table_keeps_serving(router: AdaptiveRouter, query: Any) -> None:
    with pytest.raises(InvalidQueryError):
        router(query)
    assert router("show my balance").name == "billing"


@pytest.mark.parametrize(
    "options", [{"top_k": 0}, {"threshold": 2}, {"threshold": float("nan")}, {"min_confidence": -0.1}]
)
def test_bad_options_raise(router: AdaptiveRouter, options: Any) -> None:
    with pytest.raises(InvalidInputError):
        router.route("hello", **options)
    with pytest.raises(InvalidInputError):
        router.route_many("hello")


# ------------------------------------------------------------------------------------------------------ changing
def test_a_new_route_answers_at_once(router: AdaptiveRouter) -> None:
    query = "please reserve a table for two"
    assert router(query).name is None
    router.add_route(Route(name="dining", utterances=["book a table", "reserve a table at a restaurant"]))
    assert router(query).name == "dining"
    router.delete_route("dining")
    assert router(query).name is None


def test_a_taken_name_is_refused_and_none_of_the_batch_is_added(router: AdaptiveRouter) -> None:
    fresh = Route(name="fresh", utterances=["x"])
    for batch in ([fresh, BILLING], [fresh, fresh]):
        with pytest.raises(RouteExistsError):
            router.add_routes(batch)
    assert "fresh" not in router
    assert (len(router), router.revision) == (3, 1)


def test_an_unknown_route_is_refused_everywhere(router: AdaptiveRouter) -> None:
    for call in (
        lambda: router.get_route("nope"),
        lambda: router.delete_route("nope"),
        lambda: router.update_route("nope", description="x"),
        lambda: router.add_utterance("nope", "x"),
        lambda: router.remove_utterance("nope", "x"),
        lambda: router.update_threshold("nope", 0.1),
        lambda: router.remove_utterance("billing", "never said"),
    ):
        with pytest.raises(RouteNotFoundError):
            call()
    assert router.revision == 1


def test_the_last_utterance_cannot_be_removed(router: AdaptiveRouter) -> None:
    router.update_route("billing", utterances=["only one"])
    with pytest.raises(InvalidRouteError, match="delete_route"):
        router.remove_utterance("billing", "only one")


def test_only_new_utterances_are_encoded(encoder: BundledEncoder) -> None:
    counting = CountingEncoder(encoder)
    with AdaptiveRouter(counting) as router:
        router.add_route(BILLING)
        counting.asked.clear()
        router.update_route("billing", utterances=["pay my bill", "settle the invoice"], threshold=0.3)
        assert counting.asked == ["settle the invoice"]
        assert router.get_route("billing").utterances == ("pay my bill", "settle the invoice")
        assert router.get_route("billing").threshold == 0.3
        counting.asked.clear()
        revision = router.revision
        assert router.add_utterance("billing", " pay my bill ") == revision
        router.update_route("billing", metadata={"owner": "finance"})
        router.remove_utterance("billing", "settle the invoice")
        assert counting.asked == []
        assert router.revision == revision + 2


def test_put_adds_replaces_and_leaves_alone_all_at_once(encoder: BundledEncoder) -> None:
    counting, told = CountingEncoder(encoder), list[tuple[int, int]]()
    with AdaptiveRouter(counting) as router:
        router.add_routes([BILLING, WEATHER])
        counting.asked.clear()
        billing = BILLING.replaced(utterances=["settle the invoice", "pay my bill"])
        assert router.put_routes([billing, WEATHER, MUSIC], progress=lambda *done: told.append(done)) == 2
        assert counting.asked == ["settle the invoice", *MUSIC.utterances]
        assert told == [(4, 4)]
        assert router.get_route("billing").utterances == ("pay my bill", "settle the invoice")
        assert router.put_routes([WEATHER, MUSIC]) == 2
        assert router.put_routes([]) == 2


def test_a_match_names_the_right_utterance_after_many_changes(router: AdaptiveRouter) -> None:
    router.add_utterance("billing", "how much money do I have")
    router.add_utterance("weather", "how warm is it")
    router.remove_utterance("billing", "what do I owe")
    router.add_utterance("billing", "what do I owe")
    router.delete_route("weather")
    router.add_route(Route(name="greeting", utterances=["hello there", "good evening"]))
    for route in router.routes:
        for text in route.utterances:
            match = router(text).matches[0]
            assert (match.name, match.utterance) == (route.name, text)
            assert match.score == pytest.approx(1, abs=1e-5)


# ------------------------------------------------------------------------------------------------------- storing
def test_reopening_encodes_nothing_and_gives_the_same_bits(encoder: BundledEncoder, tmp_path: Path) -> None:
    path = tmp_path / "routes.db"
    with AdaptiveRouter(encoder, SQLiteStorage(path)) as router:
        router.add_routes([BILLING, WEATHER])
        router.add_utterance("billing", "one more")
        stored = vectors_of(router, "billing")
        before = router("what's my balance")
    counting = CountingEncoder(encoder)
    with AdaptiveRouter(counting, SQLiteStorage(path)) as router:
        assert counting.asked == []
        assert router.routes[1] == WEATHER
        assert vectors_of(router, "billing") == stored
        after = router("what's my balance")
        assert (after.name, after.revision) == (before.name, before.revision)
        assert after.confidence == pytest.approx(before.confidence, abs=1e-5)


def vectors_of(router: AdaptiveRouter, name: str) -> bytes:
    table = router.snapshot
    return table.index.vectors_of(table.index.rows_of(table.catalog.slot(name))).tobytes()


def test_a_store_of_another_encoder_is_refused(encoder: BundledEncoder, tmp_path: Path) -> None:
    with AdaptiveRouter(encoder, SQLiteStorage(tmp_path / "r.db")) as router:
        router.add_route(BILLING)
    storage = SQLiteStorage(tmp_path / "r.db")
    with pytest.raises(EncoderMismatchError):
        AdaptiveRouter(BrokenEncoder(), storage)
    storage.close()


@pytest.mark.parametrize(
    "answer",
    [
        np.full((1, 4), np.nan, np.float32),
        np.full((1, 4), np.inf, np.float32),
        np.zeros((1, 4), np.float32),
        np.ones((1, 5), np.float32),
        np.ones((2, 4), np.float32),
        np.ones(4, np.float32),
        [["a", "b", "c", "d"]],
        "nonsense",
    ],
    ids=["nan", "inf", "zero", "wide", "tall", "flat", "words", "text"],
)
def test_bad_vectors_are_refused_and_nothing_is_stored(answer: Any) -> None:
    encoder = BrokenEncoder()
    with AdaptiveRouter(encoder) as router:
        router.add_route(Route(name="good", utterances=["x"]))
        encoder.answer = answer
        with pytest.raises(EncoderOutputError, match="broken"):
            router.add_route(Route(name="bad", utterances=["y"]))
        with pytest.raises(EncoderOutputError):
            router("y")
        encoder.answer = None
        assert [route.name for route in router.routes] == ["good"]
        assert router("x").matches[0].name == "good"


def test_an_encoders_own_errors_join_the_tree() -> None:
    encoder = BrokenEncoder()
    with AdaptiveRouter(encoder) as router:
        encoder.answer = RuntimeError("out of order")
        with pytest.raises(EncoderError, match="RuntimeError: out of order"):
            router("x")
        encoder.answer = InvalidInputError("already ours")
        with pytest.raises(InvalidInputError, match="already ours"):
            router("x")


def test_vectors_that_are_not_unit_are_normalised() -> None:
    encoder = BrokenEncoder()
    with AdaptiveRouter(encoder) as router:
        router.warm_up()
        encoder.answer = [[0, 3, 0, 0]]
        router.add_route(Route(name="a", utterances=["x"]))
        assert router.route("y", threshold=-1).score == 1.0


def test_a_change_that_cannot_be_stored_changes_nothing(encoder: BundledEncoder) -> None:
    storage = SQLiteStorage(":memory:")
    router = AdaptiveRouter(encoder, storage)
    router.add_route(BILLING)
    storage.close()
    with pytest.raises(StorageError):
        router.add_route(WEATHER)
    assert [route.name for route in router.routes] == ["billing"]
    assert router("show my balance").name == "billing"
    router.close()


# ---------------------------------------------------------------------------------------------- threads and loops
def test_readers_beside_a_writer_see_whole_revisions(encoder: BundledEncoder) -> None:
    """Each revision renames both routes at once; a torn read would mix two generations."""
    with AdaptiveRouter(encoder) as router:
        vector = {"left": "show my balance", "right": "will it rain"}
        router.add_routes(Route(name=f"{side}_0", utterances=[text]) for side, text in vector.items())
        done = threading.Event()

        def read() -> int:
            reads = 0
            while not done.is_set():
                names = [match.name for match in router.route("my balance in the rain", threshold=-1).matches]
                assert {name.split("_")[0] for name in names} <= {"left", "right"}
                assert len(names) in (1, 2)
                reads += 1
            return reads

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(read) for _ in range(4)]
            for generation in range(1, 15):
                for side, text in vector.items():
                    router.delete_route(f"{side}_{generation - 1}")
                    router.add_route(Route(name=f"{side}_{generation}", utterances=[text]))
            done.set()
            assert all(reader.result() > 0 for reader in readers)


def test_parallel_writers_lose_nothing(encoder: BundledEncoder) -> None:
    with AdaptiveRouter(encoder) as router, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: router.add_route(Route(name=f"r{n}", utterances=[f"text {n}"])), range(40)))
        assert router.revision == 40
        assert {route.name for route in router.routes} == {f"r{n}" for n in range(40)}


async def test_the_event_loop_stays_free_while_queries_run(encoder: BundledEncoder) -> None:
    waiting_for_beats = WaitingEncoder(encoder)
    with AdaptiveRouter(waiting_for_beats) as router:
        router.add_routes([BILLING, WEATHER, MUSIC])
        waiting_for_beats.go_on.clear()

        async def beat() -> None:
            for _ in range(50):
                await asyncio.sleep(0)
            waiting_for_beats.go_on.set()

        heart = asyncio.create_task(beat())
        decisions = await asyncio.gather(*(router.aquery("show my balance") for _ in range(50)))
        await heart
        assert {decision.name for decision in decisions} == {"billing"}
        assert [d.name for d in await router.aquery_many(["play jazz", "is it raining"])] == ["music", "weather"]


class WaitingEncoder(CountingEncoder):
    """Encodes when it is told to go on: in an event loop that it blocked, nobody would tell it."""

    def __init__(self, encoder: BundledEncoder) -> None:
        super().__init__(encoder)
        self.go_on = threading.Event()
        self.go_on.set()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        assert self.go_on.wait(30)
        return super().encode(texts)


def test_several_event_loops_and_threads_share_one_router(router: AdaptiveRouter) -> None:
    def in_a_loop(_: int) -> str | None:
        return asyncio.run(router.aquery("show my balance")).name

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(in_a_loop, range(8))) == {"billing"}


def test_a_forked_child_routes_on(router: AdaptiveRouter) -> None:
    asyncio.run(router.aquery("show my balance"))
    expected = router("show my balance")
    child = os.fork()
    if child == 0:
        try:
            same = router("show my balance") == expected
            same &= asyncio.run(router.aquery("show my balance")) == expected
            os._exit(0 if same else 3)
        except BaseException:  # noqa: BLE001 - the exit code is the message
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ------------------------------------------------------------------------------------------------------- lifetime
async def test_accepted_queries_are_answered_before_it_stops(encoder: BundledEncoder) -> None:
    router = AdaptiveRouter(encoder)
    router.add_route(BILLING)
    waiting = [asyncio.create_task(router.aquery("show my balance")) for _ in range(20)]
    await asyncio.sleep(0)
    await router.stop()
    assert {decision.name for decision in await asyncio.gather(*waiting)} == {"billing"}
    for call in (lambda: router("x"), lambda: router.add_route(WEATHER), router.warm_up):
        with pytest.raises(RouterClosedError):
            call()
    with pytest.raises(RouterClosedError):
        await router.aquery("x")
    await router.stop()


async def test_it_is_a_context_manager_for_both_worlds(encoder: BundledEncoder) -> None:
    async with AdaptiveRouter(encoder) as router:
        router.add_route(BILLING)
        assert await router.aquery("show my balance")
        assert repr(router) == "AdaptiveRouter(1 routes, revision 1, encoder='all-MiniLM-L6-v2-routing')"
        assert router.encoder is encoder
        assert isinstance(router.storage, SQLiteStorage)
    with pytest.raises(RouterClosedError):
        router("x")


# ------------------------------------------------------------------------------------------- against a plain model
class RouterMachine(RuleBasedStateMachine):
    """Random changes and restarts, held against a dict."""

    names = st.sampled_from(["a", "b", "c", "d"])
    texts = st.sampled_from([f"text number {n}" for n in range(8)])

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "routes.db"
        self.router = AdaptiveRouter(CachedEncoder(), SQLiteStorage(self.path))
        self.model: dict[str, list[str]] = {}

    @rule(name=names, texts=st.lists(texts, min_size=1, max_size=3, unique=True))
    def put(self, name: str, texts: list[str]) -> None:
        if name in self.model:
            self.router.update_route(name, utterances=texts)
            kept = [text for text in self.model[name] if text in texts]
            self.model[name] = kept + [text for text in texts if text not in kept]
        else:
            self.router.add_route(Route(name=name, utterances=texts))
            self.model[name] = texts

    @rule(name=names, text=texts)
    def add(self, name: str, text: str) -> None:
        try:
            self.router.add_utterance(name, text)
            if text not in self.model[name]:
                self.model[name] = [*self.model[name], text]
        except SynaptoRouteError:
            assert name not in self.model

    @rule(name=names, text=texts)
    def remove(self, name: str, text: str) -> None:
        try:
            self.router.remove_utterance(name, text)
            self.model[name] = [other for other in self.model[name] if other != text]
        except SynaptoRouteError:
            assert self.model.get(name, []) in ([], [text]) or text not in self.model[name]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.router.delete_route(name)
        del self.model[name]

    @rule()
    def reload(self) -> None:
        self.router.close()
        self.router = AdaptiveRouter(CachedEncoder(), SQLiteStorage(self.path))

    @invariant()
    def same_routes(self) -> None:
        assert {route.name: list(route.utterances) for route in self.router.routes} == self.model

    @invariant()
    def every_utterance_finds_its_route(self) -> None:
        for text in {text for texts in self.model.values() for text in texts}:
            best = self.router.route(text, threshold=-1).matches[0]
            assert best.utterance == text
            assert text in self.model[best.name]

    def teardown(self) -> None:
        self.router.close()
        self.folder.cleanup()


class CachedEncoder:
    """Random but fixed vectors: the machine is about bookkeeping."""

    name, dim, fingerprint = "fixed", 16, "fixed-1"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = [np.random.default_rng(sum(text.encode())).normal(size=16) for text in texts]
        return np.asarray([row / np.linalg.norm(row) for row in rows], np.float32)


TestRouterMachine = RouterMachine.TestCase
TestRouterMachine.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


def test_a_router_without_routes_is_still_a_router(encoder: BundledEncoder) -> None:
    """``given or AdaptiveRouter()`` must not put another in the place of one that is merely empty."""
    with AdaptiveRouter(encoder) as router:
        assert len(router) == 0
        assert router
