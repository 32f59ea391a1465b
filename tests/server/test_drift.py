"""Whether two distributions of confidence differ, and by more than chance."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.encoder import BundledEncoder
from synaptoroute.labelled_files import read_queries
from synaptoroute.server.drift import BINS, drift, fitted_baseline, histogram
from synaptoroute.storage import SQLiteStorage


@pytest.fixture
def demo_router(demo_store: Path, encoder: BundledEncoder) -> Iterator[AdaptiveRouter]:
    with AdaptiveRouter(encoder, SQLiteStorage(demo_store)) as router:
        yield router


def test_a_bin_is_a_twentieth_and_one_belongs_to_the_last() -> None:
    counts = histogram(np.array([0.0, 0.049, 0.05, 0.5, 0.999, 1.0]))
    assert counts.sum() == 6
    assert (counts[0], counts[1], counts[10], counts[BINS - 1]) == (2, 1, 1, 2)


def test_what_comes_from_the_same_distribution_is_no_drift() -> None:
    random = np.random.default_rng(3)
    found = [
        drift(histogram(random.beta(5, 1, 1_000)), histogram(random.beta(5, 1, 300)))
        for _ in range(50)
    ]  # fmt: skip
    assert all(one is not None and one.level == "none" for one in found)
    # And what it is then is what chance is said to give.
    mean = np.mean([one.psi for one in found if one])
    assert mean == pytest.approx(found[0].chance if found[0] else 0, rel=0.35)


def test_confidences_that_fall_are_a_large_drift() -> None:
    random = np.random.default_rng(4)
    found = drift(histogram(random.beta(2, 2, 1_000)), histogram(random.beta(5, 1, 300)))
    assert found is not None
    assert found.level == "large"
    assert found.psi > 1


def test_a_bin_that_was_empty_when_fitted_costs_no_infinity() -> None:
    before, now = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    before[19], now[0] = 100, 100
    found = drift(now, before)
    assert found is not None
    assert np.isfinite(found.psi)


@pytest.mark.parametrize(("live", "baseline"), [(99, 500), (500, 19)])
def test_too_few_say_nothing(live: int, baseline: int) -> None:
    assert drift(histogram(np.full(live, 0.9)), histogram(np.full(baseline, 0.9))) is None


def test_the_baseline_is_of_queries_the_head_had_not_seen(demo_router: AdaptiveRouter) -> None:
    assert fitted_baseline(demo_router.snapshot) is None
    with resources.as_file(resources.files("synaptoroute") / "demo" / "queries.csv") as path:
        queries, labels = read_queries(path)
    report = demo_router.fit(queries, labels, force=True)
    baseline = fitted_baseline(demo_router.snapshot)
    assert baseline is not None
    assert baseline.sum() == report.queries
    # The same confidences as the report's, whose curve tells how many reach each of them.
    reaching = {point.min_confidence: round(point.coverage * report.queries) for point in report.curve}
    for least, count in reaching.items():
        above = int(np.floor(least * BINS))
        assert baseline[above + 1 :].sum() <= count <= baseline[above:].sum()
    # Those that the fitted head gives to the same queries are higher.
    seen = histogram(np.array([decision.confidence for decision in demo_router.route_many(queries)]))
    assert seen[BINS - 1] > baseline[BINS - 1]
