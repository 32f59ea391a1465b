"""Gains and losses are counted as they are, and the interval holds its level."""

from __future__ import annotations

import numpy as np
import pytest

from synaptoroute import Decision, Reason
from synaptoroute.corrections import Check
from synaptoroute.corrections.effects import LISTED, effect_of, net_interval


def decision(name: str | None) -> Decision:
    return Decision(name=name, score=0.5, confidence=0.5, margin=None, matches=(), reason=Reason.MATCHED, revision=1)


def test_only_what_becomes_right_or_wrong_counts() -> None:
    cases = [
        ("a", "a", "a"),  # stays right
        ("a", "b", "c"),  # stays wrong
        ("a", "b", "a"),  # gained
        (None, "a", None),  # gained
        ("a", "a", None),  # lost
        (None, None, "b"),  # lost
        ("b", "b", "a"),  # lost
    ]
    checks = [Check(text=f"text {number}", expected=case[0], origin="fit") for number, case in enumerate(cases)]
    effect = effect_of(checks, [c[1] for c in cases], [c[2] for c in cases], expected="a", decision=decision("a"))
    assert (effect.checked, effect.gained, effect.lost, effect.net, effect.fixes) == (7, 2, 3, -1, True)
    assert [flip.text for flip in effect.gains] == ["text 2", "text 3"]
    assert [(flip.expected, flip.before, flip.after) for flip in effect.losses] == [
        ("a", "a", None),
        (None, None, "b"),
        ("b", "b", "a"),
    ]
    assert not effect_of([], [], [], expected="a", decision=decision(None)).fixes
    assert effect_of([], [], [], expected=None, decision=decision(None)).net_interval is None


def test_lists_are_bounded_and_counts_are_not() -> None:
    checks = [Check(text="x" * 1_000, expected="a", origin="feedback")] * 100
    effect = effect_of(checks, ["b"] * 100, ["a"] * 100, expected="a", decision=decision("a"))
    assert (effect.gained, len(effect.gains)) == (100, LISTED)
    assert len(effect.gains[0].text) == 301


@pytest.mark.parametrize(
    ("up", "down", "queries"), [(0.02, 0.01, 50), (0.1, 0.1, 100), (0.3, 0.05, 30), (0.0, 0.0, 20)]
)
def test_the_interval_contains_the_truth_as_often_as_it_says(up: float, down: float, queries: int) -> None:
    random = np.random.default_rng(0)
    drawn = random.multinomial(queries, [up, down, 1 - up - down], size=2_000)
    intervals = [net_interval(gained, lost, queries) for gained, lost, _ in drawn.tolist()]
    assert np.mean([low <= up - down <= high for low, high in intervals]) > 0.93


def test_nothing_seen_is_not_certainty() -> None:
    low, high = net_interval(0, 0, 10)
    assert low < -0.1
    assert high > 0.1
    assert net_interval(0, 0, 10_000)[1] < 0.001
    assert net_interval(5, 0, 5)[1] == 1.0
