"""Feedback and the operating point over HTTP: who may do what, and that a person decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from synaptoroute.decision import lessons
from tests.server.serving import Served, problem, serving, small_router


@pytest.fixture(autouse=True)
def quick_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head is learned in a tenth of the time: a proposal takes a dozen of them."""
    quick = replace(lessons.EFFORTS[0], reads_ngrams=False, steps=20, folds=4, used=1)
    monkeypatch.setattr(lessons, "EFFORTS", (quick,))


@pytest.fixture
def keyed() -> Iterator[Served]:
    """A server with a key for each scope; music has a stray utterance."""
    with small_router() as router:
        router.add_utterance("music", "tune stray")
        with serving(router, keys=("read", "write", "admin")) as served:
            yield served


def test_a_decision_is_corrected_when_a_person_accepts(keyed: Served) -> None:
    router = keyed.state.router
    said = {"text": "tune stray thing", "expected": "billing", "note": "a bill for a tune"}
    added = keyed.post("/v1/feedback", said, key="read")
    assert added.status_code == 201
    shown = added.json()
    assert (shown["text"], shown["expected"], shown["state"], shown["actor"]) == (
        said["text"],
        "billing",
        "open",
        "read-key",
    )
    assert shown["decided"]["revision"] == router.revision
    assert added.headers["location"] == f"/v1/feedback/{shown['id']}"
    again = keyed.post("/v1/feedback", {**said, "text": "Tune  stray THING"}, key="read").json()
    assert (again["id"], again["count"]) == (shown["id"], 2)
    path, before = f"/v1/feedback/{shown['id']}", router.routes

    job = keyed.finished(keyed.post(f"{path}/propose", key="write"), key="read")
    assert (job["state"], job["kind"]) == ("done", "propose"), job
    proposal = job["result"]["proposal"]
    assert job["progress"]["done"] == job["progress"]["total"] == len(proposal["options"])
    assert router.routes == before
    found = keyed.get(path, key="write").json()
    assert found["state"] == "proposed"
    assert "add_utterance" in {option["key"] for option in found["proposal"]["options"]}
    assert all(option["effect"]["checked"] > 0 for option in found["proposal"]["options"])
    assert found["proposal"]["options"][-1]["key"] == "nothing"
    assert [each["id"] for each in keyed.get("/v1/feedback?state=proposed", key="write").json()["feedback"]] == [
        shown["id"]
    ]

    accepted = keyed.post(f"{path}/accept", {"option": "add_utterance"}, key="write").json()
    assert accepted["state"] == "accepted"
    assert (accepted["outcome"]["option"], accepted["outcome"]["actor"]) == ("add_utterance", "write-key")
    assert accepted["outcome"]["revision"] == router.revision
    assert "tune stray thing" in router.get_route("billing").utterances
    entry = keyed.get("/v1/history?limit=1", key="read").json()["entries"][0]
    assert (entry["actor"], entry["cause"]) == ("write-key", f"feedback {shown['id']}: add_utterance")
    problem(keyed.post(f"{path}/accept", {"option": "nothing"}, key="write"), 422, "invalid_input")


def test_what_does_not_hold_any_more_is_a_conflict(keyed: Served) -> None:
    number = keyed.post("/v1/feedback", {"text": "tune stray thing", "expected": "billing"}, key="read").json()["id"]
    path = f"/v1/feedback/{number}"
    problem(keyed.post(f"{path}/accept", {"option": "nothing"}, key="write"), 422, "invalid_input")
    keyed.finished(keyed.post(f"{path}/propose", key="write"), key="read")
    keyed.ask("PATCH", "/v1/routes/weather", json={"threshold": 0.2}, key="write")
    before = keyed.state.router.routes
    problem(keyed.post(f"{path}/accept", {"option": "add_utterance"}, key="write"), 409, "conflict")
    assert keyed.state.router.routes == before
    dismissed = keyed.post(f"{path}/dismiss", {"note": "it is music"}, key="write").json()
    assert (dismissed["state"], dismissed["outcome"]["note"]) == ("dismissed", "it is music")
    other = keyed.post("/v1/feedback", {"text": "another", "expected": None}, key="read").json()["id"]
    assert keyed.post(f"/v1/feedback/{other}/dismiss", key="write").json()["state"] == "dismissed"


def test_an_option_about_the_operating_point_takes_admin(keyed: Served) -> None:
    keyed.ask("PUT", "/v1/operating-point", json={"min_confidence": 1.0}, key="admin")
    number = keyed.post("/v1/feedback", {"text": "music wanted", "expected": "music"}, key="read").json()["id"]
    path = f"/v1/feedback/{number}"
    keyed.finished(keyed.post(f"{path}/propose", key="write"), key="read")
    option = {"option": "set_operating_point"}
    problem(keyed.post(f"{path}/accept", option, key="write"), 403, "forbidden")
    assert keyed.state.router.operating_point.min_confidence == 1.0
    assert keyed.post(f"{path}/accept", option, key="admin").json()["state"] == "accepted"
    assert keyed.state.router.operating_point.actor == "admin-key"
    assert keyed.state.router.operating_point.min_confidence < 1.0


