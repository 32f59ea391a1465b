"""Event loops, closing, idle workers, the interpreter's end and forks."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from synaptoroute.batching import crew
from synaptoroute.caching import EmbeddingCache
from synaptoroute.errors import (
    RouterClosedError,
    RouterOverloadedError,
)
from tests.batching.conftest import (
    SAFE_S,
    Bench,
    Result,
    assert_nothing_is_left,
    result_of,
    until,
    workers,
)


# ---------------------------------------------------------------------------------------------------------- event loops
class CountingLoop(asyncio.SelectorEventLoop):
    woken = 0

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        self.woken += 1
        return super().call_soon_threadsafe(*args, **options)


def test_a_loop_is_woken_once_for_each_batch_of_answers(bench: Bench) -> None:
    batcher = bench(batch=16)

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        bench.encoder.gate.clear()
        first = asyncio.create_task(batcher.arun(["first"], "k"))
        await asyncio.to_thread(bench.encoder.entered.acquire)
        others = [asyncio.create_task(batcher.arun([f"text {n}"], "ab"[n % 2])) for n in range(12)]
        # Each has gone as far as it can by then.
        await asyncio.sleep(0)
        assert batcher.health().waiting == 12
        woken = loop.woken
        bench.encoder.gate.set()
        await asyncio.gather(first, *others)
        assert loop.woken - woken == 2

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(ask())


async def test_a_loop_goes_on_while_the_encoder_is_stuck(bench: Bench) -> None:
    batcher = bench(max_queries=4)
    bench.encoder.gate.clear()
    waiting = [asyncio.create_task(batcher.arun([f"text {n}"], "k")) for n in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(RouterOverloadedError):
        await batcher.arun(["one more"], "k")
    assert not any(task.done() for task in waiting)
    bench.encoder.gate.set()
    assert await asyncio.gather(*waiting) == [[result_of(f"text {n}")] for n in range(4)]


def test_several_loops_and_threads_share_a_batcher(bench: Bench) -> None:
    batcher = bench(workers=2, batch=8)
    together = threading.Barrier(6)

    async def ask_all(name: str) -> list[list[Result]]:
        return await asyncio.gather(*[batcher.arun([f"text {n}"], name) for n in range(200)])

    def from_a_loop(name: str) -> list[list[Result]]:
        together.wait(SAFE_S)
        return asyncio.run(ask_all(name))

    def from_a_thread(name: str) -> list[list[Result]]:
        together.wait(SAFE_S)
        return [batcher.run([f"text {n}"], name, deadline_s=SAFE_S if n % 2 else None) for n in range(200)]

    with ThreadPoolExecutor(6) as pool:
        asked = {name: pool.submit(from_a_loop if name < "d" else from_a_thread, name) for name in "abcdef"}
        for name, done in asked.items():
            assert done.result(SAFE_S) == [[result_of(f"text {n}", name)] for n in range(200)]


def test_a_loop_that_was_closed_meanwhile_disturbs_nobody(bench: Bench) -> None:
    batcher = bench.held(batch=4)

    async def leave_waiting() -> None:
        waiting.append(asyncio.create_task(batcher.arun(["abandoned"], "k")))
        await asyncio.sleep(0)

    waiting: list[asyncio.Task[list[Result]]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave_waiting())
    loop.close()
    other = batcher.submit(["other"], "k")
    bench.encoder.gate.set()
    assert other.result(SAFE_S) == [result_of("other")]
    assert_nothing_is_left(batcher)
    # Or asyncio would log, rightly, that a task was destroyed before it was done.
    waiting[0]._log_destroy_pending = False  # type: ignore[attr-defined]


async def test_an_error_nobody_waits_for_is_not_reported_as_lost(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    batcher = bench(batch=4)
    bench.encoder.poison["bad"] = ValueError("poison")
    bench.encoder.gate.clear()
    task = asyncio.create_task(batcher.arun(["bad"], "k"))
    await asyncio.to_thread(bench.encoder.entered.acquire)
    bench.encoder.gate.set()
    # Blocks the loop, so that the answer is on its way to the caller when it goes.
    assert_nothing_is_left(batcher)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    assert not caplog.records


# -------------------------------------------------------------------------------------------------------------- closing
def test_closing_answers_what_was_accepted_and_accepts_no_more(bench: Bench, embeddings: EmbeddingCache) -> None:
    batcher = bench.held(workers=2, cache=embeddings)
    accepted = [batcher.submit([f"text {n}"], "k") for n in range(20)]
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(batcher.close)
        until(lambda: batcher._closed)
        until(batcher._crew.get(batcher._make_crew)._closing.is_set)
        for ask in (batcher.submit, batcher.run):
            with pytest.raises(RouterClosedError):
                ask(["late"], "k")
        with pytest.raises(RouterClosedError):
            asyncio.run(batcher.arun(["late"], "k"))
        assert not closing.done()
        bench.encoder.gate.set()
        closing.result(SAFE_S)
    assert [call.result(0) for call in accepted] == [[result_of(f"text {n}")] for n in range(20)]
    assert not workers()
    batcher.close()
    with pytest.raises(RouterClosedError):
        batcher.run(["first"], "k")


def test_a_caller_that_came_in_while_it_was_closed_is_turned_away(bench: Bench) -> None:
    batcher = bench()
    batcher.close()
    batcher._closed = False
    with pytest.raises(RouterClosedError):
        batcher.run(["a"], "k")


def test_after_the_drain_time_the_rest_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_LAST_TURN_S", 0.01)
    batcher = bench.held()
    waiting = batcher.submit(["waiting"], "k")
    with ThreadPoolExecutor(2) as pool:
        blocked = pool.submit(batcher.run, ["blocked"], "k")
        in_loop = pool.submit(lambda: asyncio.run(batcher.arun(["in a loop"], "k")))
        until(lambda: batcher.health().waiting == 3)
        batcher.close(drain_s=0.01)
        for asked in (waiting, blocked, in_loop):
            with pytest.raises(RouterClosedError, match="before it could answer"):
                asked.result(SAFE_S)
    assert len(workers()) == 1
    bench.encoder.gate.set()
    until(lambda: not workers())
    assert bench.encoder.texts == ["first"]


def test_an_unused_batcher_starts_no_threads(bench: Bench) -> None:
    batcher = bench(workers=4)
    assert batcher.health().workers == 0
    assert not workers()


def test_idle_workers_end_and_are_started_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "IDLE_S", 0.01)
    batcher = bench(workers=2)
    for _ in range(3):
        assert batcher.submit(["a", "b"], "k").result(SAFE_S) == [result_of("a"), result_of("b")]
        until(lambda: not workers())
    assert batcher.health().workers == 0


def test_a_batcher_that_was_forgotten_without_closing_is_freed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "IDLE_S", 0.01)
    batcher = bench()
    batcher.submit(["a"], "k").result(SAFE_S)
    bench.batchers.clear()
    freed = weakref.ref(batcher._crew.get(batcher._make_crew))
    del batcher
    until(lambda: not workers())
    gc.collect()
    assert freed() is None


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    prelude = """
        import threading, time
        import numpy as np
        from synaptoroute.batching import Batcher, BatchLimits
        encoding = threading.Event()
        def encode(texts):
            encoding.set()
            time.sleep(0.2)
            return np.ones((len(texts), 2), np.float32)
        batcher = Batcher(encode, lambda key, texts, vectors: [key] * len(texts), BatchLimits(workers=2, batch=1))
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=SAFE_S, check=False
    )


