"""Queries are refused unread for a moment after the router had to refuse one, and come to it a few at a time."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from synaptoroute.server.headers import SECURITY
from synaptoroute.server.problems import Problem
from synaptoroute.server.shedding import WIDTH, WINDOW_S, Shedding, Turnstile
from tests.server.abuse.wire import answers, request
from tests.server.serving import Served, serving, small_router, until

QUERY = b'{"text": "alpha 1"}'


def test_a_refusal_lasts_a_moment_and_says_what_the_router_said() -> None:
    shedding = Shedding(SECURITY, "/v1/route")
    assert not shedding.goes_on(0.0)
    shedding.begin(10.0, Problem("overloaded", "too much waits", headers={"Retry-After": "7"}))
    assert shedding.goes_on(10.0 + WINDOW_S / 2)
    assert not shedding.goes_on(10.0 + WINDOW_S)
    head, _, body = shedding.answer(b"mine", closing=True).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 503 Service Unavailable"
    assert b"retry-after: 7" in lines
    assert b"x-request-id: mine" in lines
    assert b"connection: close" in lines
    assert b"content-length: %d" % len(body) in lines
    assert {b"%b: %b" % pair for pair in SECURITY} <= set(lines)
    problem = json.loads(body)
    assert (problem["code"], problem["request_id"], problem["detail"]) == ("overloaded", "mine", "too much waits")
    assert shedding.count == 1


def test_it_refuses_small_queries_only_and_the_connection_goes_on(served: Served) -> None:
    shedding = served.state.shedding
    before = shedding.count
    large = b'{"text": "alpha 1"}' + b" " * 1_000_000
    wire = [
        request("POST", "/v1/route", QUERY, [("X-Request-ID", "a-1")]),
        request("GET", "/v1/status"),
        request("POST", "/v1/route", large),
        request("POST", "/v1/route", QUERY, [("Connection", "close")]),
    ]
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        seen = []
        for number, one in enumerate(wire):
            shedding.begin(float("inf"), Problem("overloaded", "too much waits", headers={"Retry-After": "1"}))
            # In pieces, as a slow client sends.
            for start in range(0, len(one), 500_000 if number == 2 else 40):
                connection.sendall(one[start : start + (500_000 if number == 2 else 40)])
            seen += answers(connection, ["GET" if number == 1 else "POST"])
        shedding.begin(-1.0, Problem("overloaded", "over"))
        assert connection.recv(1) == b""
    assert [answer.status for answer in seen] == [503, 200, 200, 503]
    assert seen[0].headers["x-request-id"] == seen[0].problem["request_id"] == "a-1"
    assert seen[3].headers["connection"] == "close"
    assert shedding.count == before + 2
    assert served.post("/v1/route", {"text": "alpha 1"}).status_code == 200


def test_what_is_refused_unread_is_counted() -> None:
    with small_router() as router, serving(router) as served:
        served.state.shedding.begin(float("inf"), Problem("overloaded", "too much waits"))
        for _ in range(3):
            assert served.post("/v1/route", {"text": "alpha 1"}).status_code == 503
        served.state.shedding.begin(-1.0, Problem("overloaded", "over"))

        def counted() -> bool:
            told = served.get("/metrics").text
            shed = 'synaptoroute_shed_total{reason="queries"} 3.0' in told
            requests = 'synaptoroute_http_requests_total{method="POST",route="/v1/route",status="503"} 3.0' in told
            return shed and requests and served.get("/v1/traffic").json()["totals"]["shed"] == 3

        until(counted)


def test_a_refused_request_whose_body_does_not_come_is_hung_up_on() -> None:
    with small_router() as router, serving(router, head_timeout_s=0.2) as served:
        served.state.shedding.begin(float("inf"), Problem("overloaded", "too much waits"))
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
            connection.sendall(request("POST", "/v1/route", QUERY)[:-3])
            assert connection.recv(1) == b""


async def test_a_turnstile_lets_a_few_through_at_a_time_and_in_order() -> None:
    turnstile = Turnstile()
    through: list[int] = []

    async def come(number: int) -> None:
        await turnstile.passed()
        through.append(number)

    tasks = [asyncio.create_task(come(number)) for number in range(5 * WIDTH)]
    tasks[3].cancel()
    most, last = 0, 0
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        most, last = max(most, len(through) - last), len(through)
    assert most <= WIDTH
    assert through == [number for number in range(5 * WIDTH) if number != 3]
    # One that comes alone need not wait.
    await asyncio.wait_for(come(1), 1)


# ----------------------------------------------------------------------------------------------------------- answers
@pytest.mark.parametrize("wire", [request("POST", "/v1/route", QUERY), request("GET", "/v1/nothing")])
def test_head_and_body_come_in_one_piece(served: Served, wire: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        for _ in range(20):
            connection.sendall(wire)
            head, _, body = connection.recv(1 << 16).partition(b"\r\n\r\n")
            assert b"content-length: %d\r\n" % len(body) in head + b"\r\n"


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("path", ["/livez", "/v1/export", "/v1/nothing"])
def test_whatever_the_answer_is_all_of_it_comes(served: Served, method: str, path: str) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(request(method, path))
        connection.sendall(request(method, path, headers=[("Connection", "close")]))
        first, second = answers(connection, [method, method])
        assert first.status == second.status != 0
        assert len(first.body) == len(second.body)
        assert connection.recv(1) == b""
