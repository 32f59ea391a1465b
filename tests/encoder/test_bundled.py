"""The bundled encoder: one text, one vector, whatever happens around it; weights proven to be the right ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute.encoder import BundledEncoder, bundled
from synaptoroute.errors import EncoderUnavailableError
from synaptoroute.profile import OptimizationProfile
from synaptoroute.testing import EncoderContract
from tests.encoder import FORK, run_python

FOLDER = bundled.WEIGHTS / bundled.DEFAULT
TEXTS = ["hi", "show my balance", "what do I owe", "cancel my flight to Oslo", "lights off", "naïve café", "?" * 300]


class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self, encoder: BundledEncoder) -> BundledEncoder:
        return encoder


@pytest.fixture(scope="module")
def alone(encoder: BundledEncoder) -> dict[str, np.ndarray]:
    """Each text's vector, encoded alone."""
    return {text: encoder.encode([text])[0] for text in TEXTS}


@settings(deadline=None, max_examples=40)
@given(batch=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=20))
def test_a_text_has_the_same_bits_in_any_batch(
    encoder: BundledEncoder, alone: dict[str, np.ndarray], batch: list[str]
) -> None:
    np.testing.assert_array_equal(encoder.encode(batch), [alone[text] for text in batch])


def test_a_text_has_the_same_bits_from_eight_threads(encoder: BundledEncoder, alone: dict[str, np.ndarray]) -> None:
    expected = [alone[text] for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        for vectors in pool.map(encoder.encode, [TEXTS] * 64):
            np.testing.assert_array_equal(vectors, expected)


def test_a_text_has_the_same_bits_when_the_calling_thread_works_alone(
    encoder: BundledEncoder, alone: dict[str, np.ndarray]
) -> None:
    expected = [alone[text] for text in TEXTS]
    np.testing.assert_array_equal(encoder.encode_in_thread(TEXTS), expected)
    assert encoder.encode_in_thread([]).shape == (0, encoder.dim)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(encoder.encode_in_thread, [TEXTS] * 16):
            np.testing.assert_array_equal(vectors, expected)


@pytest.mark.parametrize("profile", OptimizationProfile)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_text_has_the_same_bits_at_any_profile_and_number_of_threads(
    alone: dict[str, np.ndarray], profile: OptimizationProfile, threads: int
) -> None:
    vectors = BundledEncoder(profile=profile, threads=threads).encode(TEXTS)
    np.testing.assert_array_equal(vectors, [alone[text] for text in TEXTS])


def test_related_texts_are_nearer_than_unrelated_ones(encoder: BundledEncoder) -> None:
    query, near, far = encoder.encode(["what's my current balance?", "show me my balance", "play some jazz"])
    assert query @ near > 0.5
    assert query @ far < 0.3


def test_text_past_256_tokens_is_cut(encoder: BundledEncoder) -> None:
    # [CLS] and [SEP] take two of the 256.
    cut, longer = encoder.encode(["word " * 254, "word " * 254 + "balance"])
    np.testing.assert_array_equal(cut, longer)


@pytest.mark.parametrize("profile", OptimizationProfile)
def test_child_of_a_fork_gets_the_same_bits(profile: OptimizationProfile) -> None:
    result = run_python(FORK, f"BundledEncoder(profile={profile.value!r}, threads=2)")
    assert result.returncode == 0, result.stderr


def test_importing_synaptoroute_loads_no_engine() -> None:
    engines = "{'onnxruntime', 'sklearn', 'tokenizers', 'fastembed', 'openai', 'scipy', 'numpy'}"
    result = run_python(f"import sys, synaptoroute; print({engines} & set(sys.modules))")
    assert result.stdout.strip() == "set()", result.stderr


def test_constructing_encoders_package_loads_no_engine() -> None:
    engines = "{'onnxruntime', 'sklearn', 'tokenizers', 'fastembed', 'openai'}"
    script = f"import sys, synaptoroute.encoder as e; e.BundledEncoder(); print({engines} & set(sys.modules))"
    assert run_python(script).stdout.strip() == "set()"


# ---------------------------------------------------------------------------------------------------- weights
@pytest.fixture
def copied_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(FOLDER, tmp_path / bundled.DEFAULT)
    monkeypatch.setattr("synaptoroute.encoder.bundled.WEIGHTS", tmp_path)
    return tmp_path / bundled.DEFAULT


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_flipped_bit_in_a_file_is_refused_by_name_and_hash(copied_weights: Path, name: str) -> None:
    content = bytearray((copied_weights / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied_weights / name).write_bytes(content)
    with pytest.raises(EncoderUnavailableError, match="reinstall") as failure:
        BundledEncoder().encode(["hi"])
    assert str(copied_weights / name) in str(failure.value)
    assert hashlib.sha256(content).hexdigest() in str(failure.value)


def test_a_missing_file_is_named(copied_weights: Path) -> None:
    (copied_weights / "model.onnx").unlink()
    with pytest.raises(EncoderUnavailableError, match=r"model\.onnx.*reinstall"):
        BundledEncoder().encode(["hi"])


def test_after_a_failed_load_the_next_call_tries_again(copied_weights: Path) -> None:
    encoder = BundledEncoder()
    (copied_weights / "model.onnx").rename(copied_weights / "away")
    with pytest.raises(EncoderUnavailableError):
        encoder.encode(["hi"])
    (copied_weights / "away").rename(copied_weights / "model.onnx")
    assert encoder.encode(["hi"]).shape == (1, 384)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(EncoderUnavailableError, match="no bundled model 'maxilm'"):
        BundledEncoder("maxilm")


@pytest.mark.parametrize("model", bundled.MODELS)
def test_manifest_has_the_hash_of_every_file(model: str) -> None:
    folder = bundled.WEIGHTS / model
    manifest = json.loads((folder / "manifest.json").read_text())
    shipped = {path.name for path in folder.iterdir()} - {"manifest.json", "LICENSE", "NOTICE", "MODEL_CARD.md"}
    assert manifest["sha256"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(shipped)
    }


@pytest.mark.parametrize("model", bundled.MODELS)
def test_no_pair_of_weights_can_saturate_a_cpu_without_vnni(model: str) -> None:
    """vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits: 255 * (|a| + |b|) must be < 2**15."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(bundled.WEIGHTS / model / "model.onnx").graph
    constants = {constant.name: constant for constant in graph.initializer}
    products = [node for node in graph.node if node.op_type in {"DynamicQuantizeMatMul", "QAttention"}]
    assert len(products) == 24
    for node in products:
        weight = onnx.numpy_helper.to_array(constants[node.input[1]]).astype(np.int32)
        assert (np.abs(weight[0::2]) + np.abs(weight[1::2])).max() <= 128, node.name


def test_models_have_fingerprints_of_their_own() -> None:
    assert len({BundledEncoder(model).fingerprint for model in bundled.MODELS}) == len(bundled.MODELS)


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        ("book a table for two at seven", "don't book a table for two at seven"),
        ("how much is left on my data plan", "i don't need to know how much is left on my data plan"),
        ("send the report to anna", "no need to send the report to anna"),
    ],
)
def test_the_model_for_routing_tells_a_refusal_from_the_request(request_: str, refusal: str) -> None:
    def score(model: str) -> float:
        asked, refused = BundledEncoder(model).encode([request_, refusal])
        return float(asked @ refused)

    assert score("minilm-routing") < score("minilm") - 0.1


@pytest.mark.slow
def test_rebuilding_from_the_published_weights_gives_the_shipped_files() -> None:
    script = Path(__file__).parents[2] / "scripts" / "build_encoder.py"
    result = subprocess.run([sys.executable, script, "--verify"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
