"""Drives semantic-router 1.x: an ``IndexedRouter`` on a ``LocalIndex``.

It saves routes but no vectors, and no router whose encoder is not one of its own: a new process encodes everything
again. ``LocalIndex`` searches on the event loop, whichever call is used.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Not a dependency of the package that this file is part of, so type checkers need not find it.
semantic_router = import_module("semantic_router")
LocalIndex = import_module("semantic_router.index").LocalIndex

Vectors = NDArray[np.float32]


class System:
    """With mean aggregation over the best five, its default; encoded off the event loop, as its own encoders do."""

    saves = False
    version = metadata.version("semantic-router")
    settings = "IndexedRouter, LocalIndex, vectors as its own encoders give them; acall, encoder on one thread a core"

    @staticmethod
    def rows(vectors: Vectors) -> list[Any]:
        """Vectors (n, dim) as its encoders return them: its index keeps and searches them as float64."""
        found: list[Any] = vectors.tolist()
        return found

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], folder: Path, *, vectors: bool) -> None:  # noqa: ARG002
        self.encode = encode

    def build(self, utterances: dict[str, list[str]], vectors: Vectors | None) -> None:
        """Encode all at once: a second ``add`` would copy what the first one added."""
        encoder = _Encoder(self.encode, self.rows)
        if vectors is None:
            routes = [semantic_router.Route(name=name, utterances=texts) for name, texts in utterances.items()]
            self._router = semantic_router.IndexedRouter(encoder=encoder, routes=routes)
            return
        index = LocalIndex()
        index.add(
            embeddings=self.rows(vectors),
            routes=[name for name, texts in utterances.items() for _ in texts],
            utterances=[text for texts in utterances.values() for text in texts],
        )
        self._router = semantic_router.IndexedRouter(encoder=encoder, index=index)

    def load(self) -> None:
        """It cannot."""
        raise NotImplementedError("semantic-router saves no vectors")

    def settle(self) -> None:
        """Nothing goes on."""

    async def start(self) -> None:
        """Nothing to start."""

    def ask_now(self, text: str) -> str | None:
        """The documented call."""
        name: str | None = self._router(text).name
        return name

    async def ask(self, text: str) -> str | None:
        """The documented call for event loops."""
        name: str | None = (await self._router.acall(text)).name
        return name

    def tunings(self, texts: Sequence[str], labels: Sequence[str | None]) -> Iterator[str]:
        """As it comes, which never abstains; then calibrated as its guide says, with each of its aggregations."""
        yield "default (mean)"
        for aggregation in ("mean", "max", "sum"):
            self._router = semantic_router.IndexedRouter(
                encoder=self._router.encoder,
                index=self._router.index,
                aggregation=aggregation,
            )
            self._router.fit(list(texts), list(labels))
            self._router.confidence_threshold = 0.5
            yield f"{aggregation}, fit on validation queries, confidence_threshold 0.5"


class _Encoder:
    """An encoder as it wants one."""

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], rows: Callable[[Vectors], list[Any]]) -> None:
        self._encode, self._rows = encode, rows
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None)

    def __call__(self, docs: list[str]) -> list[Any]:
        return self._rows(self._encode(docs))

    async def acall(self, docs: list[str]) -> list[Any]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self, docs)
