"""One scale of confidence for several languages: what was learned in one must not be believed alike in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Labelled queries that a language must have to get an offset of its own; half of them would be a coin's throws.
FEWEST = 20
#: How firmly an offset is held at zero: as one standard normal deviate of log odds.
_STRENGTH = 1.0
_FOLDS = 5
_CERTAIN = 1e-6
_NEWTON_STEPS = 12


@dataclass(frozen=True, eq=False)
class Languages:
    """What to add to the log odds of a query in each language.

    A multilingual encoder puts a query nearer to utterances of its own language than to those of another that say the
    same, and languages that it saw less of farther from everything. A confidence that is right over all queries is then
    too low in one language and too high in another, and so is every limit of it.

    Attributes:
        names: Languages, sorted (m,).
        offsets: Of their log odds (m,).
    """

    names: NDArray[np.str_]
    offsets: Floats

    @property
    def among(self) -> tuple[str, ...]:
        """The names, as ``language.identify`` is asked with them."""
        return tuple(self.names.tolist())

    def of(self, spoken: Sequence[str]) -> Floats:
        """The offset of each query's language; 0 for one that is not known (n,)."""
        known = dict(zip(self.names.tolist(), self.offsets.tolist(), strict=True))
        return np.array([known.get(language, 0.0) for language in spoken])

    def brought(self, confidences: Floats, spoken: Sequence[str]) -> Floats:
        """The confidences of each query's routes, best first, on the common scale (n, k).

        The others keep their shares of what the best one leaves, or fall with it.
        """
        before = confidences[:, :1]
        after = _probabilities(_log_odds(before) + self.of(spoken)[:, None])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            share = np.where(after > before, (1 - after) / (1 - before), after / before)
        brought = np.minimum(confidences * np.nan_to_num(share, nan=0.0, posinf=0.0), after)
        brought[:, :1] = np.where(before > 0, after, 0.0)
        return np.asarray(brought)


def learn_languages(
    confidences: Floats, right: Flags, weights: Floats, spoken: Sequence[str]
) -> tuple[Languages, Floats] | None:
    """Offsets from held-out queries, and these queries' confidences with offsets that had not seen them (n,).

    None if there are not two languages with enough queries, or offsets do not help.

    They help if, cross-validated, the log loss of queries falls by more than its standard error.

    Args:
        confidences: Of the first choices, by models that had not seen them (n,).
        right: Whether these were right (n,).
        weights: How much each query counts (n,).
        spoken: Its language (n,).
    """
    found, counts = np.unique(np.array(spoken, np.str_), return_counts=True)
    names = found[counts >= FEWEST]
    if len(names) < 2:
        return None
    rows = np.isin(np.array(spoken, np.str_), names)
    odds, outcome = _log_odds(confidences[rows]), right[rows].astype(np.float64)
    # Of mean one: a language's strength shall depend on how many queries it has, not on how they are counted.
    counted = weights[rows] / weights[rows].mean()
    column = np.searchsorted(names, np.array(spoken, np.str_)[rows])
    fold = np.arange(len(odds)) % _FOLDS
    gains, brought = np.empty(len(odds)), np.empty(len(odds))
    for number in range(_FOLDS):
        asked, rest = fold == number, fold != number
        offsets = _offsets(odds[rest], outcome[rest], counted[rest], column[rest], len(names))
        shifted = odds[asked] + offsets[column[asked]]
        brought[asked] = _probabilities(shifted)
        gains[asked] = counted[asked] * (_loss(odds[asked], outcome[asked]) - _loss(shifted, outcome[asked]))
    if gains.mean() <= gains.std() / np.sqrt(len(gains)):
        return None
    held_out = confidences.copy()
    held_out[rows] = brought
    return Languages(names, _offsets(odds, outcome, counted, column, len(names))), held_out


def _offsets(odds: Floats, outcome: Floats, weights: Floats, column: NDArray[np.int64], languages: int) -> Floats:
    """Maximum a posteriori around zero, by Newton's method (languages,)."""
    offsets = np.zeros(languages)
    for _ in range(_NEWTON_STEPS):
        expected = _probabilities(odds + offsets[column])
        slope = np.bincount(column, weights * (outcome - expected), languages) - _STRENGTH * offsets
        bend = np.bincount(column, weights * expected * (1 - expected), languages) + _STRENGTH
        offsets += slope / bend
    return offsets


def _loss(odds: Floats, outcome: Floats) -> Floats:
    return np.asarray(np.logaddexp(0, np.where(outcome > 0, -odds, odds)))


def _log_odds(probabilities: Floats) -> Floats:
    kept = np.clip(probabilities, _CERTAIN, 1 - _CERTAIN)
    return np.asarray(np.log(kept / (1 - kept)))


def _probabilities(odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -60, 60))))
