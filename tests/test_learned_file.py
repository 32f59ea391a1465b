"""What was learned comes back bit for bit, for the very table it was learned from and for no other."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.decision import lessons
from synaptoroute.decision.kernel import train_kernel
from synaptoroute.encoder import BundledEncoder
from synaptoroute.learned import LearnedTable
from synaptoroute.learned_file import dump, load, sealed
from synaptoroute.table import RouteTable
from synaptoroute.teaching import learn_head_from, lessons_of

BILLING = Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill"])
WEATHER = Route(name="weather", utterances=["will it rain tomorrow", "what is the forecast", "is it sunny outside"])
MUSIC = Route(name="music", utterances=["play some jazz", "skip this song", "turn up the volume"])
QUERIES = ["what's my balance?", "rain today?", "play something", "who painted the Mona Lisa", "turn it up", "owe"]


def table_of(encoder: BundledEncoder, *routes: Route) -> RouteTable:
    with AdaptiveRouter(encoder) as router:
        router.add_routes(routes)
        return router.snapshot


@pytest.fixture(scope="module")
def table(encoder: BundledEncoder) -> RouteTable:
    return table_of(encoder, BILLING, WEATHER, MUSIC)


def learned_from(table: RouteTable, *, kernel: bool) -> LearnedTable:
    learned = learn_head_from(table)
    lessons = lessons_of(table).examples
    trained = train_kernel(lessons.vectors, lessons.columns, lessons.routes) if kernel else None
    return replace(learned, model=replace(learned.model, kernel=trained))


def same(left: Any, right: Any) -> bool:
    if is_dataclass(left):
        return type(left) is type(right) and all(
            same(getattr(left, field.name), getattr(right, field.name)) for field in fields(left)
        )
    if left is None or right is None:
        return left is right
    return left.dtype == right.dtype and np.array_equal(left, right)


@pytest.mark.parametrize("kernel", [True, False])
def test_head_and_kernel_come_back_bit_for_bit(table: RouteTable, encoder: BundledEncoder, kernel: bool) -> None:
    learned = learned_from(table, kernel=kernel)
    content = dump(learned, table)
    assert content is not None
    again = load(content, table)
    assert isinstance(again, LearnedTable)
    assert (again.model.kernel is not None) is kernel
    assert same(again.model, learned.model)
    assert again.utterances == learned.utterances
    vectors = encoder.encode(QUERIES)
    before, after = (table.with_learned(each).decide(QUERIES, vectors) for each in (learned, again))
    assert after == before
    assert table.with_learned(again).fitted


def test_a_head_without_n_grams_comes_back(table: RouteTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "EFFORTS", lessons.EFFORTS[-1:])
    learned = learn_head_from(table)
    assert (len(learned.model.head.idf), learned.model.kernel) == (0, None)
    content = dump(learned, table)
    assert content is not None
    again = load(content, table)
    assert isinstance(again, LearnedTable)
    assert same(again.model, learned.model)
    assert again.model.head.ngram_weights.shape == (0, 4)


def test_of_another_table_nothing_is_written_and_nothing_is_read(table: RouteTable, encoder: BundledEncoder) -> None:
    learned = learn_head_from(table)
    content = dump(learned, table)
    assert content is not None
    renamed = MUSIC.replaced(name="songs")
    for other in (table_of(encoder, BILLING, WEATHER), table_of(encoder, BILLING, WEATHER, renamed)):
        assert dump(learned, other) is None
        assert load(content, other) is None


@pytest.mark.parametrize("kept", [0, 10, 1_000, -1])
def test_damaged_content_is_nothing(table: RouteTable, kept: int) -> None:
    content = dump(learned_from(table, kernel=True), table)
    assert content is not None
    assert load(content[:kept], table) is None


def test_a_flipped_bit_anywhere_makes_it_nothing(table: RouteTable) -> None:
    """In an archive's directory, one of 400 made reading it raise NotImplementedError or RuntimeError."""
    content = dump(learned_from(table, kernel=True), table)
    assert content is not None
    directory = range(len(content) - 1_500, len(content))
    for place in (*range(0, len(content), len(content) // 200), *directory):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        assert load(bytes(damaged), table) is None


def test_half_a_kernel_is_nothing(table: RouteTable, tmp_path: Any) -> None:
    content = dump(learned_from(table, kernel=True), table)
    assert content is not None
    path = tmp_path / "learned.npz"
    path.write_bytes(content[16:])
    with np.load(path) as arrays:
        some = {name: arrays[name] for name in arrays if name != "kernel.weights"}
        all_of_it = sealed(path.read_bytes())
    assert load(all_of_it, table) is not None
    np.savez(path, **some)
    assert load(sealed(path.read_bytes()), table) is None
