"""Drives semantic-router 1.x with more than its documentation tells: an encoder that gives rows of float32.

Its own encoders give lists of floats, which ``LocalIndex`` turns into float64: twice the memory, and twice to read.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from numpy.typing import NDArray

# Beside this file, which is a script's folder and no package in the peer's environment.
plain = import_module("semantic_router_1")


class System(plain.System):  # type: ignore[misc, name-defined]  # imported by name
    """As it comes but for the type of its vectors."""

    settings = "IndexedRouter, LocalIndex, float32 vectors; acall, encoder on one thread a core"

    @staticmethod
    def rows(vectors: NDArray[Any]) -> list[Any]:
        """Rows that stay float32 in its index."""
        return list(vectors)
