"""Rerankers by a word, as command lines name them."""

from __future__ import annotations

from synaptoroute.errors import InvalidInputError
from synaptoroute.rerank.base import BaseReranker

LATE = "late"


def make_reranker(spec: str) -> BaseReranker:
    """The reranker of that name.

    Args:
        spec: ``late``, ``onnx:FOLDER`` or ``fastembed:MODEL``.

    Raises:
        InvalidInputError: The word is none of these.
        RerankerUnavailableError: Its weights cannot be had.
        MissingExtraError: Its package is not installed.
    """
    kind, _, what = spec.partition(":")
    if spec == LATE:
        from synaptoroute.rerank.late import LateInteractionReranker

        return LateInteractionReranker()
    if kind == "onnx" and what:
        from synaptoroute.rerank.onnx import OnnxReranker

        return OnnxReranker(what)
    if kind == "fastembed" and what:
        from synaptoroute.rerank.fastembed import FastEmbedReranker

        return FastEmbedReranker(what)
    raise InvalidInputError(f"there is no reranker {spec!r}; wanted late, onnx:FOLDER or fastembed:MODEL")
