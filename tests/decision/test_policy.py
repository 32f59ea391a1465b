"""The one rule of when the best route is good enough."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptoroute.decision.policy import DEFAULT_MIN_CONFIDENCE, NO_LIMITS, Limits
from synaptoroute.models import Reason

MATCHED, AMBIGUOUS = Reason.MATCHED, Reason.AMBIGUOUS
BELOW_THRESHOLD, BELOW_CONFIDENCE = Reason.BELOW_THRESHOLD, Reason.BELOW_CONFIDENCE

score = st.sampled_from([-1.0, 0.0, 0.3, 0.5, 1.0]) | st.floats(-1, 1)
probability = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)
limits = st.builds(
    Limits,
    threshold=st.none() | score,
    min_confidence=st.none() | probability,
    min_margin=st.none() | probability,
)


# ------------------------------------------------------------------------------------------- whose limits hold
@pytest.mark.parametrize(
    ("threshold", "min_confidence", "own", "holds", "asks"),
    [
        # of the call                 of the route          threshold, min_confidence
        pytest.param(None, None, None, None, 0.5, id="nothing set: confidence must reach a half"),
        pytest.param(None, None, 0.3, 0.3, None, id="the route's threshold alone decides"),
        pytest.param(None, None, 0.0, 0.0, None, id="zero is a threshold of the route"),
        pytest.param(None, None, -1.0, -1.0, None, id="so is the least there is"),
        pytest.param(0.4, None, None, 0.4, None, id="the call's threshold alone decides"),
        pytest.param(0.0, None, None, 0.0, None, id="zero is a threshold of the call"),
        pytest.param(0.4, None, 0.3, 0.4, None, id="the call's comes before the route's"),
        pytest.param(0.0, None, 0.3, 0.0, None, id="even if it is zero"),
        pytest.param(None, 0.8, None, None, 0.8, id="a confidence alone"),
        pytest.param(None, 0.0, None, None, 0.0, id="zero is a confidence: everything passes"),
        pytest.param(None, 0.8, 0.3, 0.3, 0.8, id="a confidence beside the route's threshold"),
        pytest.param(None, 0.0, 0.0, 0.0, 0.0, id="both zero"),
        pytest.param(0.4, 0.8, None, 0.4, 0.8, id="both of the call"),
        pytest.param(0.4, 0.8, 0.3, 0.4, 0.8, id="all three"),
    ],
)
@pytest.mark.parametrize("min_margin", [None, 0.0, 0.2])
def test_whose_limits_hold(
    threshold: float | None,
    min_confidence: float | None,
    own: float | None,
    holds: float | None,
    asks: float | None,
    min_margin: float | None,
) -> None:
    asked = Limits(threshold=threshold, min_confidence=min_confidence, min_margin=min_margin)
    expected = Limits(threshold=holds, min_confidence=asks, min_margin=min_margin)
    assert asked.for_route(own) == expected
    assert expected.for_route(own if threshold is None else None) == expected


def test_the_default_is_a_half_and_no_limits_are_none() -> None:
    assert DEFAULT_MIN_CONFIDENCE == 0.5
    assert Limits(threshold=None, min_confidence=None, min_margin=None) == NO_LIMITS
    assert NO_LIMITS.for_route(None) == Limits(min_confidence=0.5)


@pytest.mark.parametrize("point", [0.0, 0.3, 0.9])
def test_an_operating_point_takes_the_place_of_the_half_and_of_nothing_that_was_asked(point: float) -> None:
    assert NO_LIMITS.for_route(None, point) == Limits(min_confidence=point)
    for asked, own in ((Limits(threshold=0.0), None), (NO_LIMITS, 0.0), (Limits(min_confidence=0.0), 0.2)):
        assert asked.for_route(own, point) == asked.for_route(own)


# -------------------------------------------------------------------------------------------------------- judging
@pytest.mark.parametrize(
    ("limits", "score", "confidence", "runner_up", "reason"),
    [
        (Limits(), -1, 0, 0, MATCHED),
        # Threshold: equal passes, zero is a limit.
        (Limits(threshold=0.5), 0.5, 0, 0, MATCHED),
        (Limits(threshold=0.5), 0.4999, 1, 0, BELOW_THRESHOLD),
        (Limits(threshold=0.0), 0.0, 0, 0, MATCHED),
        (Limits(threshold=0.0), -0.0001, 1, 0, BELOW_THRESHOLD),
        (Limits(threshold=-1.0), -1, 0, 0, MATCHED),
        (Limits(threshold=1.0), 1, 0, 0, MATCHED),
        # Confidence: equal passes, zero is a limit that everything reaches.
        (Limits(min_confidence=0.5), 0, 0.5, 0, MATCHED),
        (Limits(min_confidence=0.5), 0, 0.5, 0.5, MATCHED),
        (Limits(min_confidence=0.5), 1, 0.4999, 0, BELOW_CONFIDENCE),
        (Limits(min_confidence=0.0), -1, 0, 0, MATCHED),
        (Limits(min_confidence=1.0), 0, 1, 0, MATCHED),
        # Ambiguous: believed together, neither alone, and the second at least half as likely as the first.
        (Limits(min_confidence=0.5), 0, 0.375, 0.25, AMBIGUOUS),
        (Limits(min_confidence=0.5), 0, 0.25, 0.25, AMBIGUOUS),
        (Limits(min_confidence=0.5), 0, 0.25, 0.24, BELOW_CONFIDENCE),
        (Limits(min_confidence=0.5), 0, 0.4, 0.2, AMBIGUOUS),
        (Limits(min_confidence=0.5), 0, 0.4, 0.19, BELOW_CONFIDENCE),
        (Limits(min_confidence=0.875), 0, 0.5, 0.375, AMBIGUOUS),
        (Limits(min_confidence=0.875), 0, 0.5, 0.25, BELOW_CONFIDENCE),
        # Margin: equal passes; the runner-up is nobody unless there is one.
        (Limits(min_margin=0.25), 0, 0.75, 0.5, MATCHED),
        (Limits(min_margin=0.25), 0, 0.75, 0.51, AMBIGUOUS),
        (Limits(min_margin=0.25), 0, 0.25, 0, MATCHED),
        (Limits(min_margin=0.25), 0, 0.24, 0, AMBIGUOUS),
        (Limits(min_margin=0.0), 0, 0.5, 0.5, MATCHED),
        # The first limit that is not reached is the reason.
        (Limits(threshold=0.5, min_confidence=0.5, min_margin=0.5), 0.4, 0.3, 0.2, BELOW_THRESHOLD),
        (Limits(threshold=0.5, min_confidence=0.5, min_margin=0.5), 0.5, 0.3, 0.1, BELOW_CONFIDENCE),
        (Limits(threshold=0.5, min_confidence=0.5, min_margin=0.5), 0.5, 0.6, 0.2, AMBIGUOUS),
        (Limits(threshold=0.5, min_confidence=0.5, min_margin=0.5), 0.5, 0.75, 0.25, MATCHED),
    ],
)
def test_judged_by_hand(limits: Limits, score: float, confidence: float, runner_up: float, reason: Reason) -> None:
    assert limits.judge(score, confidence, runner_up) is reason
    if not runner_up:
        assert limits.judge(score, confidence) is reason


@given(limits, st.none() | score, score, probability, probability)
def test_it_matches_exactly_where_every_limit_is_reached(
    asked: Limits, own: float | None, score: float, confidence: float, share: float
) -> None:
    held, runner_up = asked.for_route(own), confidence * share
    reason = held.judge(score, confidence, runner_up)
    reached = (
        held.threshold is None or score >= held.threshold,
        held.min_confidence is None or confidence >= held.min_confidence,
        held.min_margin is None or confidence - runner_up >= held.min_margin,
    )
    assert (reason is MATCHED) == all(reached)
    assert (reason is BELOW_THRESHOLD) == (not reached[0])
    if reason is BELOW_CONFIDENCE:
        assert not reached[1]
    if reason is AMBIGUOUS:
        assert reached[0]
        assert not (reached[1] and reached[2])


@given(limits, st.none() | score, st.sampled_from(["threshold", "min_confidence", "min_margin"]), st.data())
def test_raising_a_limit_never_turns_a_refusal_into_a_match(
    asked: Limits, own: float | None, name: str, data: st.DataObject
) -> None:
    # Raised is what holds for the route: setting one where none was set also says which scale is meant.
    held = asked.for_route(own)
    low = getattr(held, name)
    lowest = (-1.0 if name == "threshold" else 0.0) if low is None else low
    raised = replace(held, **{name: data.draw(st.floats(lowest, 1))})
    confidence = data.draw(probability)
    evidence = data.draw(score), confidence, confidence * data.draw(probability)
    if raised.judge(*evidence) is MATCHED:
        assert held.judge(*evidence) is MATCHED
    if low is not None and getattr(asked, name) is not None:
        again = replace(asked, **{name: getattr(raised, name)}).for_route(own)
        assert again == raised


@given(limits, score, probability, probability, st.floats(0, 1), st.floats(0, 1))
def test_more_score_or_confidence_never_turns_a_match_into_a_refusal(
    held: Limits, score: float, confidence: float, share: float, more: float, surer: float
) -> None:
    runner_up = confidence * share
    if held.judge(score, confidence, runner_up) is MATCHED:
        assert held.judge(score + more, confidence, runner_up) is MATCHED
        assert held.judge(score, max(confidence, surer), runner_up) is MATCHED
        assert held.judge(score, confidence, runner_up * more) is MATCHED
