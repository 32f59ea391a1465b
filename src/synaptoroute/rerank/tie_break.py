"""TieBreak: when a reranker is asked, and about what."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synaptoroute.errors import InvalidInputError
from synaptoroute.rerank.base import BaseReranker

#: The mean of so many best scored utterances is a candidate's score. On development ties of Banking77 and HWU64, one
#: and two did alike for late interaction (12.6 and 2.4 more right, against 8.8 and 0, of 3,000 and 1,076 queries); two
#: did better, 29.8 against 19.2, where its tokens were weighted by rarity, and one alone follows every stray utterance.
COUNTED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TieBreak:
    """A reranker, and which queries it is asked about.

    A query is a tie if the confidence of its best route lies in the band, and the runner-up is not much less likely.

    Attributes:
        reranker: Who is asked.
        band: Least and greatest confidence of the best route, both included.
        rival: Least confidence of the runner-up, as a share of the best one's, in [0, 1].
        candidates: Routes that are compared, at least 2; at most the five that are looked at closely.
        utterances: Nearest utterances of each that are scored, at least 1.

    Raises:
        InvalidInputError: One of them is out of its range.
    """

    reranker: BaseReranker
    band: tuple[float, float] = (0.1, 0.9)
    rival: float = 0.1
    candidates: int = 3
    utterances: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.reranker, BaseReranker):
            raise InvalidInputError(
                f"reranker is a {type(self.reranker).__name__}, wanted one with name, fingerprint and score"
            )
        low, high = self.band
        if not 0 <= low <= high <= 1:
            raise InvalidInputError(f"band is {self.band}, wanted two confidences from 0 to 1, the lower one first")
        if not 0 <= self.rival <= 1:
            raise InvalidInputError(f"rival is {self.rival}, wanted a share from 0 to 1")
        if not 2 <= self.candidates <= 5:
            raise InvalidInputError(f"candidates is {self.candidates}, wanted 2 to 5")
        if self.utterances < 1:
            raise InvalidInputError(f"utterances is {self.utterances}, wanted at least 1")

    @property
    def fingerprint(self) -> str:
        """Changes with the reranker and with whatever decides what it is asked."""
        low, high = self.band
        asked = f"{self.reranker.fingerprint}|{low}|{high}|{self.rival}|{self.candidates}|{self.utterances}|{COUNTED}"
        return hashlib.sha256(asked.encode()).hexdigest()[:16]

    def ties(self, confidences: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which queries are ties (n,), from the confidences of their routes, best first (n, k)."""
        if confidences.shape[1] < 2:
            return np.zeros(len(confidences), bool)
        best, runner_up = confidences[:, 0], confidences[:, 1]
        low, high = self.band
        return np.asarray((best >= low) & (best <= high) & (runner_up > 0) & (runner_up >= self.rival * best))
