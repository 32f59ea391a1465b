"""What the clients do with answers, failures and bad input; against servers that say what they are told to."""

from __future__ import annotations

import inspect
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from synaptoroute.client import AsyncClient, Client, Retries
from synaptoroute.client.call import Answer, Call, path
from synaptoroute.client.problems import problem, retry_after_s
from synaptoroute.errors import (
    AccessDeniedError,
    DeadlineExceededError,
    InvalidInputError,
    InvalidQueryError,
    RateLimitedError,
    RemoteError,
    RemoteUnavailableError,
    RevisionConflictError,
    RouteNotFoundError,
    RouterOverloadedError,
    SynaptoRouteError,
)
from synaptoroute.models import Route

KEY = "sr_0123456789-very-secret"
QUICK = Retries(attempts=3, first_s=0.001, most_s=1.0)
DECISION = {
    "name": "billing",
    "score": 0.5,
    "confidence": 0.75,
    "margin": None,
    "matches": [{"name": "billing", "score": 0.5, "confidence": 0.75, "utterance": "pay"}],
    "reason": "matched",
    "revision": 3,
    "stage": "encoder",
}
ROUTED = {"decisions": [DECISION], "revision": 3, "took_ms": 1.5}


def failing(status: int, code: str, **headers: str) -> Response:
    body = json.dumps({"type": "about:blank", "title": "No", "status": status, "detail": "so it is", "code": code})
    return Response(body, status, {"content-type": "application/problem+json", **headers})


@pytest.fixture
def answers(httpserver: HTTPServer) -> Callable[..., list[Request]]:
    """Has the server give these answers in turn, the last one for ever; gives the list of requests it has seen."""

    def give(*responses: Response | dict[str, Any]) -> list[Request]:
        seen: list[Request] = []

        def answer(request: Request) -> Response:
            request.get_data()
            seen.append(request)
            given = responses[min(len(seen), len(responses)) - 1]
            return Response(json.dumps(given), 200) if isinstance(given, dict) else given

        httpserver.expect_request(re.compile(".*")).respond_with_handler(answer)
        return seen

    return give


@pytest.fixture
def client(httpserver: HTTPServer) -> Iterator[Client]:
    with Client(httpserver.url_for(""), api_key=KEY, retries=QUICK) as client:
        yield client


