"""What a call may ask for beyond its queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypedDict

from synaptoroute.decision.policy import Limits
from synaptoroute.errors import InvalidInputError


class RouteOptions(TypedDict, total=False):
    """What a call may ask for beyond its queries.

    Attributes:
        top_k: How many routes ``Decision.matches`` lists, at least 1; 5 by default.
        threshold: Least cosine score in [-1, 1], in place of the routes' own thresholds.
        min_confidence: Least probability in [0, 1], in place of the router's.
        min_margin: Least lead in confidence over the runner-up, in [0, 1]; too small a lead is AMBIGUOUS.
        allow: Names of the only routes to consider.
        exact: Compare with every utterance where a large table would approximate (recall there is 99 % and more).
        deadline_s: Give up after so many seconds, and never encode what is past it.
    """

    top_k: int
    threshold: float | None
    min_confidence: float | None
    min_margin: float | None
    allow: Iterable[str] | None
    exact: bool
    deadline_s: float | None


class Terms(NamedTuple):
    """How to decide; calls of different terms may not be decided together. See ``RouteTable.decide``."""

    top_k: int
    limits: Limits
    allow: frozenset[str] | None
    exact: bool


def terms(options: RouteOptions, min_confidence: float | None) -> Terms:
    """The terms of a call.

    Args:
        options: What it asks for.
        min_confidence: The router's, where the call names none.

    Raises:
        InvalidInputError: An option is out of its range.
    """
    top_k = options.get("top_k", 5)
    if top_k < 1:
        raise InvalidInputError(f"top_k is {top_k}, wanted at least 1")
    own = probability(options.get("min_confidence"))
    limits = Limits(
        threshold=_cosine(options.get("threshold")),
        min_confidence=min_confidence if own is None else own,
        min_margin=probability(options.get("min_margin")),
    )
    allow = options.get("allow")
    return Terms(top_k, limits, None if allow is None else frozenset(allow), options.get("exact", False))


def deadline_of(options: RouteOptions) -> float | None:
    """How many seconds from now on the call may take; None for any. Raises InvalidInputError."""
    deadline_s = options.get("deadline_s")
    if deadline_s is not None and not deadline_s >= 0:
        raise InvalidInputError(f"deadline_s is {deadline_s}, wanted seconds from now")
    return deadline_s


def probability(value: float | None) -> float | None:
    """The value. Raises InvalidInputError unless it is None or lies in [0, 1]."""
    if value is not None and not 0 <= value <= 1:
        raise InvalidInputError(f"a confidence or margin is {value}, wanted a probability in [0, 1]")
    return value


def _cosine(threshold: float | None) -> float | None:
    if threshold is not None and not -1 <= threshold <= 1:
        raise InvalidInputError(f"threshold is {threshold}, wanted a cosine score in [-1, 1]")
    return threshold
