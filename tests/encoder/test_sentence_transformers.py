"""SentenceTransformerEncoder over the real package, with a small BERT that the test makes and saves."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synaptoroute.encoder import SentenceTransformerEncoder
from synaptoroute.errors import EncoderUnavailableError, InvalidInputError
from synaptoroute.testing import EncoderContract
from tests.encoder import run_python, tiny

if find_spec("sentence_transformers") is None:
    pytest.skip("sentence-transformers is not installed: pip install --group torch", allow_module_level=True)

TEXTS = ["show my balance", "hi", "cancel the flight to Oslo that I booked yesterday"]
PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of BERT over bytes with drawn weights, mean pooling, saved as sentence-transformers saves models."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    bert = tmp_path_factory.mktemp("bert")
    made = tiny.tokenizer()
    made.add_special_tokens(["[PAD]"])
    config = BertConfig(
        vocab_size=made.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(bert)
    padding = {"pad_token": "[PAD]"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=128, **padding).save_pretrained(bert)
    transformer = modules.Transformer(str(bert))
    pooling = modules.Pooling(32, pooling_mode="mean")
    saved = tmp_path_factory.mktemp("saved") / "tiny-bert"
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(saved))
    return saved


@pytest.fixture(scope="module")
def plain(folder: Path) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(folder, device="cpu")


@pytest.fixture(scope="module")
def e5(folder: Path) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(folder, device="cpu", prompts=PROMPTS)


class TestContract(EncoderContract):
    batch_tolerance = 1e-5

    @pytest.fixture
    def encoder(self, plain: SentenceTransformerEncoder) -> SentenceTransformerEncoder:
        return plain


class TestContractWithPrompts(EncoderContract):
    batch_tolerance = 1e-5
    two_sided = True

    @pytest.fixture
    def encoder(self, e5: SentenceTransformerEncoder) -> SentenceTransformerEncoder:
        return e5


def test_prompts_are_put_before_the_texts_of_their_side(
    plain: SentenceTransformerEncoder, e5: SentenceTransformerEncoder
) -> None:
    np.testing.assert_allclose(e5.encode(TEXTS), plain.encode([f"passage: {text}" for text in TEXTS]), atol=1e-5)
    np.testing.assert_allclose(e5.encode_queries(TEXTS), plain.encode([f"query: {text}" for text in TEXTS]), atol=1e-5)


def test_prompts_that_were_saved_with_the_model_are_used(folder: Path, e5: Any, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(folder), prompts=PROMPTS, device="cpu").save(str(tmp_path / "saved"))
    saved = SentenceTransformerEncoder(tmp_path / "saved", device="cpu")
    np.testing.assert_allclose(saved.encode_queries(TEXTS), e5.encode_queries(TEXTS), atol=1e-6)


def test_fingerprint_changes_with_weights_and_prompts_not_with_the_place(
    folder: Path, plain: SentenceTransformerEncoder, e5: SentenceTransformerEncoder, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    model.save(str(tmp_path / "same" / folder.name))
    assert SentenceTransformerEncoder(tmp_path / "same" / folder.name, device="cpu").fingerprint == plain.fingerprint
    next(model.parameters()).data[0, 0] += 1
    model.save(str(tmp_path / "other" / folder.name))
    other = SentenceTransformerEncoder(tmp_path / "other" / folder.name, device="cpu")
    assert len({plain.fingerprint, e5.fingerprint, other.fingerprint}) == 3


def test_sixteen_bits_are_another_fingerprint(folder: Path, plain: SentenceTransformerEncoder) -> None:
    halves = SentenceTransformerEncoder(folder, device="cpu", model_kwargs={"dtype": "bfloat16"})
    assert halves.fingerprint != plain.fingerprint
    np.testing.assert_allclose(np.linalg.norm(halves.encode(TEXTS), axis=1), 1, atol=1e-2)


def test_a_folder_that_is_none_of_its_models_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "no.such.Module"}]))
    with pytest.raises(EncoderUnavailableError, match=f"cannot load {tmp_path}"):
        SentenceTransformerEncoder(tmp_path, local_files_only=True)


def test_an_absent_device_is_refused(folder: Path) -> None:
    with pytest.raises(EncoderUnavailableError, match=r"cannot load .*and a device that is there"):
        SentenceTransformerEncoder(folder, device="cuda:7")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompts": {"passage": "p: "}}, "prompts are for passage; wanted 'query' and 'document'"),
        ({"batch_size": 0}, "batch_size is 0; wanted"),
    ],
)
def test_arguments_that_cannot_work_are_refused(folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        SentenceTransformerEncoder(folder, **arguments)


def test_without_the_package_the_install_line_is_given() -> None:
    script = "import sys; sys.modules['sentence_transformers'] = None\nimport synaptoroute.encoder as e\n"
    result = run_python(f"{script}e.SentenceTransformerEncoder('m')")
    assert "pip install 'synaptoroute[sentence-transformers]'" in result.stderr
