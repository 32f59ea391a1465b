"""A network in a folder, with its tokenizer: how rerankers of this package load and run one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synaptoroute.errors import RerankerUnavailableError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer


@dataclass(frozen=True, slots=True)
class Network:
    """What a process loads once: nothing in it changes after loading, so threads share it without a lock.

    Every text, or pair of texts, runs alone: dynamically quantised networks scale activations over all that is in a
    batch, and a score would depend on its neighbours.

    Attributes:
        session: The network.
        tokenizer: Cuts at the longest input, never pads.
        inputs: Names of the inputs it wants.
    """

    session: InferenceSession
    tokenizer: Tokenizer
    inputs: frozenset[str]

    @classmethod
    def load(
        cls,
        model: Path,
        tokenizer: Path,
        *,
        max_tokens: int,
        threads: int,
        providers: Sequence[str],
        fused: bool = False,
    ) -> Network:
        """Read both files.

        Args:
            model: The ONNX file.
            tokenizer: The ``tokenizer.json``.
            max_tokens: Longest input; of a pair, the longer text is cut first.
            threads: For one run.
            providers: onnxruntime execution providers, in order of preference.
            fused: The graph is fused already, and onnxruntime's own fusions would make it slower.

        Raises:
            RerankerUnavailableError: One of them cannot be read or loaded.
        """
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if fused:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            # By its path: what is too large for one file has its weights beside it.
            session = onnxruntime.InferenceSession(str(model), options, providers=list(providers))
        except Exception as exc:
            raise RerankerUnavailableError(f"onnxruntime cannot load {model}: {exc}") from exc
        try:
            cutting = Tokenizer.from_file(str(tokenizer))
            cutting.no_padding()
            cutting.enable_truncation(max_tokens)
        except Exception as exc:
            raise RerankerUnavailableError(f"tokenizers cannot load {tokenizer}: {exc}") from exc
        return cls(session, cutting, frozenset(each.name for each in session.get_inputs()))

    def run(self, encoding: Encoding) -> NDArray[Any]:
        """The network's first output for one input (1, ...)."""
        known = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        fed = {name: np.array([values], np.int64) for name, values in known.items() if name in self.inputs}
        return np.asarray(self.session.run(None, fed)[0])
