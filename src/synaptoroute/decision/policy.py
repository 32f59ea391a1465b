"""When the best route is good enough. Every caller, sync or async, server or benchmark, asks this one rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from synaptoroute.models import Reason

#: Without any threshold of the caller's, the router abstains when it is more likely wrong than right.
DEFAULT_MIN_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the best route must reach; None asks nothing. Zero is a limit like any other.

    Attributes:
        threshold: Least cosine score.
        min_confidence: Least calibrated probability.
        min_margin: Least lead in confidence over the runner-up.
    """

    threshold: float | None = None
    min_confidence: float | None = None
    min_margin: float | None = None

    def for_route(self, own_threshold: float | None, operating_point: float = DEFAULT_MIN_CONFIDENCE) -> Limits:
        """The limits that hold for a route with a threshold of its own.

        The call's threshold comes before the route's. Where one is set, confidence is only asked for if it was set
        too: the two scales are not mixed. Where nothing is set, confidence must reach the operating point.
        """
        return _for_route(self, own_threshold, operating_point)

    def judge(self, score: float, confidence: float, runner_up: float = 0.0) -> Reason:
        """MATCHED, or the first limit that was not reached. Equal passes.

        AMBIGUOUS means that two routes stand close: believed together but neither alone, the runner-up being at least
        half as likely as the best; or that the best leads by too little.

        Args:
            score: Cosine of the best route's nearest utterance.
            confidence: Probability that the best route is right.
            runner_up: Probability that the second best is; at most ``confidence``.
        """
        if self.threshold is not None and score < self.threshold:
            return Reason.BELOW_THRESHOLD
        if self.min_confidence is not None and confidence < self.min_confidence:
            either = confidence + runner_up >= self.min_confidence and runner_up >= confidence / 2
            return Reason.AMBIGUOUS if either else Reason.BELOW_CONFIDENCE
        if self.min_margin is not None and confidence - runner_up < self.min_margin:
            return Reason.AMBIGUOUS
        return Reason.MATCHED


@lru_cache(1_024)
def _for_route(limits: Limits, own_threshold: float | None, operating_point: float) -> Limits:
    threshold = limits.threshold if limits.threshold is not None else own_threshold
    nothing_asked = threshold is None and limits.min_confidence is None
    return replace(
        limits,
        threshold=threshold,
        min_confidence=operating_point if nothing_asked else limits.min_confidence,
    )


NO_LIMITS = Limits()
