"""POST /v1/route: decisions as the router makes them, and what it refuses."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.server.serving import SAFE_S, GatedEncoder, Served, problem, serving, small_router

OPTIONS: list[dict[str, Any]] = [
    {},
    {"top_k": 1},
    {"threshold": 0.99},
    {"min_confidence": 1.0},
    {"min_margin": 1.0},
    {"allow": ["music"]},
    {"exact": True},
    {"threshold": 0.0, "min_confidence": 0.0, "min_margin": 0.0},
]


def decided(served: Served, **body: Any) -> dict[str, Any]:
    answer = served.post("/v1/route", body)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_decisions_are_those_of_the_router(served: Served, options: dict[str, Any]) -> None:
    texts = ["billing please", "music please", "something else"]
    expected = [decision.to_dict() for decision in served.state.router.route_many(texts, **options)]
    answer = decided(served, texts=texts, **options)
    assert answer["decisions"] == json.loads(json.dumps(expected))
    assert answer["revision"] == served.state.router.revision
    assert answer["took_ms"] >= 0
    assert decided(served, text=texts[1], **options)["decisions"] == answer["decisions"][1:2]


def test_one_text_and_a_list_of_one_are_the_same_but_for_the_time(served: Served) -> None:
    one, several = decided(served, text="music 1"), decided(served, texts=["music 1"])
    assert one["decisions"] == several["decisions"]
    assert one["decisions"][0]["name"] == "music"


def test_an_explanation_stands_beside_the_decision(served: Served) -> None:
    plain = decided(served, text="music 1")["decisions"][0]
    explained = decided(served, text="music 1", explain=True)["decisions"][0]
    assert explained.pop("explanation")["nearest"][0]["utterance"] == "music 1"
    assert explained == plain


@pytest.mark.parametrize(
    ("body", "location"),
    [
        ({}, "body"),
        ({"text": "a", "texts": ["a"]}, "body"),
        ({"text": None}, "body"),
        ({"text": ""}, "body.text"),
        ({"text": 1}, "body.text"),
        ({"texts": []}, "body.texts"),
        ({"texts": ["a", ""]}, "body.texts.1"),
        ({"text": "a", "top_k": 0}, "body.top_k"),
        ({"text": "a", "top_k": "5"}, "body.top_k"),
        ({"text": "a", "threshold": 1.5}, "body.threshold"),
        ({"text": "a", "min_confidence": -0.1}, "body.min_confidence"),
        ({"text": "a", "deadline_ms": 0}, "body.deadline_ms"),
        ({"text": "a", "allow": "music"}, "body.allow"),
        ({"text": "a", "tpo_k": 5}, "body.tpo_k"),
        ([], "body"),
    ],
)
def test_what_is_wrong_is_named_and_not_repeated(served: Served, body: Any, location: str) -> None:
    content = problem(served.post("/v1/route", body), 422, "invalid_request")
    assert content["errors"][0]["location"] == location
    assert set(content["errors"][0]) == {"location", "message", "type"}


def test_the_operators_limits_hold(served: Served) -> None:
    limited: dict[str, Any] = {
        "max_texts": 2,
        "max_top_k": 3,
        "max_text_chars": 10,
        "max_deadline_ms": 100,
        "deadline_ms": 100,
    }
    with serving(served.state.router, **limited) as strict:
        assert decided(strict, texts=["a", "b"], top_k=3, deadline_ms=100)
        problem(strict.post("/v1/route", {"texts": ["a", "b", "c"]}), 422, "invalid_request")
        problem(strict.post("/v1/route", {"text": "a", "top_k": 4}), 422, "invalid_request")
        problem(strict.post("/v1/route", {"text": "a", "deadline_ms": 101}), 422, "invalid_request")
        told = "do not repeat this"
        answer = strict.post("/v1/route", {"text": told})
        problem(answer, 422, "invalid_query")
        assert told not in answer.text


def test_a_text_of_white_space_is_no_query(served: Served) -> None:
    problem(served.post("/v1/route", {"text": "  "}), 422, "invalid_query")


def test_only_routes_that_are_there_may_be_allowed(served: Served) -> None:
    problem(served.post("/v1/route", {"text": "a", "allow": ["nonsense"]}), 404, "route_not_found")


def test_too_much_is_turned_away_and_what_is_late_is_told_so() -> None:
    encoder = GatedEncoder()
    with (
        small_router(encoder) as router,
        serving(router, max_in_flight=10_000) as served,
        ThreadPoolExecutor(40) as pool,
    ):
        most = 512
        crowd = [
            pool.submit(served.post, "/v1/route", {"texts": [f"wait {n} {m}" for m in range(most // 2)]})
            for n in range(6)
        ]
        for _ in range(2):
            assert encoder.waiting.acquire(timeout=SAFE_S)
        late = served.post("/v1/route", {"text": "wait for long", "deadline_ms": 1})
        for _ in range(30):
            crowd.append(
                pool.submit(served.post, "/v1/route", {"texts": [f"wait {len(crowd)} {m}" for m in range(256)]})
            )
        encoder.gate.set()
        answers = [answer.result(SAFE_S) for answer in crowd]
        turned_away = [answer for answer in answers if answer.status_code != 200]
        assert turned_away
        for answer in turned_away:
            problem(answer, 503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
        assert late.status_code in {503, 504}
        if late.status_code == 504:
            problem(late, 504, "deadline_exceeded")
        assert decided(served, text="music 1")["decisions"][0]["name"] == "music"


def test_a_deadline_that_has_passed_is_a_504() -> None:
    encoder = GatedEncoder()
    with small_router(encoder) as router, serving(router) as served:
        problem(served.post("/v1/route", {"text": "wait a little", "deadline_ms": 20}), 504, "deadline_exceeded")
        encoder.gate.set()
