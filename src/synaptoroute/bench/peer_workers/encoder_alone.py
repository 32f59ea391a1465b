"""Drives no router: encodes and throws the vectors away. What a router costs is what remains above this.

It is only asked to build, to load, to encode, and for one query after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class System:
    """The shared encoder, whose texts are spread over the cores."""

    saves = True
    version = "int8"
    settings = "no router; texts spread over the cores"

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], folder: Path, *, vectors: bool) -> None:  # noqa: ARG002
        self.encode = encode

    def build(self, utterances: dict[str, list[str]], vectors: Vectors | None) -> None:
        """Encode and forget; nothing to do if the vectors are there."""
        if vectors is None:
            self.encode([text for texts in utterances.values() for text in texts])

    def load(self) -> None:
        """The encoder is loaded already."""

    def settle(self) -> None:
        """Nothing goes on."""

    def ask_now(self, text: str) -> None:
        """Encode it."""
        self.encode([text])
