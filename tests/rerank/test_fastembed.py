"""FastEmbedReranker over the real fastembed, fed from a folder with a small real cross-encoder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from synaptoroute.errors import InvalidInputError, RerankerUnavailableError
from synaptoroute.rerank import FastEmbedReranker, OnnxReranker
from synaptoroute.testing import RerankerContract
from tests.encoder import run_python
from tests.rerank import build_cross_encoder

pytest.importorskip("fastembed")

MODEL = "Xenova/ms-marco-MiniLM-L-6-v2"
QUERY, TEXTS = "turn off the lights", ["turn off the lights", "turn on the lights", "what do I owe"]

OFFLINE = """
from synaptoroute.rerank import FastEmbedReranker

try:
    FastEmbedReranker()
except Exception as exc:
    print(type(exc).__name__, exc)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cross_encoder(tmp_path_factory.mktemp("fastembed") / "cross", at="onnx/model.onnx")


@pytest.fixture(scope="module")
def fast(folder: Path) -> FastEmbedReranker:
    return FastEmbedReranker(MODEL, model_path=folder)


class TestContract(RerankerContract):
    # A float32 network in batches that are padded.
    batch_tolerance = 1e-4

    @pytest.fixture
    def reranker(self, fast: FastEmbedReranker) -> FastEmbedReranker:
        return fast


def test_scores_are_those_of_the_files_it_was_pointed_at(fast: FastEmbedReranker, folder: Path) -> None:
    np.testing.assert_allclose(fast.score(QUERY, TEXTS), OnnxReranker(folder).score(QUERY, TEXTS), atol=1e-4)


def test_fingerprint_is_the_same_wherever_the_files_are(fast: FastEmbedReranker, folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    assert FastEmbedReranker(MODEL.upper(), model_path=own, threads=1).fingerprint == fast.fingerprint
    content = bytearray((own / "onnx" / "model.onnx").read_bytes())
    content[-1] ^= 1
    (own / "onnx" / "model.onnx").write_bytes(content)
    assert FastEmbedReranker(MODEL, model_path=own).fingerprint != fast.fingerprint


def test_unknown_model_is_refused_with_the_way_to_add_it() -> None:
    with pytest.raises(InvalidInputError, match=r"no cross-encoder 'nobody/nothing'.*add_custom_model"):
        FastEmbedReranker("nobody/nothing")


def test_incomplete_folder_is_refused_naming_the_missing_file(folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    (own / "tokenizer.json").unlink()
    with pytest.raises(RerankerUnavailableError, match=r"no complete copy of .*tokenizer\.json is missing"):
        FastEmbedReranker(MODEL, model_path=own)


def test_damaged_network_is_named_on_first_use(folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    (own / "onnx" / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(RerankerUnavailableError, match="cannot load"):
        FastEmbedReranker(MODEL, model_path=own).score(QUERY, TEXTS)


def test_without_a_hub_the_error_says_what_to_do(tmp_path: Path) -> None:
    # A closed port answers at once that nobody is there.
    result = run_python(OFFLINE, within_s=120, HF_ENDPOINT="http://127.0.0.1:9", FASTEMBED_CACHE_PATH=str(tmp_path))
    assert result.stdout.startswith("RerankerUnavailableError"), result.stderr
    assert "pass model_path=" in result.stdout
