"""What a reranker's scores are worth, learned from held-out ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synaptoroute.decision.tie import FEWEST, TieWeights, learned_weights

Floats = NDArray[np.float64]


def ties(count: int, *, telling: float, seed: int = 0) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Confidences, scores and places of the right candidates; scores rise with ``telling`` for the right one."""
    random = np.random.default_rng(seed)
    confidences = -np.sort(-random.dirichlet([2, 2, 2], size=count) * random.uniform(0.3, 1, (count, 1)), axis=1)
    shares = confidences / confidences.sum(axis=1, keepdims=True)
    right = np.array([random.choice(3, p=share) for share in shares])
    scores = 5 + random.normal(size=(count, 3))
    scores[np.arange(count), right] += telling
    return confidences, scores, right


def test_a_telling_score_is_used_as_far_as_it_tells() -> None:
    # Of normal scores that differ by 2 in their mean, the logarithm of the odds is twice the score.
    weights = learned_weights("f", *ties(4_000, telling=2.0))
    assert weights.prior == pytest.approx(1, abs=0.15)
    assert weights.score == pytest.approx(2, abs=0.2)
    assert (weights.ties, weights.fingerprint, weights.failed) == (4_000, "f", False)


@pytest.mark.parametrize("telling", [0.0, -2.0])
def test_a_score_that_tells_nothing_or_the_opposite_is_not_used(telling: float) -> None:
    assert [learned_weights("f", *ties(300, telling=telling, seed=seed)).score for seed in range(5)] == [0] * 5


def test_the_scale_of_the_scores_does_not_matter() -> None:
    confidences, scores, right = ties(300, telling=2.0)
    weights = learned_weights("f", confidences, scores, right)
    larger = learned_weights("f", confidences, 100 * scores - 7, right)
    assert larger.score == pytest.approx(weights.score / 100)
    assert larger.shared(confidences[0], 100 * scores[0] - 7) == pytest.approx(
        weights.shared(confidences[0], scores[0])
    )


def test_too_few_ties_teach_nothing() -> None:
    few = FEWEST - 1
    assert learned_weights("f", *ties(few, telling=5.0)) == TieWeights(fingerprint="f", ties=few)
    confidences, scores, right = ties(300, telling=5.0)
    right[few:] = -1
    assert learned_weights("f", confidences, scores, right) == TieWeights(fingerprint="f", ties=few)
    assert learned_weights("f", confidences[:0], scores[:0], right[:0]).score == 0


def test_the_same_score_for_all_teaches_nothing() -> None:
    confidences, scores, right = ties(300, telling=5.0)
    assert learned_weights("f", confidences, np.zeros_like(scores), right).score == 0


def test_a_candidate_that_is_not_there_counts_for_nothing() -> None:
    confidences, scores, right = ties(400, telling=2.0)
    usable = right < 2
    confidences, scores, right = confidences[usable], scores[usable], right[usable]
    confidences[:, 2] = 0
    wild = scores.copy()
    wild[:, 2] = 1e6
    without = learned_weights("f", confidences[:, :2], scores[:, :2], right)
    assert learned_weights("f", confidences, wild, right).score == pytest.approx(without.score)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(1e-6, 0.3), st.floats(-50, 50)), min_size=2, max_size=3),
    st.floats(0, 3),
    st.floats(0, 20),
)
def test_what_is_believed_together_stays_and_a_higher_score_never_hurts(
    candidates: list[tuple[float, float]], prior: float, score: float
) -> None:
    confidences, scores = (np.array(values) for values in zip(*candidates, strict=True))
    weights = TieWeights(fingerprint="f", prior=prior, score=score)
    after = weights.shared(confidences, scores)
    assert after.sum() == pytest.approx(confidences.sum())
    assert (after >= 0).all()
    scores[0] += 1
    assert weights.shared(confidences, scores)[0] >= after[0] - 1e-12
