"""Draws what is in a batch: groups of routes that are easily confused, and refusals of some of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.config import SHARES, Config
from training.examples import Example

#: Routes in a group; a batch has several groups of different sources.
GROUP = 8
#: Refusals of one route in a batch.
REFUSALS = 2
#: A route's group is drawn from so many nearest routes.
_NEAREST = 20


class Batches:
    """Draws batches as places in ``examples``.

    Args:
        examples: All texts; those with ``denies`` come along with the route they deny.
        vectors: (n, 384) unit rows, the original's vectors of the texts.
        config: Sizes and shares.
    """

    def __init__(self, examples: Sequence[Example], vectors: NDArray[np.float32], config: Config) -> None:
        self._config = config
        self._texts: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._refusals: dict[str, list[int]] = defaultdict(list)
        for place, item in enumerate(examples):
            if item.denies is None:
                self._texts[item.source, item.route].append(place)
            else:
                self._refusals[item.denies].append(place)
        self._routes: dict[str, list[str]] = defaultdict(list)
        for (source, route), places in self._texts.items():
            if len(places) > 1:
                self._routes[source].append(route)
        # NLU++'s texts carry sets of intents; most sets occur once and would never be drawn.
        self._singles = {
            source: [places[0] for (name, _), places in self._texts.items() if name == source and len(places) == 1]
            for source in SHARES
        }
        self._near = {source: self._nearest(source, vectors) for source in self._routes}

    def draw(self, random: np.random.Generator) -> list[int]:
        """The places of one batch, each once."""
        config, places = self._config, dict[int, None]()
        names = [source for source in SHARES if source in self._routes]
        shares = np.array([SHARES[source] for source in names])
        for _ in range(config.routes_a_step // GROUP):
            source = names[random.choice(len(names), p=shares / shares.sum())]
            for route in self._group(source, random):
                texts = self._texts[source, route]
                places |= dict.fromkeys(_some(texts, config.texts_a_route, random))
                if random.random() < config.refused_share:
                    places |= dict.fromkeys(_some(self._refusals.get(route, []), REFUSALS, random))
            places |= dict.fromkeys(_some(self._singles[source], GROUP // 2, random))
        return list(places)

    def _group(self, source: str, random: np.random.Generator) -> list[str]:
        """Eight routes, nearest to each other or any."""
        routes = self._routes[source]
        if random.random() < self._config.neighbours:
            first = int(random.integers(len(routes)))
            near = self._near[source][first]
            return [routes[first], *(routes[place] for place in _some(list(near), GROUP - 1, random))]
        return [routes[place] for place in random.permutation(len(routes))[:GROUP]]

    def _nearest(self, source: str, vectors: NDArray[np.float32]) -> NDArray[np.intp]:
        """For each route of a source, the routes whose mean texts are nearest to its own."""
        means = np.stack([vectors[self._texts[source, route]].mean(axis=0) for route in self._routes[source]])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        scores = means @ means.T
        np.fill_diagonal(scores, -np.inf)
        order: NDArray[np.intp] = np.argsort(-scores, axis=1)[:, : min(_NEAREST, max(len(means) - 1, 0))]
        return order


def _some(items: Sequence[int], count: int, random: np.random.Generator) -> list[int]:
    if not items:
        return []
    return [items[place] for place in random.permutation(len(items))[:count]]
