"""The process one system is measured in: it answers requests, a JSON object a line, until its input ends.

Run as ``python worker.py SYSTEM FOLDER`` by the Python of the system's own environment, which need not have this
package: only the standard library, NumPy, onnxruntime and tokenizers are used here. SYSTEM is the module beside this
one that drives the system; FOLDER holds ``task.json`` and is where the system may store what it likes.

A module that drives a system has a class ``System`` as described by ``Driver``. A request is ``{"do": NAME, ...}``
with NAME a method of ``Worker``; the answer is ``{"ok": true, ...}`` with figures, or ``{"ok": false, "error":
TEXT}``. Times are measured here, around calls of the system's documented functions.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]

#: Every so often a task on the event loop notes how late it woke up.
HEARTBEAT_S = 0.005
#: Queries that are asked one after the other, before any is timed that way.
WARM_UP = 32
#: What all systems must encode to the same vector.
PROBE = "what is my current balance?"
_STRETCH = 16
_GIVEN = re.compile(r"[uq]\d+").fullmatch
_STATM = Path("/proc/self/statm")


class Driver(Protocol):
    """What a module that drives a system has under the name ``System``.

    Attributes:
        saves: Whether ``load`` can give back what ``build`` made, in another process.
        version: Of the system.
        settings: How the system is used, for people.
        encode: What the system encodes queries with.
    """

    saves: bool
    version: str
    settings: str
    encode: Encode

    def __init__(self, encode: Encode, folder: Path, *, vectors: bool) -> None:
        """Nothing is timed here. ``vectors`` says that ``build`` will be given vectors, made by ``encode``."""

    def build(self, utterances: dict[str, list[str]], vectors: Vectors | None) -> None:
        """Take in utterances by route; returns when all of them can answer. Vectors (n, dim) are in their order."""

    def load(self) -> None:
        """Take in what ``build`` saved."""

    def settle(self) -> None:
        """Wait for what goes on in the background after ``build`` and ``load``."""

    async def start(self) -> None:
        """What has to be done on the event loop before the first ``ask``."""

    def ask_now(self, text: str) -> str | None:
        """The route of a query, None for none; not on an event loop."""

    async def ask(self, text: str) -> str | None:
        """The same, on an event loop."""

    def tunings(self, texts: Sequence[str], labels: Sequence[str | None]) -> Iterator[str]:
        """Name one way to set the system up after the other, having just set it up so with labelled queries."""


class MiniLM:
    """The encoder all systems share, written for speed: each text runs alone, texts are spread over the cores.

    Args:
        folder: With ``model.onnx`` and ``tokenizer.json``.
        threads: Texts encoded at once.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        model = str(folder / "model.onnx")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows (len(texts), 384)."""
        length = max(1, min(_STRETCH, math.ceil(len(texts) / self._threads)))
        parts = [texts[start : start + length] for start in range(0, len(texts), length)]
        # One part is run where it is: a thread of the caller's is then already one of as many as there are cores.
        rows = map(self._each, parts) if len(parts) < 2 else self._pool.map(self._each, parts)
        return np.array([row for part in rows for row in part], np.float32)

    def _each(self, texts: Sequence[str]) -> list[Vectors]:
        ids = [np.array([encoding.ids], np.int64) for encoding in map(self._tokenizer.encode, texts)]
        inputs = [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in ids]
        pooled = [self._session.run(None, each)[0][0].mean(axis=0) for each in inputs]
        return [vector / np.sqrt(vector @ vector) for vector in pooled]


class Given:
    """An encoder that has its vectors already: text ``u7`` is row 7 of the utterances, ``q7`` of the queries.

    Args:
        folder: With ``utterances.npy`` and ``queries.npy``, both (n, dim).
        encoder: Runs, if ``costly``, on ``texts``, one for each query; its vectors are thrown away.
    """

    def __init__(self, folder: Path, encoder: MiniLM, texts: Sequence[str]) -> None:
        self.costly = False
        self._folder = folder
        self._encoder = encoder
        self._texts = texts
        self._queries: Vectors = np.load(folder / "queries.npy")
        self._utterances: Vectors | None = None

    def utterances(self) -> Vectors:
        """The vectors of all utterances; only ``build`` needs them, so they are not kept when it is done."""
        if self._utterances is None:
            self._utterances = np.load(self._folder / "utterances.npy")
        return self._utterances

    def forget_utterances(self) -> None:
        """Make room."""
        self._utterances = None

    def encode(self, texts: Sequence[str]) -> Vectors:
        """The rows of these texts (len(texts), dim); any other text is encoded, as systems may have texts of theirs."""
        if self.costly:
            self._encoder.encode([self._texts[int(text[1:]) % len(self._texts)] for text in texts if _GIVEN(text)])
        rows = [self._row(text) if _GIVEN(text) else self._encoder.encode([text])[0] for text in texts]
        return np.array(rows, np.float32).reshape(len(texts), self._queries.shape[1])

    def _row(self, text: str) -> Vectors:
        vectors = self._queries if text[0] == "q" else self.utterances()
        row: Vectors = vectors[int(text[1:])]
        return row


class Worker:
    """Answers requests about one system.

    Args:
        module: The module that drives it.
        folder: With ``task.json``: ``model``, a folder; ``cores``; ``utterances`` by route; ``queries``, texts;
            ``warm_up``, texts; ``labelled``, pairs of text and label; ``vectors``, whether they are given.
    """

    def __init__(self, module: str, folder: Path) -> None:
        self._task: dict[str, Any] = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        minilm = MiniLM(Path(self._task["model"]), self._task["cores"])
        self._given = Given(folder, minilm, self._task["texts"]) if self._task["vectors"] else None
        own = folder / module
        own.mkdir(exist_ok=True)
        encode = self._given.encode if self._given else minilm.encode
        self._system: Driver = import_module(module).System(encode, own, vectors=self._given is not None)
        minilm.encode([PROBE])
        self._probe = self._system.encode(["q0" if self._given else PROBE])[0]
        # One loop for all requests: a system that was started belongs to it.
        self._loop = asyncio.new_event_loop()
        self._started = False

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked. Errors of the system become an answer; what they print goes to stderr."""
        name = request.pop("do")
        try:
            return {"ok": True, **getattr(self, name)(**request)}
        except Exception as exc:  # noqa: BLE001 - whatever a system raises is a result
            traceback.print_exc()
            return {"ok": False, "error": f"{type(exc).__name__}: {exc}"}

    def start(self) -> dict[str, Any]:
        """What it is, and the vector of ``PROBE``."""
        return {
            "version": self._system.version,
            "settings": self._system.settings,
            "saves": self._system.saves,
            "software": {module.__name__: module.__version__ for module in (np, onnxruntime)},
            "probe": [round(float(value), 6) for value in self._probe],
        }

    def build(self) -> dict[str, float | None]:
        """Seconds from the utterances to the first answer, from there until nothing is left to do, and memory."""
        vectors = self._given.utterances() if self._given else None
        build = partial(self._system.build, self._task["utterances"], vectors)
        seconds = self._ready("build_s", build)
        if self._given:
            self._given.forget_utterances()
        del vectors, build
        return seconds | {"resident_bytes": _resident_bytes()}

    def load(self) -> dict[str, float | None]:
        """The same from what was saved."""
        return self._ready("load_s", self._system.load) | {"resident_bytes": _resident_bytes()}

    def encode(self, *, first: int, last: int) -> dict[str, float]:
        """Encode queries ``first`` to ``last``, all at once."""
        self._set_costly(costly=True)
        self._system.encode(self._task["warm_up"])
        texts = self._task["queries"][first:last]
        began = perf_counter()
        self._system.encode(texts)
        return {"answered": len(texts), "seconds": perf_counter() - began}

    def concurrent(
        self, *, first: int, last: int, in_flight: int, seconds: float, costly: bool = True
    ) -> dict[str, Any]:
        """Ask queries ``first`` to ``last`` with so many in flight, beginning none after so many seconds.

        Answers with the queries that were answered, the route of each by its number, the seconds until the last
        answer, percentiles of the time to an answer, and of how late a task on the same event loop woke up.
        """
        self._set_costly(costly=costly)
        return self._loop.run_until_complete(self._concurrent(range(first, last), in_flight, seconds))

    def sequential(self, *, first: int, last: int, seconds: float, costly: bool = True) -> dict[str, Any]:
        """Ask queries ``first`` to ``last`` one after the other, likewise."""
        self._set_costly(costly=costly)
        for text in self._task["warm_up"][:WARM_UP]:
            self._system.ask_now(text)
        took: list[float] = []
        started = perf_counter()
        for text in self._task["queries"][first:last]:
            began = perf_counter()
            if began - started > seconds:
                break
            self._system.ask_now(text)
            took.append(perf_counter() - began)
        return {"answered": len(took), "seconds": perf_counter() - started, **_percentiles("", took)}

    def accuracy(self, *, in_flight: int) -> dict[str, Any]:
        """The route of every query, for each way to set the system up."""
        texts, labels = zip(*self._task["labelled"], strict=True)
        settings = []
        began = perf_counter()
        for name in self._system.tunings(texts, labels):
            tuning_s = perf_counter() - began
            everything = range(len(self._task["queries"]))
            answers = self._loop.run_until_complete(self._concurrent(everything, in_flight, math.inf))["chosen"]
            settings.append({"name": name, "tuning_s": tuning_s, "chosen": [name for _, name in sorted(answers)]})
            began = perf_counter()
        return {"settings": settings}

    def _ready(self, key: str, make: Callable[[], None]) -> dict[str, float | None]:
        first, *others = self._task["warm_up"]
        began = perf_counter()
        make()
        self._system.ask_now(first)
        made = perf_counter()
        self._system.settle()
        settled = perf_counter()
        for text in others[:WARM_UP]:
            self._system.ask_now(text)
        return {key: made - began, "settle_s": settled - made}

    def _set_costly(self, *, costly: bool) -> None:
        if self._given:
            self._given.costly = costly

    async def _concurrent(self, numbers: range, in_flight: int, seconds: float) -> dict[str, Any]:
        if not self._started:
            await self._system.start()
            self._started = True
        queries, remaining = self._task["queries"], iter(numbers)
        warm = iter(self._task["warm_up"])
        chosen: list[tuple[int, str | None]] = []
        took: list[float] = []

        async def warm_up() -> None:
            for text in warm:
                await self._system.ask(text)

        async def ask() -> None:
            for number in remaining:
                began = perf_counter()
                if began - started > seconds:
                    return
                chosen.append((number, await self._system.ask(queries[number])))
                took.append(perf_counter() - began)

        await asyncio.gather(*(warm_up() for _ in range(in_flight)))
        async with _heartbeat() as late:
            started = perf_counter()
            await asyncio.gather(*(ask() for _ in range(in_flight)))
            elapsed = perf_counter() - started
        lag = _percentiles("lag_", late)
        return {"answered": len(took), "chosen": chosen, "seconds": elapsed, **_percentiles("", took), **lag}


@asynccontextmanager
async def _heartbeat() -> AsyncIterator[list[float]]:
    """Collects the seconds by which a task that sleeps ``HEARTBEAT_S`` at a time wakes up too late."""
    late: list[float] = []

    async def beat() -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(HEARTBEAT_S)
            late.append(perf_counter() - began - HEARTBEAT_S)

    task = asyncio.create_task(beat())
    await asyncio.sleep(0)
    try:
        yield late
        # What was held up until the end has its beat too.
        await asyncio.sleep(HEARTBEAT_S)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _percentiles(prefix: str, seconds: Sequence[float]) -> dict[str, float]:
    return {f"{prefix}p{p}_ms": float(np.percentile(seconds, p)) * 1000 for p in (50, 99)} if seconds else {}


def _resident_bytes() -> int | None:
    """Resident memory of this process; None where the system has no such file."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Answer requests until the input ends."""
    # What a system prints would break the protocol: answers get a stream of their own, prints go to stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        worker = Worker(sys.argv[1], Path(sys.argv[2]))
        for line in sys.stdin:
            answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
            answers.flush()
    # Threads that a system left behind must not keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    main()
