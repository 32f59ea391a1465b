"""FastEmbedEncoder over the real fastembed, fed from a folder: the bundled weights laid out as fastembed wants them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from synaptoroute.encoder import BundledEncoder, FastEmbedEncoder, bundled
from synaptoroute.errors import EncoderOutputError, EncoderUnavailableError, InvalidInputError
from synaptoroute.testing import EncoderContract
from tests.encoder import FORK, run_python, tiny

pytest.importorskip("fastembed")

POTION = "minishlab/potion-base-8M"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = ["show my balance", "hi", "cancel the flight to Oslo that I booked yesterday", "what do I owe", "lights off"]

#: Constructs with the default model; prints the error, and how long it took from the import on.
OFFLINE = """
import json, time
from synaptoroute.encoder import FastEmbedEncoder

started = time.monotonic()
try:
    FastEmbedEncoder()
except Exception as exc:
    print(json.dumps([type(exc).__name__, str(exc), time.monotonic() - started]))
"""


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minilm")
    for name in ("model.onnx", "tokenizer.json"):
        shutil.copy(bundled.WEIGHTS / "minilm" / name, folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 256, "pad_token": "[PAD]"}))
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0}))
    return folder


@pytest.fixture(scope="module")
def fast(model_folder: Path) -> FastEmbedEncoder:
    return FastEmbedEncoder(MINILM, model_path=model_folder)


@pytest.fixture(scope="module")
def potion(tmp_path_factory: pytest.TempPathFactory) -> FastEmbedEncoder:
    """A static model under the name of one, which knows the tokens of the first 200 bytes."""
    return FastEmbedEncoder(POTION, model_path=tiny.save_static(tmp_path_factory.mktemp("potion"), 256, known=200))


@pytest.fixture(scope="module")
def e5(model_folder: Path) -> FastEmbedEncoder:
    """With the prefixes of e5."""
    return FastEmbedEncoder(MINILM, model_path=model_folder, query_prefix="query: ", prefix="passage: ")


@pytest.fixture
def own_folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the model that a test may damage."""
    return Path(shutil.copytree(model_folder, tmp_path / "own"))


class TestContract(EncoderContract):
    # The bundled weights are dynamically quantised, so each text is run alone and nothing may move.
    @pytest.fixture
    def encoder(self, fast: FastEmbedEncoder) -> FastEmbedEncoder:
        return fast


class TestContractOfAStaticModel(EncoderContract):
    @pytest.fixture
    def encoder(self, potion: FastEmbedEncoder) -> FastEmbedEncoder:
        return potion


class TestContractWithPrefixes(EncoderContract):
    two_sided = True

    @pytest.fixture
    def encoder(self, e5: FastEmbedEncoder) -> FastEmbedEncoder:
        return e5


def test_gives_the_vectors_of_the_model_it_was_pointed_at(fast: FastEmbedEncoder) -> None:
    np.testing.assert_allclose(fast.encode(TEXTS), BundledEncoder("minilm").encode(TEXTS), atol=1e-5)


def test_float_model_is_run_in_batches_and_keeps_the_order(fast: FastEmbedEncoder, own_folder: Path) -> None:
    _dequantise(own_folder / "model.onnx")
    floats = FastEmbedEncoder(MINILM, model_path=own_folder)
    texts = [f"{text} {number}" for number in range(6) for text in TEXTS]
    alone = np.concatenate([floats.encode([text]) for text in texts])
    np.testing.assert_allclose(floats.encode(texts), alone, atol=1e-5)
    assert (np.einsum("ij,ij->i", alone, fast.encode(texts)) > 0.95).all()


def test_child_of_a_fork_gets_the_same_bits(model_folder: Path) -> None:
    result = run_python(FORK, f"FastEmbedEncoder({MINILM!r}, model_path={str(model_folder)!r})")
    assert result.returncode == 0, result.stderr


def test_prefixes_are_put_before_the_texts_of_their_side(fast: FastEmbedEncoder, e5: FastEmbedEncoder) -> None:
    np.testing.assert_array_equal(e5.encode(TEXTS), fast.encode([f"passage: {text}" for text in TEXTS]))
    np.testing.assert_array_equal(e5.encode_queries(TEXTS), fast.encode([f"query: {text}" for text in TEXTS]))


def test_a_static_model_sums_the_vectors_of_its_tokens(potion: FastEmbedEncoder) -> None:
    wanted = tiny.table(256)[[number for number in tiny.ids_of("show my balance") if number < 200]].sum(axis=0)
    np.testing.assert_allclose(potion.encode(["show my balance"])[0], wanted / np.linalg.norm(wanted), atol=1e-6)


