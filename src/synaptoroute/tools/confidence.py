"""How likely any tool serves a query, and which one.

Whether any tool does is told by how far the best one's fused score is above what everyday sentences reach with the same
tools: that holds for three tools and for two hundred, and for the tools that a caller may use as for all. A logistic
regression on this distance, and a softmax over the tools, were fitted on 90 simulated sets of 3 to 160 of MetaTool's
tools with 0, 1 or 5 examples each: queries of its train split for tools in the set (70 %), for tools outside of it
(15 %), and CLINC150's validation queries (15 %). Of these, without / with examples, 12 / 10 % were abstained on
wrongly, and rightly 49 / 57 % of those for tools outside of the set, which often has one that does nearly the same, and
87 / 92 % of CLINC150's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: From which probability that any tool serves the query some are returned.
DEFAULT_MIN_CONFIDENCE = 0.5
#: Weight and offset of the regression, and temperature of the softmax: of tools without any example, and with some.
_WITHOUT = (0.951, -1.493, 0.8)
_WITH = (0.606, -1.791, 1.0)


def served(fused: Floats, everyday: Floats, *, learned: bool) -> Floats:
    """The probability that any of the tools serves each query (n,).

    Args:
        fused: Of the queries and the tools that may be used (n, tools), at least one.
        everyday: Of everyday sentences and the same tools (m, tools).
        learned: Whether there are examples.
    """
    weight, offset, _ = _WITH if learned else _WITHOUT
    distance = fused.max(axis=1) - np.median(everyday.max(axis=1))
    return np.asarray(1 / (1 + np.exp(-np.clip(weight * distance + offset, -60, 60))))


def shares(fused: Floats, *, learned: bool) -> Floats:
    """The probability of each tool that it is the right one, if one of them is (n, tools)."""
    *_, temperature = _WITH if learned else _WITHOUT
    powers = np.exp((fused - fused.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
