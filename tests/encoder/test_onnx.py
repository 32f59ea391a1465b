"""OnnxEncoder over real graphs: the bundled weights as any folder, and tiny graphs of every shape exporters make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synaptoroute.encoder import BundledEncoder, OnnxEncoder, bundled
from synaptoroute.encoder.base import Vectors, encode_checked
from synaptoroute.encoder.networks import Pooling
from synaptoroute.errors import EncoderUnavailableError, InvalidInputError
from synaptoroute.testing import EncoderContract
from tests.encoder import FORK, run_python, tiny

MINILM = bundled.WEIGHTS / "minilm"
TEXTS = ["show my balance", "hi", "naïve café", "cancel the flight to Oslo that I booked yesterday"]


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def e5(tiny_folder: Path) -> OnnxEncoder:
    """With the prefixes of e5."""
    return OnnxEncoder(tiny_folder, query_prefix="query: ", prefix="passage: ")


@pytest.fixture(scope="module")
def minilm() -> OnnxEncoder:
    return OnnxEncoder(MINILM)


@pytest.fixture
def own_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "own"))


class TestContractOfATwoSidedModel(EncoderContract):
    two_sided = True

    @pytest.fixture
    def encoder(self, e5: OnnxEncoder) -> OnnxEncoder:
        return e5


class TestContractOfTheBundledWeights(EncoderContract):
    @pytest.fixture
    def encoder(self, minilm: OnnxEncoder) -> OnnxEncoder:
        return minilm


def expected(text: str, pooling: Pooling = "mean", added: float = 0.0) -> Vectors:
    """What the tiny graph makes of a text, by NumPy."""
    states = tiny.table()[tiny.ids_of(text)] + added
    pooled = {"mean": states.mean(axis=0), "cls": states[0], "last": states[-1]}[pooling]
    return np.asarray(pooled / np.linalg.norm(pooled), np.float32)


def test_the_bundled_weights_give_the_vectors_of_the_bundled_encoder(minilm: OnnxEncoder) -> None:
    np.testing.assert_allclose(minilm.encode(TEXTS), BundledEncoder("minilm").encode(TEXTS), atol=2e-3)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_is_what_was_asked_for(tiny_folder: Path, pooling: Pooling) -> None:
    vectors = OnnxEncoder(tiny_folder, pooling=pooling).encode(TEXTS)
    np.testing.assert_allclose(vectors, [expected(text, pooling) for text in TEXTS], atol=1e-6)


@pytest.mark.parametrize("outputs", [("sentence_embedding",), ("token_embeddings", "sentence_embedding")])
def test_a_graph_that_pools_itself_is_taken_at_its_word(tmp_path: Path, outputs: tuple[str, ...]) -> None:
    vectors = OnnxEncoder(tiny.save(tmp_path, outputs=outputs), pooling=None).encode(TEXTS)
    np.testing.assert_allclose(vectors, [expected(text) for text in TEXTS], atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "integers"),
    [
        (("input_ids",), "INT64"),
        (("input_ids", "attention_mask"), "INT32"),
        (("input_ids", "attention_mask", "token_type_ids"), "INT64"),
        (("attention_mask", "input_ids"), "INT64"),
    ],
)
def test_the_graph_gets_the_inputs_it_wants(tmp_path: Path, inputs: tuple[str, ...], integers: str) -> None:
    encoder = OnnxEncoder(tiny.save(tmp_path, inputs=inputs, integers=integers))
    np.testing.assert_allclose(encoder.encode(TEXTS), [expected(text) for text in TEXTS], atol=1e-6)


def test_positions_count_from_zero(tmp_path: Path) -> None:
    encoder = OnnxEncoder(tiny.save(tmp_path, inputs=("input_ids", "position_ids")), pooling="last")
    np.testing.assert_allclose(encoder.encode(["abc"])[0], expected("abc", "last", added=2.0), atol=1e-6)


def test_prefixes_are_put_before_the_texts_of_their_side(e5: OnnxEncoder) -> None:
    np.testing.assert_allclose(e5.encode(["hi"])[0], expected("passage: hi"), atol=1e-6)
    for alone in (False, True):
        (row,) = encode_checked(e5, ["hi"], queries=True, alone=alone)
        np.testing.assert_allclose(row, expected("query: hi"), atol=1e-6)


def test_a_text_is_cut_at_max_tokens_or_where_the_tokenizers_files_say(own_folder: Path) -> None:
    (row,) = OnnxEncoder(own_folder, max_tokens=4).encode(["abcdefgh"])
    np.testing.assert_allclose(row, expected("abcd"), atol=1e-6)
    (row,) = OnnxEncoder(own_folder).encode(["a" * 512 + "bcd" * 99])
    np.testing.assert_allclose(row, expected("a"), atol=1e-5)
    settings = own_folder / "tokenizer_config.json"
    settings.write_text(json.dumps({"model_max_length": 2}))
    np.testing.assert_allclose(OnnxEncoder(own_folder).encode(["abcd"])[0], expected("ab"), atol=1e-6)
    settings.write_text(json.dumps({"model_max_length": 10**30}))
    np.testing.assert_allclose(OnnxEncoder(own_folder).encode(["abcd"])[0], expected("abcd"), atol=1e-6)


@pytest.mark.parametrize("name", ["onnx/model.onnx", "model_optimized.onnx", "onnx/model_quantized.onnx", "my.onnx"])
def test_the_graph_is_found_where_exporters_put_it(tmp_path: Path, name: str) -> None:
    assert OnnxEncoder(tiny.save(tmp_path, name)).encode(["hi"]).shape == (1, tiny.DIM)


def test_of_several_graphs_the_plain_one_is_taken_or_the_one_that_is_named(own_folder: Path) -> None:
    tiny.save(own_folder, "model_quantized.onnx", dim=5)
    assert OnnxEncoder(own_folder).dim == tiny.DIM
    assert OnnxEncoder(own_folder, model_file="model_quantized.onnx").dim == 5


@pytest.mark.parametrize("model", ["tiny_folder", "MINILM"])
def test_child_of_a_fork_gets_the_same_bits(tiny_folder: Path, model: str) -> None:
    folder = tiny_folder if model == "tiny_folder" else MINILM
    result = run_python(FORK, f"OnnxEncoder({str(folder)!r}, threads=2)")
    assert result.returncode == 0, result.stderr


# ------------------------------------------------------------------------------------------------ fingerprint
def test_fingerprint_is_the_same_wherever_the_folder_is_and_however_it_is_run(
    tiny_folder: Path, own_folder: Path
) -> None:
    assert OnnxEncoder(own_folder, threads=1, profile=_latency()).fingerprint == OnnxEncoder(tiny_folder).fingerprint


def _latency() -> Any:
    from synaptoroute import OptimizationProfile

    return OptimizationProfile.LATENCY


def test_fingerprint_changes_with_all_that_makes_the_vectors(own_folder: Path) -> None:
    def fingerprint(**changed: Any) -> str:
        return OnnxEncoder(own_folder, **changed).fingerprint

    seen = [
        fingerprint(),
        fingerprint(pooling="cls"),
        fingerprint(prefix="passage: "),
        fingerprint(query_prefix="passage: "),
        fingerprint(max_tokens=16),
    ]
    with (own_folder / "tokenizer.json").open("a") as file:
        file.write(" ")
    seen.append(fingerprint())
    tiny.save(own_folder, inputs=("input_ids",))
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)


def test_weights_in_a_file_beside_the_graph_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    tiny.save(tmp_path)
    outside = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 0}
    onnx.save(tiny.graph(), tmp_path / "model.onnx", **outside)
    first = OnnxEncoder(tmp_path)
    np.testing.assert_allclose(first.encode(["hi"])[0], expected("hi"), atol=1e-6)
    weights = bytearray((tmp_path / "model.onnx_data").read_bytes())
    weights[2] ^= 1
    (tmp_path / "model.onnx_data").write_bytes(weights)
    assert OnnxEncoder(tmp_path).fingerprint != first.fingerprint


# ---------------------------------------------------------------------------------------------------- refusals
def _without(name: str) -> Any:
    def change(folder: Path) -> dict[str, Any]:
        (folder / name).unlink()
        return {}

    return change


def _overwritten(name: str, content: bytes) -> Any:
    def change(folder: Path) -> dict[str, Any]:
        (folder / name).write_bytes(content)
        return {}

    return change


def _truncated(folder: Path) -> dict[str, Any]:
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])
    return {}


def _several(folder: Path) -> dict[str, Any]:
    (folder / "model.onnx").rename(folder / "a.onnx")
    tiny.save(folder, "b.onnx")
    return {}


def _of_another_model(folder: Path) -> dict[str, Any]:
    shutil.copy(MINILM / "tokenizer.json", folder)
    return {}


def _graph(**shape: Any) -> Any:
    def change(folder: Path) -> dict[str, Any]:
        tiny.save(folder, **shape)
        return {}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(_without("model.onnx"), r"own has no ONNX file; wanted model\.onnx", id="no graph"),
        pytest.param(_without("tokenizer.json"), r"own has no tokenizer\.json; save it", id="no tokenizer"),
        pytest.param(_truncated, r"cannot load .*own/model\.onnx", id="half a graph"),
        pytest.param(_overwritten("model.onnx", b""), r"cannot load .*own/model\.onnx", id="empty graph"),
        pytest.param(_overwritten("tokenizer.json", b"{"), r"own/tokenizer\.json is no tokenizer", id="no JSON"),
        pytest.param(_several, r"own has a\.onnx, b\.onnx; pass model_file=", id="several graphs"),
        pytest.param(lambda _: {"model_file": "x.onnx"}, r"own/x\.onnx is no file", id="no such graph"),
        pytest.param(lambda _: {"output": "x"}, r"gives last_hidden_state; pass output=", id="no such output"),
        pytest.param(_graph(outputs=("a", "b")), "gives a, b; pass output=", id="outputs of unknown meaning"),
        pytest.param(
            _graph(outputs=("sentence_embedding",)), r"one vector a text: pass pooling=None", id="pooled already"
        ),
        pytest.param(lambda _: {"pooling": None}, "wanted 2 axes for pooling=None", id="not pooled"),
        pytest.param(_graph(inputs=("input_ids", "pixel_values")), "wants input_ids, pixel_values", id="another input"),
        pytest.param(_of_another_model, r"what .*own/tokenizer\.json makes of a text.*of one model", id="other ids"),
        pytest.param(
            lambda _: {"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]},
            r"CUDAExecutionProvider is wanted for .*own/model\.onnx, and this onnxruntime has .*CPUExecutionProvider; "
            r"for a GPU install onnxruntime-gpu",
            id="no CUDA",
        ),
        pytest.param(lambda _: {"providers": []}, "no provider is wanted", id="no provider"),
    ],
)
def test_what_does_not_fit_is_told_when_it_is_made_with_its_place(own_folder: Path, change: Any, message: str) -> None:
    arguments = change(own_folder)
    with pytest.raises(EncoderUnavailableError, match=message):
        OnnxEncoder(own_folder, **arguments)


@pytest.mark.parametrize("name", ["nowhere", "own/model.onnx"])
def test_a_path_that_is_no_folder_is_refused(own_folder: Path, name: str) -> None:
    with pytest.raises(EncoderUnavailableError, match=rf"{name} is no folder; wanted one with an ONNX graph"):
        OnnxEncoder(own_folder.parent / name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "max"}, "pooling is 'max', wanted 'mean', 'cls', 'last' or None"),
        ({"max_tokens": 0}, "max_tokens is 0, wanted at least 1"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_arguments_that_cannot_work_are_refused(tiny_folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        OnnxEncoder(tiny_folder, **arguments)
