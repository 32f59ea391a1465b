"""RouteCatalog: a dict of routes with slots, whether they lie in arrays or were changed since."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute import catalog
from synaptoroute.catalog import RouteCatalog
from synaptoroute.errors import RouteNotFoundError, StorageCorruptError
from synaptoroute.models import Route

NAMES = st.sampled_from(["a", "b", "c", "d", "billing", "é", "日本"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=5,
)
ROUTES = st.builds(
    Route,
    name=NAMES,
    utterances=st.lists(TEXTS, min_size=1, max_size=4),
    threshold=st.none() | st.floats(-1, 1),
    description=st.none() | TEXTS,
    metadata=st.dictionaries(TEXTS, JSON, max_size=2),
)
PUTS = ROUTES.map(lambda route: (route.name, route))
DROPS = NAMES.map(lambda name: (name, None))


def route(name: str, *utterances: str, **fields: Any) -> Route:
    return Route(name=name, utterances=utterances or ("x",), **fields)


def assert_same(held: RouteCatalog, model: dict[int, Route]) -> None:
    """The model is slot -> route, in the order of slots."""
    routes = [model[slot] for slot in sorted(model)]
    assert (len(held), list(held), list(held.routes())) == (len(model), [route.name for route in routes], routes)
    for slot, route in model.items():
        assert held.slot(route.name) == slot
        assert held.get(slot) == route
        assert (held.name(slot), held.threshold(slot)) == (route.name, route.threshold)
        utterances = [held.utterance(slot, position) for position in range(len(route.utterances))]
        assert utterances == list(route.utterances)
        assert held.counts[slot] == len(utterances)
        with pytest.raises(IndexError):
            held.utterance(slot, len(utterances))
    assert held.counts.sum() == sum(len(route.utterances) for route in routes)
    for slot in {-1, *range(len(held.counts)), len(held.counts)} - set(model):
        for ask in (held.get, held.name, held.threshold, lambda slot: held.utterance(slot, 0)):
            with pytest.raises(RouteNotFoundError, match="no route has slot"):
                ask(slot)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(PUTS | DROPS, max_size=4) | st.sampled_from(["compact", "save"]), max_size=8))
def test_it_holds_what_a_dict_would(steps: list[list[tuple[str, Route | None]] | str]) -> None:
    held, model, end = RouteCatalog.of([]), dict[int, Route](), 0
    for step in steps:
        if isinstance(step, str):
            held, renumbered = held.compacted()
            assert len(renumbered) == end
            assert [slot for slot in range(end) if renumbered[slot] >= 0] == sorted(model)
            model = {int(renumbered[slot]): route for slot, route in model.items()}
            end = len(model)
            assert held.changed == 0
            if step == "save":
                held = RouteCatalog.from_arrays(held.arrays())
        else:
            held = held.replaced(step)
            for name, changed in step:
                slot = next((slot for slot, route in model.items() if route.name == name), end)
                if changed is not None:
                    model[slot] = changed
                    end = max(end, slot + 1)
                else:
                    model.pop(slot, None)
    assert_same(held, model)


def test_names_of_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_hash", len)
    held = RouteCatalog.of(route(name) for name in ("aa", "b", "cc", "ddd", "ee"))
    assert [held.slot(name) for name in ("ee", "cc", "aa", "ddd", "b")] == [4, 2, 0, 3, 1]
    assert "xx" not in held
    assert "xxxx" not in held
    assert list(held.compacted()[0]) == ["aa", "b", "cc", "ddd", "ee"]


def test_a_changed_route_keeps_its_slot_and_a_new_one_gets_one_that_was_never_used() -> None:
    held = RouteCatalog.of([route("a"), route("b"), route("c")])
    held = held.replaced([("b", route("b", "y")), ("c", None)])
    assert (held.slot("b"), held.get(1).utterances) == (1, ("y",))
    held = held.replaced([("d", route("d")), ("c", route("c"))])
    assert [held.slot(name) for name in held] == [0, 1, 3, 4]
    assert list(held) == ["a", "b", "d", "c"]


def test_changes_are_made_one_after_another_so_a_route_can_be_dropped_and_added_again_at_the_end() -> None:
    held = RouteCatalog.of([route("a"), route("b")])
    held = held.replaced([("a", None), ("a", route("a", "y")), ("nothing", None)])
    assert (list(held), held.slot("a"), held.counts.tolist()) == (["b", "a"], 2, [0, 1, 1])


def test_compaction_keeps_the_order_so_that_owners_stay_ascending() -> None:
    held = RouteCatalog.of(route(str(number), "x", "y") for number in range(10))
    held = held.replaced([("3", None), ("7", route("7", "q")), ("11", route("11"))])
    owners = np.repeat(np.arange(len(held.counts)), held.counts)
    compacted, renumbered = held.compacted()
    assert (renumbered[owners] == np.repeat(np.arange(10), compacted.counts)).all()
    assert renumbered.tolist() == [0, 1, 2, -1, 3, 4, 5, 6, 7, 8, 9]
    assert list(compacted.routes()) == list(held.routes())


def test_a_change_leaves_the_catalog_it_was_made_from_as_it_was() -> None:
    before = RouteCatalog.of([route("a"), route("b")]).replaced([("c", route("c"))])
    after = before.replaced([("a", None), ("c", route("c", "y")), ("d", route("d"))])
    assert (list(before), list(after)) == (["a", "b", "c"], ["b", "c", "d"])
    assert before.get(2).utterances == ("x",)
    assert (before.changed, after.changed) == (1, 3)


def test_names_and_absent_names() -> None:
    held = RouteCatalog.of([route("a")])
    assert "a" in held
    assert 5 not in held
    with pytest.raises(RouteNotFoundError, match="there is no route 'b'"):
        held.slot("b")


def test_no_threshold_and_a_threshold_of_zero_differ() -> None:
    held = RouteCatalog.of([route("a", threshold=None), route("b", threshold=0.0)])
    assert [held.threshold(slot) for slot in (0, 1)] == [None, 0.0]


def test_a_decoded_route_is_as_immutable_as_the_one_that_was_added() -> None:
    decoded = RouteCatalog.of([route("a", metadata={"k": {"l": [1]}})]).get(0)
    assert decoded.metadata["k"]["l"] == (1,)
    with pytest.raises(TypeError, match="cannot be changed in place"):
        decoded.metadata["k"]["l"] = 2


def test_it_is_built_from_an_iterator_without_keeping_the_routes() -> None:
    alive: list[int] = []

    class Counted(Route):
        def __del__(self) -> None:
            alive.pop()

    def routes() -> Iterator[Route]:
        for number in range(100):
            alive.append(number)
            assert len(alive) <= 2
            yield Counted(name=str(number), utterances=("x",))

    assert len(RouteCatalog.of(routes())) == 100


def test_many_threads_may_read_while_others_change_it() -> None:
    held = RouteCatalog.of(route(f"r{number}", f"u{number}") for number in range(3_000))
    wrong: list[int] = []

    def read(seed: int) -> None:
        slots = np.random.default_rng(seed).integers(0, 3_000, 3_000).tolist()
        wrong.extend(
            slot for slot in slots if held.get(slot).utterances != (f"u{slot}",) or held.slot(f"r{slot}") != slot
        )

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for reader in readers:
        reader.start()
    changed = held
    for number in range(200):
        changed = changed.replaced([(f"r{number}", None)])
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(changed) == 2_800


# ------------------------------------------------------------------------------------------------------ as arrays
def test_arrays_are_those_of_sealed_routes_only() -> None:
    held = RouteCatalog.of([route("a")]).replaced([("b", route("b"))])
    with pytest.raises(ValueError, match="1 slots have changed"):
        held.arrays()


def test_arrays_may_be_read_only_and_have_others_beside_them() -> None:
    arrays = RouteCatalog.of([route("a"), route("b")]).arrays() | {"owners": np.array([0, 1])}
    for array in arrays.values():
        array.flags.writeable = False
    held = RouteCatalog.from_arrays(arrays)
    assert list(held.compacted()[0].routes()) == [route("a"), route("b")]


ARRAYS = RouteCatalog.of(route(f"r{number}", "x", "yy" * number + "z") for number in range(5)).arrays()


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_is_missing_cut_or_of_another_type_is_refused(name: str) -> None:
    array = ARRAYS[name]
    cut = [array[:-1], array[:0]] if array.size else []
    for wrong in (*cut, np.append(array, array[:1] + 1), array.astype(np.float32), array.reshape(1, -1)):
        if len(array) or len(wrong):
            with pytest.raises(StorageCorruptError, match="do not fit together"):
                RouteCatalog.from_arrays(ARRAYS | {name: wrong})
    with pytest.raises(StorageCorruptError):
        RouteCatalog.from_arrays({other: ARRAYS[other] for other in ARRAYS if other != name})


def test_no_wrong_content_makes_a_lookup_leave_its_arrays() -> None:
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        arrays = {name: array.copy() for name, array in ARRAYS.items()}
        wrong = arrays[random.choice([name for name, array in ARRAYS.items() if array.size])].view(np.uint8)
        wrong[random.integers(len(wrong))] ^= 1 << random.integers(8)
        try:
            held = RouteCatalog.from_arrays(arrays)
        except StorageCorruptError:
            refused += 1
            continue
        _ = "r1" in held
        for slot in range(5):
            assert len(held.get(slot).utterances) == held.counts[slot]
    assert refused > 100
