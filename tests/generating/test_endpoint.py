"""ChatEndpoint through the official client, against a server on a real socket."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import traceback

import openai
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from synaptoroute.errors import AccessDeniedError, RateLimitedError, RemoteError, RemoteUnavailableError
from synaptoroute.generating import ChatEndpoint
from synaptoroute.generating.answers import MOST, texts_of
from tests.generating.chat_server import ChatServer, failing, listed

KEY = "sk-secret-77aa"
QUESTION = [{"role": "user", "content": "a private text"}]


@pytest.fixture
def server(httpserver: HTTPServer) -> ChatServer:
    return ChatServer(httpserver)


def endpoint(server: ChatServer, **options: object) -> ChatEndpoint:
    given: dict[str, object] = {"base_url": server.url, "api_key": KEY, "max_retries": 2, **options}
    return ChatEndpoint("small", **given)  # type: ignore[arg-type]


def test_it_asks_for_json_and_counts_tokens(server: ChatServer) -> None:
    server.say("hello")
    answer = endpoint(server, temperature=0.5, max_answer_tokens=99).ask(QUESTION)
    assert (answer.text, answer.tokens) == ("hello", 150)
    (body,) = server.requests
    assert body["model"] == "small"
    assert body["messages"] == QUESTION
    assert body["response_format"] == {"type": "json_object"}
    assert (body["temperature"], body["max_tokens"]) == (0.5, 99)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_what_is_not_given_is_not_sent(server: ChatServer) -> None:
    endpoint(server).ask(QUESTION)
    assert set(server.requests[0]) == {"model", "messages", "response_format"}


def test_a_server_that_cannot_be_told_to_answer_in_json_is_asked_without(server: ChatServer) -> None:
    server.failures = [*failing(400, {"message": "response_format is not supported", "code": "unsupported"})]
    llm = endpoint(server)
    llm.ask(QUESTION)
    llm.ask(QUESTION)
    assert ["response_format" in body for body in server.requests] == [True, False, False]


def test_a_server_that_does_not_count_tokens(server: ChatServer) -> None:
    server.usage = None
    assert endpoint(server).ask(QUESTION).tokens is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(server: ChatServer, status: int) -> None:
    server.say("hello")
    server.failures = [*failing(status, times=2)]
    assert endpoint(server).ask(QUESTION).text == "hello"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, RateLimitedError),
        (401, AccessDeniedError),
        (403, AccessDeniedError),
        (404, RemoteError),
        (500, RemoteError),
    ],
)
def test_what_does_not_pass_is_an_error_without_key_or_text(
    server: ChatServer, status: int, error: type[RemoteError]
) -> None:
    server.failures = [*failing(status, {"message": f"{KEY} said: a private text", "code": "odd"}, times=3)]
    with pytest.raises(error) as caught:
        endpoint(server).ask(QUESTION)
    assert caught.value.status == status
    assert str(status) in str(caught.value)
    assert KEY not in str(caught.value)
    assert "private" not in str(caught.value)
    if status in (401, 403):
        assert KEY not in "".join(traceback.format_exception(caught.value))


def test_a_server_that_is_not_there_or_slow() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    with pytest.raises(RemoteUnavailableError, match="cannot be reached"):
        ChatEndpoint("small", base_url=url, max_retries=0).ask(QUESTION)


def test_a_server_that_takes_its_time(httpserver: HTTPServer) -> None:
    def late(_request: Request) -> Response:
        time.sleep(0.5)
        return Response("{}")

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(late)
    llm = ChatEndpoint("small", base_url=httpserver.url_for("/v1"), timeout_s=0.05, max_retries=0)
    with pytest.raises(RemoteUnavailableError, match="did not answer in time"):
        llm.ask(QUESTION)


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"choices": []}', '{"choices": 3}'])
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_an_answer_of_another_kind_is_said(httpserver: HTTPServer, body: str, kind: str) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body, content_type=kind)
    llm = ChatEndpoint("small", base_url=httpserver.url_for("/v1"), max_retries=0)
    with pytest.raises(RemoteError, match="sent no chat answer"):
        llm.ask(QUESTION)


def test_no_key_is_said_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(AccessDeniedError, match="OPENAI_API_KEY"):
        ChatEndpoint("small")


def test_its_repr_shows_no_credentials() -> None:
    llm = ChatEndpoint("small", base_url="https://user:word@models.example/v1", api_key=KEY)
    assert repr(llm) == "ChatEndpoint('small', server='models.example')"
    client = openai.OpenAI(base_url="http://127.0.0.1:1/v1", api_key=KEY)
    assert repr(ChatEndpoint("small", client=client)) == "ChatEndpoint('small', server='127.0.0.1:1')"


def test_the_missing_package_is_named() -> None:
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "from synaptoroute.generating import ChatEndpoint\n"
        "try: ChatEndpoint('small')\nexcept ImportError as exc: print(exc)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'synaptoroute[openai]'" in done.stdout


# --------------------------------------------------------------------------------------------------------- answers
@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        (listed("a", "b"), ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ('```json\n{"utterances": ["a"]}\n```', ["a"]),
        ('Sure! Here they are: ["a", "b"] Enjoy.', ["a", "b"]),
        ('{"texts": [{"text": "a"}, {"text": "b"}, 3, null]}', ["a", "b"]),
        ('{"texts": ["a", "b", "cut o', ["a", "b"]),
        ('{"texts": ["with \\"quotes\\"", "b"', ['with "quotes"', "b"]),
        ('1. first\n2) second\n- third\n* "fourth"\nand a word', ["first", "second", "third", "fourth"]),
        ("I cannot help with that.", []),
        ('{"error": "no"}', []),
        ("", []),
        ("[" * 100_000, []),
        ('{"texts": ["", "  ", "a"]}', ["a"]),
    ],
)
def test_texts_are_found_in_whatever_is_said(answer: str, texts: list[str]) -> None:
    assert texts_of(answer) == texts


def test_an_answer_without_end_is_cut() -> None:
    assert len(texts_of(listed(*map(str, range(10_000))))) == MOST
