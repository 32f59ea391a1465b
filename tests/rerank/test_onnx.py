"""OnnxReranker over a small real cross-encoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from synaptoroute.errors import InvalidInputError, RerankerError, RerankerUnavailableError
from synaptoroute.rerank import OnnxReranker
from synaptoroute.testing import RerankerContract
from tests.encoder import run_python
from tests.rerank import build_cross_encoder

QUERY, TEXTS = "turn off the lights", ["turn off the lights", "turn on the lights", "what do I owe"]

#: Scores before a fork and in the child, which must be the same bits.
FORK = """
import os, sys
from synaptoroute.rerank import OnnxReranker

reranker = OnnxReranker({folder!r})
before = reranker.score("turn off the lights", ["turn on the lights"]).tobytes()
child = os.fork()
if not child:
    os._exit(reranker.score("turn off the lights", ["turn on the lights"]).tobytes() != before)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class TestContract(RerankerContract):
    @pytest.fixture
    def reranker(self, cross_encoder: Path) -> OnnxReranker:
        return OnnxReranker(cross_encoder)


@pytest.fixture
def own_folder(cross_encoder: Path, tmp_path: Path) -> Path:
    """A copy of the model that a test may damage."""
    return Path(shutil.copytree(cross_encoder, tmp_path / "own"))


def test_scores_are_those_of_the_network(cross_encoder: Path) -> None:
    # Ten times the cosine of what the texts are made of: 10 for the same tokens.
    scores = OnnxReranker(cross_encoder).score(QUERY, TEXTS)
    assert scores[0] == pytest.approx(10, abs=1e-4)
    assert scores[0] > scores[1] > scores[2]


def test_the_network_may_be_one_folder_down_or_be_named_itself(own_folder: Path) -> None:
    expected = OnnxReranker(own_folder).score(QUERY, TEXTS)
    (own_folder / "onnx").mkdir()
    (own_folder / "model.onnx").rename(own_folder / "onnx" / "model.onnx")
    by_folder, by_file = OnnxReranker(own_folder), OnnxReranker(own_folder / "onnx" / "model.onnx")
    np.testing.assert_array_equal(by_folder.score(QUERY, TEXTS), expected)
    np.testing.assert_array_equal(by_file.score(QUERY, TEXTS), expected)
    assert by_folder.name == by_file.name == "own"
    assert by_folder.fingerprint == by_file.fingerprint


def test_the_longer_text_of_a_pair_is_cut_at_the_longest_pair(cross_encoder: Path) -> None:
    short = OnnxReranker(cross_encoder, max_tokens=11)
    # Three special tokens and four of the query leave four of the text.
    cut, whole = short.score(QUERY, [f"{QUERY} cat dog cow", QUERY]), short.score(QUERY, [QUERY])
    assert cut[0] == cut[1] == whole[0]
    assert short.fingerprint != OnnxReranker(cross_encoder).fingerprint


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_fingerprint_changes_with_every_byte_and_not_with_the_place(own_folder: Path, name: str) -> None:
    before = OnnxReranker(own_folder, name="mine").fingerprint
    moved = own_folder.rename(own_folder.with_name("moved"))
    assert OnnxReranker(moved, name="mine").fingerprint == before
    content = bytearray((moved / name).read_bytes())
    content[-1] ^= 1
    (moved / name).write_bytes(content)
    assert OnnxReranker(moved, name="mine").fingerprint != before


def test_fingerprint_changes_with_weights_beside_the_network(own_folder: Path) -> None:
    before = OnnxReranker(own_folder).fingerprint
    (own_folder / "model.onnx_data").write_bytes(b"more")
    assert OnnxReranker(own_folder).fingerprint != before


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(own_folder: Path, name: str) -> None:
    (own_folder / name).unlink()
    with pytest.raises(RerankerUnavailableError, match=name.replace(".", r"\.")):
        OnnxReranker(own_folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_damaged_file_is_named_when_it_is_first_needed(own_folder: Path, name: str) -> None:
    (own_folder / name).write_bytes(b"nonsense")
    with pytest.raises(RerankerUnavailableError, match=rf"cannot load .*{name}"):
        OnnxReranker(own_folder).score(QUERY, TEXTS)


def test_a_network_of_three_labels_is_no_reranker(tmp_path: Path) -> None:
    folder = build_cross_encoder(tmp_path / "entailment", labels=3)
    with pytest.raises(RerankerError, match=r"shape \(1, 3\) for a pair, wanted one logit"):
        OnnxReranker(folder).score(QUERY, TEXTS)


@pytest.mark.parametrize("wrong", [{"max_tokens": 4}, {"threads": 0}])
def test_limits_out_of_range_are_refused(cross_encoder: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        OnnxReranker(cross_encoder, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", ["{}", "not json", json.dumps({"model_max_length": 10**30})])
def test_odd_tokenizer_settings_leave_the_usual_limit(own_folder: Path, settings: str) -> None:
    (own_folder / "tokenizer_config.json").write_text(settings)
    usual = OnnxReranker(own_folder, max_tokens=512).fingerprint
    assert OnnxReranker(own_folder).fingerprint == usual


def test_child_of_a_fork_gets_the_same_bits(cross_encoder: Path) -> None:
    result = run_python(FORK.format(folder=str(cross_encoder)))
    assert result.returncode == 0, result.stderr
