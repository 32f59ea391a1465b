"""What comes in from anybody: hosts, origins, bodies of every kind, and more than is good."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from synaptoroute.server.rates import client_of
from tests.server.serving import SAFE_S, GatedEncoder, Served, problem, read_all, serving, small_router, until

JSON = {"Content-Type": "application/json"}


# ------------------------------------------------------------------------------------------- names and addresses
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:80", "LOCALHOST", "[::1]:8000"])
def test_on_loopback_its_own_names_are_answered(served: Served, host: str) -> None:
    assert served.get("/v1/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::2]"])
def test_a_name_that_is_made_to_point_here_is_not(served: Served, host: str) -> None:
    problem(served.get("/v1/status", headers={"Host": host}), 400, "host_not_allowed")
    assert served.get("/livez", headers={"Host": host}).status_code == 200


def test_the_operator_says_which_hosts(served: Served) -> None:
    with serving(served.state.router, allowed_hosts="a.example, *.b.example") as named:
        for host, status in (("a.example:1", 200), ("x.b.example", 200), ("b.example", 400), ("127.0.0.1", 400)):
            assert named.get("/v1/status", headers={"Host": host}).status_code == status
    with serving(served.state.router, allowed_hosts="*") as any_host:
        assert any_host.get("/v1/status", headers={"Host": "anything"}).status_code == 200


def test_pages_of_other_sites_change_nothing_while_there_are_no_keys(fresh: Served) -> None:
    theirs, own = {"Origin": "https://evil.example"}, {"Origin": fresh.url}
    problem(fresh.ask("DELETE", "/v1/routes/music", headers=theirs), 403, "cross_origin")
    problem(fresh.ask("DELETE", "/v1/routes/music", headers={"Origin": "null"}), 403, "cross_origin")
    assert fresh.ask("DELETE", "/v1/routes/music", headers=own).status_code == 200
    with serving(fresh.state.router, keys=("write",)) as guarded:
        assert guarded.ask("DELETE", "/v1/routes/weather", headers=theirs, key="write").status_code == 200


# ----------------------------------------------------------------------------------------------------- request ids
def test_a_request_keeps_its_id_or_gets_one(served: Served) -> None:
    assert served.get("/livez", headers={"X-Request-ID": "Abc-1_2.3"}).headers["x-request-id"] == "Abc-1_2.3"
    for bad in ("", "a b", "x" * 129, "é"):
        made = served.get("/livez", headers={"X-Request-ID": bad.encode()}).headers["x-request-id"]
        assert made != bad
        assert len(made) == 16
    assert served.get("/livez").headers["x-request-id"] != served.get("/livez").headers["x-request-id"]
    answer = served.get("/v1/nothing", headers={"X-Request-ID": "mine"})
    assert problem(answer, 404, "not_found")["request_id"] == "mine"


def test_every_answer_has_headers_for_browsers(served: Served) -> None:
    for answer in (served.get("/livez"), served.get("/nothing"), served.post("/v1/route", {"text": "a"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


# --------------------------------------------------------------------------------------------------------- bodies
@pytest.mark.parametrize("path", ["/v1/route", "/v1/routes", "/v1/evaluate"])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b'{"text": "\xff"}', "invalid_json"),
        (b'{"text": nonsense}', "invalid_json"),
        (b'{"text": "\\ud800"}', "invalid_json"),
        (b'{"text": "a\x00b"}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "invalid_json"),
        (b'{"text": "\\u0000"}', "invalid_request"),
        (b'{"name": "a", "utterances": ["a\\\\\\u0000"]}', "invalid_request"),
    ],
)
def test_a_body_that_is_no_json_is_refused(served: Served, path: str, body: bytes, code: str) -> None:
    answer = served.post(path, content=body, headers=JSON)
    problem(answer, 400 if code == "invalid_json" else 422, code)


def test_a_backslash_before_u0000_is_no_nul(served: Served) -> None:
    assert served.post("/v1/route", content=b'{"text": "\\\\u0000"}', headers=JSON).status_code == 200


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
def test_a_body_must_say_that_it_is_json(served: Served, media: str) -> None:
    answer = served.post("/v1/route", content=b'{"text": "a"}', headers={"Content-Type": media})
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x.y+json"])
def test_json_goes_by_several_names(served: Served, media: str) -> None:
    answer = served.post("/v1/route", content=b'{"text": "a"}', headers={"Content-Type": media})
    assert answer.status_code == 200


def test_a_call_that_needs_a_body_says_so(served: Served) -> None:
    for path in ("/v1/route", "/v1/routes", "/v1/evaluate"):
        assert served.post(path).status_code in {400, 422}


def test_bytes_are_counted_whatever_the_length_says(served: Served) -> None:
    large = json.dumps({"text": "a" * 3_000}).encode()
    with serving(served.state.router, max_body_bytes=2_048) as small:
        problem(small.post("/v1/route", content=large, headers=JSON), 413, "body_too_large")
        chunks = (large[place : place + 100] for place in range(0, len(large), 100))
        problem(small.post("/v1/route", content=chunks, headers=JSON), 413, "body_too_large")
        fits = json.dumps({"text": "a" * 100}).encode()
        chunks = (fits[place : place + 10] for place in range(0, len(fits), 10))
        assert small.post("/v1/route", content=chunks, headers=JSON).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(served: Served) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    with serving(served.state.router, body_timeout_s=0.1) as hasty:
        for path in (b"/v1/route", b"/v1/import?format=json"):
            answer = hasty.raw(head % path)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b'"code": "body_timeout"' in answer
            assert b"connection: close" in answer.lower()


def test_a_client_that_leaves_early_harms_nobody(served: Served) -> None:
    head = b"POST /v1/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    for path in (b"route", b"routes", b"import?format=json"):
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.sendall(head % path)
    assert served.get("/v1/status").status_code == 200


# ------------------------------------------------------------------------------------------------- heads and paths
def test_what_is_not_http_is_a_problem(served: Served) -> None:
    for content in (b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x00\xa5\r\n\r\n"):
        answer = served.raw(content)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "invalid_http"


def test_a_head_without_end_is_refused(served: Served) -> None:
    long_path = b"GET /%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % (b"a" * 70_000)
    many = b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: 1\r\n" % number for number in range(10_000)) + b"\r\n"
    for content in (long_path, many):
        answer = served.raw(content)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "head_too_large"


def test_a_slow_head_is_not_waited_for(served: Served) -> None:
    with serving(served.state.router, head_timeout_s=0.2) as hasty:
        for begun in (b"", b"GET /livez HTT", b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /li"):
            assert hasty.raw(begun).count(b"HTTP/1.1 200") == (begun.count(b"\r\n\r\n"))
        assert hasty.get("/livez").status_code == 200


@pytest.mark.parametrize("path", ["/v1/routes/%00", "/v1/routes?query=%00", "/%00"])
def test_a_nul_in_a_path_is_refused(served: Served, path: str) -> None:
    problem(served.get(path), 400, "invalid_path")


@pytest.mark.parametrize("path", ["/v1/routes/%FF%FE", "/v1/routes/%ED%A0%80", "/v1/routes/" + "a" * 500])
def test_an_odd_name_is_just_not_there(served: Served, path: str) -> None:
    problem(served.get(path), 404, "route_not_found")


def test_paths_and_methods_that_are_not_there(served: Served) -> None:
    problem(served.get("/v2/route"), 404, "not_found")
    answer = served.get("/v1/route")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_a_web_socket_is_refused(served: Served) -> None:
    head = b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
    answer = served.raw(head + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    assert b" 101 " not in answer


# ------------------------------------------------------------------------------------------------------ too much
def test_more_than_a_client_may_send_is_refused_until_later(served: Served) -> None:
    with serving(served.state.router, keys=("read", "write"), rate_limit="3/minute") as limited:
        for left in (2, 1, 0):
            answer = limited.get("/v1/status", key="read")
            assert answer.status_code == 200
            assert answer.headers["ratelimit"].startswith(f'"0";r={left};t=')
            assert answer.headers["ratelimit-policy"] == '"0";q=3;w=60'
        refused = limited.get("/v1/status", key="read")
        problem(refused, 429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert limited.get("/v1/status", key="write").status_code == 200
        assert limited.get("/livez").status_code == 200


def test_without_keys_an_address_is_a_client(served: Served) -> None:
    with serving(served.state.router, rate_limit="100/second; 1/hour") as limited:
        assert limited.get("/v1/status").status_code == 200
        problem(limited.post("/v1/route", {"text": "a"}), 429, "rate_limited")


def test_a_network_of_ipv6_is_one_client() -> None:
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:1") != client_of("2001:db8:1::1")
    assert client_of("::ffff:10.0.0.1") == client_of("10.0.0.1") != client_of("10.0.0.2")


def test_when_requests_cannot_be_counted_all_may_pass(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"redis://user:hidden@127.0.0.1:{closed.getsockname()[1]}"
        with serving(served.state.router, rate_limit="1/hour", rate_limit_storage=address) as limited:
            assert [limited.get("/v1/status").status_code for _ in range(3)] == [200, 200, 200]
    assert caplog.text.count("requests cannot be counted") == 1
    assert "hidden" not in caplog.text


def test_beyond_what_can_be_answered_requests_are_turned_away_but_health_is_told() -> None:
    encoder = GatedEncoder()
    with (
        small_router(encoder) as router,
        serving(router, max_in_flight=2) as busy,
        ThreadPoolExecutor(2) as pool,
    ):
        waiting = [pool.submit(busy.post, "/v1/route", {"text": f"wait {number}"}) for number in range(2)]
        assert encoder.waiting.acquire(timeout=SAFE_S)
        until(lambda: busy.state.in_flight == 2)
        refused = busy.post("/v1/route", {"text": "a"})
        problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert busy.get("/livez").status_code == 200
        assert busy.get("/readyz").status_code == 200
        encoder.gate.set()
        assert [answer.result(SAFE_S).status_code for answer in waiting] == [200, 200]
        assert busy.post("/v1/route", {"text": "a"}).status_code == 200


def test_connections_beyond_the_limit_are_closed(served: Served) -> None:
    with serving(served.state.router, max_connections=3) as few:
        assert few.get("/livez").status_code == 200
        open_ones = [socket.create_connection(("127.0.0.1", few.port)) for _ in range(2)]
        with socket.create_connection(("127.0.0.1", few.port)) as one_more, suppress(ConnectionResetError):
            assert one_more.recv(1) == b""
        for connection in open_ones:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert read_all(connection).startswith(b"HTTP/1.1 200 ")
            connection.close()


# ------------------------------------------------------------------------------------------------ mistakes and logs
@pytest.fixture
def broken(fresh: Served) -> Iterator[Served]:
    """A server with a mistake in it: what it calls has gone."""
    router = fresh.state.router
    fresh.state.router = None  # type: ignore[assignment]
    yield fresh
    fresh.state.router = router


def test_a_mistake_is_a_500_that_tells_nothing_and_is_logged(broken: Served, caplog: pytest.LogCaptureFixture) -> None:
    for answer in (broken.post("/v1/route", {"text": "a secret"}), broken.get("/v1/status")):
        content = problem(answer, 500, "internal_error")
        assert "NoneType" not in answer.text
        until(lambda: content["request_id"] in caplog.text)  # noqa: B023 - asked for at once
    assert "a secret" not in caplog.text
    assert broken.get("/livez").status_code == 200


def test_texts_are_not_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(served.state.router, access_log=True) as logging_all:
        logging_all.post("/v1/route", {"text": "nobody should read this"}, headers={"X-Request-ID": "r-1"})
        logging_all.get("/v1/routes", params={"query": "nobody should read this"})
        logging_all.post("/v1/route", {"text": "nobody should read this", "top_k": -1})
    ours = [record.getMessage() for record in caplog.records if record.name == "synaptoroute.access"]
    assert ours[0].startswith("127.0.0.1 POST /v1/route 200 ")
    assert ours[0].endswith(" r-1")
    of_server = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpcore", "httpx"))]
    assert "nobody" not in "\n".join(of_server)
