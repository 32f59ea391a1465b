"""Drives synaptoroute 0.4, the version before this one's rewrite, in an environment of its own.

It acknowledges a route before the route can answer and before it is stored: what counts as built here is that the
index holds every utterance and another connection sees every one in the file. It prefers faiss to NumPy where faiss
is installed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# By name: a type checker would find the version that this file is part of.
synaptoroute = import_module("synaptoroute")

Vectors = NDArray[np.float32]

#: The threshold with which it does best on CLINC150.
BEST_THRESHOLD = 0.6
#: A synthetic query is never out of scope.
NO_THRESHOLD = -1.0
_POLL_S = 0.02


class System:
    """With its default profile, THROUGHPUT: batches of 32 on four threads."""

    saves = True
    version = synaptoroute.__version__

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], folder: Path, *, vectors: bool) -> None:
        self.encode = encode
        self._threshold = NO_THRESHOLD if vectors else BEST_THRESHOLD
        self._file = folder / "routes.db"
        index = "faiss" if import_module("synaptoroute.index").HAS_FAISS else "NumPy"
        self.settings = f"profile THROUGHPUT, {index} index, SQLite file, threshold {self._threshold:g}"

    def build(self, utterances: dict[str, list[str]], vectors: Vectors | None) -> None:  # noqa: ARG002
        """Add route by route, there is no other way; given vectors come from the encoder."""
        count = sum(map(len, utterances.values()))
        self._open(max(count, 50_000))
        for name, texts in utterances.items():
            self._router.add_route(synaptoroute.Route(name=name, utterances=texts, threshold=self._threshold))
        # Texts that differ only in white space around them are one to it.
        held = sum(len({text.strip() for text in texts}) for texts in utterances.values())
        while self._router.index.total_vectors < held or self._stored() < held:
            time.sleep(_POLL_S)

    def load(self) -> None:
        """Open the file."""
        self._open(max(self._stored(), 50_000))

    def settle(self) -> None:
        """Nothing goes on."""

    async def start(self) -> None:
        """Start its batches."""
        await self._router.start()

    def ask_now(self, text: str) -> str | None:
        """The documented call."""
        return _name(self._router(text))

    async def ask(self, text: str) -> str | None:
        """The documented call for event loops."""
        return _name(await self._router.aquery(text))

    def tunings(self, texts: Sequence[str], labels: Sequence[str | None]) -> Iterator[str]:
        """With the default threshold, with the best one, and with those it finds itself."""
        for threshold, note in ((0.5, "default"), (BEST_THRESHOLD, "best")):
            for name in {label for label in labels if label is not None}:
                self._router.update_threshold(name, threshold)
            yield f"threshold {threshold:g} ({note})"
        self._router.fit_thresholds(list(texts), [label or "none" for label in labels])
        yield "fit_thresholds on validation queries"

    def _open(self, capacity: int) -> None:
        storage = synaptoroute.SQLiteStorage(str(self._file))
        self._router = synaptoroute.AdaptiveRouter(_Encoder(self.encode), storage, max_capacity=capacity)

    def _stored(self) -> int:
        with contextlib.closing(sqlite3.connect(self._file)) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM utterances").fetchone()[0])


class _Encoder:
    """Safe to call from several threads."""

    requires_lock = False

    def __init__(self, encode: Callable[[Sequence[str]], Vectors]) -> None:
        self.encode_batch = encode
        self.dim = 384

    def encode(self, text: str) -> Vectors:
        vector: Vectors = self.encode_batch([text])[0]
        return vector


def _name(route: object | None) -> str | None:
    return getattr(route, "name", None)