def test_a_text_of_unknown_tokens_has_one_row_that_is_near_to_none(tmp_path: Path) -> None:
    few = FastEmbedEncoder(POTION, model_path=tiny.save_static(tmp_path, 256, known=90))
    first, second, known = few.encode(["你", "好", "show my balance"])
    np.testing.assert_array_equal(first, second)
    assert abs(float(first @ known)) < 0.3


# ------------------------------------------------------------------------------------------------ fingerprint
def test_fingerprint_is_the_same_wherever_the_files_are(fast: FastEmbedEncoder, own_folder: Path) -> None:
    assert FastEmbedEncoder(MINILM.upper(), model_path=own_folder, threads=1).fingerprint == fast.fingerprint


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "tokenizer_config.json"])
def test_fingerprint_changes_with_weights_and_tokenizer(fast: FastEmbedEncoder, own_folder: Path, name: str) -> None:
    content = bytearray((own_folder / name).read_bytes())
    content[-1] ^= 1
    (own_folder / name).write_bytes(content)
    assert FastEmbedEncoder(MINILM, model_path=own_folder).fingerprint != fast.fingerprint


def test_fingerprint_changes_with_the_pooling(fast: FastEmbedEncoder, own_folder: Path) -> None:
    # The same files under a name that fastembed pools by the first token.
    first_token = FastEmbedEncoder("BAAI/bge-large-en-v1.5", model_path=own_folder)
    assert first_token.fingerprint.split("-")[-1] != fast.fingerprint.split("-")[-1]


def test_fingerprint_changes_with_the_prefixes(
    fast: FastEmbedEncoder, e5: FastEmbedEncoder, model_folder: Path
) -> None:
    alike = FastEmbedEncoder(MINILM, model_path=model_folder, query_prefix="passage: ", prefix="query: ")
    assert len({fast.fingerprint, e5.fingerprint, alike.fingerprint}) == 3


# ---------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize("wanted", [{"cuda": True}, {"providers": ["CUDAExecutionProvider"]}])
def test_an_absent_provider_is_named_beside_those_that_are_there(model_folder: Path, wanted: dict[str, Any]) -> None:
    with pytest.raises(EncoderUnavailableError, match=r"CUDAExecutionProvider is wanted.*has .*CPUExecutionProvider"):
        FastEmbedEncoder(MINILM, model_path=model_folder, **wanted)


