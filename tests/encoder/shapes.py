"""A small real pair of encoders for coloured shapes, fitted here, for CLIP cannot be had without a model hub.

The text half adds up the vectors of the words it knows. The picture half looks at 14 x 14 mean colours through a fixed
random layer, and was fitted by least squares to land where the text half puts the caption.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

COLOURS = {"red": (220, 30, 30), "green": (30, 170, 60), "blue": (40, 70, 220), "yellow": (240, 210, 40)}
SHAPES = ("circle", "square", "triangle")
SIDE, DIM = 56, 32
_CELLS, _HIDDEN = 14, 400
_MEAN, _STD = 0.5, 0.25


def drawn(colour: str, shape: str, seed: int = 0, *, size: int = 160) -> Image.Image:
    """A shape on a light ground; where exactly and how large depends on the seed."""
    random = np.random.default_rng(seed)
    ground = tuple(int(part) for part in random.integers(215, 256, 3))
    image = Image.new("RGB", (size, size), ground)
    middle = size / 2 + random.uniform(-0.05, 0.05, 2) * size
    reach = random.uniform(0.28, 0.38) * size
    (left, top), (right, bottom) = middle - reach, middle + reach
    draw, paint = ImageDraw.Draw(image), COLOURS[colour]
    if shape == "circle":
        draw.ellipse((left, top, right, bottom), fill=paint)
    elif shape == "square":
        draw.rectangle((left, top, right, bottom), fill=paint)
    else:
        draw.polygon(((left, bottom), (right, bottom), (middle[0], top)), fill=paint)
    return image


def build(folder: Path, *, dim: int = DIM, side: int = SIDE) -> Path:
    """Write the pair as a folder that ``ImageEncoder.onnx`` reads."""
    (folder / "onnx").mkdir(parents=True)
    words = ["[UNK]", "a", "photo", "of", *COLOURS, *SHAPES]
    table = np.asarray(np.random.default_rng(0).standard_normal((len(words), dim)) / 6, np.float32)
    # Words that say nothing weigh nothing, but a text of such words alone still has a vector.
    table[:4] *= 0.05
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"crop_size": side, "image_mean": [_MEAN] * 3, "image_std": [_STD] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    _write(folder / "onnx/text_model.onnx", _text_graph(table))
    hidden = np.asarray(np.random.default_rng(1).standard_normal((3 * _CELLS**2, _HIDDEN)) / 12, np.float32)
    _write(folder / "onnx/vision_model.onnx", _vision_graph(hidden, _fitted(hidden, table, words, side), side))
    return folder


def _fitted(
    hidden: NDArray[np.float32], table: NDArray[np.float32], words: list[str], side: int
) -> NDArray[np.float32]:
    """The last layer: least squares from 40 drawings of each thing to its caption's vector."""
    seen, wanted = [], []
    for colour in COLOURS:
        for shape in SHAPES:
            caption = table[words.index(colour)] + table[words.index(shape)]
            for seed in range(40):
                seen.append(_cells(drawn(colour, shape, 1_000 + seed), side))
                wanted.append(caption / 2)
    layer = np.maximum(np.stack(seen) @ hidden, 0)
    ridge = layer.T @ layer + 1.0 * np.eye(_HIDDEN, dtype=np.float32)
    return np.asarray(np.linalg.solve(ridge, layer.T @ np.stack(wanted)), np.float32)


def _cells(image: Image.Image, side: int) -> NDArray[np.float32]:
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    scaled = ((pixels - _MEAN) / _STD).transpose(2, 0, 1)
    step = side // _CELLS
    cells = scaled.reshape(3, _CELLS, step, _CELLS, step).mean(axis=(2, 4))
    return np.asarray(cells.reshape(-1), np.float32)


def _text_graph(table: NDArray[np.float32]) -> onnx.GraphProto:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("ReduceMean", ["words"], ["text_embeds"], axes=[1], keepdims=0),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "length"])
    out = helper.make_tensor_value_info("text_embeds", TensorProto.FLOAT, ["n", table.shape[1]])
    return helper.make_graph(nodes, "text", [ids], [out], [numpy_helper.from_array(table, "table")])


def _vision_graph(hidden: NDArray[np.float32], last: NDArray[np.float32], side: int) -> onnx.GraphProto:
    step = side // _CELLS
    nodes = [
        helper.make_node("AveragePool", ["pixel_values"], ["cells"], kernel_shape=[step, step], strides=[step, step]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("MatMul", ["flat", "hidden"], ["seen"]),
        helper.make_node("Relu", ["seen"], ["layer"]),
        helper.make_node("MatMul", ["layer", "last"], ["image_embeds"]),
    ]
    pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["n", 3, side, side])
    out = helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["n", last.shape[1]])
    weights = [numpy_helper.from_array(hidden, "hidden"), numpy_helper.from_array(last, "last")]
    return helper.make_graph(nodes, "vision", [pixels], [out], weights)


def _write(path: Path, graph: onnx.GraphProto) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