def test_texts_of_others_take_the_scope_write_and_deleting_them_admin(keyed: Served) -> None:
    number = keyed.post("/v1/feedback", {"text": "mine", "expected": None}, key="read").json()["id"]
    path = f"/v1/feedback/{number}"
    for method, where, least in (
        ("GET", "/v1/feedback", "write"),
        ("GET", path, "write"),
        ("POST", f"{path}/propose", "write"),
        ("POST", f"{path}/dismiss", "write"),
        ("DELETE", path, "admin"),
    ):
        problem(keyed.ask(method, where, key="read"), 403, "forbidden")
        problem(keyed.ask(method, where), 401, "unauthorized")
        if least == "admin":
            problem(keyed.ask(method, where, key="write"), 403, "forbidden")
    assert keyed.ask("DELETE", path, key="admin").status_code == 204
    problem(keyed.get(path, key="write"), 404, "feedback_not_found")


def test_what_cannot_be_feedback_is_refused_without_repeating_it(served: Served) -> None:
    text = "private words"
    for body, status, code in (
        ({"text": text, "expected": "nowhere"}, 422, "invalid_input"),
        ({"text": text}, 422, "invalid_request"),
        ({"text": " ", "expected": None}, 422, "invalid_query"),
        ({"text": text, "expected": None, "note": "x" * 2_001}, 422, "invalid_request"),
        (
            {"text": text, "expected": None, "decision": {"name": None, "confidence": 2, "revision": 1}},
            422,
            "invalid_request",
        ),
        ({"text": text, "expected": None, "more": 1}, 422, "invalid_request"),
    ):
        answer = served.post("/v1/feedback", body)
        assert text not in answer.text
        problem(answer, status, code)
    surrogate = b'{"text": "private words \\ud800", "expected": null}'
    answer = served.ask("POST", "/v1/feedback", content=surrogate, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert text not in answer.text
    surrogate = b'{"text": "a", "expected": null, "decision": {"name": "\\ud800", "confidence": 0.5, "revision": 1}}'
    answer = served.ask("POST", "/v1/feedback", content=surrogate, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    for path in ("/v1/feedback/7", "/v1/feedback/9223372036854775807"):
        problem(served.get(path), 404, "feedback_not_found")
        problem(served.post(f"{path}/propose"), 404, "feedback_not_found")
        problem(served.post(f"{path}/accept", {"option": "nothing"}), 404, "feedback_not_found")
    for path in ("/v1/feedback/0", "/v1/feedback/x", "/v1/feedback/9223372036854775808"):
        problem(served.get(path), 422, "invalid_request")
    problem(served.get("/v1/feedback?state=lost"), 422, "invalid_request")


def test_lists_go_on_where_they_ended(fresh: Served) -> None:
    numbers = [
        fresh.post("/v1/feedback", {"text": f"text {number}", "expected": None}).json()["id"] for number in range(5)
    ]
    first = fresh.get("/v1/feedback?limit=3").json()
    rest = fresh.get(f"/v1/feedback?limit=3&before={first['next']}").json()
    assert [each["id"] for each in (*first["feedback"], *rest["feedback"])] == numbers[::-1]
    assert rest["next"] is None


def test_the_operating_point_is_shown_set_and_reset(keyed: Served) -> None:
    router = keyed.state.router
    shown = keyed.get("/v1/operating-point", key="read")
    assert shown.headers["etag"] == f'"{router.revision}"'
    assert shown.json() == {
        "min_confidence": 0.5,
        "source": "default",
        "actor": None,
        "at": None,
        "revision": router.revision,
    }
    problem(keyed.ask("PUT", "/v1/operating-point", json={"min_confidence": 0.7}, key="write"), 403, "forbidden")
    put = keyed.ask("PUT", "/v1/operating-point", json={"min_confidence": 0.7}, key="admin").json()
    assert (put["min_confidence"], put["source"], put["actor"]) == (0.7, "set", "admin-key")
    explained = keyed.post("/v1/route", {"text": "music wanted", "explain": True}, key="read").json()["decisions"][0]
    assert explained["explanation"]["limits"]["min_confidence"] == {"value": 0.7, "source": "set"}
    stale = {"If-Match": f'"{router.revision - 1}"'}
    answer = keyed.ask("PUT", "/v1/operating-point", json={"min_confidence": 0.1}, key="admin", headers=stale)
    problem(answer, 412, "revision_conflict")
    for wrong in ({"min_confidence": 1.1}, {"min_confidence": "much"}, {}):
        problem(keyed.ask("PUT", "/v1/operating-point", json=wrong, key="admin"), 422, "invalid_request")
    assert router.operating_point.min_confidence == 0.7
    reset = keyed.ask("PUT", "/v1/operating-point", json={"min_confidence": None}, key="admin").json()
    assert (reset["min_confidence"], reset["source"]) == (0.5, "default")
