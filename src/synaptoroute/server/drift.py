"""Whether what is asked now is like what the router was fitted on: two distributions of confidence, compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.labelled import learn_labelled
from synaptoroute.fitting import FEWEST_QUERIES
from synaptoroute.table import RouteTable
from synaptoroute.teaching import learn_head_from, lessons_of, queries_of

Counts = NDArray[np.int64]
Level = Literal["none", "some", "large"]

#: Bins of confidence, each a twentieth wide.
BINS = 20
#: Bins are joined until each holds this share of the baseline: the index divides by it.
_LEAST_SHARE = 0.05
#: Where a shift of the population stability index is worth a look, and worth acting on: the usual reading in credit
#: scoring (Siddiqi 2006, Credit Risk Scorecards), on top of what chance alone gives.
_SOME, _LARGE = 0.1, 0.25
#: Fewer live decisions than this say nothing.
FEWEST_DECISIONS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far confidences have moved from the baseline.

    Attributes:
        psi: Population stability index, 0 for equal distributions, in nats.
        chance: What it is on average if nothing has changed, from so few queries.
        level: "none", "some" or "large", going by how far ``psi`` is above ``chance``.
    """

    psi: float
    chance: float
    level: Level


def histogram(confidences: NDArray[np.float64]) -> Counts:
    """How many fall into each twentieth of [0, 1]; 1.0 belongs to the last (BINS,)."""
    places = np.minimum((np.asarray(confidences) * BINS).astype(np.int64), BINS - 1)
    return np.bincount(places, minlength=BINS).astype(np.int64)


def drift(live: Counts, baseline: Counts) -> Drift | None:
    """Compare two histograms (BINS,); None if one of them holds too little to tell."""
    if live.sum() < FEWEST_DECISIONS or baseline.sum() < FEWEST_QUERIES:
        return None
    edges = _edges(baseline)
    expected, seen = (np.add.reduceat(counts, edges).astype(np.float64) for counts in (baseline, live))
    # Half a query more in each, so that an empty bin does not make the index infinite.
    expected, seen = expected + 0.5, seen + 0.5
    expected, seen = expected / expected.sum(), seen / seen.sum()
    psi = float(((seen - expected) * np.log(seen / expected)).sum())
    # Twice the symmetrised divergence of two samples is about chi-squared, of one degree fewer than there are bins.
    chance = (len(edges) - 1) * (1 / float(live.sum()) + 1 / float(baseline.sum()))
    above = psi - chance
    return Drift(psi=psi, chance=chance, level="large" if above > _LARGE else "some" if above > _SOME else "none")


def _edges(baseline: Counts) -> Counts:
    """Where joined bins begin: each but perhaps the last holds a twentieth of the baseline."""
    starts, held, wanted = [0], 0, _LEAST_SHARE * float(baseline.sum())
    for place, count in enumerate(baseline.tolist()):
        if held >= wanted:
            starts.append(place)
            held = 0
        held += count
    if held < wanted and len(starts) > 1:
        starts.pop()
    return np.array(starts, np.int64)


def fitted_baseline(table: RouteTable) -> Counts | None:
    """The confidences of the queries a table was fitted on, each by a head and a gate that had not seen it.

    Takes about as long as the fit did: the confidences that the fitted head itself gives to queries it was trained on
    are higher than those of new ones, and would show a drift where there is none.

    Returns:
        A histogram (BINS,); None if the table was not fitted, or cannot be learned from.
    """
    if table.labelled is None or not table.can_learn:
        return None
    queries = queries_of(table, table.labelled)
    if len(queries.texts) < FEWEST_QUERIES:
        return None
    lessons = lessons_of(table)
    base = learn_head_from(table.with_labelled(None)).model
    _, held_out = learn_labelled(base, lessons, queries)
    return histogram(held_out.confidences)
