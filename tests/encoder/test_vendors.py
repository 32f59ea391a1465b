"""CohereEncoder and VoyageEncoder through the vendors' own clients, against a server on a real socket."""

from __future__ import annotations

import base64
import json
import socket
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from synaptoroute.encoder import CohereEncoder, VoyageEncoder
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderError, EncoderOutputError, EncoderUnavailableError, InvalidInputError
from synaptoroute.testing import EncoderContract
from tests.encoder import run_python
from tests.encoder.test_openai import vector_of

pytest.importorskip("cohere")
pytest.importorskip("voyageai")

KEY = "secret-5e1f"
DIM = 8

Encoder: TypeAlias = CohereEncoder | VoyageEncoder


class VendorServer:
    """Answers like the vendor: other vectors for each ``input_type``.

    Attributes:
        requests: The bodies received.
        failures: Answers to give before the proper ones.
        distort: What happens to the vectors of an answer on their way out.
    """

    def __init__(self, http: HTTPServer, vendor: str) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.failures: list[Response] = []
        self.distort: Callable[[list[Any]], list[Any]] = lambda vectors: vectors
        self._cohere = vendor == "cohere"
        self.url = http.url_for("/" if self._cohere else "/v1").rstrip("/")
        path = "/v2/embed" if self._cohere else "/v1/embeddings"
        http.expect_request(path, method="POST").respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        body = request.get_json()
        self.requests.append(body)
        self.keys.append(request.headers["Authorization"])
        if self.failures:
            return self.failures.pop(0)
        texts = body["texts"] if self._cohere else body["input"]
        dim = body.get("output_dimension") or DIM
        vectors = self.distort([sent_for(text, body.get("input_type"), dim) for text in texts])
        answer = self._of_cohere(vectors) if self._cohere else self._of_voyage(vectors)
        return Response(json.dumps(answer), content_type="application/json")

    def _of_cohere(self, vectors: list[Any]) -> dict[str, Any]:
        rows = [vector.tolist() if isinstance(vector, np.ndarray) else vector for vector in vectors]
        return {"id": "1", "response_type": "embeddings_by_type", "embeddings": {"float": rows}, "texts": []}

    def _of_voyage(self, vectors: list[Any]) -> dict[str, Any]:
        rows = [base64.b64encode(each.tobytes()).decode() if isinstance(each, np.ndarray) else each for each in vectors]
        data = [{"object": "embedding", "index": row, "embedding": each} for row, each in enumerate(rows)]
        return {"object": "list", "data": data, "model": "m", "usage": {"total_tokens": 1}}


def sent_for(text: str, side: str | None, dim: int = DIM) -> Vectors:
    return vector_of(f"{side}: {text}", dim)


def rows_for(texts: list[str], side: str | None) -> Vectors:
    vectors = np.array([sent_for(text, side) for text in texts])
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@pytest.fixture(params=["cohere", "voyage"])
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(httpserver: HTTPServer, vendor: str) -> VendorServer:
    return VendorServer(httpserver, vendor)


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CO_API_KEY", "CO_API_URL", "COHERE_API_KEY", "VOYAGE_API_KEY", "VOYAGE_API_KEY_PATH"):
        monkeypatch.delenv(name, raising=False)


def make(vendor: str, url: str, **more: Any) -> Encoder:
    arguments: dict[str, Any] = {"dim": DIM, "api_key": KEY, "base_url": url, "timeout_s": 5, "max_retries": 1} | more
    return CohereEncoder("embed-mine", **arguments) if vendor == "cohere" else VoyageEncoder(**arguments)


@pytest.fixture
def remote(server: VendorServer, vendor: str) -> Encoder:
    return make(vendor, server.url)


class TestContract(EncoderContract):
    two_sided = True

    @pytest.fixture
    def encoder(self, remote: Encoder) -> Encoder:
        return remote


# -------------------------------------------------------------------------------------------------- requests
def test_each_side_is_sent_as_what_it_is(remote: Encoder, server: VendorServer, vendor: str) -> None:
    document, query = ("search_document", "search_query") if vendor == "cohere" else ("document", "query")
    np.testing.assert_allclose(remote.encode(["a", "b"]), rows_for(["a", "b"], document), atol=1e-6)
    np.testing.assert_allclose(remote.encode_queries(["a"]), rows_for(["a"], query), atol=1e-6)
    assert server.keys == [f"Bearer {KEY}"] * 2


