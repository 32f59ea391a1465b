"""Routes that their vectors cannot tell apart, and a reranker that can."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import xxhash

from synaptoroute import Route
from synaptoroute.encoder.base import Vectors
from synaptoroute.rerank.base import Scores

DIM = 16
PLACES = ("hall", "attic")


def _direction(text: str) -> np.ndarray:
    return np.random.default_rng(xxhash.xxh3_64_intdigest(text.encode())).normal(size=DIM)


def side(text: str) -> str:
    """Which of its place's two routes a text belongs to: by a hash, so that no vector and no n-gram can tell."""
    return "left" if xxhash.xxh3_64_intdigest(text.encode()) % 2 else "right"


class PlaceEncoder:
    """Sees the place, its first word, and next to nothing of the rest."""

    name, dim, fingerprint = "places", DIM, "places-1"

    def encode(self, texts: Sequence[str]) -> Vectors:
        rows = [_direction(text.split()[0]) + 0.3 * _direction(text) for text in texts]
        vectors = np.array(rows, np.float32).reshape(-1, DIM)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


class SideReranker:
    """Knows the side of every text. Can be held up, and can fail."""

    name = "sides"

    def __init__(self, fingerprint: str = "sides-1") -> None:
        self.fingerprint = fingerprint
        self.queries: list[str] = []
        self.threads: list[threading.Thread] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        self.queries.append(query)
        self.threads.append(threading.current_thread())
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return np.array([side(text) == side(query) for text in texts], np.float32)


def texts_of(place: str, count: int, *, since: int = 0) -> list[str]:
    return [f"{place} {xxhash.xxh3_64_hexdigest(str(number).encode())}" for number in range(since, since + count)]


def routes(count: int = 60) -> list[Route]:
    """Two routes for each place, with so many utterances together."""
    texts = [text for place in PLACES for text in texts_of(place, count)]
    names = dict.fromkeys(f"{text.split()[0]}-{side(text)}" for text in texts)
    return [
        Route(name=name, utterances=[text for text in texts if f"{text.split()[0]}-{side(text)}" == name])
        for name in names
    ]


#: Queries that are no utterances, and their routes.
QUERIES = [text for place in PLACES for text in texts_of(place, 40, since=1_000)]
NAMES = [f"{query.split()[0]}-{side(query)}" for query in QUERIES]
