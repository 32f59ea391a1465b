"""A small real cross-encoder, built by script: no hub is needed, and its scores can be worked out by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from synaptoroute.encoder.bundled import WEIGHTS

#: Of the token vectors.
DIM = 48
#: [CLS], [SEP] and [PAD] of the bundled tokenizer, which say nothing.
_SPECIAL = (101, 102, 0)


def build_cross_encoder(folder: Path, *, at: str = "model.onnx", labels: int = 1) -> Path:
    """Write a cross-encoder that scores how many tokens two texts share.

    Its logit is ten times the cosine of the sums of fixed random token vectors of either text, told apart by the token
    types, as cross-encoders of BERT's kind do.

    Args:
        folder: Where to.
        at: Name of the network in it.
        labels: Logits for a pair; only 1 makes it a reranker.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = WEIGHTS / "minilm" / "tokenizer.json"
    shutil.copy(source, folder / "tokenizer.json")
    settings = {"model_max_length": 256, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0}))
    table = np.random.default_rng(0).normal(size=(Tokenizer.from_file(str(source)).get_vocab_size(), DIM))
    table[list(_SPECIAL)] = 0
    constants: dict[str, np.ndarray] = {
        "table": table.astype(np.float32),
        "one": np.array(1, np.float32),
        "scale": np.full((1, labels), 10, np.float32),
        "least": np.array(1e-9, np.float32),
        "last": np.array([-1], np.int64),
        "tokens": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["there"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["token_type_ids"], ["types"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["types", "there"], ["in_second"]),
        helper.make_node("Sub", ["there", "in_second"], ["in_first"]),
    ]
    for text in ("first", "second"):
        nodes += [
            helper.make_node("Unsqueeze", [f"in_{text}", "last"], [f"{text}_mask"]),
            helper.make_node("Mul", ["each", f"{text}_mask"], [f"{text}_each"]),
            helper.make_node("ReduceSum", [f"{text}_each", "tokens"], [f"{text}_sum"], keepdims=0),
            helper.make_node("ReduceL2", [f"{text}_sum", "last"], [f"{text}_raw"], keepdims=1),
            helper.make_node("Max", [f"{text}_raw", "least"], [f"{text}_length"]),
            helper.make_node("Div", [f"{text}_sum", f"{text}_length"], [text]),
        ]
    nodes += [
        helper.make_node("Mul", ["first", "second"], ["met"]),
        helper.make_node("ReduceSum", ["met", "last"], ["cosine"], keepdims=1),
        helper.make_node("Mul", ["cosine", "scale"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])]
    initial = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "shared-tokens", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    (folder / at).parent.mkdir(exist_ok=True)
    onnx.save(model, folder / at)
    return folder
