"""OnnxReranker: a cross-encoder in a folder, as model hubs lay them out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synaptoroute.errors import InvalidInputError, RerankerError, RerankerUnavailableError
from synaptoroute.forking import PerProcess
from synaptoroute.rerank.base import Scores
from synaptoroute.rerank.network import Network

#: Where the network may be in the folder, first that is there.
MODEL_FILES = ("model.onnx", "onnx/model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx")
#: Longest pair where the tokenizer's settings say nothing, and what cross-encoders of BERT's kind can read at most.
MAX_TOKENS = 512
_CHUNK_BYTES = 1 << 20


class OnnxReranker:
    """A cross-encoder that returns one logit for a pair of texts, run by onnxruntime; no package beyond the core.

    The folder has ``tokenizer.json`` and the network as ``model.onnx`` or ``onnx/model.onnx`` (or the same with
    ``model_quantized``), which is how model hubs lay out the exports of cross-encoders such as ms-marco-MiniLM-L6-v2.
    Constructing hashes the files; the network is loaded on first use, and after a fork the child loads its own.

    Each pair runs alone, in the calling thread: its score is the same whatever else is scored.

    Args:
        path: The folder, or the ONNX file with ``tokenizer.json`` beside it or one folder up.
        name: For people; the folder's name by default.
        max_tokens: Longest pair, of which the longer text is cut first; by default what ``tokenizer_config.json`` says,
            at most 512.
        threads: Cores that one pair may use.
        providers: onnxruntime execution providers, in order of preference.

    Raises:
        InvalidInputError: ``max_tokens`` or ``threads`` is out of its range.
        RerankerUnavailableError: A file is missing or cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        max_tokens: int | None = None,
        threads: int = 1,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        self._model, self._tokenizer = _found(Path(path))
        self._name = name or self._tokenizer.parent.resolve().name
        self._max_tokens = max_tokens if max_tokens is not None else _longest(self._tokenizer.parent)
        self._threads = threads
        self._providers = tuple(providers)
        # A pair needs three special tokens and a word of each text.
        if self._max_tokens < 5:
            raise InvalidInputError(f"max_tokens is {max_tokens}, wanted at least 5")
        if threads < 1:
            raise InvalidInputError(f"threads is {threads}, wanted at least 1")
        digest = hashlib.sha256(f"{self._max_tokens}".encode())
        beside = [self._model.with_name(self._model.name + ending) for ending in ("_data", ".data")]
        for file in (self._model, *(each for each in beside if each.is_file()), self._tokenizer):
            _hash_into(digest, file)
        self._fingerprint = f"{self._name}-{digest.hexdigest()[:16]}"
        self._network: PerProcess[Network] = PerProcess()

    @property
    def name(self) -> str:
        """For people."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Changes with the weights, the tokenizer and the longest pair."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"OnnxReranker({self.name!r}, fingerprint={self.fingerprint!r})"

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """The logit of each pair, float32 (len(texts),).

        Raises:
            RerankerUnavailableError: The files cannot be loaded.
            RerankerError: The network fails, or returns something other than one logit for a pair.
        """
        scores = np.empty(len(texts), np.float32)
        if not len(texts):
            return scores
        network = self._network.get(self._load)
        for place, text in enumerate(texts):
            try:
                logits = network.run(network.tokenizer.encode(query, text))
            except Exception as exc:
                raise RerankerError(f"reranker {self.name!r} failed: {type(exc).__name__}") from exc
            if logits.size != 1:
                raise RerankerError(
                    f"{self._model} returned shape {logits.shape} for a pair, wanted one logit; is it a cross-encoder "
                    "with a single label?"
                )
            scores[place] = logits.item()
        return scores

    def _load(self) -> Network:
        return Network.load(
            self._model,
            self._tokenizer,
            max_tokens=self._max_tokens,
            threads=self._threads,
            providers=self._providers,
        )


def _found(path: Path) -> tuple[Path, Path]:
    """The network and its tokenizer."""
    if path.is_file():
        model, folders = path, [path.parent, path.parent.parent]
    else:
        there = [path / name for name in MODEL_FILES if (path / name).is_file()]
        if not there:
            raise RerankerUnavailableError(f"{path} has no network; wanted one of {', '.join(MODEL_FILES)} in it")
        model, folders = there[0], [path]
    for folder in folders:
        if (folder / "tokenizer.json").is_file():
            return model, folder / "tokenizer.json"
    raise RerankerUnavailableError(f"tokenizer.json is missing in {folders[0]}; copy it from where the network is from")


def _longest(folder: Path) -> int:
    try:
        said = json.loads((folder / "tokenizer_config.json").read_bytes())["model_max_length"]
        return max(5, min(int(said), MAX_TOKENS))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return MAX_TOKENS


def _hash_into(digest: hashlib._Hash, path: Path) -> None:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as exc:
        raise RerankerUnavailableError(f"cannot read {path}: {exc}") from exc
