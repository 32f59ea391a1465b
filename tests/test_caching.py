"""What was computed lately is found again, within bounds, from any thread."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptoroute.caching import EmbeddingCache, Memo, RecentCache

VECTOR = np.arange(384, dtype=np.float32)


def vectors(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(0).random((count, 384), np.float32)


# ------------------------------------------------------------------------------------------------------- RecentCache
def test_a_value_is_found_until_it_was_not_used_for_long() -> None:
    cache: RecentCache[str, int] = RecentCache(8)
    for number, key in enumerate("abcd"):
        cache.put(key, number)
    assert [cache.get(key) for key in "abcd"] == [0, 1, 2, 3]
    for number, key in enumerate("efgh"):
        cache.put(key, number)
    assert cache.get("a") == 0
    assert cache.get("b") is None
    assert cache.get("h") == 3


def test_what_is_used_again_and_again_stays_whatever_else_comes() -> None:
    cache: RecentCache[str, int] = RecentCache(10)
    cache.put("favourite", 1)
    for number in range(1000):
        cache.put(f"once {number}", number)
        assert cache.get("favourite") == 1


def test_a_value_is_replaced_in_either_generation() -> None:
    cache: RecentCache[str, int] = RecentCache(4)
    cache.put("a", 1)
    cache.put("a", 2)
    assert (cache.get("a"), len(cache)) == (2, 1)
    cache.put("b", 1)
    cache.put("c", 1)
    cache.put("a", 3)
    assert (cache.get("a"), len(cache), cache.weight) == (3, 3, 3)


@given(
    st.integers(0, 40),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 25), st.booleans())),
)
def test_it_never_holds_more_than_its_limit_nor_gives_what_was_not_put_last(
    limit: int, steps: list[tuple[str, int, bool]]
) -> None:
    cache: RecentCache[str, int] = RecentCache(limit, lambda _, weight: weight)
    last: dict[str, int] = {}
    for key, weight, puts in steps:
        if puts:
            cache.put(key, weight)
            last[key] = weight
        assert cache.get(key) in {None, last.get(key)}
        held = {key: value for key in last if (value := {**cache._old, **cache._young}.get(key)) is not None}
        assert cache.weight == sum(held.values()) <= limit
        assert len(cache) == len(held)


@pytest.mark.parametrize("limit", [0, 1])
def test_without_room_nothing_is_kept(limit: int) -> None:
    cache: RecentCache[str, int] = RecentCache(limit)
    cache.put("a", 1)
    assert cache.get("a") is None
    assert len(cache) == cache.weight == 0


def test_clearing_forgets_the_entries_and_keeps_the_counts() -> None:
    cache: RecentCache[str, int] = RecentCache(8)
    assert cache.hit_rate == 0
    cache.put("a", 1)
    cache.get("a")
    cache.clear()
    assert cache.get("a") is None
    assert (len(cache), cache.weight, cache.hits, cache.misses, cache.hit_rate) == (0, 0, 1, 1, 0.5)


def test_a_hit_among_the_young_takes_no_lock() -> None:
    cache: RecentCache[str, int] = RecentCache(8)
    cache.put("a", 1)
    with cache._writing.get(threading.Lock), ThreadPoolExecutor(1) as pool:
        assert pool.submit(cache.get, "a").result(30) == 1


def test_threads_share_it_and_its_weight_stays_right() -> None:
    cache: RecentCache[int, int] = RecentCache(100, lambda _, value: value % 3 + 1)
    together = threading.Barrier(8)

    def use(seed: int) -> None:
        keys = np.random.default_rng(seed).integers(0, 120, 5000)
        together.wait(30)
        for key in keys.tolist():
            value = cache.get(key)
            if value is None:
                cache.put(key, key)
            else:
                assert value == key

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(use, seed) for seed in range(8)]:
            done.result(60)
    assert cache._young_weight == sum(value % 3 + 1 for value in cache._young.values())
    assert cache._old_weight == sum(value % 3 + 1 for value in cache._old.values())
    assert not cache._young.keys() & cache._old.keys()
    assert cache.weight <= 100


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_while_another_thread_writes_can_write() -> None:
    cache: RecentCache[str, int] = RecentCache(8)
    with cache._writing.get(threading.Lock):
        child = os.fork()
        if child == 0:
            cache.put("a", 1)
            os._exit(0 if cache.get("a") == 1 else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---------------------------------------------------------------------------------------------------- EmbeddingCache
def test_vectors_come_back_bit_for_bit_and_none_for_other_texts() -> None:
    cache = EmbeddingCache("minilm-1", max_bytes=1 << 20)
    rows = vectors(3)
    cache.put_many(["a", "b", "c"], rows)
    found = cache.get_many(["c", "A", "a", "b "])
    assert [vector is None for vector in found] == [False, True, False, True]
    np.testing.assert_array_equal(found[0], rows[2])
    np.testing.assert_array_equal(found[2], rows[0])
    assert (cache.fingerprint, cache.hits, cache.misses, cache.hit_rate, len(cache)) == ("minilm-1", 2, 2, 0.5, 3)


def test_what_is_kept_is_a_read_only_copy_of_its_own() -> None:
    cache = EmbeddingCache("minilm-1", max_bytes=1 << 20)
    rows = vectors(2)
    expected = rows.copy()
    cache.put_many(["a", "b"], rows)
    rows[:] = 0
    (kept,) = cache.get_many(["a"])
    assert kept is not None
    np.testing.assert_array_equal(kept, expected[0])
    assert kept.base is None
    assert kept.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 1


def test_it_stays_within_its_bytes_and_counts_texts_too() -> None:
    cache = EmbeddingCache("minilm-1", max_bytes=100_000)
    for number in range(1000):
        cache.put_many([f"text {number} " + "x" * (number % 500)], VECTOR[None])
        assert cache.used_bytes <= 100_000
    assert 20 <= len(cache) <= 100_000 // VECTOR.nbytes
    before = cache.used_bytes
    cache.clear()
    assert (len(cache), cache.used_bytes) == (0, 0)
    cache.put_many(["x" * 20_000], VECTOR[None])
    assert sys.getsizeof("x" * 20_000) < cache.used_bytes < before
    cache.put_many(["x" * 60_000], VECTOR[None])
    assert cache.get_many(["x" * 60_000]) == [None]


def test_no_bytes_switch_it_off() -> None:
    cache = EmbeddingCache("minilm-1", max_bytes=0)
    cache.put_many(["a"], VECTOR[None])
    assert cache.get_many(["a", "b"]) == [None, None]
    assert (cache.hit_rate, len(cache), cache.used_bytes) == (0, 0, 0)


def test_texts_and_vectors_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="shorter"):
        EmbeddingCache("minilm-1", 1 << 20).put_many(["a", "b"], VECTOR[None])


# ------------------------------------------------------------------------------------------------------------- memo
def test_a_memo_makes_a_value_once() -> None:
    made: list[str] = []

    def upper(word: str) -> str:
        made.append(word)
        return word.upper()

    memo = Memo(upper, 100)
    assert [memo[word] for word in ("a", "b", "a")] == ["A", "B", "A"]
    assert made == ["a", "b"]


def test_a_full_memo_forgets_and_goes_on() -> None:
    memo = Memo(str.upper, 3)
    for number in range(1_000):
        assert memo[f"word{number % 7}"] == f"WORD{number % 7}"
        assert len(memo) <= 3


def test_a_memo_keeps_only_what_it_is_to_keep() -> None:
    memo = Memo(str.upper, 100, lambda word: len(word) <= 3)
    assert memo["long word"] == "LONG WORD"
    assert memo["abc"] == "ABC"
    assert list(memo) == ["abc"]


def test_threads_that_share_a_small_memo_get_right_values() -> None:
    memo = Memo(str.upper, 2)
    words = [f"w{number}" for number in range(5)]

    def ask(seed: int) -> bool:
        return all(memo[word] == word.upper() for number in range(4_000) for word in (words[(number + seed) % 5],))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))
    # Each of them may have added one after it had looked whether there was room.
    assert len(memo) <= 2 + 8
