"""Routes and utterances as points in a plane: principal components of the routes, and which stand too close.

Two dimensions of several hundred show neighbourhoods only roughly, so what stands too close is not read off the plane
but found among the vectors themselves: an utterance is *astray* if the nearest other utterance is of another route.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.evidence import Vectors
from synaptoroute.table import RouteTable

Rows = NDArray[np.int64]

#: Pairs of routes that are listed as overlapping, most first.
OVERLAPS_LISTED = 50
#: What the spread of all utterances weighs beside that of the routes' means. The plane shall part routes, so their
#: means decide; the rest decides where these leave a choice, as they do with one route or two.
_SPREAD_WEIGHT = 0.1
#: Rows compared at once with all others: 512 x 5,000 scores are 10 MiB.
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Where to draw a vector.

    Attributes:
        mean: Of the vectors it was made from (dim,).
        axes: Two orthonormal directions (2, dim), each with its largest component positive, so that the same vectors
            always give the same picture; zeros where there is nothing to draw.
        explained: Share of the variance of all vectors along each axis.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    explained: tuple[float, float]

    @classmethod
    def of(cls, vectors: Vectors, owners: Rows) -> Plane:
        """The two directions in which the routes' means differ most.

        Args:
            vectors: Unit rows (n, dim).
            owners: The route of each, from 0 without gaps (n,).
        """
        dim = vectors.shape[1]
        if not len(vectors):
            return cls(np.zeros(dim), np.zeros((2, dim)), (0.0, 0.0))
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors.astype(np.float64) - mean
        spread = centred.T @ centred / len(vectors)
        sizes = np.bincount(owners)
        sums = np.zeros((len(sizes), dim))
        np.add.at(sums, owners, centred)
        means = sums / sizes[:, None]
        # A route counts once, however many utterances it has.
        _, directions = np.linalg.eigh(means.T @ means / len(sizes) + _SPREAD_WEIGHT * spread)
        axes = directions[:, ::-1][:, :2].T
        axes = axes * np.where(axes[np.arange(2), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
        whole = float(np.trace(spread))
        first, second = (np.einsum("ad,de,ae->a", axes, spread, axes) / whole if whole > 0 else np.zeros(2)).tolist()
        return cls(mean, axes, (first, second))

    def place(self, vectors: Vectors) -> NDArray[np.float64]:
        """Coordinates (n, 2) of vectors (n, dim)."""
        return np.asarray((vectors.astype(np.float64) - self.mean) @ self.axes.T)


@dataclass(frozen=True, slots=True, eq=False)
class RouteMap:
    """A picture of one revision.

    Attributes:
        plane: To place other vectors in it.
        answer: What ``GET /v1/map`` says, as JSON types.
        body: The same as JSON. Made with the map, for 5,000 points take 10 ms.
    """

    plane: Plane
    answer: dict[str, Any]
    body: bytes


def draw(table: RouteTable, limit: int, names: Iterable[str] | None = None) -> RouteMap:
    """The map of a table, or of some of its routes.

    Args:
        table: Any.
        limit: How many points at most, at least 1. Where there are more utterances, each route gives up the same share
            of its own, evenly; where there are more routes, evenly spaced ones are shown.
        names: The only routes to draw, in the plane that shows these best; None for all.

    Raises:
        RouteNotFoundError: A name is not a route.
    """
    slots = table.catalog.used if names is None else np.array([table.catalog.slot(name) for name in names], np.int64)
    counts = table.catalog.counts[slots]
    total = int(counts.sum())
    shown, owners, positions = _chosen(counts, limit)
    rows = [table.index.rows_of(int(slots[place])) for place in shown]
    picked = [own[at] for own, at in zip(rows, positions, strict=True)]
    vectors = table.index.vectors_of(np.concatenate(picked) if picked else np.empty(0, np.int64))
    plane = Plane.of(vectors, owners)
    routes = [table.catalog.get(int(slots[place])) for place in shown]
    names_of = [routes[owner].name for owner in owners.tolist()]
    texts = [route.utterances[at] for route, own in zip(routes, positions, strict=True) for at in own.tolist()]
    astray = _astray(vectors, owners)
    points = [
        {"route": name, "utterance": text, "x": x, "y": y}
        | ({"nearest": names_of[other], "score": round(min(score, 1.0), 4)} if other >= 0 else {})
        for name, text, (x, y), (other, score) in zip(
            names_of, texts, np.round(plane.place(vectors), 5).tolist(), astray, strict=True
        )
    ]
    answer = {
        "points": points,
        "overlaps": _overlaps(points, Counter(names_of)),
        "explained": list(plane.explained),
        "shown": len(points),
        "total": total,
        "revision": table.revision,
    }
    return RouteMap(plane, answer, json.dumps(answer, ensure_ascii=False).encode())


def _chosen(counts: Rows, limit: int) -> tuple[list[int], Rows, list[Rows]]:
    """Which places are shown, the number among them that owns each point, and which of their utterances."""
    shown = np.flatnonzero(counts)
    if len(shown) > limit:
        shown = shown[np.linspace(0, len(shown) - 1, limit).astype(np.int64)]
    total = int(counts[shown].sum())
    keep = counts[shown]
    if total > limit:
        # One each, and of the rest the same share, rounded down: never more than the limit.
        keep = 1 + (keep - 1) * (limit - len(shown)) // (total - len(shown))
    positions = [
        np.unique(np.linspace(0, count - 1, kept).astype(np.int64)) if kept < count else np.arange(count)
        for count, kept in zip(counts[shown].tolist(), keep.tolist(), strict=True)
    ]
    owners = np.repeat(np.arange(len(shown)), [len(at) for at in positions])
    return shown.tolist(), owners, positions


def _astray(vectors: Vectors, owners: Rows) -> list[tuple[int, float]]:
    """For each point the nearest point and their cosine if it is of another owner and nearer than any of its own.

    (-1, 0.0) for all others, and for the only point of its owner, which has nothing of its own to be near to.
    """
    found: list[tuple[int, float]] = []
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(vectors)))
        scores = vectors[rows] @ vectors.T
        scores[np.arange(len(rows)), rows] = -np.inf
        same = owners[rows][:, None] == owners[None, :]
        own = np.where(same, scores, -np.inf).max(axis=1)
        others = np.where(same, -np.inf, scores)
        nearest = others.argmax(axis=1)
        best = others[np.arange(len(rows)), nearest]
        strays = np.isfinite(own) & (best > own)
        found += [
            (other, score) if stray else (-1, 0.0)
            for other, score, stray in zip(nearest.tolist(), best.tolist(), strays.tolist(), strict=True)
        ]
    return found


def _overlaps(points: list[dict[str, Any]], counts: Counter[str]) -> list[dict[str, Any]]:
    """Pairs of routes by the share of their points that is nearest to the other one."""
    pairs = Counter(tuple(sorted((point["route"], point["nearest"]))) for point in points if "nearest" in point)
    shares = [
        {"routes": list(pair), "count": count, "share": round(count / sum(counts[name] for name in pair), 4)}
        for pair, count in pairs.items()
    ]
    return sorted(shares, key=lambda pair: (-float(str(pair["share"])), str(pair["routes"])))[:OVERLAPS_LISTED]