def test_an_interpreter_that_ends_while_workers_work_ends_cleanly_and_fails_what_waits() -> None:
    done = run_script("""
        calls = [batcher.submit([str(n)], "k") for n in range(50)]
        encoding.wait()
        calls[-1].add_done_callback(lambda call: print(type(call.exception()).__name__))
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "RouterClosedError\n", "")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_starts_with_an_empty_queue_and_workers_of_its_own(bench: Bench) -> None:
    batcher = bench.held(max_queries=2)
    waiting = batcher.submit(["waiting"], "k")
    with batcher._crew.get(batcher._make_crew)._lock:
        child = os.fork()
        if child == 0:
            try:
                bench.encoder.gate.set()
                empty = batcher.health().queries == 0 and not workers()
                sync = batcher.run(["a", "waiting"], "k") == [result_of("a"), result_of("waiting")]
                from_loop = asyncio.run(batcher.arun(["b"], "k")) == [result_of("b")]
                batcher.close()
                os._exit(0 if empty and sync and from_loop else 3)
            except BaseException:  # noqa: BLE001 - the exit code is the message
                os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert batcher.health().waiting == 1
    bench.encoder.gate.set()
    assert waiting.result(SAFE_S) == [result_of("waiting")]


def test_a_child_forked_from_an_unfinished_process_ends_cleanly() -> None:
    done = run_script("""
        import os, warnings
        warnings.simplefilter("ignore")
        call = batcher.submit(["a"], "k")
        encoding.wait()
        if os.fork() == 0:
            raise SystemExit(0 if batcher.run(["b"], "k") == ["k"] else 3)
        print(os.waitstatus_to_exitcode(os.wait()[1]), call.result())
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 ['k']\n", "")
