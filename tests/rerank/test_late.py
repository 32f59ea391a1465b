"""LateInteractionReranker: token by token over the bundled network."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from synaptoroute.encoder.bundled import WEIGHTS
from synaptoroute.errors import InvalidInputError, RerankerUnavailableError
from synaptoroute.rerank import LateInteractionReranker, late
from synaptoroute.testing import RerankerContract

QUERY, TEXTS = "turn off the lights", ["turn off the lights", "switch the lamp off", "what do I owe"]


@pytest.fixture(scope="module")
def whole() -> LateInteractionReranker:
    return LateInteractionReranker()


class TestContract(RerankerContract):
    @pytest.fixture
    def reranker(self, whole: LateInteractionReranker) -> LateInteractionReranker:
        return whole


def test_a_text_meets_itself_entirely_and_others_less(whole: LateInteractionReranker) -> None:
    scores = whole.score(QUERY, TEXTS)
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert scores[0] > scores[1] > scores[2]


def test_the_score_is_the_same_both_ways(whole: LateInteractionReranker) -> None:
    assert whole.score(QUERY, TEXTS[1:2])[0] == pytest.approx(whole.score(TEXTS[1], [QUERY])[0], abs=1e-6)


def test_keeping_tokens_changes_no_score(whole: LateInteractionReranker) -> None:
    np.testing.assert_array_equal(LateInteractionReranker(cache_bytes=0).score(QUERY, TEXTS), whole.score(QUERY, TEXTS))
    with pytest.raises(InvalidInputError, match="cache_bytes is -1"):
        LateInteractionReranker(cache_bytes=-1)


def test_damaged_weights_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(shutil.copytree(WEIGHTS / "minilm", tmp_path / "minilm"))
    monkeypatch.setattr(late, "_FOLDER", own)
    reranker = LateInteractionReranker()
    (own / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(RerankerUnavailableError, match=r"tokenizer\.json is damaged"):
        reranker.score(QUERY, TEXTS)
    (own / "tokenizer.json").unlink()
    with pytest.raises(RerankerUnavailableError, match="cannot read"):
        reranker.score(QUERY, TEXTS)
    shutil.rmtree(own)
    with pytest.raises(RerankerUnavailableError, match="no bundled model"):
        LateInteractionReranker()
