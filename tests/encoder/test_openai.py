"""OpenAIEncoder through the official client, against a server on a real socket that speaks the embeddings API."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openai
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from synaptoroute.encoder import OpenAIEncoder
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderError, EncoderOutputError, EncoderUnavailableError, InvalidInputError
from synaptoroute.testing import EncoderContract
from tests.encoder import FORK, run_python

KEY = "sk-secret-5e1f"
DIM = 8
#: Tells the client to try again after a millisecond.
SOON = {"retry-after-ms": "1"}

Item = dict[str, Any]


def vector_of(text: str, dim: int = DIM) -> Vectors:
    """What the server answers for a text: numbers drawn from it, not normalised."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=dim).astype(np.float32)


def unit_vectors_of(texts: list[str]) -> Vectors:
    vectors = np.array([vector_of(text) for text in texts])
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


class EmbeddingsServer:
    """Answers like OpenAI. Tests change ``distort`` and ``failures``, and read ``requests``.

    Attributes:
        requests: The bodies received.
        speaks_base64: False for a server that sends lists of numbers whatever it is asked for.
        failures: Answers to give before the proper ones.
        distort: What happens to the items of an answer on their way out.
    """

    def __init__(self, http: HTTPServer) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.speaks_base64 = True
        self.failures: list[Response] = []
        self.distort: Callable[[list[Item]], list[Item]] = lambda items: items
        self.url = http.url_for("/v1")
        http.expect_request("/v1/embeddings", method="POST").respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        body = request.get_json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if self.failures:
            return self.failures.pop(0)
        items = [self._item(index, text, body) for index, text in enumerate(body["input"])]
        answer = {"object": "list", "model": body["model"], "data": self.distort(items), "usage": {}}
        return Response(json.dumps(answer), content_type="application/json")

    def _item(self, index: int, text: str, body: dict[str, Any]) -> Item:
        vector = vector_of(text, body.get("dimensions", DIM))
        in_base64 = self.speaks_base64 and body.get("encoding_format") == "base64"
        embedding = base64.b64encode(vector.tobytes()).decode() if in_base64 else vector.tolist()
        return {"object": "embedding", "index": index, "embedding": embedding}


def failure(status: int, message: str = "no", **headers: str) -> Response:
    body = {"error": {"message": message, "type": "some_error", "code": "some_code", "param": None}}
    return Response(json.dumps(body), status, headers=SOON | headers, content_type="application/json")


@pytest.fixture
def server(httpserver: HTTPServer) -> EmbeddingsServer:
    return EmbeddingsServer(httpserver)


@pytest.fixture
def threaded() -> Iterator[HTTPServer]:
    """A server that answers several at once."""
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        yield http


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def remote(server: EmbeddingsServer) -> OpenAIEncoder:
    return OpenAIEncoder(dim=DIM, base_url=server.url, api_key=KEY, timeout_s=5, max_retries=2)


class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self, remote: OpenAIEncoder) -> OpenAIEncoder:
        return remote


class TestContractWithNumbersInsteadOfBase64(EncoderContract):
    @pytest.fixture
    def encoder(self, server: EmbeddingsServer, remote: OpenAIEncoder) -> OpenAIEncoder:
        server.speaks_base64 = False
        return remote


class TestContractWithPrefixes(EncoderContract):
    two_sided = True

    @pytest.fixture
    def encoder(self, server: EmbeddingsServer) -> OpenAIEncoder:
        return OpenAIEncoder("e5", dim=DIM, base_url=server.url, query_prefix="query: ", prefix="passage: ")


# -------------------------------------------------------------------------------------------------- dialects
@dataclass(frozen=True)
class Dialect:
    """How a server differs from OpenAI: as each of them is documented, in November 2026."""

    path: str = "/v1/embeddings"
    most: int = 2_048
    base64: bool = True
    #: The header with the key, and what it must be.
    key: tuple[str, str] | None = None
    #: What it says to too many texts.
    refusal: dict[str, Any] = field(default_factory=dict)
    status: int = 400


