"""When the best route is good enough. Every caller, sync or async, server or benchmark, asks this one rule."""

from __future__ import annotations

from dataclasses import dataclass

from synaptoroute.models import Reason

#: Without any threshold of the caller's, the router abstains when it is more likely wrong than right.
DEFAULT_MIN_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the best route must reach; None asks nothing. Zero is a limit like any other.

    Attributes:
        threshold: Least cosine score.
        min_confidence: Least calibrated probability.
    """

    threshold: float | None = None
    min_confidence: float | None = None

    def for_route(self, own_threshold: float | None) -> Limits:
        """The limits that hold for a route with a threshold of its own.

        The call's threshold comes before the route's. Where one is set, confidence is only asked for if it was set
        too: the two scales are not mixed. Where nothing is set, confidence must reach 0.5.
        """
        threshold = self.threshold if self.threshold is not None else own_threshold
        if threshold is None and self.min_confidence is None:
            return Limits(min_confidence=DEFAULT_MIN_CONFIDENCE)
        return Limits(threshold=threshold, min_confidence=self.min_confidence)

    def judge(self, score: float, confidence: float) -> Reason:
        """MATCHED, or the first limit that was not reached. Equal passes."""
        if self.threshold is not None and score < self.threshold:
            return Reason.BELOW_THRESHOLD
        if self.min_confidence is not None and confidence < self.min_confidence:
            return Reason.BELOW_CONFIDENCE
        return Reason.MATCHED
