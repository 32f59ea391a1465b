"""Which stored utterances are nearest to a query."""

from __future__ import annotations

from synaptoroute.index.base import BaseIndex, Nearest
from synaptoroute.index.exact import ExactIndex

__all__ = ["BaseIndex", "ExactIndex", "Nearest"]
