"""RouteTable: what a batch of changes makes of it, and that nothing but speed depends on how its rows are kept."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute import learned_file
from synaptoroute.decision import lessons
from synaptoroute.decision.two_stage import TwoStage
from synaptoroute.errors import RouteNotFoundError
from synaptoroute.index import ExactIndex, SegmentedIndex
from synaptoroute.models import Decision, Reason, Route
from synaptoroute.storage.base import Change, DropRoute, PutRoute, StoredTable
from synaptoroute.table import RouteTable
from synaptoroute.teaching import learn_from
from tests.seeded import DIM, route, small_heads, vectors_of

Model = dict[str, tuple[str, ...]]


def table_of(*routes: Route) -> RouteTable:
    texts = [text for each in routes for text in each.utterances]
    return RouteTable.from_stored(StoredTable(revision=1, routes=routes, vectors=vectors_of(texts)), vectors_of)


def put(name: str, kept: Sequence[str], added: Sequence[str] = (), **fields: Any) -> PutRoute:
    whole = Route(name=name, utterances=[*kept, *added], **fields)
    return PutRoute(route=whole, added=tuple(added), vectors=vectors_of(added))


def drop(name: str) -> DropRoute:
    return DropRoute(name=name)


def ask(table: RouteTable, *queries: str, **options: Any) -> list[Decision]:
    return table.decide(queries, vectors_of(queries), **options)


def assert_whole(table: RouteTable, expected: Model) -> None:
    """Its routes are these, in this order, and every row has the vector of the utterance at its place."""
    assert {each.name: each.utterances for each in table.routes} == expected
    assert [each.name for each in table.routes] == list(expected)
    assert len(table.index) == sum(map(len, expected.values()))
    for name, utterances in expected.items():
        rows = table.index.rows_of(table.catalog.slot(name))
        np.testing.assert_array_equal(table.index.vectors_of(rows), vectors_of(utterances))
    for name, utterances in expected.items():
        for decision, text in zip(ask(table, *utterances, top_k=len(expected)), utterances, strict=True):
            match = next(match for match in decision.matches if match.name == name)
            assert match.utterance == text
            assert match.score == pytest.approx(1, abs=1e-5)


A, B, C = route("ann"), route("bob"), route("cat")


ANN, BOB = {"ann": A.utterances}, {"bob": B.utterances}
BATCHES: list[tuple[list[Change], Model]] = [
    ([], ANN | BOB),
    ([put("cat", (), C.utterances)], ANN | BOB | {"cat": C.utterances}),
    ([drop("ann")], BOB),
    ([drop("ann"), drop("bob")], {}),
    ([drop("nobody")], ANN | BOB),
    ([drop("ann"), put("ann", (), ["ann 7"])], BOB | {"ann": ("ann 7",)}),
    ([drop("ann"), put("ann", (), A.utterances)], BOB | ANN),
    ([put("cat", (), ["cat 1"]), drop("cat")], ANN | BOB),
    ([put("ann", ["ann 0"], ["ann 8"]), drop("ann")], BOB),
    ([put("cat", (), ["cat 1"]), drop("cat"), put("cat", (), ["cat 2"])], ANN | BOB | {"cat": ("cat 2",)}),
    ([put("ann", ["ann 0", "ann 2"])], {"ann": ("ann 0", "ann 2")} | BOB),
    ([put("ann", ["ann 2"], ["ann 1"])], {"ann": ("ann 2", "ann 1")} | BOB),
    ([put("ann", (), ["ann 9", "ann 0"])], {"ann": ("ann 9", "ann 0")} | BOB),
    ([put("ann", A.utterances, threshold=0.5)], ANN | BOB),
    (
        [put("ann", A.utterances, ["ann 5"]), put("ann", ["ann 0", "ann 5"], ["ann 6"])],
        {"ann": ("ann 0", "ann 5", "ann 6")} | BOB,
    ),
    ([put("ann", A.utterances, ["ann 5", "ann 6"]), put("ann", ["ann 6"])], {"ann": ("ann 6",)} | BOB),
]


@pytest.mark.parametrize("segmented_from", [5, 1_000], ids=["segmented", "exact"])
@pytest.mark.parametrize(("changes", "expected"), BATCHES)
def test_a_batch_is_applied_in_order_and_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, segmented_from: int, changes: list[Change], expected: Model
) -> None:
    monkeypatch.setattr("synaptoroute.table.SEGMENTED_FROM", segmented_from)
    table = table_of(A, B)
    assert isinstance(table.index, SegmentedIndex) is (segmented_from == 5)
    changed = table.applied(changes, 2)
    assert_whole(changed, expected)
    assert (table.revision, changed.revision) == (1, 2)
    assert_whole(table, {"ann": A.utterances, "bob": B.utterances})


def test_utterances_that_stay_keep_their_order_through_many_changes() -> None:
    table = table_of(route("ann", *range(8)), B)
    table = table.applied([put("ann", ["ann 1", "ann 3", "ann 6"], ["ann 0"])], 2)
    table = table.applied([put("bob", ["bob 2"], ["bob 0", "bob 9"])], 3)
    table = table.applied([put("ann", ["ann 3", "ann 0"], ["ann 6", "ann 1"])], 4)
    assert_whole(table, {"ann": ("ann 3", "ann 0", "ann 6", "ann 1"), "bob": ("bob 2", "bob 0", "bob 9")})


# --------------------------------------------------------------------------------------------- random changes
names = st.sampled_from(["ann", "bob", "cat", "dan"])
said = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)
batches = st.lists(st.lists(st.tuples(names, st.none() | said), min_size=1, max_size=4), max_size=6)


@settings(max_examples=60, deadline=None)
@given(batches, st.integers(1, 12))
def test_any_batches_give_what_a_dict_gives(batches: list[list[tuple[str, list[int] | None]]], limit: int) -> None:
    expected: Model = {"ann": A.utterances, "bob": B.utterances}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synaptoroute.table.SEGMENTED_FROM", limit)
        table = table_of(A, B)
        for revision, batch in enumerate(batches, start=2):
            changes: list[Change] = []
            for name, says in batch:
                if says is None:
                    expected.pop(name, None)
                    changes.append(drop(name))
                    continue
                wanted = [f"{name} {number}" for number in says]
                kept = [text for text in expected.get(name, ()) if text in wanted]
                added = [text for text in wanted if text not in kept]
                expected[name] = (*kept, *added)
                changes.append(put(name, kept, added))
            table = table.applied(changes, revision)
            assert_whole(table, expected)
            fresh = table_of(*table.routes)
            assert names_of(ask(table, "ann who", "dan who")) == names_of(ask(fresh, "ann who", "dan who"))


def names_of(decisions: list[Decision]) -> list[list[str]]:
    return [[match.name for match in decision.matches] for decision in decisions]


# --------------------------------------------------------------------------------------------------- allowing
@pytest.mark.parametrize("segmented_from", [5, 1_000], ids=["segmented", "exact"])
@pytest.mark.parametrize("learned", [True, False])
def test_only_allowed_routes_are_listed_also_those_that_are_new(
    monkeypatch: pytest.MonkeyPatch, segmented_from: int, learned: bool
) -> None:
    monkeypatch.setattr("synaptoroute.table.SEGMENTED_FROM", segmented_from)
    table = table_of(A, B)
    if learned:
        table = table.with_learned(learn_from(table))
    table = table.applied([put("cat", (), C.utterances), drop("bob")], 2)
    for allow in (["ann"], ["cat"], ["ann", "cat"]):
        for decision in ask(table, "ann x", "bob x", "cat x", allow=allow):
            assert {match.name for match in decision.matches} == set(allow)
    assert [decision.reason for decision in ask(table, "ann x", allow=[])] == [Reason.NO_ROUTES]
    with pytest.raises(RouteNotFoundError):
        ask(table, "ann x", allow=["bob"])


def test_asking_for_more_routes_than_there_are_takes_no_room_for_them() -> None:
    (decision,) = ask(table_of(A, B), "ann x", top_k=10**12)
    assert len(decision.matches) == 2


# ------------------------------------------------------------------------------------------------------ the head
@pytest.fixture(scope="module")
def learned() -> RouteTable:
    table = table_of(A, B, C)
    return table.with_learned(learn_from(table))


def test_newcomers_are_answered_by_neighbours_and_dropped_routes_never(learned: RouteTable) -> None:
    changed = learned.applied([put("dan", (), ["dan 0", "dan 1"]), drop("bob")], 2)
    assert learned.fitted
    assert not changed.fitted
    assert changed.learned is learned.learned
    decisions = ask(changed, "dan 0", "ann 0", "bob 0")
    assert [decision.matches[0].name for decision in decisions[:2]] == ["dan", "ann"]
    assert all(match.name != "bob" for decision in decisions for match in decision.matches)
    again = changed.applied([drop("dan")], 3)
    assert all(match.name in ("ann", "cat") for decision in ask(again, "dan 0", "bob 0") for match in decision.matches)


def test_a_changed_route_is_a_newcomer_until_it_is_as_it_was(learned: RouteTable) -> None:
    changed = learned.applied([put("ann", A.utterances, ["ann 9"])], 2)
    assert not changed.fitted
    assert ask(changed, "ann 9")[0].matches[0].utterance == "ann 9"
    back = changed.applied([put("ann", A.utterances)], 3)
    assert back.fitted
    assert ask(back, "ann x", "bob x") == [at(3, decision) for decision in ask(learned, "ann x", "bob x")]


def test_a_route_that_was_dropped_and_put_back_is_known_to_the_head(learned: RouteTable) -> None:
    for table in (
        learned.applied([drop("bob")], 2).applied([put("bob", (), B.utterances)], 3),
        learned.applied([drop("bob"), put("bob", (), B.utterances)], 3),
    ):
        assert table.fitted
        for one, other in zip(ask(table, "ann x", "bob x"), ask(learned, "ann x", "bob x"), strict=True):
            assert one.name == other.name
            assert one.confidence == pytest.approx(other.confidence, abs=1e-6)


def test_a_threshold_is_no_lesson(learned: RouteTable) -> None:
    changed = learned.applied([put("ann", A.utterances, threshold=0.99)], 2)
    assert changed.fitted
    assert ask(changed, "ann x")[0].reason is Reason.BELOW_THRESHOLD


def at(revision: int, decision: Decision) -> Decision:
    return replace(decision, revision=revision)


# ------------------------------------------------------------------------------------------------ the calibration
def test_a_calibration_is_kept_over_small_changes_and_made_anew_after_large_ones() -> None:
    asked: list[int] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.append(len(texts))
        return vectors_of(texts)

    routes = [route(f"r{number}") for number in range(10)]
    texts = [text for each in routes for text in each.utterances]
    table = RouteTable.from_stored(StoredTable(revision=1, routes=tuple(routes), vectors=vectors_of(texts)), encode)
    before = table.calibration
    for revision in range(2, 8):
        table = table.applied([put(f"s{revision}", (), [f"s{revision} 0"])], revision)
        assert table.calibration is before
    assert len(asked) == 1
    table = table.applied([put("s8", (), ["s8 0"])], 8)
    assert table.calibration is not before
    assert len(asked) == 2
    table = table.applied([drop(f"r{number}") for number in range(3)], 9)
    assert len(asked) == 2
    assert table.calibration is not None
    assert len(asked) == 3


def test_a_table_that_was_never_calibrated_does_not_hold_the_rows_of_former_ones() -> None:
    table = table_of(A, B, C)
    former = weakref.ref(table.index)
    table = table.applied([put("ann", A.utterances, ["ann 9"])], 2)
    gc.collect()
    assert former() is None
    assert ask(table, "ann 9")[0].matches[0].utterance == "ann 9"


# ------------------------------------------------------------------------------------------- how rows are kept
@pytest.mark.parametrize("kind", ["neighbours", "head", "two stages"])
def test_a_table_that_outgrows_exact_search_decides_as_before(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("synaptoroute.table.SEGMENTED_FROM", 61)
    if kind == "two stages":
        monkeypatch.setattr(lessons, "EFFORTS", small_heads(10))
    table = table_of(*(route(f"r{number}", *range(3)) for number in range(20)))
    if kind != "neighbours":
        table = table.with_learned(learn_from(table))
    queries = [f"r{number} what" for number in range(25)]
    exact = table.applied([put("r0", ("r0 0", "r0 1", "r0 2"), ["r0 3"])], 2)
    assert isinstance(exact.index, ExactIndex)
    larger = exact.applied([put("far", (), ["far away"])], 3)
    assert isinstance(larger.index, SegmentedIndex)
    smaller = larger.applied([drop("far")], 4)
    assert isinstance(smaller.index, SegmentedIndex)
    # Confidences of neighbours depend on the calibration, which both share.
    for one, other in zip(ask(exact, *queries), ask(smaller, *queries), strict=True):
        assert names_of([one]) == names_of([other])
        assert [match.utterance for match in one.matches] == [match.utterance for match in other.matches]
        assert other.confidence == pytest.approx(one.confidence, abs=1e-5)


def test_an_empty_table_answers_and_learns_nothing() -> None:
    empty = table_of(A).applied([drop("ann")], 2)
    assert ask(empty, "ann x")[0].reason is Reason.NO_ROUTES
    assert learn_from(empty) is None
    assert empty.fitted
    assert empty.index.dim == DIM
    assert ask(empty) == []


def test_what_two_stages_learned_comes_back_bit_for_bit_for_a_table_that_is_too_large_for_a_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = table_of(*(route(f"r{number}") for number in range(20)))
    monkeypatch.setattr(lessons, "EFFORTS", small_heads(10))
    learned = learn_from(small)
    assert isinstance(learned, TwoStage)
    content = learned_file.dump(learned, small)
    assert content is not None
    # It belongs to no routes in particular.
    other = table_of(*(route(f"s{number}") for number in range(30)))
    again = learned_file.load(content, other)
    assert isinstance(again, TwoStage)
    for field in fields(TwoStage):
        one, two = getattr(learned, field.name), getattr(again, field.name)
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    assert learned_file.load(content[:-20], other) is None
    wider = ExactIndex(np.eye(40, dtype=np.float32), np.arange(40, dtype=np.int32))
    assert learned_file.load(content, replace(other, index=wider)) is None
    monkeypatch.setattr(learned_file, "FORMAT", "another")
    assert learned_file.load(content, other) is None
    monkeypatch.undo()
    assert learned_file.load(content, other) is None