DIALECTS = {
    "Azure": Dialect(path="/openai/deployments/router/embeddings", key=("api-key", KEY)),
    "Ollama": Dialect(base64=False),
    "vLLM": Dialect(key=("Authorization", f"Bearer {KEY}")),
    "TEI": Dialect(most=32, status=422, refusal={"error": "batch size 64 > maximum allowed batch size 32"}),
    "infinity": Dialect(path="/embeddings"),
}


class DialectServer:
    """Refuses all that its dialect does not take."""

    def __init__(self, http: HTTPServer, dialect: Dialect) -> None:
        self._dialect, self.asked = dialect, 0
        http.expect_request(dialect.path, method="POST").respond_with_handler(self._answer)
        self.url = http.url_for(dialect.path.removesuffix("/embeddings"))

    def _answer(self, request: Request) -> Response:
        self.asked += 1
        body, dialect = request.get_json(), self._dialect
        if dialect.key is not None and request.headers.get(dialect.key[0]) != dialect.key[1]:
            return Response("{}", 401, content_type="application/json")
        if len(body["input"]) > dialect.most:
            return Response(json.dumps(dialect.refusal), dialect.status, content_type="application/json")
        vectors = [vector_of(text) for text in body["input"]]
        sent = [base64.b64encode(v.tobytes()).decode() if dialect.base64 else v.tolist() for v in vectors]
        items = [{"object": "embedding", "index": row, "embedding": each} for row, each in enumerate(sent)]
        return Response(json.dumps({"object": "list", "data": items}), content_type="application/json")


def encoder_for(name: str, url: str, **more: Any) -> OpenAIEncoder:
    """As docs/encoders.md says."""
    if name == "Azure":
        endpoint = url.partition("/openai")[0]
        client = openai.AzureOpenAI(azure_endpoint=endpoint, api_key=KEY, api_version="2024-10-21")
        return OpenAIEncoder("router", dim=DIM, client=client, **more)
    key = KEY if DIALECTS[name].key else None
    return OpenAIEncoder("my-own", dim=DIM, base_url=url, api_key=key, **more)