def test_like_can_be_matched_with_like(server: VendorServer, vendor: str) -> None:
    purpose, side = ("classification", "classification") if vendor == "cohere" else (None, None)
    alike = make(vendor, server.url, purpose=purpose)
    for encoded in (alike.encode(["a"]), alike.encode_queries(["a"])):
        np.testing.assert_allclose(encoded, rows_for(["a"], side), atol=1e-6)


def test_no_request_has_more_texts_than_the_vendor_takes(remote: Encoder, server: VendorServer, vendor: str) -> None:
    most, side = (96, "search_document") if vendor == "cohere" else (1_000, "document")
    texts = [f"text {number}" for number in range(2 * most + 10)]
    np.testing.assert_allclose(remote.encode(texts), rows_for(texts, side), atol=1e-6)
    sizes = [len(request["texts" if vendor == "cohere" else "input"]) for request in server.requests]
    assert sorted(sizes) == [10, most, most]


def test_no_request_of_voyage_has_more_bytes_than_the_least_model_takes_tokens(httpserver: HTTPServer) -> None:
    server = VendorServer(httpserver, "voyage")
    make("voyage", server.url).encode(["a" * 70_000, "b" * 50_000, "c", "d" * 200_000])
    sizes = sorted(sum(len(text) for text in request["input"]) for request in server.requests)
    assert sizes == [1, 120_000, 200_000]


@pytest.mark.parametrize(
    ("vendor", "arguments", "wanted"),
    [
        ("cohere", {"model": "embed-v4.0", "dim": 256}, 256),
        ("cohere", {"model": "embed-multilingual-v3.0"}, None),
        ("voyage", {"dim": 256}, 256),
        ("voyage", {}, None),
    ],
)
def test_the_length_is_asked_for_where_the_model_has_several(
    server: VendorServer, vendor: str, arguments: dict[str, Any], wanted: int | None
) -> None:
    kind: Any = CohereEncoder if vendor == "cohere" else VoyageEncoder
    encoder = kind(**arguments, api_key=KEY, base_url=server.url, max_retries=0)
    if wanted is None:
        server.distort = lambda vectors: [np.ones(1_024, np.float32) for _ in vectors]
    assert encoder.encode(["a"]).shape == (1, wanted or 1_024)
    assert server.requests[0].get("output_dimension") == wanted


