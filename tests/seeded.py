"""An encoder for tests about bookkeeping: no model, fixed vectors, and texts of one word are near each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import xxhash

from synaptoroute import Route
from synaptoroute.decision import lessons
from synaptoroute.encoder.base import Vectors

DIM = 32


@lru_cache(1 << 16)
def vector(text: str) -> Vectors:
    """Half the direction of the text's first word, half its own."""
    row = _direction(text.split()[0]) + 0.7 * _direction(text)
    return np.asarray(row / np.linalg.norm(row), np.float32)


def _direction(text: str) -> np.ndarray:
    return np.random.default_rng(xxhash.xxh3_64_intdigest(text.encode())).normal(size=DIM)


def vectors_of(texts: Sequence[str]) -> Vectors:
    return np.stack([vector(text) for text in texts]) if texts else np.empty((0, DIM), np.float32)


class SeededEncoder:
    """Remembers how many texts it has encoded."""

    name, dim, fingerprint = "seeded", DIM, "seeded-1"

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.encoded += len(texts)
        return vectors_of(texts)


def route(name: str, *says: str | int) -> Route:
    """Its utterances begin with its name, so a query that does belongs to it."""
    return Route(name=name, utterances=[f"{name} {said}" for said in says or range(3)])


def small_heads(cells: int) -> tuple[lessons.Effort, ...]:
    """Efforts for which tables of more utterances times routes are too large."""
    return (replace(lessons.EFFORTS[0], cells=cells),)
