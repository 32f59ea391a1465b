"""The rules of the queue, in any order of events."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptoroute.batching import BatchLimits
from synaptoroute.batching.queue import Call, Queue, Turn
from synaptoroute.errors import (
    RouterOverloadedError,
)
from tests.batching.conftest import (
    Result,
    row_of,
)


def call(texts: Sequence[str], known: Sequence[Any] | None = None) -> Call[str, Result]:
    return Call(texts, "k", [None] * len(texts) if known is None else known, Future(), 0.0)


def finish(queue: Queue[str, Result], turn: Turn[str, Result], outcome: str) -> None:
    """End a turn as a worker would."""
    if outcome == "death":
        answered = queue.give_up(turn)
    else:
        rows: list[Any] = [np.array([row_of(wanted.text), 1], np.float32) for wanted in turn.wanted]
        if outcome == "poison":
            rows[:1] = [ValueError("poison")] * len(rows[:1])
        answered = [*(queue.encoded(turn, rows, 0.1) if rows else ()), *turn.known]
        for known in turn.known:
            assert {text: row[0] for text, row in known.rows.items() if row is not None} == {
                text: row_of(text) for text in known.texts
            }
    for each in answered:
        queue.remove(each)


def assert_counts_are_right(queue: Queue[str, Result]) -> None:
    pending = queue._pending.values()
    assert queue.waiting == sum(not wanted.taken for wanted in pending)
    assert queue.encoding == sum(wanted.taken for wanted in pending)
    assert all(wanted.calls <= queue.open for wanted in pending)
    assert all(wanted.calls for wanted in pending if not wanted.taken)
    assert queue.queries <= 12
    assert queue.tokens <= 40


def test_when_to_try_again_follows_the_speed_of_the_encoder() -> None:
    queue: Queue[str, Result] = Queue(BatchLimits(workers=2, batch=1, max_queries=1000))
    queue.add(call([f"text {n}" for n in range(200)]))
    assert queue.retry_after_s == pytest.approx(200 * 0.001 / 2)
    for _ in range(100):
        finish(queue, queue.take(1, 0.0), "good")
    assert queue.retry_after_s == pytest.approx(100 * 0.1 / 2, rel=0.01)


@given(st.data())
def test_whatever_happens_the_queue_counts_right_and_ends_empty(data: st.DataObject) -> None:
    """Calls come and go, turns are taken, succeed, fail and are given up, in any order."""
    queue: Queue[str, Result] = Queue(BatchLimits(workers=3, batch=3, max_queries=12, max_tokens=40))
    calls: list[Call[str, Result]] = []
    turns: list[Turn[str, Result]] = []
    texts = st.lists(st.sampled_from(["a", "b", "c", "d", "e" * 30]), min_size=1, max_size=8)
    for _ in range(data.draw(st.integers(0, 25))):
        step = data.draw(st.sampled_from(["add", "add", "take", "finish", "remove"]))
        if step == "add":
            calls.append(call(data.draw(texts)))
            with suppress(RouterOverloadedError):
                queue.add(calls[-1])
        elif step == "take" and len(turns) < 3:
            turns.append(queue.take(3 - len(turns), 0.0))
        elif step == "finish" and turns:
            outcome = data.draw(st.sampled_from(["good", "poison", "death"]))
            finish(queue, turns.pop(data.draw(st.integers(0, len(turns) - 1))), outcome)
        elif step == "remove" and queue.open:
            queue.remove(data.draw(st.sampled_from([each for each in calls if each in queue.open])))
        assert_counts_are_right(queue)
    while queue or turns:
        finish(queue, turns.pop() if turns else queue.take(1, 0.0), "good")
    assert not queue.open
    assert not queue._pending
    assert (queue.waiting, queue.encoding, queue.queries, queue.tokens) == (0, 0, 0, 0)
