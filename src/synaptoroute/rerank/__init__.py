"""Second opinions where the first routes are close: cross-encoders, and how a router asks them. Off by default."""

from __future__ import annotations

from synaptoroute.rerank.base import BaseReranker
from synaptoroute.rerank.breaker import RerankerHealth
from synaptoroute.rerank.fastembed import FastEmbedReranker
from synaptoroute.rerank.late import LateInteractionReranker
from synaptoroute.rerank.onnx import OnnxReranker
from synaptoroute.rerank.tie_break import TieBreak

__all__ = [
    "BaseReranker",
    "FastEmbedReranker",
    "LateInteractionReranker",
    "OnnxReranker",
    "RerankerHealth",
    "TieBreak",
]