@pytest.mark.parametrize("name", DIALECTS)
def test_each_server_is_spoken_to_as_it_wants(httpserver: HTTPServer, name: str) -> None:
    server = DialectServer(httpserver, DIALECTS[name])
    texts = [f"text {number}" for number in range(70)]
    encoder = encoder_for(name, server.url, batch_size=min(DIALECTS[name].most, 2_048))
    np.testing.assert_allclose(encoder.encode(texts), unit_vectors_of(texts), atol=1e-6)
    assert server.asked == -(-len(texts) // DIALECTS[name].most)


def test_more_texts_than_a_server_takes_are_refused_with_the_way_out_and_its_words_in_the_cause(
    httpserver: HTTPServer,
) -> None:
    server = DialectServer(httpserver, DIALECTS["TEI"])
    with pytest.raises(EncoderError, match=r"answered 422 .*to 64 texts.*batch_size") as error:
        encoder_for("TEI", server.url).encode(["a"] * 64)
    assert isinstance(error.value.__cause__, openai.APIStatusError)
    assert "maximum allowed batch size 32" in error.value.__cause__.response.text


# -------------------------------------------------------------------------------------------------- requests
@pytest.mark.parametrize(("concurrency", "together"), [(1, 1), (3, 3)])
def test_so_many_requests_of_a_call_are_under_way_at_once(
    threaded: HTTPServer, concurrency: int, together: int
) -> None:
    server = EmbeddingsServer(threaded)
    under_way, most, lock = [0], [0], threading.Lock()
    met = threading.Barrier(together)

    def wait(items: list[Item]) -> list[Item]:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        met.wait(timeout=20)
        with lock:
            under_way[0] -= 1
        return items

    server.distort = wait
    encoder = OpenAIEncoder(dim=DIM, base_url=server.url, batch_size=2, concurrency=concurrency)
    texts = [f"text {number}" for number in range(12)]
    np.testing.assert_allclose(encoder.encode(texts), unit_vectors_of(texts), atol=1e-6)
    assert most[0] == together


def test_after_a_request_that_failed_no_more_are_begun(server: EmbeddingsServer) -> None:
    server.failures = [failure(400)] * 2
    encoder = OpenAIEncoder(dim=DIM, base_url=server.url, batch_size=1, concurrency=2)
    with pytest.raises(EncoderError, match="answered 400"):
        encoder.encode([f"text {number}" for number in range(200)])
    assert len(server.requests) < 200


@pytest.mark.parametrize("speaks_base64", [True, False])
def test_five_thousand_texts_take_three_requests_and_come_back_in_order_from_a_server_that_shuffles(
    server: EmbeddingsServer, remote: OpenAIEncoder, *, speaks_base64: bool
) -> None:
    server.speaks_base64 = speaks_base64
    server.distort = lambda items: random.Random(7).sample(items, len(items))  # noqa: S311 - a shuffle
    texts = [f"text {number}" for number in range(5_000)]
    np.testing.assert_allclose(remote.encode(texts), unit_vectors_of(texts), atol=1e-6)
    assert sorted(len(request["input"]) for request in server.requests) == [904, 2_048, 2_048]


def test_no_request_has_more_than_300_000_bytes_unless_one_text_has(
    server: EmbeddingsServer, remote: OpenAIEncoder
) -> None:
    texts = ["é" * 60_000, "b" * 200_000, "a" * 100_000, "c", "d" * 400_000, "e"]
    np.testing.assert_allclose(remote.encode(texts), unit_vectors_of(texts), atol=1e-6)
    sizes = [[len(text.encode()) for text in request["input"]] for request in server.requests]
    assert sorted(sizes) == sorted([[120_000], [200_000, 100_000], [1], [400_000], [1]])


def test_batch_size_limits_the_texts_of_a_request(server: EmbeddingsServer) -> None:
    OpenAIEncoder(dim=DIM, base_url=server.url, batch_size=2, concurrency=1).encode(["a", "b", "c", "d", "e"])
    assert [request["input"] for request in server.requests] == [["a", "b"], ["c", "d"], ["e"]]


def test_no_text_makes_no_request(server: EmbeddingsServer, remote: OpenAIEncoder) -> None:
    assert remote.encode([]).shape == (0, DIM)
    assert server.requests == []


def test_key_is_sent_as_bearer(server: EmbeddingsServer, remote: OpenAIEncoder) -> None:
    remote.encode(["a"])
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("model", "dim", "sent"),
    [
        ("text-embedding-3-small", DIM, DIM),
        ("text-embedding-3-large", DIM, DIM),
        ("nomic-embed-text", DIM, None),
    ],
)
def test_length_is_asked_for_only_where_the_model_supports_it(
    server: EmbeddingsServer, model: str, dim: int, sent: int | None
) -> None:
    OpenAIEncoder(model, dim=dim, base_url=server.url).encode(["a"])
    assert server.requests[0].get("dimensions") == sent
    assert server.requests[0]["model"] == model


def test_child_of_a_fork_opens_its_own_connection(server: EmbeddingsServer) -> None:
    result = run_python(FORK, f"OpenAIEncoder(dim={DIM}, base_url={server.url!r})")
    assert result.returncode == 0, result.stderr


def test_client_given_is_used_with_its_own_settings(server: EmbeddingsServer) -> None:
    with openai.OpenAI(base_url=server.url, api_key="theirs", default_headers={"X-Team": "blue"}) as client:
        encoder = OpenAIEncoder(dim=DIM, client=client)
        np.testing.assert_allclose(encoder.encode(["a"]), unit_vectors_of(["a"]), atol=1e-6)
    assert server.headers[0]["X-Team"] == "blue"
    assert server.headers[0]["Authorization"] == "Bearer theirs"


# -------------------------------------------------------------------------------------------------- identity
@pytest.mark.parametrize(
    ("model", "dim"),
    [("text-embedding-3-small", 1_536), ("text-embedding-3-large", 3_072), ("text-embedding-ada-002", 1_536)],
)
def test_dim_of_openai_models_is_known(model: str, dim: int) -> None:
    assert OpenAIEncoder(model, api_key=KEY).dim == dim


def test_fingerprint_changes_with_model_dim_and_server_but_not_with_credentials() -> None:
    def fingerprint(model: str = "text-embedding-3-small", host: str = "api.example", **settings: Any) -> str:
        return OpenAIEncoder(model, base_url=f"https://{host}/v1", **({"api_key": KEY} | settings)).fingerprint

    assert fingerprint() == fingerprint(api_key="another", timeout_s=1) == fingerprint(host="user:pw@api.example")
    different = [
        fingerprint(),
        fingerprint("text-embedding-3-large"),
        fingerprint(dim=512),
        fingerprint(host="b.example"),
    ]
    assert len(set(different)) == 4


