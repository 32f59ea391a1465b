"""Texts as vectors, on the side of utterances and on that of queries."""

from __future__ import annotations

from collections.abc import Sequence

from synaptoroute.encoder.base import BaseEncoder, Vectors, encode_checked


class Sides:
    """An encoder that may have two sides; see ``BaseEncoder``."""

    def __init__(self, encoder: BaseEncoder) -> None:
        self._encoder = encoder
        self._two = hasattr(encoder, "encode_queries")

    def utterances(self, texts: Sequence[str]) -> Vectors:
        """Unit rows (n, dim) to be stored."""
        return encode_checked(self._encoder, list(texts))

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Unit rows (n, dim) to be routed."""
        return encode_checked(self._encoder, list(texts), queries=True)

    def both(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """As utterances and as queries; the same rows where the encoder has but one side."""
        stored = self.utterances(texts)
        return stored, self.queries(texts) if self._two else stored
