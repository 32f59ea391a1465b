"""What is turned away, what waits for company, and who leaves before the answer."""

from __future__ import annotations

import asyncio
import concurrent.futures
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from synaptoroute.batching import BatchLimits
from synaptoroute.errors import (
    DeadlineExceededError,
    InvalidInputError,
    RouterOverloadedError,
    SynaptoRouteError,
)
from tests.batching.conftest import (
    SAFE_S,
    WORKER,
    Bench,
    assert_nothing_is_left,
    result_of,
    until,
)


# --------------------------------------------------------------------------------------------------------------- bounds
def test_too_many_queries_are_turned_away_at_once_counting_what_is_being_encoded(bench: Bench) -> None:
    batcher = bench.held(max_queries=3)
    accepted = [batcher.submit([text], "k") for text in "ab"]
    for refused in (lambda: batcher.submit(["c"], "k"), lambda: batcher.run(["c"], "k")):
        with pytest.raises(RouterOverloadedError, match=r"3 queries of about .* wait, at most 3") as caught:
            refused()
        assert 0 < caught.value.retry_after_s <= 60
    with pytest.raises(RouterOverloadedError):
        asyncio.run(batcher.arun(["c"], "k"))
    assert batcher.health().shed == 3
    assert batcher.health().queries == 3
    bench.encoder.gate.set()
    concurrent.futures.wait(accepted, SAFE_S)
    assert batcher.run(["c"], "k") == [result_of("c")]
    assert bench.encoder.texts.count("c") == 1


def test_too_many_tokens_are_turned_away(bench: Bench) -> None:
    batcher = bench.held(max_tokens=100)
    accepted = [batcher.submit([letter * 160], "k") for letter in "ab"]
    with pytest.raises(RouterOverloadedError, match="of about 84 tokens wait, at most 1024 and 100"):
        batcher.submit(["c" * 160], "k")
    assert batcher.submit(["short"], "k")
    bench.encoder.gate.set()
    concurrent.futures.wait(accepted, SAFE_S)


@pytest.mark.parametrize(
    ("limit", "texts"), [("max_tokens", ["x" * 1000]), ("max_queries", [f"text {n}" for n in range(100)])]
)
def test_a_call_larger_than_a_limit_is_accepted_when_nothing_waits(bench: Bench, limit: str, texts: list[str]) -> None:
    batcher = bench.held(**{limit: 20})
    large = batcher.submit(texts, "k")
    with pytest.raises(RouterOverloadedError):
        batcher.submit([text + "!" for text in texts], "k")
    # It leaves room for others, who take turns with it.
    single = batcher.submit(["single"], "k")
    bench.encoder.gate.set()
    assert single.result(SAFE_S) == [result_of("single")]
    assert large.result(SAFE_S) == [result_of(text) for text in texts]


def test_the_smallest_limits_still_let_one_query_through(bench: Bench) -> None:
    batcher = bench(batch=1, max_queries=1, max_tokens=1)
    assert batcher.run(["a long text", "and another"], "k") == [result_of("a long text"), result_of("and another")]


@pytest.mark.parametrize("limit", ["workers", "batch", "max_queries", "max_tokens"])
def test_limits_are_at_least_one(limit: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{limit} is 0, wanted at least 1"):
        BatchLimits(**{"workers": 1, limit: 0})
    with pytest.raises(InvalidInputError, match="wait_s is -1"):
        BatchLimits(workers=1, wait_s=-1)


# -------------------------------------------------------------------------------------------------------------- waiting
def test_a_batch_that_may_wait_leaves_when_it_is_full(bench: Bench) -> None:
    batcher = bench(batch=4, wait_s=3600)
    with ThreadPoolExecutor(1) as pool:
        calls = [pool.submit(batcher.run, ["a"], "k"), *(batcher.submit([text], "k") for text in "bc")]
        until(lambda: batcher.health().waiting == 3)
        assert not bench.encoder.batches
        calls.append(batcher.submit(["d"], "k"))
        assert sorted(text for call in calls for _, text, _ in call.result(SAFE_S)) == list("abcd")
    assert list(map(len, bench.encoder.batches)) == [4]
    assert {thread.name for thread in bench.encoder.threads} == {WORKER}


def test_a_batch_that_may_wait_leaves_when_its_oldest_text_has_waited(bench: Bench) -> None:
    batcher = bench(batch=4, wait_s=0.02)
    assert batcher.submit(["a"], "k").result(SAFE_S) == [result_of("a")]
    assert batcher.run(["b", "c"], "k") == [result_of("b"), result_of("c")]


def test_closing_does_not_wait_for_a_batch_to_fill(bench: Bench) -> None:
    batcher = bench(batch=4, wait_s=3600)
    call = batcher.submit(["a"], "k")
    batcher.close()
    assert call.result(0) == [result_of("a")]


# ------------------------------------------------------------------------------------------------------------ deadlines
def test_who_has_a_deadline_leaves_in_time_though_the_worker_is_stuck(bench: Bench) -> None:
    batcher = bench.held()
    for text in ("first", "never"):
        with pytest.raises(DeadlineExceededError, match=r"within the deadline of 0\.01 s") as caught:
            batcher.run([text], "k", deadline_s=0.01)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, SynaptoRouteError)
        with pytest.raises(DeadlineExceededError):
            asyncio.run(batcher.arun([text], "k", deadline_s=0.01))
    assert batcher.health().expired == 4
    assert (batcher.health().queries, batcher.health().waiting) == (1, 0)
    bench.encoder.gate.set()
    assert batcher.run(["after"], "k") == [result_of("after")]
    assert bench.encoder.texts == ["first", "after"]