def test_repr_and_fingerprint_have_no_credentials() -> None:
    encoder = OpenAIEncoder(api_key=KEY, base_url="https://user:hunter2@api.example/v1")
    for shown in (repr(encoder), encoder.fingerprint, encoder.name):
        assert KEY not in shown
        assert "hunter2" not in shown
    assert "api.example" in repr(encoder)


# -------------------------------------------------------------------------------------------------- arguments
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "my-own"}, r"length of 'my-own' is not known.*dim="),
        ({"model": "text-embedding-ada-002", "dim": 512}, "no vectors of length 512; its own length is 1536"),
        ({"model": "text-embedding-3-small", "dim": 3_072}, "no vectors of length 3072"),
        ({"dim": 0}, "no vectors of length 0"),
        ({"batch_size": 0}, "batch_size is 0, wanted 1 to 2,048"),
        ({"batch_size": 2_049}, "batch_size is 2049"),
        ({"concurrency": 0}, "concurrency is 0, wanted at least 1"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        OpenAIEncoder(**arguments, api_key=KEY)


def test_client_together_with_its_settings_is_refused() -> None:
    with openai.OpenAI(api_key=KEY) as client, pytest.raises(InvalidInputError, match="either it or them"):
        OpenAIEncoder(client=client, base_url="https://api.example")


async def test_async_client_is_refused() -> None:
    async with openai.AsyncOpenAI(api_key=KEY) as client:
        with pytest.raises(InvalidInputError, match="AsyncOpenAI"):
            OpenAIEncoder(client=client)  # type: ignore[arg-type] # the mistake under test


@pytest.mark.parametrize("base_url", [None, "https://api.example/v1"])
def test_without_a_key_it_says_how_to_give_one(base_url: str | None) -> None:
    with pytest.raises(EncoderUnavailableError, match=r"OPENAI_API_KEY.*api_key=.*client="):
        OpenAIEncoder(base_url=base_url)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_a_server_on_this_machine_needs_no_key(host: str) -> None:
    assert OpenAIEncoder("my-own", dim=DIM, base_url=f"http://{host}:11434/v1").dim == DIM


def test_without_openai_the_install_line_is_given() -> None:
    script = "import sys; sys.modules['openai'] = None\nimport synaptoroute.encoder as e; e.OpenAIEncoder()"
    result = run_python(script)
    assert "MissingExtraError" in result.stderr
    assert "pip install 'synaptoroute[openai]'" in result.stderr


# --------------------------------------------------------------------------------------------------- failures
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_retried(server: EmbeddingsServer, remote: OpenAIEncoder, status: int) -> None:
    server.failures = [failure(status), failure(status)]
    np.testing.assert_allclose(remote.encode(["a"]), unit_vectors_of(["a"]), atol=1e-6)
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [429, 500])
def test_a_lasting_failure_is_given_up_after_all_retries(
    server: EmbeddingsServer, remote: OpenAIEncoder, status: int
) -> None:
    server.failures = [failure(status) for _ in range(9)]
    with pytest.raises(EncoderError, match=rf"answered {status} \(some_code\)") as error:
        remote.encode(["a"])
    assert not isinstance(error.value, EncoderUnavailableError | EncoderOutputError)
    assert len(server.requests) == 3


def test_a_refused_request_is_not_retried(server: EmbeddingsServer, remote: OpenAIEncoder) -> None:
    server.failures = [failure(400)]
    with pytest.raises(EncoderError, match="answered 400"):
        remote.encode(["a"])
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_never_shown_even_if_the_server_repeats_it(
    server: EmbeddingsServer, remote: OpenAIEncoder, status: int
) -> None:
    server.failures = [failure(status, message=f"Incorrect API key provided: {KEY}")]
    with pytest.raises(EncoderUnavailableError, match=rf"refused the API key \({status}\)") as error:
        remote.encode(["a"])
    assert KEY not in "".join(traceback.format_exception(error.value))


