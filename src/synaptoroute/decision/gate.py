"""The gate: how likely a text is in scope, and how likely the head's first choice is then the right one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.evidence import FEATURES

Floats = NDArray[np.float64]
Kinds = NDArray[np.int8]

#: What a row of features turned out to be.
RIGHT, WRONG, NEAR, FAR = 1, 0, -1, -2

#: Share of queries assumed out of scope when nothing is known, and of those, of such as are near the routes' matters.
#: On development data, 0.1 / 0.2 / 0.3 gave CLINC150 94.2 / 93.7 / 93.1 % and half of Banking77 84.0 / 85.4 / 86.3 %.
OUT_OF_SCOPE = 0.2
NEAR_SHARE = 0.6
#: How firmly the prior's weights and offset hold, and the weight of all evidence together, in queries.
WEIGHT_STRENGTH, OFFSET_STRENGTH = 2.0, 0.1
EVIDENCE = 1_000

#: Which features each regression reads.
IN_SCOPE = tuple(
    FEATURES.index(name) for name in ("top_logit", "log_probability", "nearest_two", "words_known", "above_none")
)
RIGHT_ROUTE = tuple(FEATURES.index(name) for name in ("log_probability", "nearer_than_others"))


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Two logistic regressions over standardised features, none with a negative weight.

    More of any evidence never lowers the confidence. The first column of each array is the offset.
    """

    in_scope: Floats
    right_route: Floats

    def probabilities(self, features: Floats) -> tuple[Floats, Floats]:
        """(in scope, right if in scope), each (n,), from features (n, 6)."""
        offsets, weights = self._unstandardised
        # Below -60 nothing changes but that NumPy warns.
        both = 1 / (1 + np.exp(np.minimum(features @ weights + offsets, 60)))
        return both[:, 0], both[:, 1]

    @cached_property
    def _unstandardised(self) -> tuple[Floats, Floats]:
        """Offsets (2,) and weights (6, 2) of what leads from features as they are to minus the two log odds."""
        mean, deviation = _standard()
        weights = np.zeros((len(FEATURES), 2))
        weights[IN_SCOPE, 0], weights[RIGHT_ROUTE, 1] = self.in_scope[1:], self.right_route[1:]
        weights /= -deviation[:, None]
        return -np.array([self.in_scope[0], self.right_route[0]]) - mean @ weights, weights

    def confidence(self, features: Floats) -> Floats:
        """Probability in [0, 1] that the first candidate is right (n,)."""
        in_scope, right = self.probabilities(features)
        return in_scope * right

    def fitted(self, features: Floats, kinds: Kinds, weights: Floats, *, evidence: int = EVIDENCE) -> Gate:
        """This gate moved by rows whose outcome is known: maximum a posteriori around it.

        Args:
            features: Held-out features (n, 6).
            kinds: RIGHT, WRONG, NEAR or FAR (n,).
            weights: How much each row counts (n,).
            evidence: Rows together weigh at most this many queries.
        """
        standard = _standardised(features)
        inside = kinds >= 0
        return Gate(
            in_scope=maximum_a_posteriori(self.in_scope, standard[:, IN_SCOPE], inside, weights, evidence),
            right_route=maximum_a_posteriori(
                self.right_route, standard[inside][:, RIGHT_ROUTE], kinds[inside] == RIGHT, weights[inside], evidence
            ),
        )


def prior_gate(routes: int, per_route: float) -> Gate:
    """The gate of a table of that size before it has been asked anything.

    Fitted on simulated tables of HWU64 and MetaTool by ``scripts/fit_gate_prior.py``.
    """
    prior = _prior()
    size = table_size(routes, per_route)
    gates = {}
    for part in ("in_scope", "right_route"):
        gates[part] = np.array(prior[part]) @ size
        gates[part][1:] = np.maximum(gates[part][1:], 0.02)
    return Gate(**gates)


def table_size(routes: int, per_route: float) -> Floats:
    """What of a table's size the prior depends on: (1, 0.3 ln routes, 0.3 ln utterances per route), clipped."""
    return np.array([1, 0.3 * np.log(np.clip(routes, 1, 64)), 0.3 * np.log(np.clip(per_route, 3, 30))])


def shares(kinds: Kinds, out_of_scope: float = OUT_OF_SCOPE) -> Floats:
    """Weights of rows so that the kinds have their assumed shares of the queries.

    They add up to 1 where there are texts in scope and out of it; else to the share of those that are there.
    """
    near_share = NEAR_SHARE if (kinds == NEAR).any() and (kinds == FAR).any() else float((kinds == NEAR).any())
    parts = {
        "inside": (kinds >= 0, 1 - out_of_scope),
        "near": (kinds == NEAR, out_of_scope * near_share),
        "far": (kinds == FAR, out_of_scope * (1 - near_share)),
    }
    weights = np.zeros(len(kinds))
    for mask, share in parts.values():
        weights[mask] = share / max(mask.sum(), 1)
    return weights


@cache
def _prior() -> dict[str, Any]:
    path = resources.files("synaptoroute.decision") / "gate_prior.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _standard() -> tuple[Floats, Floats]:
    """Mean and deviation of each feature (6,)."""
    return np.array(_prior()["mean"]), np.array(_prior()["deviation"])


def _standardised(features: Floats) -> Floats:
    mean, deviation = _standard()
    standard: Floats = (features - mean) / deviation
    return standard


def maximum_a_posteriori(
    prior: Floats, standard: Floats, outcome: NDArray[np.bool_], weights: Floats, evidence: int
) -> Floats:
    """Weights of a logistic regression that lie near the prior and are not negative; the first is the offset.

    Args:
        prior: Weights before any evidence (d + 1,).
        standard: Standardised inputs (n, d).
        outcome: What happened (n,).
        weights: How much each row counts (n,).
        evidence: Rows together weigh at most this many.
    """
    from scipy import optimize

    if not len(standard) or weights.sum() == 0:
        return prior
    weights = weights / weights.sum() * min(len(weights), evidence)
    strength = np.array([OFFSET_STRENGTH] + [WEIGHT_STRENGTH] * standard.shape[1])

    def loss(found: Floats) -> tuple[float, Floats]:
        z = found[0] + standard @ found[1:]
        wrong = weights * np.logaddexp(0, np.where(outcome, -z, z))
        error = weights * (1 / (1 + np.exp(-np.clip(z, -60, 60))) - outcome)
        moved = found - prior
        gradient = np.concatenate([[error.sum()], standard.T @ error]) + strength * moved
        return float(wrong.sum() + 0.5 * (strength * moved * moved).sum()), gradient

    bounds = [(None, None)] + [(0, None)] * standard.shape[1]
    return np.asarray(optimize.minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds).x)
