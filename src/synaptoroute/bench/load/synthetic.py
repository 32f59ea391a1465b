"""Routes without texts worth reading: vectors with the geometry of real ones, any number of them, block by block."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from synaptoroute.encoder.base import Vectors
from synaptoroute.models import Route

TOPICS = 500
UTTERANCES = 5
#: Cosine of two utterances of a route, and of a query to them; and of a route's centre to its topic.
WITHIN_ROUTE, WITHIN_TOPIC = 0.75, 0.8
#: Routes made and added at once: 31 MB of vectors.
BLOCK = 4_096


class Synthetic:
    """So many routes with five utterances each; deterministic, and a prefix of every larger table of the same seed.

    A route's centre lies near one of 500 topics, its utterances and the queries that belong to it near the centre.

    Args:
        routes: How many.
        dim: Length of every vector.
        seed: Of everything that is drawn.
    """

    def __init__(self, routes: int, *, dim: int, seed: int = 0) -> None:
        self.routes = routes
        self._dim = dim
        self._seed = seed
        self._topics = _unit(np.random.default_rng([seed, 0]).standard_normal((TOPICS, dim), np.float32))

    def __len__(self) -> int:
        """How many blocks."""
        return -(-self.routes // BLOCK)

    def blocks(self) -> Iterator[tuple[list[Route], Vectors]]:
        """Routes and the vectors of their utterances, route after route (5 * routes of the block, dim)."""
        for start in range(0, self.routes, BLOCK):
            random = self._random(start)
            centres = self._centres(random)[: self.routes - start]
            vectors = _near(np.repeat(centres, UTTERANCES, axis=0), math.sqrt(WITHIN_ROUTE), random)
            yield [self.route(start + place) for place in range(len(centres))], vectors

    def route(self, number: int) -> Route:
        """The route of that number."""
        return Route(
            name=f"route {number}", utterances=[f"utterance {place} of route {number}" for place in range(UTTERANCES)]
        )

    def more(self) -> Iterator[tuple[Route, Vectors]]:
        """Routes beyond the table's, without end, each with the vectors of its utterances (5, dim)."""
        number = self.routes
        for routes, vectors in Synthetic(sys.maxsize, dim=self._dim, seed=self._seed + 1).blocks():
            for own in vectors.reshape(len(routes), UTTERANCES, self._dim):
                yield self.route(number), own
                number += 1

    def queries(self, count: int) -> Vectors:
        """Queries that each belong to some route (count, dim)."""
        random = np.random.default_rng([self._seed, 1])
        numbers = np.sort(random.integers(0, self.routes, count))
        centres = np.empty((count, self._dim), np.float32)
        for start in np.unique(numbers // BLOCK) * BLOCK:
            of_block = (numbers >= start) & (numbers < start + BLOCK)
            centres[of_block] = self._centres(self._random(int(start)))[numbers[of_block] - start]
        return np.asarray(_near(random.permutation(centres), math.sqrt(WITHIN_ROUTE), random))

    def _random(self, start: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, 2, start])

    def _centres(self, random: np.random.Generator) -> Vectors:
        """Of all routes of a block, so that a smaller table has the same ones."""
        return _near(self._topics[random.integers(0, TOPICS, BLOCK)], WITHIN_TOPIC, random)


def _near(vectors: Vectors, cosine: float, random: np.random.Generator) -> Vectors:
    """Unit rows at about that cosine to the given ones, in random directions."""
    noise = _unit(random.standard_normal(vectors.shape, np.float32))
    return _unit(cosine * vectors + math.sqrt(1 - cosine**2) * noise)


def _unit(rows: NDArray[np.float32]) -> Vectors:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