@pytest.fixture
def silent_url() -> Iterator[str]:
    """Connections are accepted by the kernel, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://user:hunter2@127.0.0.1:{listener.getsockname()[1]}/v1"


def test_a_server_that_never_answers_is_given_up_in_time(silent_url: str) -> None:
    encoder = OpenAIEncoder(dim=DIM, base_url=silent_url, api_key=KEY, timeout_s=0.3, max_retries=1)
    started = time.monotonic()
    with pytest.raises(EncoderUnavailableError, match="did not answer in time") as error:
        encoder.encode(["a"])
    assert 0.6 <= time.monotonic() - started < 4
    assert "hunter2" not in "".join(traceback.format_exception(error.value))


def test_a_server_that_is_not_there_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://user:hunter2@127.0.0.1:{listener.getsockname()[1]}/v1"
    encoder = OpenAIEncoder(dim=DIM, base_url=url, api_key=KEY, max_retries=0)
    with pytest.raises(EncoderUnavailableError, match=r"cannot be reached \(.*refused") as error:
        encoder.encode(["a"])
    assert "hunter2" not in "".join(traceback.format_exception(error.value))


# ---------------------------------------------------------------------------------------------- wrong answers
def _changed(items: list[Item], **change: Any) -> list[Item]:
    return [items[0] | change, *items[1:]]


def _encoded(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("distort", "message"),
    [
        pytest.param(lambda items: items[:-1], "1 vectors for 2 texts", id="one too few"),
        pytest.param(lambda items: [*items, items[0]], "3 vectors for 2 texts", id="one too many"),
        pytest.param(lambda items: _changed(items, index=1), "indexes other than 0 to 1", id="an index twice"),
        pytest.param(lambda items: _changed(items, index=5), "indexes other than 0 to 1", id="an index too high"),
        pytest.param(lambda items: _changed(items, index=None), "indexes other than 0 to 1", id="no index"),
        pytest.param(lambda items: _changed(items, index=[0]), "indexes other than 0 to 1", id="a list for an index"),
        pytest.param(
            lambda items: _changed(items, embedding=_encoded(1, 2)), r"shape \(2,\), wanted \(8,\)", id="short"
        ),
        pytest.param(lambda items: _changed(items, embedding=[1.0] * 9), r"shape \(9,\), wanted \(8,\)", id="long"),
        pytest.param(lambda items: _changed(items, embedding=None), r"shape \(\), wanted \(8,\)", id="none"),
        pytest.param(lambda items: _changed(items, embedding="a"), "something else than vectors", id="not base64"),
        pytest.param(lambda items: _changed(items, embedding=["x"] * 8), "something else than vectors", id="words"),
        pytest.param(
            lambda items: _changed(items, embedding=_encoded(*[np.nan] * 8)), "NaN, infinite or zero", id="NaN"
        ),
        pytest.param(
            lambda items: _changed(items, embedding=[float("nan")] * 8), "NaN, infinite or zero", id="JSON NaN"
        ),
        pytest.param(lambda items: _changed(items, embedding=_encoded(*[np.inf] * 8)), "NaN, infinite", id="infinite"),
        pytest.param(lambda items: _changed(items, embedding=_encoded(*[0] * 8)), "NaN, infinite or zero", id="zero"),
    ],
)
def test_a_wrong_answer_is_noticed(
    server: EmbeddingsServer, remote: OpenAIEncoder, distort: Callable[[list[Item]], list[Item]], message: str
) -> None:
    server.distort = distort
    with pytest.raises(EncoderOutputError, match=message):
        remote.encode(["a", "b"])


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param("{}", "application/json", id="no data"),
        pytest.param('{"data": 3}', "application/json", id="data is a number"),
        pytest.param('{"data": [1, 2]}', "application/json", id="items are numbers"),
        pytest.param('{"data": [', "application/json", id="broken JSON"),
        pytest.param("[]", "application/json", id="a list"),
        pytest.param("<html>", "text/html", id="a web page"),
    ],
)
def test_an_answer_that_is_none_is_noticed(
    server: EmbeddingsServer, remote: OpenAIEncoder, body: str, content_type: str
) -> None:
    server.failures = [Response(body, content_type=content_type)]
    with pytest.raises(EncoderOutputError):
        remote.encode(["a", "b"])
