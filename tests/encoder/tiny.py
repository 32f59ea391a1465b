"""The smallest real models: a table of byte vectors, as an ONNX graph or a static model, with a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from synaptoroute.encoder.base import Vectors

#: One token for each byte of a text, whatever it is.
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
DIM = 12


def table(dim: int = DIM, seed: int = 0) -> Vectors:
    """One row for each token."""
    return np.random.default_rng(seed).normal(size=(len(ALPHABET), dim)).astype(np.float32)


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE(vocab={sign: number for number, sign in enumerate(ALPHABET)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


def ids_of(text: str) -> list[int]:
    ids: list[int] = tokenizer().encode(text).ids
    return ids


def graph(
    *,
    inputs: tuple[str, ...] = ("input_ids", "attention_mask"),
    outputs: tuple[str, ...] = ("last_hidden_state",),
    integers: str = "INT64",
    dim: int = DIM,
) -> Any:
    """Looks its tokens up. Further inputs are added to the states; outputs that speak of sentences are their mean."""
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["states0"])]
    state = "states0"
    for number, name in enumerate(inputs):
        if name in {"input_ids", "attention_mask"}:
            continue
        nodes += [
            helper.make_node("Cast", [name], [f"{name}.float"], to=types.FLOAT),
            helper.make_node("Unsqueeze", [f"{name}.float", "last"], [f"{name}.added"]),
            helper.make_node("Add", [state, f"{name}.added"], [f"states{number}"]),
        ]
        state = f"states{number}"
    declared = []
    for name in outputs:
        if "sentence" in name:
            nodes.append(helper.make_node("ReduceMean", [state, "tokens"], [name], keepdims=0))
        else:
            nodes.append(helper.make_node("Identity", [state], [name]))
        shape = [None, dim] if "sentence" in name else [None, None, dim]
        declared.append(helper.make_tensor_value_info(name, types.FLOAT, shape))
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, getattr(types, integers), [None, None]) for name in inputs],
        declared,
        [
            onnx.numpy_helper.from_array(table(dim), "table"),
            onnx.numpy_helper.from_array(np.array([-1]), "last"),
            onnx.numpy_helper.from_array(np.array([1]), "tokens"),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def save(folder: Path, name: str = "model.onnx", **shape: Any) -> Path:
    """A folder with the graph and its tokenizer."""
    onnx = pytest.importorskip("onnx")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph(**shape), folder / name)
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def save_static(folder: Path, dim: int, *, known: int = len(ALPHABET)) -> Path:
    """A static model as model2vec saves it, which knows the first bytes alone."""
    numpy = pytest.importorskip("safetensors.numpy")
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {"[UNK]": 0} | {sign: number + 1 for number, sign in enumerate(ALPHABET[:known])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    split = pre_tokenizers.Split(pattern="", behavior="isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False), split])
    made.save(str(folder / "tokenizer.json"))
    numpy.save_file({"embeddings": np.concatenate([table(dim)[:1], table(dim)[:known]])}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"normalize": True}))
    return folder