# --------------------------------------------------------------------------------------------------------- address
@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:8000", "wanted one like"),
        ("ftp://127.0.0.1", "wanted one like"),
        ("http://", "wanted one like"),
        ("http://127.0.0.1/?a=1", "wanted one like"),
        ("http://name:hush@127.0.0.1", "api_key"),
        ("http://[::1", "not a URL"),
        ("", "SYNAPTOROUTE_URL"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as raised:
        Client(url)
    assert "hush" not in str(raised.value)


def test_the_environment_is_used_where_the_caller_says_nothing(
    monkeypatch: pytest.MonkeyPatch, httpserver: HTTPServer, answers: Callable[..., list[Request]]
) -> None:
    seen = answers(ROUTED)
    monkeypatch.setenv("SYNAPTOROUTE_URL", httpserver.url_for("/below/"))
    monkeypatch.setenv("SYNAPTOROUTE_API_KEY", KEY)
    with Client() as client:
        client.route("pay")
    assert seen[0].path == "/below/v1/route"
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["with space", "line\nend", "naïve"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        Client("http://127.0.0.1:1", api_key=key)
    assert key not in str(raised.value)


def test_the_key_shows_nowhere(client: Client) -> None:
    seen = [repr(client), str(client), repr(client._address), repr(AsyncClient("http://127.0.0.1:1", api_key=KEY))]
    with (
        pytest.raises(RemoteUnavailableError) as raised,
        Client("http://127.0.0.1:1", api_key=KEY, retries=QUICK) as other,
    ):
        other.route("pay")
    error: BaseException | None = raised.value
    while error is not None:
        seen.append(repr(error) + str(error) + repr(getattr(error, "request", None)))
        error = error.__cause__
    assert not [text for text in seen if "very-secret" in text]


def test_a_redirect_is_not_followed_with_the_key(
    client: Client, httpserver: HTTPServer, answers: Callable[..., list[Request]]
) -> None:
    seen = answers(Response("", 307, {"location": httpserver.url_for("/elsewhere")}))
    with pytest.raises(RemoteError, match="redirect"):
        client.route("pay")
    assert len(seen) == 1


# -------------------------------------------------------------------------------------------------------- problems
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "route_not_found", RouteNotFoundError),
        (404, "job_not_found", RemoteError),
        (412, "revision_conflict", RevisionConflictError),
        (422, "invalid_query", InvalidQueryError),
        (422, "a_word_of_a_later_version", InvalidInputError),
        (401, "unauthorized", AccessDeniedError),
        (403, "forbidden", AccessDeniedError),
        (429, "rate_limited", RateLimitedError),
        (503, "overloaded", RouterOverloadedError),
        (503, "closed", RemoteUnavailableError),
        (504, "deadline_exceeded", DeadlineExceededError),
        (500, "internal_error", RemoteError),
        (418, "teapot", RemoteError),
    ],
)
def test_a_problem_is_the_error_the_router_would_have_raised(
    client: Client, answers: Callable[..., list[Request]], status: int, code: str, kind: type[SynaptoRouteError]
) -> None:
    answers(failing(status, code, **{"retry-after": "7", "x-request-id": "abc"}))
    with pytest.raises(kind, match="so it is") as raised:
        client.get_route("billing")
    assert type(raised.value) is kind
    assert raised.value.__notes__ == ["request abc"]
    if isinstance(raised.value, RemoteError):
        assert (raised.value.status, raised.value.code, raised.value.request_id) == (status, code, "abc")
    if isinstance(raised.value, RouterOverloadedError | RateLimitedError):
        assert raised.value.retry_after_s == 7


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"detail": 3}', b"\xff\xfe", b"[" * 100_000])
def test_an_answer_that_is_no_problem_is_still_an_error_of_the_package(
    client: Client, answers: Callable[..., list[Request]], body: bytes
) -> None:
    answers(Response(body, 500))
    with pytest.raises(RemoteError, match="500") as raised:
        client.get_route("billing")
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"decisions": []}', b'{"decisions": [{"name": 1}]}', b"\xff", b"[" * 100_000],
)
def test_a_success_that_cannot_be_read_is_an_error_that_does_not_repeat_it(
    client: Client, answers: Callable[..., list[Request]], body: bytes
) -> None:
    answers(Response(body, 200))
    with pytest.raises(RemoteError, match="cannot be read") as raised:
        client.route("pay")
    assert raised.value.__cause__ is None
    assert len(str(raised.value)) < 300


def test_fields_of_a_later_version_are_left_out(client: Client, answers: Callable[..., list[Request]]) -> None:
    answers({"decisions": [DECISION | {"explanation": {"because": 1}, "mood": "good"}], "revision": 3, "more": []})
    assert client.route("pay").to_dict() == DECISION


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("3", 3), ("0.5", 0.5), ("", 0), ("-3", 0), ("soon", 0), ("nan", 0), ("inf", 0), ("Thu, 99 Jan", 0)],
)
def test_retry_after_is_read_as_seconds_or_a_date(value: str, wanted: float) -> None:
    assert retry_after_s(Answer(status=503, headers={"retry-after": value}, body=b"")) == wanted


