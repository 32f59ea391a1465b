"""TieBreaker: asks the reranker of one lane, and counts; whatever goes wrong with it costs no answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synaptoroute.errors import RerankerError, SynaptoRouteError
from synaptoroute.forking import PerProcess
from synaptoroute.rerank.base import score_checked
from synaptoroute.rerank.tie_break import COUNTED, TieBreak

Floats = NDArray[np.float64]

logger = logging.getLogger(__name__)

#: Failures are logged this often at most, with how many there were.
_COMPLAIN_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerHealth:
    """What a reranker has been asked, since its router was made.

    Attributes:
        name: Of the reranker.
        asked: Ties it was asked about.
        changed: Of these, how many were decided for another route than before.
        failed: Of these, how many it failed on; their first decision was left as it was.
        took_s: Seconds that asking took, all together.
        last_failure: The class of the last error; None without.
    """

    name: str
    asked: int
    changed: int
    failed: int
    took_s: float
    last_failure: str | None


class TieBreaker:
    """Asks, counts, and survives failures. May be used from any thread.

    Args:
        tie_break: Whom to ask, and when.
    """

    def __init__(self, tie_break: TieBreak) -> None:
        self.tie_break = tie_break
        self.fingerprint = tie_break.fingerprint
        self._lock: PerProcess[threading.Lock] = PerProcess()
        self._asked = self._changed = self._failed = 0
        self._took_s = 0.0
        self._last_failure: str | None = None
        self._complained_at: float | None = None

    def scores(self, query: str, candidates: Sequence[Sequence[str]]) -> tuple[Floats, tuple[tuple[float, ...], ...]]:
        """What the reranker makes of the candidates of a query.

        Args:
            query: The query.
            candidates: The utterances of each, at least one.

        Returns:
            The score of each candidate (m,), and those of its utterances.

        Raises:
            RerankerError: It failed.
        """
        texts = [text for its in candidates for text in its]
        found = score_checked(self.tie_break.reranker, query, texts).astype(np.float64).tolist()
        by_candidate = []
        for its in candidates:
            by_candidate.append(tuple(found[: len(its)]))
            del found[: len(its)]
        best = [float(np.mean(sorted(scores)[-COUNTED:])) for scores in by_candidate]
        return np.array(best), tuple(by_candidate)

    def asked(self, took_s: float, *, changed: bool) -> None:
        """Count a tie that the reranker was asked about."""
        with self._lock.get(threading.Lock):
            self._asked += 1
            self._changed += changed
            self._took_s += took_s

    def failed(self, took_s: float, exc: SynaptoRouteError) -> None:
        """Count, and now and then log, a tie that it failed on."""
        # What the reranker itself raised says more than our own class.
        cause = exc.__cause__ if type(exc) is RerankerError and exc.__cause__ is not None else exc
        now = time.monotonic()
        with self._lock.get(threading.Lock):
            self._asked += 1
            self._failed += 1
            self._took_s += took_s
            self._last_failure = type(cause).__name__
            if self._complained_at is not None and now - self._complained_at < _COMPLAIN_EVERY_S:
                return
            self._complained_at = now
            failed = self._failed
        logger.error(
            "the reranker %s has failed on %d ties, last with %s; they are decided without it",
            self.tie_break.reranker.name,
            failed,
            type(cause).__name__,
        )

    def health(self) -> RerankerHealth:
        """What it was asked so far."""
        with self._lock.get(threading.Lock):
            return RerankerHealth(
                name=self.tie_break.reranker.name,
                asked=self._asked,
                changed=self._changed,
                failed=self._failed,
                took_s=self._took_s,
                last_failure=self._last_failure,
            )
