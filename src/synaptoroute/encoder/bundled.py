"""The default encoder: all-MiniLM-L6-v2 in 8 bits, shipped in the package, run by onnxruntime."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderUnavailableError
from synaptoroute.forking import PerProcess
from synaptoroute.profile import OptimizationProfile, usable_cores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

WEIGHTS = Path(__file__).parent / "weights"
#: Most texts that one thread takes at a time.
_STRETCH = 16


@dataclass(frozen=True, slots=True)
class _Model:
    """What a process loads once: nothing in it changes after loading, so threads share it without a lock."""

    session: InferenceSession
    tokenizer: Tokenizer
    pool: ThreadPoolExecutor


class BundledEncoder:
    """all-MiniLM-L6-v2, 384 dimensions, int8, English; no download, about a millisecond a text on one core.

    Each text runs through the network alone. Dynamic quantisation scales activations over all that is in a batch, so
    in a shared batch a text's vector would depend on its neighbours (measured: by up to 0.024 in cosine). Alone,
    a text has one vector, bit for bit, whatever else is encoded and from whichever thread; several texts are
    spread over the cores instead, which on CPUs is as fast as a batch and needs no padding.

    Texts past 256 tokens are cut there. The model is loaded on first use; after a fork the child loads its own.

    Args:
        model: Folder under ``encoder/weights``.
        threads: Texts encoded at once; all usable cores by default.
        profile: LATENCY gives one text all cores instead of one.
        providers: onnxruntime execution providers, in order of preference.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "synaptoroute"

    def __init__(
        self,
        model: str = "minilm",
        *,
        threads: int | None = None,
        profile: OptimizationProfile = OptimizationProfile.BALANCED,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        self._folder = WEIGHTS / model
        try:
            manifest = (self._folder / "manifest.json").read_bytes()
        except OSError as exc:
            raise EncoderUnavailableError(f"no bundled model {model!r}: {exc}; reinstall synaptoroute") from exc
        self._manifest: dict[str, Any] = json.loads(manifest)
        # The manifest names the hashes of weights and tokenizer, the pooling and the quantisation: all that matters.
        self._fingerprint = f"{model}-{hashlib.sha256(manifest).hexdigest()[:16]}"
        self._cores = threads or usable_cores()
        self._profile = profile
        self._providers = list(providers)
        self._model: PerProcess[_Model] = PerProcess()

    @property
    def name(self) -> str:
        """The model it was made from."""
        return str(self._manifest["name"])

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return int(self._manifest["dim"])

    @property
    def fingerprint(self) -> str:
        """Changes with the weights, the tokenizer, the pooling and the quantisation."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"BundledEncoder({self.name!r}, dim={self.dim}, fingerprint={self.fingerprint!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, float32 (len(texts), 384).

        Raises:
            EncoderUnavailableError: The weights are missing, damaged, or onnxruntime cannot load them.
        """
        vectors = np.empty((len(texts), self.dim), np.float32)
        if not texts:
            return vectors
        model = self._model.get(self._load)
        length = min(_STRETCH, math.ceil(len(texts) / self._cores))
        starts = range(0, len(texts), length)
        remaining = iter(starts)

        def work() -> None:
            for start in remaining:
                stretch = slice(start, start + length)
                vectors[stretch] = _encode_each(model, texts[stretch])

        # The calling thread works too.
        helpers = [model.pool.submit(work) for _ in range(min(self._cores, len(starts)) - 1)]
        work()
        for helper in helpers:
            # One still queued behind other callers' work has nothing left to do.
            if not helper.cancel():
                helper.result()
        return vectors

    def encode_in_thread(self, texts: Sequence[str]) -> Vectors:
        """``encode`` in the calling thread alone, for callers that have a thread for each core."""
        vectors = np.empty((len(texts), self.dim), np.float32)
        if texts:
            vectors[:] = _encode_each(self._model.get(self._load), texts)
        return vectors

    def _load(self) -> _Model:
        # Imported here: together they take a third of a second, and `import synaptoroute` must not.
        import onnxruntime
        from tokenizers import Tokenizer

        files = {name: self._verified(name) for name in ("model.onnx", "tokenizer.json")}
        options = onnxruntime.SessionOptions()
        latency = self._profile is OptimizationProfile.LATENCY
        options.intra_op_num_threads = self._cores if latency else 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if latency else "0")
        # The graph is already fused by hand; onnxruntime's own fusions make it slower (see scripts/build_encoder.py).
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = onnxruntime.InferenceSession(files["model.onnx"], options, providers=self._providers)
        except Exception as exc:
            raise EncoderUnavailableError(f"onnxruntime cannot load {self.name}: {exc}") from exc
        workers = max(1, self._cores - 1)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="synaptoroute-encode")
        return _Model(session, Tokenizer.from_buffer(files["tokenizer.json"]), pool)

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


def _encode_each(model: _Model, texts: Sequence[str]) -> list[Vectors]:
    """The unit vector of each text, run alone.

    Tokenising, running and pooling take turns by stretches of texts: after each run of the network the caches hold
    nothing of the other two, and going back and forth costs a text a tenth of its time.
    """
    ids = [np.array([encoding.ids], np.int64) for encoding in map(model.tokenizer.encode, texts)]
    hidden = [model.session.run(None, {"input_ids": row, "attention_mask": np.ones_like(row)})[0][0] for row in ids]
    pooled = [states.mean(axis=0) for states in hidden]
    return [vector / np.sqrt(vector @ vector) for vector in pooled]