def test_a_date_in_the_future_is_so_many_seconds_away() -> None:
    answer = Answer(status=503, headers={"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}, body=b"")
    assert retry_after_s(answer) > 1e6


def test_accepted_statuses_are_no_problem() -> None:
    call = Call(operation="readyz", method="GET", path="/readyz", read=bool, accepted=frozenset({503}))
    assert problem(call, Answer(status=503, headers={}, body=b"")) is None


# --------------------------------------------------------------------------------------------------------- retries
@pytest.mark.parametrize("status", [429, 502, 503])
def test_what_is_safe_is_tried_again(client: Client, answers: Callable[..., list[Request]], status: int) -> None:
    seen = answers(failing(status, "busy"), failing(status, "busy"), ROUTED)
    assert client.route("pay").name == "billing"
    assert [request.get_data() for request in seen] == [b'{"texts":["pay"]}'] * 3


def test_it_is_tried_no_more_often_than_wanted(client: Client, answers: Callable[..., list[Request]]) -> None:
    seen = answers(failing(503, "overloaded"))
    with pytest.raises(RouterOverloadedError):
        client.route("pay")
    assert len(seen) == 3


def test_a_change_is_not_tried_again(client: Client, answers: Callable[..., list[Request]]) -> None:
    seen = answers(failing(503, "closed"), {"revision": 4})
    with pytest.raises(RemoteUnavailableError):
        client.delete_route("billing")
    assert len(seen) == 1


@pytest.mark.parametrize("status", [400, 404, 422, 500, 504])
def test_what_would_fail_again_is_not_tried_again(
    client: Client, answers: Callable[..., list[Request]], status: int
) -> None:
    seen = answers(failing(status, "no"), ROUTED)
    with pytest.raises(SynaptoRouteError):
        client.route("pay")
    assert len(seen) == 1


def test_a_server_that_asks_for_a_long_wait_is_not_asked_again(
    client: Client, answers: Callable[..., list[Request]]
) -> None:
    seen = answers(failing(503, "overloaded", **{"retry-after": "60"}), ROUTED)
    with pytest.raises(RouterOverloadedError) as raised:
        client.route("pay")
    assert raised.value.retry_after_s == 60
    assert len(seen) == 1


def test_no_try_begins_after_the_deadline_of_the_call(client: Client, answers: Callable[..., list[Request]]) -> None:
    seen = answers(failing(503, "overloaded", **{"retry-after": "0.9"}), ROUTED)
    with pytest.raises(RouterOverloadedError):
        client.route("pay", deadline_s=0.5)
    assert len(seen) == 1


def test_waits_grow_are_shortened_at_random_and_keep_to_retry_after() -> None:
    retries = Retries(attempts=5, first_s=1.0, most_s=3.0)
    busy = RouterOverloadedError("busy")
    assert [retries.wait_s(tried, busy, chance=0.0) for tried in range(1, 6)] == [1.0, 2.0, 3.0, 3.0, None]
    assert retries.wait_s(1, busy, chance=0.999) == pytest.approx(0.5, abs=0.01)
    asked = RouterOverloadedError("busy", 2.0)
    waits = [retries.wait_s(1, asked, chance=chance / 10) for chance in range(10)]
    assert min(wait for wait in waits if wait is not None) >= 2.0
    assert len(set(waits)) == 10
    assert retries.wait_s(1, RouterOverloadedError("busy", 3.5), chance=0.0) is None
    with pytest.raises(InvalidInputError):
        Retries(attempts=0)
    with pytest.raises(InvalidInputError):
        Retries(first_s=2, most_s=1)


class Dropping(threading.Thread):
    """A server that closes each connection as soon as it has read something, and counts them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.requests = 0

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                if connection.recv(65536):
                    self.requests += 1


def test_a_lost_connection_is_tried_again_for_queries_only() -> None:
    server = Dropping()
    server.start()
    with closing(server.listening), Client(f"http://127.0.0.1:{server.port}", retries=QUICK) as client:
        with pytest.raises(RemoteUnavailableError, match="broke off"):
            client.route("pay")
        assert server.requests == 3
        with pytest.raises(RemoteUnavailableError):
            client.create_route(Route(name="billing", utterances=["pay"]))
        assert server.requests == 4
        server.listening.shutdown(socket.SHUT_RDWR)
    server.join()


def test_a_server_that_never_answers_is_given_up() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, timeout_s=0.05) as client, pytest.raises(DeadlineExceededError, match=r"within 0\.05 s"):
            client.route("pay")


# ----------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("text", ["", "   ", "x" * 32_769, "\ud800", 3])
def test_a_text_that_cannot_be_routed_is_not_sent(
    client: Client, answers: Callable[..., list[Request]], text: Any
) -> None:
    seen = answers(ROUTED)
    for ask in (client.route, client.locate, lambda text: client.evaluate([text], [None])):
        with pytest.raises(InvalidQueryError):
            ask(text)
    assert not seen


@pytest.mark.parametrize("options", [{"top_k": 0}, {"threshold": 2}, {"min_confidence": -1}, {"deadline_s": -1}])
def test_an_option_out_of_its_range_is_not_sent(
    client: Client, answers: Callable[..., list[Request]], options: Any
) -> None:
    seen = answers(ROUTED)
    with pytest.raises(InvalidInputError):
        client.route("pay", **options)
    assert not seen


def test_a_single_text_is_no_list(client: Client) -> None:
    with pytest.raises(InvalidInputError):
        client.route_many("pay")
    with pytest.raises(InvalidInputError):
        client.evaluate("pay", "billing")


@pytest.mark.parametrize("description", ["\ud800", float("nan"), object()])
def test_what_json_cannot_hold_is_refused(client: Client, description: Any) -> None:
    with pytest.raises(InvalidInputError):
        client.update_route("billing", description=description)


@pytest.mark.parametrize("name", ["a/b", "what? now & (then)", "50: é + @", "a.b", "..x"])
def test_a_name_is_one_segment_of_the_path(client: Client, answers: Callable[..., list[Request]], name: str) -> None:
    seen = answers({"revision": 3})
    if name == "..x":
        with pytest.raises(InvalidInputError):
            client.delete_route(name)
        return
    client.delete_route(name)
    raw = seen[0].environ["REQUEST_URI"]
    assert raw == path("routes", name)
    assert raw.count("/") == 3


def test_options_are_sent_only_where_they_are_given(client: Client, answers: Callable[..., list[Request]]) -> None:
    seen = answers({"decisions": [DECISION, DECISION], "revision": 3})
    client.route_many(["pay", "rain "], top_k=2, threshold=0.0, allow=iter(["billing"]), deadline_s=0.0005)
    assert json.loads(seen[0].get_data()) == {
        "texts": ["pay", "rain"],
        "top_k": 2,
        "threshold": 0.0,
        "allow": ["billing"],
        "deadline_ms": 1,
    }


# ------------------------------------------------------------------------------------------------------- both alike
def calls(kind: type) -> dict[str, str]:
    found = {name: value for name, value in vars(kind).items() if inspect.isfunction(value) and name[0] != "_"}
    return {name: str(inspect.signature(value)) for name, value in found.items()}


def test_both_clients_have_the_same_calls_with_the_same_parameters() -> None:
    blocking, awaited = calls(Client), calls(AsyncClient)
    # These iterate, and so cannot give the same type.
    assert blocking.pop("iter_routes").replace("Iterator", "AsyncIterator") == awaited.pop("iter_routes")
    assert blocking == awaited
    assert all(inspect.getdoc(getattr(Client, name)) for name in blocking)
    assert blocking["get_route"] == "(self, /, name: 'str') -> 'RouteInfo'"


async def test_the_async_client_tries_again_as_well(
    httpserver: HTTPServer, answers: Callable[..., list[Request]]
) -> None:
    seen = answers(failing(503, "overloaded"), ROUTED)
    async with AsyncClient(httpserver.url_for(""), retries=QUICK) as client:
        assert (await client.route("pay")).name == "billing"
    assert len(seen) == 2
    with pytest.raises(RemoteUnavailableError):
        await AsyncClient("http://127.0.0.1:1", retries=QUICK).route("pay")