# --------------------------------------------------------------------------------------------------- identity
def test_fingerprint_changes_with_model_dim_server_and_purpose_but_not_with_the_key(vendor: str) -> None:
    def fingerprint(host: str = "a.example", **changed: Any) -> str:
        return make(vendor, f"https://{host}", **changed).fingerprint

    assert fingerprint() == fingerprint(api_key="another", timeout_s=1)
    other = "clustering" if vendor == "cohere" else None
    seen = [fingerprint(), fingerprint("b.example"), fingerprint(dim=16), fingerprint(purpose=other)]
    assert len(set(seen)) == 4


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (CohereEncoder, {"model": "my-own"}, "length of 'my-own' is not known here; pass dim="),
        (CohereEncoder, {"purpose": "searching"}, "purpose is 'searching', wanted one of search, classification"),
        (CohereEncoder, {"batch_size": 97}, "batch_size is 97, wanted 1 to 96"),
        (CohereEncoder, {"dim": -1}, "dim is -1, wanted at least 1"),
        (VoyageEncoder, {"dim": 0}, "dim is 0, wanted at least 1"),
        (VoyageEncoder, {"purpose": "query"}, "purpose is 'query', wanted 'search' or None"),
        (VoyageEncoder, {"concurrency": 0}, "concurrency is 0"),
    ],
)
def test_arguments_that_cannot_work_are_refused(kind: type[Encoder], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        kind(api_key=KEY, **arguments)


def test_without_a_key_it_says_how_to_give_one_unless_the_server_is_on_this_machine(vendor: str) -> None:
    kind = CohereEncoder if vendor == "cohere" else VoyageEncoder
    variable = "CO_API_KEY" if vendor == "cohere" else "VOYAGE_API_KEY"
    for url in (None, "https://a.example"):
        with pytest.raises(EncoderUnavailableError, match=rf"set {variable}, or pass api_key="):
            kind(base_url=url)
    assert kind(base_url="http://127.0.0.1:1").dim


def test_the_key_may_stand_in_the_environment(
    server: VendorServer, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CO_API_KEY" if vendor == "cohere" else "VOYAGE_API_KEY", "theirs")
    make(vendor, server.url, api_key=None).encode(["a"])
    assert server.keys == ["Bearer theirs"]


@pytest.mark.parametrize(("name", "extra"), [("cohere", "cohere"), ("voyageai", "voyage")])
def test_without_its_package_the_install_line_is_given(name: str, extra: str) -> None:
    kind = {"cohere": "CohereEncoder", "voyageai": "VoyageEncoder"}[name]
    result = run_python(f"import sys; sys.modules[{name!r}] = None\nimport synaptoroute.encoder as e; e.{kind}()")
    assert f"pip install 'synaptoroute[{extra}]'" in result.stderr


# --------------------------------------------------------------------------------------------------- failures
def failure(status: int, message: str = "no") -> Response:
    return Response(json.dumps({"message": message, "detail": message}), status, content_type="application/json")


@pytest.mark.parametrize("status", [429, 503])
def test_a_passing_failure_is_retried(remote: Encoder, server: VendorServer, status: int) -> None:
    server.failures = [failure(status)]
    assert remote.encode(["a"]).shape == (1, DIM)
    assert len(server.requests) == 2


def test_a_refused_request_is_not_retried(remote: Encoder, server: VendorServer) -> None:
    server.failures = [failure(400)]
    with pytest.raises(EncoderError, match=r"answered 400 .*to 1 texts"):
        remote.encode(["a"])
    assert len(server.requests) == 1


def test_a_lasting_failure_is_given_up(server: VendorServer, vendor: str) -> None:
    server.failures = [failure(500) for _ in range(5)]
    with pytest.raises(EncoderError, match="answered 500") as error:
        make(vendor, server.url, max_retries=0).encode(["a"])
    assert not isinstance(error.value, EncoderUnavailableError | EncoderOutputError)


def test_a_refused_key_is_never_shown_even_if_the_server_repeats_it(remote: Encoder, server: VendorServer) -> None:
    server.failures = [failure(401, f"invalid api token: {KEY}")]
    with pytest.raises(EncoderUnavailableError, match="refused the API key") as error:
        remote.encode(["a"])
    assert KEY not in "".join(traceback.format_exception(error.value))


@pytest.fixture
def silent_url() -> Iterator[str]:
    """Connections are accepted by the kernel, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_never_answers_is_given_up(silent_url: str, vendor: str) -> None:
    with pytest.raises(EncoderUnavailableError, match="did not answer in time"):
        make(vendor, silent_url, timeout_s=0.2, max_retries=0).encode(["a"])


def test_a_server_that_is_not_there_is_reported(vendor: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(EncoderUnavailableError, match=r"127\.0\.0\.1:\d+ cannot be reached"):
        make(vendor, url, max_retries=0).encode(["a"])


@pytest.mark.parametrize(
    ("distort", "message"),
    [
        pytest.param(lambda vectors: vectors[:-1], "1 vectors for 2 texts", id="one too few"),
        pytest.param(lambda vectors: [[1.0] * 9] * 2, r"shape \(9,\), wanted \(8,\); pass dim=", id="long"),
        pytest.param(lambda vectors: [[0.0] * 8] * 2, "NaN, infinite or zero", id="zero"),
        pytest.param(lambda vectors: [[float("nan")] * 8] * 2, "NaN, infinite or zero", id="NaN"),
    ],
)
def test_a_wrong_answer_is_noticed(
    remote: Encoder, server: VendorServer, distort: Callable[[list[Any]], list[Any]], message: str
) -> None:
    server.distort = distort
    with pytest.raises(EncoderOutputError, match=message):
        remote.encode(["a", "b"])


@pytest.mark.parametrize("body", ["{}", "[]", '{"data": [1, 2], "embeddings": 3}', "<html>"])
def test_an_answer_that_is_none_is_noticed(remote: Encoder, server: VendorServer, body: str) -> None:
    server.failures = [Response(body, content_type="application/json")]
    with pytest.raises(EncoderError):
        remote.encode(["a", "b"])
