"""Gains and losses of one option: what held-out queries would become right, and what wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

from synaptoroute.corrections.records import Check, Effect, Flip
from synaptoroute.models import Decision

#: Flips that are listed of each kind, and how much of a text.
LISTED = 20
_SHOWN_CHARS = 300
#: Two-sided 95 %.
_Z = 1.959964


def effect_of(
    checks: Sequence[Check],
    before: Sequence[str | None],
    after: Sequence[str | None],
    *,
    expected: str | None,
    decision: Decision,
) -> Effect:
    """Count what changes.

    Args:
        checks: Queries with their right routes (n).
        before: What is decided now (n).
        after: What would be decided (n).
        expected: What the feedback wants for its text.
        decision: What would be decided for it.
    """
    flips = [
        Flip(text=_shown(check.text), expected=check.expected, before=first, after=second, origin=check.origin)
        for check, first, second in zip(checks, before, after, strict=True)
        if (first == check.expected) != (second == check.expected)
    ]
    gains = [flip for flip in flips if flip.after == flip.expected]
    losses = [flip for flip in flips if flip.before == flip.expected]
    return Effect(
        fixes=decision.name == expected,
        decided=decision.name,
        confidence=decision.confidence,
        checked=len(checks),
        gained=len(gains),
        lost=len(losses),
        net_interval=net_interval(len(gains), len(losses), len(checks)) if checks else None,
        gains=tuple(gains[:LISTED]),
        losses=tuple(losses[:LISTED]),
    )


def net_interval(gained: int, lost: int, checked: int) -> tuple[float, float]:
    """95 % interval of the change of accuracy, for paired outcomes, in shares of all queries.

    The adjusted Wald interval of Bonett and Price (2012, doi:10.3102/1076998611411915), which holds its level for few
    queries too and keeps a width where nothing has changed.

    Args:
        gained: Queries that became right.
        lost: Queries that became wrong.
        checked: All queries, at least 1.
    """
    up, down = (gained + 1) / (checked + 2), (lost + 1) / (checked + 2)
    half = _Z * math.sqrt((up + down - (up - down) ** 2) / (checked + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
