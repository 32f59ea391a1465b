"""A batcher between an encoder and a decider that can be watched and held up."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from synaptoroute.batching import Batcher, BatchLimits, crew
from synaptoroute.caching import EmbeddingCache
from synaptoroute.encoder.base import Vectors

#: Nothing here takes this long unless it hangs.
SAFE_S = 30.0
WORKER = "synaptoroute-batch"

Result = tuple[str, str, float]


def row_of(text: str) -> float:
    return float(zlib.crc32(text.encode()) % 10_000)


def result_of(text: str, key: str = "k") -> Result:
    """What a call of that key should get for the text."""
    return (key, text, row_of(text))


class Encoder:
    """Remembers what it was asked and by which thread; waits at its gate; fails on what is poisonous."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: list[threading.Thread] = []
        self.poison: dict[str, BaseException] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        self.threads.append(threading.current_thread())
        self.entered.release()
        assert self.gate.wait(SAFE_S)
        for text in texts:
            if text in self.poison:
                raise self.poison[text]
        return np.array([[row_of(text), 1.0] for text in texts], np.float32)

    @property
    def texts(self) -> list[str]:
        return [text for batch in self.batches for text in batch]


class Decider:
    """Remembers what it was asked and by which thread; fails on what is forbidden."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.threads: list[threading.Thread] = []
        self.forbidden: dict[str, BaseException] = {}

    def __call__(self, key: str, texts: Sequence[str], vectors: Vectors) -> list[Result]:
        self.calls.append((key, list(texts)))
        self.threads.append(threading.current_thread())
        assert vectors.shape == (len(texts), 2)
        assert vectors.dtype == np.float32
        if key in self.forbidden:
            raise self.forbidden[key]
        return [(key, text, float(row[0])) for text, row in zip(texts, vectors, strict=True)]


class Bench:
    """A batcher between an encoder and a decider that can be watched."""

    def __init__(self) -> None:
        self.encoder, self.decider = Encoder(), Decider()
        self.batchers: list[Batcher[str, Result]] = []

    def __call__(self, *, cache: EmbeddingCache | None = None, workers: int = 1, **limits: Any) -> Batcher[str, Result]:
        batcher = Batcher(self.encoder, self.decider, BatchLimits(workers=workers, **limits), cache)
        self.batchers.append(batcher)
        return batcher

    def held(self, **limits: Any) -> Batcher[str, Result]:
        """A batcher whose only worker is held up in the encoder by a call of "first"."""
        batcher = self(**limits)
        self.encoder.gate.clear()
        batcher.submit(["first"], "k")
        assert self.encoder.entered.acquire(timeout=SAFE_S)
        return batcher


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(crew, "REST_S", 0.001)
    bench = Bench()
    yield bench
    bench.encoder.gate.set()
    for batcher in bench.batchers:
        batcher.close(SAFE_S)
        assert_nothing_is_left(batcher)
    assert not workers()


@pytest.fixture
def embeddings() -> EmbeddingCache:
    return EmbeddingCache("fingerprint", 1 << 24)


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == WORKER]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SAFE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def assert_nothing_is_left(batcher: Batcher[str, Result]) -> None:
    until(lambda: batcher.health().encoding == 0)
    health = batcher.health()
    assert (health.queries, health.tokens, health.waiting, health.encoding) == (0, 0, 0, 0)
    queue = batcher._crew.get(batcher._make_crew)._queue
    assert not queue.open
    assert not queue._pending
    assert not queue._line
