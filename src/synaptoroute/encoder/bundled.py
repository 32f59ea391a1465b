"""The default encoder: all-MiniLM-L6-v2 trained for routing, in 8 bits, shipped in the package, run by onnxruntime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synaptoroute.encoder.base import Vectors
from synaptoroute.encoder.networks import CPU, Network, Provider, TextRuns, open_session
from synaptoroute.errors import EncoderUnavailableError
from synaptoroute.profile import OptimizationProfile, usable_cores

WEIGHTS = Path(__file__).parent / "weights"
DEFAULT = "minilm-routing"
#: Folders under ``WEIGHTS``: trained for routing, and as it was published.
MODELS = (DEFAULT, "minilm")


class BundledEncoder:
    """all-MiniLM-L6-v2, 384 dimensions, int8, English; no download, about a millisecond a text on one core.

    Each text runs through the network alone (see ``TextRuns``): its vector depends on nothing else, bit for bit.

    Texts past 256 tokens are cut there. The model is loaded on first use; after a fork the child loads its own.

    Args:
        model: "minilm-routing", trained further so that refusals, siblings and strangers are easier to tell apart
            (``training/``), or "minilm", as it was published. Their vectors cannot be compared.
        threads: Texts encoded at once; all usable cores by default.
        profile: LATENCY gives one text all cores instead of one.
        providers: onnxruntime execution providers, in order of preference.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "synaptoroute"

    def __init__(
        self,
        model: str = DEFAULT,
        *,
        threads: int | None = None,
        profile: OptimizationProfile = OptimizationProfile.BALANCED,
        providers: Sequence[Provider] = CPU,
    ) -> None:
        self._folder = WEIGHTS / model
        try:
            manifest = (self._folder / "manifest.json").read_bytes()
        except OSError as exc:
            raise EncoderUnavailableError(f"no bundled model {model!r}: {exc}; reinstall synaptoroute") from exc
        self._manifest: dict[str, Any] = json.loads(manifest)
        # The manifest names the hashes of weights and tokenizer, the pooling and the quantisation: all that matters.
        self._fingerprint = f"{model}-{hashlib.sha256(manifest).hexdigest()[:16]}"
        self._dim = int(self._manifest["dim"])
        self._cores = threads or usable_cores()
        self._profile = profile
        self._providers = list(providers)
        self._runs = TextRuns(self._load, cores=self._cores)

    @property
    def name(self) -> str:
        """The model it was made from."""
        return str(self._manifest["name"])

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

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
        return self._runs.encode(texts, self._dim)

    def encode_in_thread(self, texts: Sequence[str]) -> Vectors:
        """``encode`` in the calling thread alone, for callers that have a thread for each core."""
        return self._runs.encode_in_thread(texts, self._dim)

    def _load(self) -> Network:
        from tokenizers import Tokenizer

        files = {name: self._verified(name) for name in ("model.onnx", "tokenizer.json")}
        session = open_session(
            files["model.onnx"],
            self.name,
            cores=self._cores,
            profile=self._profile,
            providers=self._providers,
            # By hand, see scripts/build_encoder.py.
            fused=True,
        )
        return Network(session, Tokenizer.from_buffer(files["tokenizer.json"]), _feed)

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


def _feed(ids: Any) -> dict[str, Any]:
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
