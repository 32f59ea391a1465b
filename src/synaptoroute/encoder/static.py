"""An encoder without a network: a table of token vectors distilled from the bundled model, shipped in the package."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synaptoroute.caching import Memo
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderUnavailableError
from synaptoroute.forking import PerProcess

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WEIGHTS = Path(__file__).parent / "weights"
#: Words whose tokens are kept: texts repeat them, and the tokenizer takes twenty times as long as looking up. About
#: 300 bytes each; longer words, which may be made up, are not kept.
_KEPT, _KEPT_CHARACTERS = 32_768, 24

Pieces = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class _Model:
    """What a process loads once; threads share it without a lock.

    Attributes:
        vectors: A row of signed bytes for each token (tokens, dim).
        scales: What a row of bytes is multiplied with, the token's weight in a text included (tokens,).
        pieces: A word's tokens.
        unknown: The token of a text that has none.
    """

    vectors: NDArray[np.int8]
    scales: Vectors
    pieces: Pieces
    unknown: int


class StaticEncoder:
    """Token vectors of all-MiniLM-L6-v2, 256 dimensions, English: about ten microseconds a text in plain NumPy.

    A text's vector is the weighted sum of the vectors of its tokens, made to length one: the order of words is lost,
    and a word means the same wherever it stands. It costs some accuracy (see docs/first-stage.md) and saves the
    network, so it serves where there is no room for one, and as the first stage of a router, which answers what is
    clear without the network.

    A text has one vector, bit for bit, whatever else is encoded beside it. Words are told apart by white space, then
    cut into the tokens of the bundled model; what comes after 254 of them is not read. The table is loaded on first
    use and takes 8 MB of memory, which all encoders of a process share.

    Args:
        model: Folder under ``encoder/weights``.

    Raises:
        EncoderUnavailableError: There is no such folder.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "synaptoroute"

    def __init__(self, model: str = "static") -> None:
        self._folder = WEIGHTS / model
        try:
            manifest = (self._folder / "manifest.json").read_bytes()
        except OSError as exc:
            raise EncoderUnavailableError(f"no static model {model!r}: {exc}; reinstall synaptoroute") from exc
        self._manifest: dict[str, Any] = json.loads(manifest)
        self._fingerprint = f"{model}-{hashlib.sha256(manifest).hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """What it was made from."""
        return str(self._manifest["name"])

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return int(self._manifest["dim"])

    @property
    def fingerprint(self) -> str:
        """Changes with the table and the tokenizer."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"StaticEncoder({self.name!r}, dim={self.dim}, fingerprint={self.fingerprint!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, float32 (len(texts), 256).

        Raises:
            EncoderUnavailableError: The table or the tokenizer is missing or damaged.
        """
        vectors = np.empty((len(texts), self.dim), np.float32)
        if not texts:
            return vectors
        model, most = self._loaded(), int(self._manifest["max_tokens"])
        for row, text in zip(vectors, texts, strict=True):
            tokens = tokens_of(model.pieces, text, most) or [model.unknown]
            # Text by text: a batch would have to be summed by segments, which NumPy does more slowly.
            np.matmul(model.scales.take(tokens), model.vectors.take(tokens, axis=0).astype(np.float32), out=row)
            length = math.sqrt(row.dot(row))
            if length > 0:
                row /= length
            else:
                row[:] = 1 / math.sqrt(len(row))
        return vectors

    def encode_in_thread(self, texts: Sequence[str]) -> Vectors:
        """``encode``, which uses no other thread."""
        return self.encode(texts)

    def _loaded(self) -> _Model:
        return _models(self._folder, self._fingerprint).get(self._load)

    def _load(self) -> _Model:
        # Imported here: `import synaptoroute` must not.
        from tokenizers import Tokenizer

        files = {name: self._verified(name) for name in ("vectors.npy", "scales.npy", "tokenizer.json")}
        vectors, scales = (
            np.load(io.BytesIO(files[name]), allow_pickle=False) for name in ("vectors.npy", "scales.npy")
        )
        tokenizer = Tokenizer.from_buffer(files["tokenizer.json"])
        return _Model(vectors, scales, _pieces(tokenizer), tokenizer.token_to_id("[UNK]") or 0)

    def _verified(self, name: str) -> bytes:
        path = self._folder / name
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise EncoderUnavailableError(f"cannot read {path}: {exc}; reinstall synaptoroute") from exc
        seen, wanted = hashlib.sha256(content).hexdigest(), self._manifest["sha256"][name]
        if seen != wanted:
            raise EncoderUnavailableError(
                f"{path} is damaged: SHA-256 is {seen}, wanted {wanted}; reinstall synaptoroute"
            )
        return content


@lru_cache(8)
def _models(_folder: Path, _fingerprint: str) -> PerProcess[_Model]:
    """Where the model of this folder is kept; one for all encoders of the process."""
    return PerProcess()


def _pieces(tokenizer: Tokenizer) -> Pieces:
    def cut(word: str) -> Sequence[int]:
        return tuple(tokenizer.encode(word, add_special_tokens=False).ids)

    return Memo(cut, _KEPT, lambda word: len(word) <= _KEPT_CHARACTERS).__getitem__


def tokens_of(pieces: Pieces, text: str, most: int) -> list[int]:
    """The tokens of a text, at most so many: those of its words, which white space tells apart, one after the other."""
    tokens: list[int] = []
    for word in text.lower().split():
        tokens += pieces(word)
        if len(tokens) >= most:
            return tokens[:most]
    return tokens
