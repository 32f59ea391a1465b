"""What fails, fails alone; and a worker that dies is replaced."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from synaptoroute.batching import Batcher, BatchLimits, crew
from synaptoroute.batching.apart import encoded_apart
from synaptoroute.errors import (
    EncoderError,
    EncoderUnavailableError,
    RouteNotFoundError,
)
from tests.batching.conftest import (
    SAFE_S,
    WORKER,
    Bench,
    Encoder,
    Result,
    assert_nothing_is_left,
    result_of,
    row_of,
    until,
    workers,
)


@pytest.mark.parametrize("position", [0, 13, 31])
def test_a_poisonous_text_is_found_in_few_calls_and_fails_alone(position: int) -> None:
    encoder = Encoder()
    texts = [f"text {n}" for n in range(32)]
    encoder.poison[texts[position]] = ValueError("poison")
    rows = encoded_apart(encoder, texts)
    failed = [n for n, row in enumerate(rows) if isinstance(row, Exception)]
    assert failed == [position]
    assert [row[0] for row in rows if not isinstance(row, Exception)] == [
        row_of(text) for text in texts if text != texts[position]
    ]
    assert len(encoder.batches) <= 11


@pytest.mark.parametrize(
    ("error", "most"), [(EncoderError("out of order"), 40), (EncoderUnavailableError("no connection"), 1)]
)
def test_an_encoder_that_fails_on_everything_is_not_asked_for_each_text(error: Exception, most: int) -> None:
    encoder = Encoder()
    texts = [f"text {n}" for n in range(256)]
    encoder.poison = dict.fromkeys(texts, error)
    assert encoded_apart(encoder, texts) == [error] * 256
    assert len(encoder.batches) <= most


def test_only_callers_of_a_poisonous_text_get_its_error(bench: Bench) -> None:
    batcher = bench.held(batch=16)
    bench.encoder.poison["bad"] = ValueError("poison")
    good = [batcher.submit([f"good {n}"], "k") for n in range(6)]
    bad = [batcher.submit(["bad"], "k"), batcher.submit(["bad"], "other"), batcher.submit(["good 1", "bad"], "k")]
    bench.encoder.gate.set()
    assert [call.result(SAFE_S) for call in good] == [[result_of(f"good {n}")] for n in range(6)]
    for call in bad:
        with pytest.raises(ValueError, match="poison"):
            call.result(SAFE_S)
    assert batcher.health().last_failure == "ValueError('poison')"
    assert batcher.health().restarts == 0


def test_the_rest_of_a_large_call_with_a_poisonous_text_is_not_encoded(bench: Bench) -> None:
    batcher = bench.held(batch=4)
    bench.encoder.poison["large 1"] = ValueError("poison")
    large = batcher.submit([f"large {n}" for n in range(1000)], "k")
    bench.encoder.gate.set()
    with pytest.raises(ValueError, match="poison"):
        large.result(SAFE_S)
    assert batcher.run(["after"], "k") == [result_of("after")]
    assert len(bench.encoder.texts) < 30


def test_an_error_of_deciding_goes_to_callers_of_that_key_alone(bench: Bench) -> None:
    batcher = bench.held(batch=16)
    bench.decider.forbidden["bad"] = RouteNotFoundError("there is no route 'x'")
    calls = [batcher.submit([f"text {n}"], "bad" if n % 2 else "k") for n in range(6)]
    bench.encoder.gate.set()
    for number, asked in enumerate(calls):
        if number % 2:
            with pytest.raises(RouteNotFoundError):
                asked.result(SAFE_S)
        else:
            assert asked.result(SAFE_S) == [result_of(f"text {number}")]
    with pytest.raises(RouteNotFoundError):
        batcher.run(["text"], "bad")
    with pytest.raises(RouteNotFoundError):
        asyncio.run(batcher.arun(["text"], "bad"))


@pytest.mark.parametrize("death", [SystemExit(1), GeneratorExit(), KeyboardInterrupt()])
def test_a_worker_that_dies_fails_its_callers_and_is_replaced(
    bench: Bench, death: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    batcher = bench.held(batch=4)
    bench.encoder.poison["deadly"] = death
    dying = [batcher.submit([text], "k") for text in ("deadly", "deadly", "beside")]
    later = [batcher.submit([f"later {n}"], "k") for n in range(8)]
    bench.encoder.gate.set()
    for asked in dying:
        with pytest.raises(EncoderError, match="the worker died") as caught:
            asked.result(SAFE_S)
        assert caught.value.__cause__ is death
    in_time = [asked for asked in later if not isinstance(asked.exception(SAFE_S), EncoderError)]
    assert len(in_time) >= 6
    assert batcher.health().restarts == 1
    assert batcher.health().last_failure == repr(death)
    assert "a worker died and will be replaced" in caplog.text


def test_a_worker_that_dies_deciding_fails_its_callers_too(bench: Bench) -> None:
    batcher = bench()
    bench.decider.forbidden["deadly"] = SystemExit(1)
    with pytest.raises(EncoderError, match="the worker died"):
        asyncio.run(batcher.arun(["a"], "deadly"))
    assert asyncio.run(batcher.arun(["a"], "k")) == [result_of("a")]


def test_an_encoder_that_returns_too_few_rows_fails_its_callers(bench: Bench) -> None:
    batcher: Batcher[str, Result] = Batcher(
        lambda texts: np.ones((len(texts) - 1, 2), np.float32), bench.decider, BatchLimits(workers=1)
    )
    bench.batchers.append(batcher)
    with pytest.raises(EncoderError, match="the worker died"):
        batcher.run(["a", "b"], "k", deadline_s=SAFE_S)
    with pytest.raises(ValueError, match="shorter"):
        batcher.run(["a", "b"], "k")


def test_a_worker_that_keeps_dying_rests_longer_each_time_up_to_a_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "LONGEST_REST_S", 0.005)
    batcher = bench()
    rests: list[float] = []
    monkeypatch.setattr(batcher._crew.get(batcher._make_crew)._closing, "wait", rests.append)
    bench.encoder.poison["deadly"] = SystemExit(1)
    for text in ("deadly",) * 5 + ("good", "deadly"):
        with suppress(EncoderError):
            batcher.submit([text], "k").result(SAFE_S)
    until(lambda: len(rests) == 6)
    assert rests == [0.001, 0.002, 0.004, 0.005, 0.005, 0.001]


def test_a_caller_interrupted_in_its_own_thread_fails_those_who_joined_it(bench: Bench) -> None:
    batcher = bench()
    bench.encoder.poison["a"] = KeyboardInterrupt()
    bench.encoder.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        interrupted = pool.submit(batcher.run, ["a"], "k")
        assert bench.encoder.entered.acquire(timeout=SAFE_S)
        joined = batcher.submit(["a"], "k")
        bench.encoder.gate.set()
        with pytest.raises(KeyboardInterrupt):
            interrupted.result(SAFE_S)
    with pytest.raises(EncoderError, match="KeyboardInterrupt"):
        joined.result(SAFE_S)


def test_a_caller_interrupted_while_it_waits_is_dropped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = bench.held()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            batcher.run(["a"], "k")
    assert (batcher.health().waiting, batcher.health().cancelled) == (0, 1)


def test_fewer_threads_than_wanted_are_enough_and_none_accepts_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = bench(workers=2, batch=1)
    start = threading.Thread.start

    def no_more(thread: threading.Thread) -> None:
        if thread.name == WORKER and len(workers()) >= most:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_more)
    most = 0
    with pytest.raises(RuntimeError, match="can't start new thread"):
        batcher.submit(["a"], "k")
    assert_nothing_is_left(batcher)
    assert batcher.run(["a"], "k") == [result_of("a")]
    most = 1
    assert len(batcher.submit([f"text {n}" for n in range(9)], "k").result(SAFE_S)) == 9
    assert len(workers()) == 1