@pytest.mark.parametrize(
    ("name", "wanted", "message"),
    [
        (MINILM, {"cuda": True, "providers": ["CPUExecutionProvider"]}, "are both given"),
        (POTION, {"cuda": True}, "static model, which NumPy runs"),
        (POTION, {"providers": ["CPUExecutionProvider"]}, "static model, which NumPy runs"),
    ],
)
def test_arguments_that_contradict_are_refused(name: str, wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        FastEmbedEncoder(name, **wanted)


def test_unknown_model_is_refused_with_the_way_to_add_it() -> None:
    with pytest.raises(InvalidInputError, match=r"no model 'nobody/nothing'.*add_custom_model"):
        FastEmbedEncoder("nobody/nothing")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_incomplete_folder_is_refused_naming_the_missing_file(own_folder: Path, name: str) -> None:
    (own_folder / name).unlink()
    with pytest.raises(EncoderUnavailableError, match=f"own is no complete copy of {MINILM}: {name} is missing"):
        FastEmbedEncoder(MINILM, model_path=own_folder)


def test_missing_tokenizer_settings_are_named_on_first_use(own_folder: Path) -> None:
    # Static models need none, so only fastembed can tell.
    (own_folder / "tokenizer_config.json").unlink()
    with pytest.raises(EncoderUnavailableError, match="Could not find tokenizer_config"):
        FastEmbedEncoder(MINILM, model_path=own_folder).encode(["hi"])


def test_truncated_weights_are_refused_naming_the_folder(own_folder: Path) -> None:
    with (own_folder / "model.onnx").open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(EncoderUnavailableError, match=f"cannot load {MINILM} from {own_folder}"):
        FastEmbedEncoder(MINILM, model_path=own_folder).encode(["hi"])


def test_files_of_a_model_with_another_dim_are_noticed(own_folder: Path) -> None:
    mistaken = FastEmbedEncoder("BAAI/bge-large-en-v1.5", model_path=own_folder)
    with pytest.raises(EncoderOutputError, match=r"\(1, 384\) for 1 texts, wanted \(1, 1024\)"):
        mistaken.encode(["hi"])


def test_without_fastembed_the_install_line_is_given() -> None:
    script = "import sys; sys.modules['fastembed'] = None\nimport synaptoroute.encoder as e; e.FastEmbedEncoder()"
    result = run_python(script)
    assert "MissingExtraError" in result.stderr
    assert "pip install 'synaptoroute[fastembed]'" in result.stderr


# ----------------------------------------------------------------------------------------------------- the hub
@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Connections are accepted by the kernel, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize("hub", ["closed_port", "silent_port"])
def test_without_hub_and_cache_it_fails_within_five_seconds_and_says_what_to_do(
    request: pytest.FixtureRequest, tmp_path: Path, hub: str
) -> None:
    endpoint = f"http://127.0.0.1:{request.getfixturevalue(hub)}"
    result = run_python(OFFLINE, HF_ENDPOINT=endpoint, FASTEMBED_CACHE_PATH=str(tmp_path), HF_HOME=str(tmp_path))
    error, message, took_s = json.loads(result.stdout)
    assert error == "EncoderUnavailableError"
    assert took_s < 5
    for way_out in ("model_path=", "FASTEMBED_CACHE_PATH", "BundledEncoder"):
        assert way_out in message
    assert result.stderr == ""


def test_a_model_is_downloaded_once_and_then_used_without_the_hub(
    model_folder: Path, fast: FastEmbedEncoder, tmp_path: Path, httpserver: HTTPServer, closed_port: int
) -> None:
    script = f"import synaptoroute.encoder as e; print(e.FastEmbedEncoder({MINILM!r}).fingerprint)"
    httpserver.expect_request(re.compile(".*")).respond_with_handler(_Hub(model_folder))
    for endpoint in (httpserver.url_for("").rstrip("/"), f"http://127.0.0.1:{closed_port}"):
        result = run_python(script, HF_ENDPOINT=endpoint, FASTEMBED_CACHE_PATH=str(tmp_path), HF_HOME=str(tmp_path))
        assert result.stdout.strip() == fast.fingerprint, result.stderr
        assert "ERROR" not in result.stderr


class _Hub:
    """As much of the model hub's API as a download needs: what a repository has, and its files."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self._repository, self._revision = "Qdrant/all-MiniLM-L6-v2-onnx", "0" * 40

    def __call__(self, request: Request) -> Response:
        about = f"/api/models/{self._repository}"
        if request.path.startswith(f"{about}/tree/"):
            return self._json([self._entry(name) for name in self._files])
        if request.path.startswith(about):
            files = [{"rfilename": name} for name in self._files]
            return self._json({"id": self._repository, "sha": self._revision, "siblings": files})
        if request.path.startswith(f"/{self._repository}/resolve/"):
            entry = self._entry(request.path.rsplit("/", 1)[1])
            headers = {
                "ETag": f'"{entry["oid"]}"',
                "X-Repo-Commit": self._revision,
                "Content-Length": str(entry["size"]),
            }
            return Response(self._files[entry["path"]], headers=headers)
        return Response("not here", 404)

    def _entry(self, name: str) -> dict[str, Any]:
        content = self._files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha256(content).hexdigest()[:40]}

    def _json(self, value: object) -> Response:
        return Response(json.dumps(value), content_type="application/json")


def test_a_model_the_hub_does_not_have_is_given_up_at_once(tmp_path: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_request(re.compile(".*")).respond_with_data("not here", 404)
    endpoint = httpserver.url_for("").rstrip("/")
    result = run_python(OFFLINE, HF_ENDPOINT=endpoint, FASTEMBED_CACHE_PATH=str(tmp_path), HF_HOME=str(tmp_path))
    error, message, took_s = json.loads(result.stdout)
    assert error == "EncoderUnavailableError"
    assert "404" in message
    assert took_s < 5


def _dequantise(path: Path) -> None:
    """Rewrite the bundled graph in float32: the same weights, no rounding of activations."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    floats, nodes = {}, []
    for node in model.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            source = node.input[0]
            continue
        if node.op_type in {"DynamicQuantizeMatMul", "QAttention"}:
            attention = node.op_type == "QAttention"
            weight, scale, bias = (node.input[i] for i in ((1, 4, 2) if attention else (1, 2, 4)))
            floats[f"{weight}.f"] = constants[weight].astype(np.float32) * constants[scale]
            if attention:
                inputs = [source, f"{weight}.f", bias, node.input[5]]
                heads = {"num_heads": node.attribute[0].i}
                node = onnx.helper.make_node("Attention", inputs, node.output, domain="com.microsoft", **heads)
            else:
                product = f"{node.output[0]}.product"
                nodes.append(onnx.helper.make_node("MatMul", [node.input[0], f"{weight}.f"], [product]))
                node = onnx.helper.make_node("Add", [product, bias], node.output)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in floats.items())
    onnx.save(model, path)
