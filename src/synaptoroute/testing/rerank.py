"""The contract of rerankers."""
# ruff: noqa: S101, RUF001 - these are tests, some of them with unusual text on purpose

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest

from synaptoroute.rerank.base import BaseReranker

_QUERY = "please turn off the lights"
_TEXTS = (
    "turn off the lights",
    "turn on the lights",
    "what do I owe",
    "Please cancel my flight to Oslo on Friday, and book the one after it for two people instead.",
    "a",
)
_UNUSUAL = ("ÄÖÜ ß Ærø naïve", "你好，世界", "👩‍👩‍👧‍👦", "\x00\x07 tab\there", "?!…", "word " * 6_000)


class RerankerContract:
    """What every reranker promises (see ``BaseReranker``). A subclass defines the fixture ``reranker``.

    Attributes:
        batch_tolerance: How far a score may move with the texts beside it. 0 means bit for bit; 1e-4 is fair for a
            float32 network that pads.
    """

    batch_tolerance: ClassVar[float] = 0.0

    @pytest.fixture
    def reranker(self) -> BaseReranker:
        """The reranker under test."""
        raise NotImplementedError("define the fixture `reranker` in your subclass")

    def test_is_a_base_reranker(self, reranker: BaseReranker) -> None:
        """It has the three members."""
        assert isinstance(reranker, BaseReranker)

    def test_returns_one_float32_score_for_each_text(self, reranker: BaseReranker) -> None:
        """Shape (n,), finite."""
        scores = reranker.score(_QUERY, _TEXTS)
        assert scores.shape == (len(_TEXTS),)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_no_text_gives_no_score(self, reranker: BaseReranker) -> None:
        """Shape (0,), still float32."""
        scores = reranker.score(_QUERY, [])
        assert scores.shape == (0,)
        assert scores.dtype == np.float32

    def test_higher_is_closer(self, reranker: BaseReranker) -> None:
        """Nearly the same words are closer than another matter."""
        scores = reranker.score(_QUERY, _TEXTS)
        assert scores[0] > scores[2]

    def test_scores_are_in_the_order_of_the_texts(self, reranker: BaseReranker) -> None:
        """However it sorts and batches inside."""
        self._assert_same(reranker.score(_QUERY, _TEXTS[::-1])[::-1], reranker.score(_QUERY, _TEXTS))

    def test_a_score_does_not_depend_on_the_texts_beside_it(self, reranker: BaseReranker) -> None:
        """Otherwise a decision would depend on which other routes were close."""
        alone = np.concatenate([reranker.score(_QUERY, [text]) for text in _TEXTS])
        self._assert_same(reranker.score(_QUERY, [*_TEXTS, "long " * 300])[: len(_TEXTS)], alone)

    def test_the_same_call_gives_the_same_bits(self, reranker: BaseReranker) -> None:
        """It is deterministic."""
        np.testing.assert_array_equal(reranker.score(_QUERY, _TEXTS), reranker.score(_QUERY, _TEXTS))

    def test_eight_threads_get_what_one_gets(self, reranker: BaseReranker) -> None:
        """It may be called from several threads at once."""
        expected = reranker.score(_QUERY, _TEXTS)
        with ThreadPoolExecutor(8) as pool:
            for scores in pool.map(lambda _: reranker.score(_QUERY, _TEXTS), range(16)):
                self._assert_same(scores, expected)

    def test_fingerprint_is_a_stable_text(self, reranker: BaseReranker) -> None:
        """Scoring does not change it."""
        before = reranker.fingerprint
        reranker.score(_QUERY, _TEXTS[:1])
        assert isinstance(before, str)
        assert before.strip()
        assert reranker.fingerprint == before

    def test_repr_tells_the_name_or_the_fingerprint_and_no_secret(self, reranker: BaseReranker) -> None:
        """It ends up in logs. Text attributes whose name speaks of a key, a token or a password must not be in it."""
        assert reranker.name.strip()
        shown = repr(reranker)
        assert reranker.name in shown or reranker.fingerprint in shown
        held: Mapping[str, Any] = vars(reranker) if hasattr(reranker, "__dict__") else {}
        words = ("key", "token", "password", "secret")
        for name, value in held.items():
            if isinstance(value, str) and any(word in name.lower() for word in words):
                assert value not in shown

    @pytest.mark.parametrize("text", _UNUSUAL, ids=lambda text: f"{len(text)}-{ord(text[0]):x}")
    def test_survives_any_text(self, reranker: BaseReranker, text: str) -> None:
        """As the query and as the text: scripts, emoji, control characters, 30,000 characters."""
        for query, other in ((text, _QUERY), (_QUERY, text), (text, text)):
            scores = reranker.score(query, [other])
            assert scores.shape == (1,)
            assert np.isfinite(scores).all()

    def _assert_same(self, seen: np.ndarray, expected: np.ndarray) -> None:
        np.testing.assert_allclose(seen, expected, rtol=0, atol=self.batch_tolerance)
