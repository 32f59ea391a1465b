"""What callers ask, together and one by one, is encoded in few calls and answered in order."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from synaptoroute.caching import EmbeddingCache
from synaptoroute.errors import (
    EncoderError,
)
from tests.batching.conftest import (
    SAFE_S,
    WORKER,
    Bench,
    result_of,
    until,
    workers,
)


# ---------------------------------------------------------------------------------------------------- three ways to ask
def test_each_way_of_asking_gives_one_result_for_each_text_in_order(bench: Bench) -> None:
    batcher = bench(workers=2, batch=2)
    texts = ["c", "a", "b", "a", "d"]
    expected = [result_of(text, "x") for text in texts]
    assert batcher.run(texts, "x") == expected
    assert batcher.run(texts, "x", deadline_s=SAFE_S) == expected
    assert asyncio.run(batcher.arun(texts, "x")) == expected
    assert asyncio.run(batcher.arun(texts, "x", deadline_s=SAFE_S)) == expected
    assert batcher.submit(texts, "x").result(SAFE_S) == expected


def test_no_texts_have_no_results_and_are_not_decided(bench: Bench) -> None:
    batcher = bench()
    assert batcher.run([], "k") == asyncio.run(batcher.arun([], "k")) == batcher.submit([], "k").result(SAFE_S) == []
    assert not bench.decider.calls
    assert not bench.encoder.batches


def test_run_works_in_the_calling_thread_when_nothing_waits(bench: Bench) -> None:
    batcher = bench()
    assert batcher.run(["a"], "k") == [result_of("a")]
    assert {*bench.encoder.threads, *bench.decider.threads} == {threading.current_thread()}
    assert not workers()


def test_run_leaves_it_to_a_worker_when_it_must_be_able_to_leave_or_no_place_is_free(bench: Bench) -> None:
    batcher = bench()
    batcher.run(["a"], "k", deadline_s=SAFE_S)
    bench.encoder.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        here = pool.submit(batcher.run, ["b"], "k")
        until(lambda: batcher.health().encoding == 1)
        there = pool.submit(batcher.run, ["c"], "k")
        until(lambda: batcher.health().waiting == 1)
        bench.encoder.gate.set()
        assert here.result(SAFE_S) + there.result(SAFE_S) == [result_of("b"), result_of("c")]
    assert [thread.name == WORKER for thread in bench.encoder.threads] == [True, False, True]


def test_run_in_the_calling_thread_calls_workers_for_what_is_more_than_its_share(bench: Bench) -> None:
    batcher = bench(workers=2, batch=8)
    bench.encoder.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(batcher.run, list("abcd"), "k")
        for _ in range(2):
            assert bench.encoder.entered.acquire(timeout=SAFE_S)
        bench.encoder.gate.set()
        assert done.result(SAFE_S) == [result_of(text) for text in "abcd"]
    assert sorted(map(len, bench.encoder.batches)) == [2, 2]
    assert len({*bench.encoder.threads}) == 2


# -------------------------------------------------------------------------------------------------------------- batches
def test_a_worker_encodes_what_waits_in_one_call_and_decides_once_for_each_key(bench: Bench) -> None:
    batcher = bench.held(batch=16)
    calls = [batcher.submit([f"text {n}"], "ab"[n % 2]) for n in range(10)]
    bench.encoder.gate.set()
    results = [call.result(SAFE_S) for call in calls]
    assert results == [[result_of(f"text {n}", "ab"[n % 2])] for n in range(10)]
    assert list(map(len, bench.encoder.batches)) == [1, 10]
    assert bench.decider.calls[1:] == [
        ("a", [f"text {n}" for n in range(0, 10, 2)]),
        ("b", [f"text {n}" for n in range(1, 10, 2)]),
    ]


def test_a_batch_is_never_larger_than_its_limit(bench: Bench) -> None:
    batcher = bench.held(batch=4)
    calls = [batcher.submit([f"text {n}"], "k") for n in range(10)]
    bench.encoder.gate.set()
    concurrent.futures.wait(calls, SAFE_S)
    assert list(map(len, bench.encoder.batches)) == [1, 4, 4, 2]


def test_texts_are_spread_over_free_workers(bench: Bench) -> None:
    batcher = bench(workers=3, batch=16)
    bench.encoder.gate.clear()
    call = batcher.submit([f"text {n}" for n in range(12)], "k")
    for _ in range(3):
        assert bench.encoder.entered.acquire(timeout=SAFE_S)
    assert sorted(map(len, bench.encoder.batches)) == [4, 4, 4]
    bench.encoder.gate.set()
    assert len(call.result(SAFE_S)) == 12


def test_a_call_of_10_000_texts_is_encoded_by_all_workers_and_decided_once(bench: Bench) -> None:
    batcher = bench(workers=2, batch=32)
    texts = [f"text {n}" for n in range(10_000)]
    assert batcher.submit(texts, "k").result(SAFE_S) == [result_of(text) for text in texts]
    assert bench.decider.calls == [("k", texts)]
    assert sorted(bench.encoder.texts) == sorted(texts)
    assert len(bench.encoder.batches) >= 10_000 / 32
    assert len({*bench.encoder.threads}) == 2


def test_single_queries_take_turns_with_a_large_call(bench: Bench) -> None:
    batcher = bench.held(batch=8)
    large = batcher.submit([f"large {n}" for n in range(100)], "k")
    singles = [batcher.submit([f"single {n}"], "k") for n in range(6)]
    bench.encoder.gate.set()
    assert large.result(SAFE_S) == [result_of(f"large {n}") for n in range(100)]
    concurrent.futures.wait(singles, SAFE_S)
    assert {f"single {n}" for n in range(6)} <= set(bench.encoder.batches[1])
    assert "large 0" in bench.encoder.batches[1]
    assert [len(texts) for _, texts in bench.decider.calls] == [1, 6, 100]


def test_large_calls_take_turns_with_each_other(bench: Bench) -> None:
    batcher = bench.held(batch=8)
    calls = [batcher.submit([f"{name}{n}" for n in range(40)], "k") for name in "ab"]
    bench.encoder.gate.set()
    concurrent.futures.wait(calls, SAFE_S)
    for batch in bench.encoder.batches[1:]:
        assert [sum(text.startswith(name) for text in batch) for name in "ab"] == [4, 4]


def test_a_large_call_is_decided_after_the_small_ones_of_its_turn_and_by_itself(bench: Bench) -> None:
    batcher = bench.held(batch=4)
    large = batcher.submit(["a", "b", "c", "d", "e"], "k")
    early = [batcher.submit([text], "k") for text in "xyz"]
    late = batcher.submit(["e"], "k")
    bench.encoder.gate.set()
    concurrent.futures.wait([large, late, *early], SAFE_S)
    sizes = [len(texts) for _, texts in bench.decider.calls]
    assert sizes[-1] == 5
    assert sum(sizes) == 1 + 5 + 3 + 1


# -------------------------------------------------------------------------------------------------------- single flight
def test_a_text_that_waits_is_encoded_once_for_all_callers(bench: Bench) -> None:
    batcher = bench.held(batch=2)
    calls = [batcher.submit(["same"], key) for key in "abcab"]
    bench.encoder.gate.set()
    assert [call.result(SAFE_S) for call in calls] == [[result_of("same", key)] for key in "abcab"]
    assert bench.encoder.texts == ["first", "same"]
    assert batcher.health().coalesced == 4


def test_a_text_being_encoded_is_not_encoded_again(bench: Bench) -> None:
    batcher = bench.held(workers=2)
    joined = batcher.submit(["first"], "joined")
    other = batcher.submit(["other", "first"], "other")
    assert bench.encoder.entered.acquire(timeout=SAFE_S)
    bench.encoder.gate.set()
    assert joined.result(SAFE_S) == [result_of("first", "joined")]
    assert other.result(SAFE_S) == [result_of("other", "other"), result_of("first", "other")]
    assert sorted(bench.encoder.texts) == ["first", "other"]


def test_run_waits_for_a_text_that_a_worker_is_encoding(bench: Bench) -> None:
    batcher = bench.held(workers=2)
    with ThreadPoolExecutor(1) as pool:
        joined = pool.submit(batcher.run, ["first"], "k")
        until(lambda: batcher.health().coalesced == 1)
        bench.encoder.gate.set()
        assert joined.result(SAFE_S) == [result_of("first")]
    assert bench.encoder.texts == ["first"]


def test_a_text_twice_in_a_call_is_encoded_once(bench: Bench) -> None:
    assert bench().run(["a", "b", "a"], "k") == [result_of("a"), result_of("b"), result_of("a")]
    assert sorted(bench.encoder.texts) == ["a", "b"]


def test_a_text_that_a_large_call_wants_last_does_not_make_others_wait_for_it(bench: Bench) -> None:
    batcher = bench.held(batch=4)
    large = batcher.submit([f"large {n}" for n in range(40)], "k")
    single = batcher.submit(["large 39"], "k")
    bench.encoder.gate.set()
    assert single.result(SAFE_S) == [result_of("large 39")]
    assert len(large.result(SAFE_S)) == 40
    assert "large 39" in bench.encoder.batches[1]
    assert len(bench.encoder.texts) == 41


# ---------------------------------------------------------------------------------------------------------------- cache
def test_what_was_encoded_is_not_encoded_again(bench: Bench, embeddings: EmbeddingCache) -> None:
    batcher = bench(cache=embeddings)
    for _ in range(2):
        assert batcher.run(["a", "b"], "k") == [result_of("a"), result_of("b")]
    assert batcher.run(["b", "c", "a"], "k") == [result_of("b"), result_of("c"), result_of("a")]
    assert bench.encoder.batches == [["a", "b"], ["c"]]


def test_known_texts_are_decided_where_they_are_asked_though_the_workers_are_stuck(
    bench: Bench, embeddings: EmbeddingCache
) -> None:
    batcher = bench(cache=embeddings, max_queries=1)
    batcher.run(["a"], "k")
    bench.encoder.gate.clear()
    batcher.submit(["stuck"], "k")
    assert batcher.run(["a"], "here") == [result_of("a", "here")]
    assert asyncio.run(batcher.arun(["a"], "loop")) == [result_of("a", "loop")]
    assert bench.decider.threads == [threading.current_thread()] * 3


def test_many_known_texts_are_decided_by_a_worker_for_an_event_loop(bench: Bench, embeddings: EmbeddingCache) -> None:
    batcher = bench(cache=embeddings)
    texts = [f"text {n}" for n in range(33)]
    expected = batcher.run(texts, "k")
    bench.decider.threads.clear()
    assert asyncio.run(batcher.arun(texts, "k")) == expected
    assert [thread.name for thread in bench.decider.threads] == [WORKER]
    assert batcher.run(texts, "k") == expected
    assert bench.decider.threads[-1] is threading.current_thread()


def test_failures_are_not_kept(bench: Bench, embeddings: EmbeddingCache) -> None:
    batcher = bench(cache=embeddings)
    bench.encoder.poison["bad"] = EncoderError("out of order")
    with pytest.raises(EncoderError, match="out of order"):
        batcher.run(["bad"], "k")
    bench.encoder.poison.clear()
    assert batcher.run(["bad"], "k") == [result_of("bad")]
