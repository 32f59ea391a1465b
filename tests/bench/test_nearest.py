"""The baseline compares with every utterance and never abstains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute.bench import nearest as module
from synaptoroute.bench.datasets import Labelled
from synaptoroute.bench.measures import TOP, baseline
from synaptoroute.bench.nearest import by_nearest_utterance
from synaptoroute.encoder.base import Vectors


class ByNumber:
    """The vector of "3" is row 3."""

    name = "by number"
    fingerprint = "by-number"

    def __init__(self, rows: Vectors) -> None:
        self.rows = rows
        self.dim = rows.shape[1]

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self.rows[[int(text) for text in texts]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=9), st.integers(1, 12), st.integers(0, 999))
def test_it_ranks_as_a_slow_loop_does(sizes: list[int], queries: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(sum(sizes) + queries, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ends = np.cumsum(sizes)
    routes = {
        f"route {end}": [str(row) for row in range(end - size, end)] for end, size in zip(ends, sizes, strict=True)
    }
    asked = range(sum(sizes), len(rows))
    encoder = ByNumber(rows.astype(np.float32))
    found = by_nearest_utterance(encoder, routes, [Labelled(str(row), None) for row in asked])
    for row, ranked, chosen, score in zip(asked, found.ranked, found.chosen, found.confidence, strict=True):
        best = {name: max(float(rows[row] @ rows[int(text)]) for text in texts) for name, texts in routes.items()}
        assert list(ranked) == sorted(routes, key=lambda name: -best[name])[:TOP]
        assert chosen == ranked[0]
        assert score == pytest.approx(max(best[chosen], 0), abs=1e-5)


def test_of_equally_near_routes_the_first_comes_first_and_blocks_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = ByNumber(np.eye(2, dtype=np.float32))
    queries = [Labelled("0", "a"), Labelled("1", "c"), Labelled("0", "b"), Labelled("1", None)]
    monkeypatch.setattr(module, "_BLOCK", 3)
    found = by_nearest_utterance(encoder, {"a": ["0"], "b": ["0"], "c": ["1"]}, queries)
    assert found.ranked == (("a", "b", "c"), ("c", "a", "b"), ("a", "b", "c"), ("c", "a", "b"))
    figures = baseline([found])
    assert figures.in_scope is not None
    assert (figures.in_scope.value, figures.in_scope.n) == (0.66667, 3)
    assert figures.top5 is not None
    assert figures.top5.value == 1
