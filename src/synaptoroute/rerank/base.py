"""What a reranker is: a query and texts in, one score for each text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from synaptoroute.errors import RerankerError, SynaptoRouteError

Scores = NDArray[np.float32]


@runtime_checkable
class BaseReranker(Protocol):
    """Reads a query and a text together and says how close they are. Implement these three; no base class is needed.

    Attributes:
        name: For people, such as "ms-marco-MiniLM-L-6-v2".
        fingerprint: Changes whenever the scores would: weights, tokenizer, quantisation. What a table has learned
            about the scores of one fingerprint is never used for those of another.
    """

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the scores would."""
        ...

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """How close each text is to the query, float32 (len(texts),), in order; higher is closer, on any scale.

        May be called from several threads at once. A text's score must not depend on the texts beside it.
        """
        ...


def score_checked(reranker: BaseReranker, query: str, texts: Sequence[str]) -> Scores:
    """``reranker.score(query, texts)``, held to its contract.

    Returns:
        Float32 (len(texts),), finite.

    Raises:
        RerankerError: The reranker raised something of its own, or returned another shape, or no finite numbers.
    """
    if not texts:
        return np.empty(0, np.float32)
    try:
        raw = reranker.score(query, texts)
    except SynaptoRouteError:
        raise
    except Exception as exc:
        # Its words might repeat the query.
        raise RerankerError(f"reranker {reranker.name!r} failed: {type(exc).__name__}") from exc
    try:
        scores = np.asarray(raw, np.float32)
    except (TypeError, ValueError) as exc:
        raise RerankerError(f"reranker {reranker.name!r} returned no numeric array") from exc
    if scores.shape != (len(texts),):
        raise RerankerError(f"reranker {reranker.name!r} returned shape {scores.shape}, wanted {(len(texts),)}")
    if not np.isfinite(scores).all():
        raise RerankerError(f"reranker {reranker.name!r} returned a NaN or infinite score")
    return scores
