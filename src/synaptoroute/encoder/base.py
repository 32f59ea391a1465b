"""What an encoder is: texts in, unit vectors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from synaptoroute.errors import EncoderError, EncoderOutputError, SynaptoRouteError

Vectors = NDArray[np.float32]

#: Rows whose squared length is off by more than this are normalised again; float32 rounding stays far below it.
_UNIT_TOLERANCE = 2e-4


@runtime_checkable
class BaseEncoder(Protocol):
    """Turns texts into unit vectors. Implement these four to bring your own; no base class is needed.

    Three more members are optional, and used where they are there:

    ``encode_queries(texts)`` is for models that were trained with two sides, such as e5 ("query: " and "passage: ") or
    Cohere's ``input_type``. Everything that is routed goes through it, labelled queries of ``fit`` among them, and
    utterances go through ``encode``. It keeps the same contract. Routes learn from utterances alone what belongs to
    none of them, by holding utterances against utterances: how much the other side moves the scores, they cannot know
    until ``fit``.

    ``encode_in_thread(texts)`` and ``encode_queries_in_thread(texts)`` do the same in the calling thread alone, for
    callers that have a thread for each core. An encoder with two sides has both or neither.

    Attributes:
        name: For people, such as "all-MiniLM-L6-v2".
        dim: Length of every vector.
        fingerprint: Changes whenever the vectors would: weights, tokenizer, pooling, quantisation, what is put before
            queries and utterances. Vectors of different fingerprints are never compared.
    """

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def dim(self) -> int:
        """Length of every vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors would."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, float32 (len(texts), dim), in order; (0, dim) for no text.

        May be called from several threads at once. A text's vector must not depend on the texts beside it.
        """
        ...


def encode_checked(
    encoder: BaseEncoder, texts: Sequence[str], *, alone: bool = False, queries: bool = False
) -> Vectors:
    """``encoder.encode(texts)``, held to its contract.

    Args:
        encoder: Any.
        texts: Any number.
        alone: In the calling thread alone, if the encoder has ``encode_in_thread``.
        queries: They are to be routed: by ``encode_queries``, if the encoder has it.

    Returns:
        Contiguous float32 (len(texts), encoder.dim), finite, every row of length 1.

    Raises:
        EncoderOutputError: The result has another shape, is not numeric, or has NaN, infinite or zero rows.
        EncoderError: The encoder raised something of its own.
    """
    if not texts:
        return np.empty((0, encoder.dim), np.float32)
    try:
        raw = _method(encoder, alone=alone, queries=queries)(texts)
    except SynaptoRouteError:
        raise
    except Exception as exc:
        raise EncoderError(f"encoder {encoder.name!r} failed: {type(exc).__name__}: {exc}") from exc
    return checked_vectors(raw, (len(texts), encoder.dim), f"encoder {encoder.name!r}")


def _method(encoder: BaseEncoder, *, alone: bool, queries: bool) -> Callable[[Sequence[str]], Vectors]:
    """The side comes first: a query encoded as an utterance would be wrong, one encoded by more threads only slower."""
    found: Callable[[Sequence[str]], Vectors] | None = None
    if queries:
        found = getattr(encoder, "encode_queries_in_thread", None) if alone else None
        found = found or getattr(encoder, "encode_queries", None)
    if found is None and alone:
        found = getattr(encoder, "encode_in_thread", None)
    return found or encoder.encode


def checked_vectors(raw: object, wanted: tuple[int, int], whose: str) -> Vectors:
    """An array as contiguous float32 of the wanted shape, finite, every row of length 1.

    Raises:
        EncoderOutputError: It has another shape, is not numeric, or has NaN, infinite or zero rows.
    """
    try:
        vectors = np.ascontiguousarray(raw, dtype=np.float32)
    except (TypeError, ValueError) as exc:
        raise EncoderOutputError(f"{whose} returned no numeric array: {exc}") from exc
    if vectors.shape != wanted:
        raise EncoderOutputError(f"{whose} returned shape {vectors.shape}, wanted {wanted}")
    if not len(vectors) or np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1).max() <= _UNIT_TOLERANCE:
        return vectors
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        row = int(np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))[0])
        raise EncoderOutputError(f"{whose} returned a NaN, infinite or zero vector for text {row}")
    return np.asarray(vectors / lengths[:, None], np.float32)
