"""Encoders with two sides: what is routed goes through ``encode_queries``, what is stored through ``encode``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.bulk import route_batches
from synaptoroute.corrections import Corrections
from synaptoroute.decision import lessons
from synaptoroute.encoder import BundledEncoder
from synaptoroute.encoder.base import Vectors, encode_checked
from synaptoroute.observability.record_reading import DecisionRecord
from synaptoroute.replaying import replay
from synaptoroute.storage import SQLiteStorage
from synaptoroute.testing import EncoderContract

ROUTES = [
    Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill"]),
    Route(name="weather", utterances=["will it rain tomorrow", "what is the forecast", "is it sunny outside"]),
]
QUERY = "how much money is left on my account"
LABELLED = [(f"query {number} about my bill", "billing") for number in range(12)]
LABELLED += [(f"query {number} about rain", "weather") for number in range(12)]


class TwoSided:
    """The bundled encoder behind a prefix for queries, as e5 has it; tells what it was asked for on which side."""

    def __init__(self, encoder: BundledEncoder, prefix: str = "query: ") -> None:
        self._encoder, self._prefix = encoder, prefix
        self.name, self.dim = encoder.name, encoder.dim
        self.fingerprint = f"{encoder.fingerprint}-{prefix}"
        self.utterances: list[str] = []
        self.queries: list[str] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.utterances += texts
        return self._encoder.encode(texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        self.queries += texts
        return self._encoder.encode([self._prefix + text for text in texts])


class WithThreads(TwoSided):
    """The same, for callers that have a thread for each core."""

    def encode_in_thread(self, texts: Sequence[str]) -> Vectors:
        self.utterances += texts
        return self._encoder.encode_in_thread(texts)

    def encode_queries_in_thread(self, texts: Sequence[str]) -> Vectors:
        self.queries += texts
        return self._encoder.encode_in_thread([self._prefix + text for text in texts])


class TestContract(EncoderContract):
    two_sided = True

    @pytest.fixture
    def encoder(self, encoder: BundledEncoder) -> WithThreads:
        return WithThreads(encoder)


class _Shown:
    """An ``encode`` for each member that ``encode_checked`` may call, telling which one it was."""

    name, dim, fingerprint = "shown", 2, "shown"

    def __init__(self, *members: str) -> None:
        self.called: list[str] = []
        for member in members:
            setattr(self, member, self._telling(member))

    def _telling(self, member: str) -> Callable[[Sequence[str]], Vectors]:
        def encode(texts: Sequence[str]) -> Vectors:
            self.called.append(member)
            return np.array([[1, 0]] * len(texts), np.float32)

        return encode

    def encode(self, texts: Sequence[str]) -> Vectors:
        raise AssertionError("replaced in the constructor")


@pytest.mark.parametrize(
    ("members", "alone", "queries", "called"),
    [
        ([], False, True, "encode"),
        ([], True, True, "encode"),
        (["encode_in_thread"], True, True, "encode_in_thread"),
        (["encode_in_thread"], False, True, "encode"),
        (["encode_queries"], False, True, "encode_queries"),
        (["encode_queries"], False, False, "encode"),
        # The right side in more threads is slow; the wrong side would be wrong.
        (["encode_in_thread", "encode_queries"], True, True, "encode_queries"),
        (["encode_in_thread", "encode_queries"], True, False, "encode_in_thread"),
        (["encode_in_thread", "encode_queries", "encode_queries_in_thread"], True, True, "encode_queries_in_thread"),
        (["encode_in_thread", "encode_queries", "encode_queries_in_thread"], False, True, "encode_queries"),
    ],
)
def test_the_side_comes_before_the_thread(members: list[str], called: str, *, alone: bool, queries: bool) -> None:
    encoder = _Shown("encode", *members)
    encode_checked(encoder, ["a"], alone=alone, queries=queries)
    assert encoder.called == [called]


# ------------------------------------------------------------------------------------------------- in the router
@pytest.fixture(autouse=True, scope="module")
def _quick_heads() -> Iterator[None]:
    """A head is learned in a tenth of the time; what it decides is no matter here."""
    quick = replace(lessons.EFFORTS[0], reads_ngrams=False, steps=20, folds=4, used=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lessons, "EFFORTS", (quick,))
        yield


@pytest.fixture(scope="module")
def learned(encoder: BundledEncoder) -> Iterator[tuple[AdaptiveRouter, WithThreads]]:
    sides = WithThreads(encoder)
    with AdaptiveRouter(sides, cache_bytes=0) as router:
        router.add_routes(ROUTES)
        router.wait_until_fitted()
        assert sides.queries == []
        yield router, sides


@pytest.fixture
def router(learned: tuple[AdaptiveRouter, WithThreads]) -> AdaptiveRouter:
    return learned[0]


@pytest.fixture
def sides(learned: tuple[AdaptiveRouter, WithThreads]) -> WithThreads:
    learned[1].queries, learned[1].utterances = [], []
    return learned[1]


def _bulk(router: AdaptiveRouter) -> None:
    list(route_batches(router, [pa.RecordBatch.from_pydict({"text": [QUERY]})]))


def _replay(router: AdaptiveRouter) -> None:
    decision = router.route("another")
    record = DecisionRecord(decision=decision, query=QUERY, asked={}, request_id=None)
    assert replay(router, [record]).comparison.compared == 1


def _shadow(router: AdaptiveRouter) -> None:
    with router.shadow(router.revision) as shadow:
        shadow.compare([QUERY])


def _corrected(router: AdaptiveRouter) -> None:
    corrections = Corrections(router)
    corrections.propose(corrections.add(QUERY, "weather").id)


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda router: router.route(QUERY), id="route"),
        pytest.param(lambda router: router.explain(QUERY), id="explain"),
        pytest.param(lambda router: router.evaluate([QUERY], ["billing"]), id="evaluate"),
        pytest.param(_bulk, id="bulk"),
        pytest.param(_replay, id="replay"),
        pytest.param(_shadow, id="shadow"),
        pytest.param(_corrected, id="corrections"),
    ],
)
def test_what_is_asked_is_encoded_as_a_query(
    router: AdaptiveRouter, sides: WithThreads, ask: Callable[[AdaptiveRouter], object]
) -> None:
    ask(router)
    assert QUERY in sides.queries
    if ask is not _corrected:  # There it is tried as an utterance too.
        assert QUERY not in sides.utterances
    assert not set(sides.queries) & {text for route in ROUTES for text in route.utterances}


async def test_an_asynchronous_query_is_encoded_as_a_query(router: AdaptiveRouter, sides: WithThreads) -> None:
    decision = await router.aquery(QUERY)
    assert sides.queries == [QUERY]
    row = sides._encoder.encode([f"query: {QUERY}"])[0]
    best = max(float(row @ vector) for vector in sides._encoder.encode(ROUTES[0].utterances))
    assert decision.name == "billing"
    assert decision.score == pytest.approx(best, abs=1e-5)


def test_labelled_queries_are_encoded_as_queries_also_after_a_migration(
    tmp_path: Path, encoder: BundledEncoder
) -> None:
    sides = TwoSided(encoder)
    texts, labels = zip(*LABELLED, strict=True)
    with AdaptiveRouter(sides, SQLiteStorage(tmp_path / "routes.db")) as router:
        router.add_routes(ROUTES)
        assert router.fit(texts, labels, force=True).applied
        assert set(texts) <= set(sides.queries)
        router.set_operating_point(0.31)
        other = TwoSided(encoder, "question: ")
        router.migrate_encoder(other)
    with AdaptiveRouter(other, SQLiteStorage(tmp_path / "routes.db")) as router:
        labelled = router.snapshot.labelled
        assert labelled is not None
        np.testing.assert_array_equal(labelled.vectors, encoder.encode([f"question: {text}" for text in texts]))
        assert router.operating_point.min_confidence == 0.31


def test_a_migration_compares_queries_that_are_encoded_as_queries(encoder: BundledEncoder) -> None:
    former, other = TwoSided(encoder), TwoSided(encoder, "question: ")
    with AdaptiveRouter(former) as router:
        router.add_routes(ROUTES)
        report = router.migrate_encoder(other, queries=[QUERY], labels=["billing"])
    assert report.right_before is not None
    assert QUERY in former.queries
    assert QUERY in other.queries
    assert QUERY not in [*former.utterances, *other.utterances]
