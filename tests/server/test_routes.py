"""/v1/routes: created, read, replaced, changed and deleted, without overwriting what somebody else did."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from synaptoroute.server.routes import decoded
from tests.server.serving import Served, problem

NEW = {"name": "a/b & c", "utterances": ["a 1", "a 2"], "description": "Words", "metadata": {"team": ["x"]}}
AT = f"/v1/routes/{quote(str(NEW['name']), safe='')}"


def created(fresh: Served) -> dict[str, Any]:
    answer = fresh.post("/v1/routes", NEW)
    assert answer.status_code == 201, answer.text
    content: dict[str, Any] = answer.json()
    return content


def test_a_route_is_created_and_found_under_its_location(fresh: Served) -> None:
    answer = fresh.post("/v1/routes", NEW)
    assert answer.status_code == 201
    assert answer.headers["location"] == AT
    assert answer.headers["etag"] == f'"{fresh.state.router.revision}"'
    found = fresh.get(AT)
    assert found.json() == answer.json()
    assert found.headers["etag"] == answer.headers["etag"]
    assert found.json() == {
        **NEW,
        "threshold": None,
        "utterance_count": 2,
        "revision": fresh.state.router.revision,
    }
    assert fresh.get(AT.replace("%2F", "%2f")).status_code == 200
    problem(fresh.post("/v1/routes", NEW), 409, "route_exists")


def test_a_slash_that_is_not_encoded_is_another_path(fresh: Served) -> None:
    created(fresh)
    problem(fresh.get("/v1/routes/a/b & c"), 404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "utterances": ["a"]},
        {"name": "-a", "utterances": ["a"]},
        {"name": "a", "utterances": [" "]},
        {"name": "a", "utterances": ["a"], "description": "x" * 8_193},
        {"name": "a", "utterances": ["a"], "metadata": {"x": "y" * 65_536}},
    ],
)
def test_a_route_that_cannot_be_accepted_changes_nothing(served: Served, body: Any) -> None:
    before = served.state.router.revision
    problem(served.post("/v1/routes", body), 422, "invalid_route")
    assert served.state.router.revision == before


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a", "utterances": []},
        {"name": "a", "utterances": "a"},
        {"name": "a"},
        {"name": "a", "utterances": ["a"], "threshold": 2},
        {"name": "a", "utterances": ["a"], "threshold": True},
        {"name": "a", "utterances": ["a"], "more": 1},
        {"name": 1, "utterances": ["a"]},
        "a",
    ],
)
def test_what_is_no_route_at_all_is_refused(served: Served, body: Any) -> None:
    problem(served.post("/v1/routes", body), 422, "invalid_request")


def test_the_list_comes_in_pages_in_the_order_of_adding(served: Served) -> None:
    first = served.get("/v1/routes", params={"limit": 2})
    assert [route["name"] for route in first.json()["routes"]] == ["billing", "music"]
    assert (first.json()["total"], first.json()["next"]) == (3, "music")
    assert first.headers["etag"] == f'"{first.json()["revision"]}"'
    rest = served.get("/v1/routes", params={"limit": 2, "after": "music"}).json()
    assert [route["name"] for route in rest["routes"]] == ["weather"]
    assert rest["next"] is None
    assert first.json()["routes"][0]["utterances"] is None
    problem(served.get("/v1/routes", params={"after": "gone"}), 404, "route_not_found")
    problem(served.get("/v1/routes", params={"limit": 0}), 422, "invalid_request")


def test_the_list_can_be_searched(served: Served) -> None:
    by_name = served.get("/v1/routes", params={"query": "MUS", "utterances": True}).json()
    assert [route["name"] for route in by_name["routes"]] == ["music"]
    assert by_name["routes"][0]["utterances"][0] == "music 0"
    assert served.get("/v1/routes", params={"query": "weather 3"}).json()["total"] == 1
    assert served.get("/v1/routes", params={"query": "nowhere"}).json() == {
        "routes": [],
        "total": 0,
        "next": None,
        "revision": served.state.router.revision,
    }


def test_put_creates_then_replaces(fresh: Served) -> None:
    body = {"utterances": ["x 1"]}
    assert fresh.ask("PUT", "/v1/routes/x", json=body).status_code == 201
    again = fresh.ask("PUT", "/v1/routes/x", json={"utterances": ["x 2"], "threshold": 0.0, "name": "x"})
    assert again.status_code == 200
    assert (again.json()["utterances"], again.json()["threshold"]) == (["x 2"], 0.0)
    problem(fresh.ask("PUT", "/v1/routes/x", json={**body, "name": "y"}), 422, "invalid_request")
    problem(fresh.ask("PUT", "/v1/routes/x", json=body, headers={"If-None-Match": "*"}), 412, "revision_conflict")
    assert fresh.ask("PUT", "/v1/routes/y", json=body, headers={"If-None-Match": "*"}).status_code == 201
    problem(fresh.ask("PUT", "/v1/routes/z", json=body, headers={"If-Match": '"1"'}), 412, "revision_conflict")
    problem(fresh.ask("PUT", "/v1/routes/z", json=body, headers={"If-Match": "*"}), 412, "revision_conflict")
    problem(fresh.ask("PUT", "/v1/routes/-z", json=body), 422, "invalid_route")


def test_patch_changes_what_is_given_and_null_removes(fresh: Served) -> None:
    created(fresh)
    changed = fresh.ask("PATCH", AT, json={"threshold": 0.5}).json()
    assert (changed["threshold"], changed["description"]) == (0.5, "Words")
    changed = fresh.ask("PATCH", AT, json={"threshold": None, "description": None, "metadata": None}).json()
    assert (changed["threshold"], changed["description"], changed["metadata"]) == (None, None, {})
    assert changed["utterances"] == NEW["utterances"]
    problem(fresh.ask("PATCH", AT, json={"utterances": None}), 422, "invalid_request")
    problem(fresh.ask("PATCH", "/v1/routes/gone", json={}), 404, "route_not_found")
    assert fresh.ask("PATCH", AT, json={}).json() == changed


def test_utterances_are_added_and_removed_together(fresh: Served) -> None:
    created(fresh)
    added = fresh.post(f"{AT}/utterances", {"utterances": ["a 2", "a 3", "a 4"]}).json()
    assert added["utterances"] == ["a 1", "a 2", "a 3", "a 4"]
    removed = fresh.post(f"{AT}/utterances/remove", {"utterances": ["a 1", " a 3 "]}).json()
    assert removed["utterances"] == ["a 2", "a 4"]
    assert removed["revision"] == added["revision"] + 1
    problem(fresh.post(f"{AT}/utterances/remove", {"utterances": ["a 2", "gone"]}), 404, "route_not_found")
    problem(fresh.post(f"{AT}/utterances/remove", {"utterances": ["a 2", "a 4"]}), 422, "invalid_route")
    assert fresh.post(f"{AT}/utterances/remove", {"utterances": ["a 2"]}).json()["utterances"] == ["a 4"]
    problem(fresh.post(f"{AT}/utterances/remove", {"utterances": ["a 4"]}), 422, "invalid_route")
    problem(fresh.post("/v1/routes/gone/utterances", {"utterances": ["a"]}), 404, "route_not_found")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", AT, {"utterances": ["a 9"]}),
        ("PATCH", AT, {"threshold": 0.1}),
        ("POST", f"{AT}/utterances", {"utterances": ["a 9"]}),
        ("POST", f"{AT}/utterances/remove", {"utterances": ["a 1"]}),
        ("DELETE", AT, None),
    ],
)
def test_a_change_that_was_decided_on_something_else_is_refused(
    fresh: Served, method: str, path: str, body: Any
) -> None:
    was = created(fresh)
    fresh.ask("PATCH", AT, json={"description": "Changed meanwhile"})
    options = {} if body is None else {"json": body}
    before = fresh.state.router.revision
    for tag in (f'"{was["revision"]}"', '"999"', "nonsense", f'W/"{before}"'):
        problem(fresh.ask(method, path, headers={"If-Match": tag}, **options), 412, "revision_conflict")
    assert fresh.state.router.revision == before
    answer = fresh.ask(method, path, headers={"If-Match": fresh.get(AT).headers["etag"]}, **options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == f'"{answer.json()["revision"]}"'
    assert fresh.state.router.revision == before + 1


def test_a_deleted_route_is_gone(fresh: Served) -> None:
    assert fresh.ask("DELETE", "/v1/routes/music").json() == {"revision": fresh.state.router.revision}
    problem(fresh.get("/v1/routes/music"), 404, "route_not_found")
    problem(fresh.ask("DELETE", "/v1/routes/music"), 404, "route_not_found")


def test_names_are_compared_as_the_router_does() -> None:
    assert decoded("caf\u0065\u0301%2Fx") == "café/x"


def test_a_change_of_another_kind_is_seen_by_the_next_query(fresh: Served) -> None:
    fresh.ask("DELETE", "/v1/routes/music")
    fresh.post("/v1/routes", {"name": "songs", "utterances": ["music 1", "music 2"]})
    decision = fresh.post("/v1/route", {"text": "music 1", "min_confidence": 0}).json()["decisions"][0]
    assert decision["name"] == "songs"
