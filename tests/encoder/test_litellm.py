"""LiteLLMEncoder through the real litellm, against a server on a real socket that speaks OpenAI's API."""

from __future__ import annotations

import json
import socket
import traceback
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from synaptoroute.encoder import LiteLLMEncoder
from synaptoroute.errors import EncoderError, EncoderOutputError, EncoderUnavailableError, InvalidInputError
from synaptoroute.testing import EncoderContract
from tests.encoder import run_python
from tests.encoder.test_openai import DIM, KEY, EmbeddingsServer, failure, unit_vectors_of

if find_spec("litellm") is None:
    pytest.skip("litellm is not installed: pip install --group torch", allow_module_level=True)


@pytest.fixture
def server(httpserver: HTTPServer) -> EmbeddingsServer:
    return EmbeddingsServer(httpserver)


def make(url: str, **more: Any) -> LiteLLMEncoder:
    arguments: dict[str, Any] = {"dim": DIM, "base_url": url, "api_key": KEY, "timeout_s": 10, "max_retries": 0} | more
    return LiteLLMEncoder("openai/my-own", **arguments)


class TestContract(EncoderContract):
    two_sided = True

    @pytest.fixture
    def encoder(self, server: EmbeddingsServer) -> LiteLLMEncoder:
        return make(server.url, query_prefix="query: ", prefix="passage: ")


def test_texts_are_sent_in_parts_with_the_key_and_come_back_in_order(server: EmbeddingsServer) -> None:
    texts = [f"text {number}" for number in range(200)]
    server.distort = lambda items: items[::-1]
    np.testing.assert_allclose(make(server.url).encode(texts), unit_vectors_of(texts), atol=1e-6)
    assert sorted(len(request["input"]) for request in server.requests) == [8, 96, 96]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_each_side_can_have_options_of_its_own(server: EmbeddingsServer) -> None:
    encoder = make(server.url, options={"user": "utterances"}, query_options={"user": "queries"})
    encoder.encode(["a"])
    encoder.encode_queries(["a"])
    assert [request["user"] for request in server.requests] == ["utterances", "queries"]


def test_fingerprint_changes_with_all_but_the_key() -> None:
    def fingerprint(url: str = "http://a.example", **changed: Any) -> str:
        return make(url, **changed).fingerprint

    assert fingerprint() == fingerprint(api_key="another")
    seen = [fingerprint(), fingerprint("http://b.example"), fingerprint(dim=9), fingerprint(prefix="p: ")]
    seen.append(fingerprint(query_options={"input_type": "query"}))
    assert len(set(seen)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"dim": 0}, "dim is 0, wanted at least 1"), ({"batch_size": 0}, "batch_size is 0, wanted 1 to 2,048")],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make("http://a.example", **arguments)


def test_without_litellm_the_install_line_is_given() -> None:
    script = "import sys; sys.modules['litellm'] = None\nimport synaptoroute.encoder as e; e.LiteLLMEncoder('m', dim=3)"
    assert "pip install 'synaptoroute[litellm]'" in run_python(script).stderr


def test_a_refused_key_is_never_shown_even_if_the_server_repeats_it(server: EmbeddingsServer) -> None:
    server.failures = [failure(401, message=f"Incorrect API key provided: {KEY}")]
    with pytest.raises(EncoderUnavailableError, match="refused the API key") as error:
        make(server.url).encode(["a"])
    assert KEY not in "".join(traceback.format_exception(error.value))


def test_a_refused_request_is_reported(server: EmbeddingsServer) -> None:
    server.failures = [failure(400)]
    with pytest.raises(EncoderError, match="answered 400"):
        make(server.url).encode(["a"])


def test_a_server_that_is_not_there_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    # What it says of a lost connection differs from a time limit by release.
    with pytest.raises(EncoderError, match=r"127\.0\.0\.1:\d+"):
        make(url).encode(["a"])


@pytest.mark.parametrize("data", [[], [{"index": 0, "embedding": [1.0] * 9}], [{"index": 0, "embedding": [0.0] * DIM}]])
def test_a_wrong_answer_is_noticed(server: EmbeddingsServer, data: list[Any]) -> None:
    body = json.dumps({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}})
    server.failures = [Response(body, content_type="application/json")]
    with pytest.raises(EncoderOutputError):
        make(server.url).encode(["a"])
