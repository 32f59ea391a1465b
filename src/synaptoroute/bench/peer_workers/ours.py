"""Drives this version of synaptoroute, through its public names only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import synaptoroute
from synaptoroute import AdaptiveRouter, OptimizationProfile, Route
from synaptoroute.encoder import BaseEncoder, BundledEncoder
from synaptoroute.storage import SQLiteStorage

Vectors = NDArray[np.float32]


class System:
    """As it comes: every option has its default."""

    saves = True
    version = synaptoroute.__version__
    settings = "THROUGHPUT profile; routes and vectors durable in a SQLite file"

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], folder: Path, *, vectors: bool) -> None:
        self._encoder: BaseEncoder = _Given(encode) if vectors else BundledEncoder()
        self._file = folder / "routes.db"
        self.encode = self._encoder.encode

    def build(self, utterances: dict[str, list[str]], vectors: Vectors | None) -> None:
        """Encode and store."""
        self.load()
        given: dict[str, Any] = {} if vectors is None else {"vectors": vectors}
        self._router.add_routes([Route(name=name, utterances=texts) for name, texts in utterances.items()], **given)

    def load(self) -> None:
        """Open the file."""
        # With vectors at hand there is nothing to wait for, which THROUGHPUT does for encoders that gain from batches.
        given = isinstance(self._encoder, _Given)
        profile = OptimizationProfile.BALANCED if given else OptimizationProfile.THROUGHPUT
        self._router = AdaptiveRouter(self._encoder, SQLiteStorage(self._file), profile=profile)

    def settle(self) -> None:
        """Wait for the learned head."""
        self._router.wait_until_fitted()

    async def start(self) -> None:
        """Start it on this event loop."""
        await self._router.start()

    def ask_now(self, text: str) -> str | None:
        """The documented call."""
        return self._router(text).name

    async def ask(self, text: str) -> str | None:
        """The documented call for event loops."""
        return (await self._router.aquery(text)).name

    def tunings(self, texts: Sequence[str], labels: Sequence[str | None]) -> Iterator[str]:
        """As it comes, and after ``fit``."""
        yield "default"
        self._router.fit(texts, labels)
        self._router.wait_until_fitted()
        yield "fit on validation queries"


class _Given:
    """An encoder made of a function."""

    name = fingerprint = "given"

    def __init__(self, encode: Callable[[Sequence[str]], Vectors]) -> None:
        self._encode = encode
        self.dim = int(encode(["q0"]).shape[1])

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts)
