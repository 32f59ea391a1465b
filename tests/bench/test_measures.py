from __future__ import annotations

import numpy as np
import pytest

from synaptoroute.bench.measures import CONFUSIONS, Answers, accuracy, curves, figures
from tests.bench.conftest import answers

#: Right and sure, right but abstained, wrong, out of scope and abstained, out of scope and answered.
FIVE = Answers(
    labels=("a", "b", "a", None, None),
    ranked=(("a", "b"), ("b", "a"), ("b", "a"), ("a", "b"), ("b", "a")),
    chosen=("a", None, "b", None, "b"),
    confidence=np.array([0.9, 0.4, 0.7, 0.3, 0.6]),
)


def test_each_figure_counts_what_its_name_says() -> None:
    found = figures([FIVE])
    counted = {
        name: (figure.value, figure.n)
        for name in ("top1", "in_scope", "in_scope_accepted", "top5", "oos_recall", "coverage")
        if (figure := getattr(found, name))
    }
    assert counted == {
        "top1": (0.4, 5),
        "in_scope": (0.66667, 3),
        "in_scope_accepted": (0.33333, 3),
        "top5": (1.0, 3),
        "oos_recall": (0.5, 2),
        "coverage": (0.6, 5),
    }
    assert found.precision == 0.33333
    assert found.precision_at["0.5"] == 0.33333
    assert found.auroc == pytest.approx(5 / 6, abs=1e-5)
    assert found.fpr95 == 0.5
    assert found.oos_recall_at_5 == 0.5
    assert found.denied_route is None


def test_without_out_of_scope_queries_the_figures_that_need_them_are_missing() -> None:
    found = figures([Answers(("a",), (("a",),), ("a",), np.array([0.8]))])
    assert (found.oos_recall, found.auroc, found.fpr95, found.oos_recall_at_5) == (None, None, None, None)
    assert found.top1 is not None
    assert found.ece == pytest.approx(0.2)


def test_without_an_answer_there_is_no_precision_but_a_coverage_of_zero() -> None:
    found = figures([Answers(("a", None), (("a",), ("a",)), (None, None), np.array([0.2, 0.1]))])
    assert found.precision is None
    assert found.coverage is not None
    assert found.coverage.value == 0.0


def test_of_negated_queries_only_the_denied_route_is_wrong() -> None:
    denying = Answers(
        ("a", "a", "b"), (("a", "b"), ("a", "b"), ("a", "b")), ("a", None, "a"), np.array([0.9, 0.4, 0.8])
    )
    found = figures([denying], negated=True)
    assert found.denied_route is not None
    assert found.denied_best is not None
    assert (found.denied_route.value, found.denied_best.value) == (0.33333, 0.66667)
    assert found.top1 is None
    assert curves(denying, negated=True).confusion == ()


def test_over_seeds_the_value_is_the_mean_and_each_seed_is_told() -> None:
    other = Answers(FIVE.labels, FIVE.ranked, ("a", "b", "a", None, None), FIVE.confidence)
    found = figures([FIVE, other]).top1
    assert found is not None
    assert (found.value, found.by_seed) == (0.7, (0.4, 1.0))
    assert found.low <= found.value <= found.high


def test_the_bootstrap_gives_the_same_interval_every_time_and_covers_the_value() -> None:
    right = np.random.default_rng(3).random(400) < 0.9
    first, again = accuracy([right]), accuracy([right])
    assert first == again
    assert first is not None
    assert first.low < first.value < first.high
    # Two standard errors of a share of 0.9 among 400 are 0.03.
    assert 0.04 < first.high - first.low < 0.08
    assert accuracy([np.array([], bool)]) is None


def test_curves_are_thin_ordered_and_end_where_they_must() -> None:
    found = curves(answers(0, queries=5_500, outside=1_000))
    assert 20 < len(found.risk_coverage) <= 50
    assert found.risk_coverage[-1][0] == 1.0
    assert list(found.risk_coverage) == sorted(found.risk_coverage)
    assert found.roc[0] == (0.0, 0.0)
    assert found.roc[-1] == (1.0, 1.0)
    assert list(found.roc) == sorted(found.roc)
    assert len(found.roc) <= 60
    assert sum(count for *_, count in found.reliability) == 5_500
    counts = [count for *_, count in found.confusion]
    assert len(counts) == CONFUSIONS
    assert counts == sorted(counts, reverse=True)
    assert all(right != best for right, best, _ in found.confusion)
