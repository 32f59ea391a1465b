"""The models of the sentence-transformers package, run by PyTorch on CPU or GPU, as an extra."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderUnavailableError, InvalidInputError, MissingExtraError
from synaptoroute.forking import PerProcess

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

#: Texts run together. On a GPU more are faster, on a CPU they only pad each other.
BATCH = 32


class _Loaded(NamedTuple):
    model: SentenceTransformer
    # Its tokenizer is told before each batch how to pad and cut, which another thread must not do meanwhile.
    running: threading.Lock


class SentenceTransformerEncoder:
    """Any text model that sentence-transformers loads, from a folder or the model hub; float32 unit vectors.

    Queries go through ``encode_query`` and utterances through ``encode_document``, which put before them what the
    model was saved with (its prompts "query" and "document"); ``prompts`` replaces those. One thread runs at a time, in
    batches sorted by length: a text's vector moves with its batch by rounding (about 1e-7; more in 16 bits).

    The model is loaded, and its weights hashed, when this is made. PyTorch does not survive a fork in use: make it in
    the child, or start workers by spawning. For CPUs, ``OnnxEncoder`` over an export is lighter and faster.

    Args:
        model: A folder, or a name at the model hub.
        device: Such as "cpu" or "cuda:0"; a GPU if there is one by default.
        prompts: What is put before "query" and "document"; to match like with like, give both the same.
        batch_size: Texts run together.
        local_files_only: Never download.
        model_kwargs: For the loader, such as ``{"torch_dtype": "bfloat16"}``.

    Raises:
        MissingExtraError: The package sentence-transformers is not installed.
        InvalidInputError: An argument is out of its range.
        EncoderUnavailableError: There is no such model, it cannot be loaded, or the device is absent.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "sentence-transformers"

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        prompts: dict[str, str] | None = None,
        batch_size: int = BATCH,
        local_files_only: bool = False,
        model_kwargs: dict[str, Any] | None = None,
    ) -> None:
        try:
            import sentence_transformers  # noqa: F401 - used below; without it, say so at once
        except ImportError as exc:
            raise MissingExtraError("SentenceTransformerEncoder", "sentence-transformers") from exc
        unknown = set(prompts or ()) - {"query", "document"}
        if unknown or batch_size < 1:
            seen = f"prompts are for {', '.join(sorted(unknown))}" if unknown else f"batch_size is {batch_size}"
            raise InvalidInputError(f"{seen}; wanted 'query' and 'document', and at least 1")
        self._source = str(model)
        self._batch_size = batch_size
        self._settings: dict[str, Any] = {
            "device": device,
            "prompts": prompts,
            "local_files_only": local_files_only,
            "model_kwargs": model_kwargs,
        }
        self._loaded: PerProcess[_Loaded] = PerProcess()
        loaded = self._loaded.get(self._load).model
        self._dim = self._dim_of(loaded)
        self._fingerprint = f"{self.name}-{_hash(loaded)[:16]}"

    @property
    def name(self) -> str:
        """The model's name without its owner, or its folder's."""
        return Path(self._source).name

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Changes with weights, tokenizer, modules such as the pooling, and prompts."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"SentenceTransformerEncoder({self.name!r}, dim={self.dim}, fingerprint={self.fingerprint!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of utterances, float32 (len(texts), dim), in order."""
        return self._encoded("encode_document", texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of queries."""
        return self._encoded("encode_query", texts)

    def _encoded(self, side: str, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, self._dim), np.float32)
        model, running = self._loaded.get(self._load)
        with running:
            vectors: Vectors = getattr(model, side)(
                list(texts),
                batch_size=self._batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
        return np.asarray(vectors, np.float32)

    def _load(self) -> _Loaded:
        from sentence_transformers import SentenceTransformer

        given = {name: value for name, value in self._settings.items() if value is not None}
        try:
            return _Loaded(SentenceTransformer(self._source, **given), threading.Lock())
        except Exception as exc:
            raise EncoderUnavailableError(
                f"sentence-transformers cannot load {self._source}: {exc}; wanted a folder it has saved or a name at "
                "the model hub, and a device that is there"
            ) from exc

    def _dim_of(self, model: SentenceTransformer) -> int:
        dim = model.get_embedding_dimension()
        if dim is None:
            raise EncoderUnavailableError(f"{self._source} does not say how long its vectors are")
        return int(dim)


def _hash(model: SentenceTransformer) -> str:
    """Of all that makes the vectors: modules and their settings, weights, tokenizer, prompts."""
    import torch

    modules: list[Any] = [[type(each).__name__, getattr(each, "get_config_dict", dict)()] for each in model]
    digest = hashlib.sha256(json.dumps([modules, model.prompts, model.max_seq_length], default=str).encode())
    digest.update(str(getattr(getattr(model.tokenizer, "backend_tokenizer", None), "to_str", str)()).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"|{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        # As bytes: NumPy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
