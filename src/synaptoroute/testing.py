"""Contract suites for those who bring their own parts: subclass one, give it the part, run pytest.

::

    class TestMyEncoder(EncoderContract):
        @pytest.fixture(scope="class")
        def encoder(self):
            return MyEncoder()
"""
# ruff: noqa: S101, RUF001 - these are tests, some of them with unusual text on purpose

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest

from synaptoroute.encoder.base import BaseEncoder

_TEXTS = (
    "what do I owe",
    "a",
    "Please cancel my flight to Oslo on Friday, and book the one after it for two people instead.",
    "show my balance",
    "turn the lights off",
)
_UNUSUAL = (
    "ÄÖÜ ß Ærø naïve",
    "你好，世界",
    "مرحبا بالعالم",
    "👩‍👩‍👧‍👦 🏳️‍🌈",
    "e\u0301 \u200b\u202e \ufeff",
    "\x00\x07 tab\there",
    "𝕊𝕪𝕟𝕒𝕡𝕥𝕠",
    "?!…",
)


class EncoderContract:
    """What every encoder promises (see ``BaseEncoder``). A subclass defines the fixture ``encoder``.

    Attributes:
        batch_tolerance: How far any number of a text's vector may move with the texts beside it. 0 means bit for bit;
            1e-5 is fair for a float32 network that pads.
    """

    batch_tolerance: ClassVar[float] = 0.0

    @pytest.fixture
    def encoder(self) -> BaseEncoder:
        """The encoder under test."""
        raise NotImplementedError("define the fixture `encoder` in your subclass")

    def test_is_a_base_encoder(self, encoder: BaseEncoder) -> None:
        """It has the four members."""
        assert isinstance(encoder, BaseEncoder)

    def test_returns_one_float32_row_of_its_dim_for_each_text(self, encoder: BaseEncoder) -> None:
        """Shape (n, dim), dtype float32."""
        vectors = encoder.encode(_TEXTS)
        assert vectors.shape == (len(_TEXTS), encoder.dim)
        assert vectors.dtype == np.float32

    def test_rows_have_length_one(self, encoder: BaseEncoder) -> None:
        """Cosine is then the dot product."""
        lengths = np.linalg.norm(encoder.encode(_TEXTS).astype(np.float64), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-4)

    def test_no_text_gives_no_row_but_the_dim(self, encoder: BaseEncoder) -> None:
        """Shape (0, dim), still float32."""
        vectors = encoder.encode([])
        assert vectors.shape == (0, encoder.dim)
        assert vectors.dtype == np.float32

    def test_rows_are_in_the_order_of_the_texts(self, encoder: BaseEncoder) -> None:
        """However it sorts and batches inside."""
        forward, backward = encoder.encode(_TEXTS), encoder.encode(_TEXTS[::-1])
        self._assert_same(backward[::-1], forward)

    def test_different_texts_have_different_vectors(self, encoder: BaseEncoder) -> None:
        """No row is another's copy."""
        vectors = encoder.encode(_TEXTS)
        assert len({row.tobytes() for row in vectors}) == len(_TEXTS)

    def test_a_vector_does_not_depend_on_the_texts_beside_it(self, encoder: BaseEncoder) -> None:
        """Otherwise a query's route would depend on who else is asking."""
        alone = np.concatenate([encoder.encode([text]) for text in _TEXTS])
        self._assert_same(encoder.encode(_TEXTS), alone)
        self._assert_same(encoder.encode([*_TEXTS, "long " * 300])[: len(_TEXTS)], alone)

    def test_same_text_gives_same_bits_every_time(self, encoder: BaseEncoder) -> None:
        """The same call is deterministic."""
        np.testing.assert_array_equal(encoder.encode(_TEXTS), encoder.encode(_TEXTS))

    def test_eight_threads_get_what_one_gets(self, encoder: BaseEncoder) -> None:
        """It may be called from several threads at once."""
        expected = encoder.encode(_TEXTS)
        with ThreadPoolExecutor(8) as pool:
            for vectors in pool.map(encoder.encode, [_TEXTS] * 24):
                self._assert_same(vectors, expected)

    def test_fingerprint_is_a_stable_text(self, encoder: BaseEncoder) -> None:
        """Encoding does not change it."""
        before = encoder.fingerprint
        encoder.encode(_TEXTS[:1])
        assert isinstance(before, str)
        assert before.strip()
        assert encoder.fingerprint == before

    def test_has_a_name_for_people(self, encoder: BaseEncoder) -> None:
        """A text that is not empty."""
        assert isinstance(encoder.name, str)
        assert encoder.name.strip()

    def test_repr_tells_the_name_and_no_secret(self, encoder: BaseEncoder) -> None:
        """It ends up in logs. Text attributes whose name speaks of a key, a token or a password must not be in it."""
        shown = repr(encoder)
        assert encoder.name in shown
        for secret in _secrets(vars(encoder) if hasattr(encoder, "__dict__") else {}):
            assert secret not in shown

    @pytest.mark.parametrize("text", [*_UNUSUAL, "word " * 6_000], ids=lambda text: f"{len(text)}-{ord(text[0]):x}")
    def test_survives_any_text(self, encoder: BaseEncoder, text: str) -> None:
        """Scripts, emoji, control characters, 30,000 characters: one finite row of length one."""
        vectors = encoder.encode([text])
        assert vectors.shape == (1, encoder.dim)
        np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64)), 1, atol=1e-4)

    def _assert_same(self, seen: np.ndarray, expected: np.ndarray) -> None:
        np.testing.assert_allclose(seen, expected, rtol=0, atol=self.batch_tolerance)


def _secrets(attributes: dict[str, object]) -> list[str]:
    found = []
    for name, value in attributes.items():
        if isinstance(value, dict):
            found += _secrets({str(key): item for key, item in value.items()})
        elif isinstance(value, str) and value and any(word in name.lower() for word in ("key", "token", "password")):
            found.append(value)
    return found