@pytest.mark.parametrize("deadline_s", [0, -1])
def test_a_deadline_that_has_passed_already_is_no_special_case(bench: Bench, deadline_s: float) -> None:
    batcher = bench.held()
    with pytest.raises(DeadlineExceededError):
        batcher.run(["a"], "k", deadline_s=deadline_s)
    with pytest.raises(DeadlineExceededError):
        asyncio.run(batcher.arun(["a"], "k", deadline_s=deadline_s))


def test_a_text_past_its_deadline_is_not_encoded_when_its_turn_comes(bench: Bench) -> None:
    batcher = bench.held()
    late = batcher.submit(["late", "shared"], "k", deadline_s=0)
    in_time = batcher.submit(["shared"], "k", deadline_s=SAFE_S)
    bench.encoder.gate.set()
    with pytest.raises(DeadlineExceededError):
        late.result(SAFE_S)
    assert in_time.result(SAFE_S) == [result_of("shared")]
    assert "late" not in bench.encoder.texts
    assert batcher.health().expired == 1


def test_a_timeout_of_the_encoder_is_not_taken_for_the_deadline(bench: Bench) -> None:
    batcher = bench()
    bench.encoder.poison["bad"] = TimeoutError("the server is slow")
    for deadline_s in (None, SAFE_S):
        with pytest.raises(TimeoutError, match="the server is slow"):
            batcher.run(["bad"], "k", deadline_s=deadline_s)
    assert batcher.health().expired == 0


# --------------------------------------------------------------------------------------------------------- cancellation
def test_who_was_cancelled_is_dropped_before_encoding(bench: Bench) -> None:
    batcher = bench.held()

    async def ask() -> None:
        task = asyncio.create_task(batcher.arun(["cancelled", "shared"], "k"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    stays = batcher.submit(["shared"], "k")
    asyncio.run(ask())
    future = batcher.submit(["also cancelled"], "k")
    assert future.cancel()
    assert concurrent.futures.wait([future], SAFE_S).done
    assert batcher.health().cancelled == 2
    bench.encoder.gate.set()
    assert stays.result(SAFE_S) == [result_of("shared")]
    assert bench.encoder.texts == ["first", "shared"]


def test_a_call_cancelled_while_it_is_encoded_disturbs_nobody(bench: Bench) -> None:
    batcher = bench(batch=4)
    bench.encoder.gate.clear()
    cancelled, other = (batcher.submit([text], "k") for text in ("a", "b"))
    assert bench.encoder.entered.acquire(timeout=SAFE_S)
    assert cancelled.cancel()
    bench.encoder.gate.set()
    assert other.result(SAFE_S) == [result_of("b")]
    with pytest.raises(CancelledError):
        cancelled.result(0)


async def test_1000_random_cancellations_leave_nothing_behind(bench: Bench) -> None:
    batcher = bench(workers=2, batch=8, max_queries=10_000)
    chance = np.random.default_rng(7)

    async def caller(number: int) -> None:
        texts = [f"text {chance.integers(300)}" for _ in range(int(chance.choice([1, 1, 1, 20])))]
        task = asyncio.create_task(
            batcher.arun(texts, "ab"[number % 2], deadline_s=0.01 if chance.random() < 0.3 else None)
        )
        for _ in range(int(chance.integers(40))):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError, DeadlineExceededError):
            assert await task == [result_of(text, "ab"[number % 2]) for text in texts]

    async def open_the_gate() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        bench.encoder.gate.set()

    bench.encoder.gate.clear()
    await asyncio.gather(open_the_gate(), *[caller(number) for number in range(1000)])
    await asyncio.to_thread(assert_nothing_is_left, batcher)
    assert batcher.health().cancelled > 100
    assert await batcher.arun(["after"], "k") == [result_of("after")]


def test_1000_futures_cancelled_from_other_threads_leave_nothing_behind(bench: Bench) -> None:
    batcher = bench(workers=2, batch=4, max_queries=10_000)
    futures = [batcher.submit([f"text {n % 400}"], "k") for n in range(1000)]
    shuffled = [futures[n] for n in np.random.default_rng(7).permutation(1000)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda future: future.cancel(), shuffled))
    concurrent.futures.wait(futures, SAFE_S)
    assert all(future.cancelled() or future.exception() is None for future in futures)
    assert_nothing_is_left(batcher)
