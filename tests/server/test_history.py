"""History, differences, rollback and snapshots over HTTP, each change with the name of the key that made it."""

from __future__ import annotations

from tests.server.serving import Served, problem, serving, small_router


def test_the_history_names_who_changed_what() -> None:
    with small_router() as router, serving(router, keys=("read", "write", "admin")) as served:
        served.ask("PATCH", "/v1/routes/music", json={"description": "Songs"}, key="write")
        served.ask("DELETE", "/v1/routes/weather", key="admin")
        entries = served.get("/v1/history", params={"limit": 2}, key="read").json()["entries"]
        assert [(entry["operation"], entry["route"], entry["actor"]) for entry in entries] == [
            ("delete", "weather", "admin-key"),
            ("update", "music", "write-key"),
        ]
        of_music = served.get("/v1/history", params={"route": "music"}, key="read").json()["entries"]
        assert [entry["operation"] for entry in of_music] == ["update", "add"]
        served.finished(
            served.post("/v1/evaluate", {"queries": [{"text": "a", "label": None}]}, key="read"), key="read"
        )


def test_without_keys_the_actor_is_http(fresh: Served) -> None:
    fresh.ask("DELETE", "/v1/routes/weather")
    assert fresh.get("/v1/history").json()["entries"][0]["actor"] == "http"


def test_differences_and_the_way_back(fresh: Served) -> None:
    first = fresh.state.router.revision
    before = fresh.state.router.routes
    fresh.ask("PATCH", "/v1/routes/music", json={"threshold": 0.5, "utterances": ["music 0", "music new"]})
    fresh.ask("DELETE", "/v1/routes/weather")
    second = fresh.state.router.revision
    found = fresh.get("/v1/diff", params={"first": first, "second": second}).json()
    assert [(change["route"], change["operation"]) for change in found["changes"]] == [
        ("music", "update"),
        ("weather", "delete"),
    ]
    assert found["changes"][0]["added"] == ["music new"]
    assert found["changes"][0]["fields"] == {"threshold": {"before": None, "after": 0.5}}
    answer = fresh.post("/v1/rollback", {"revision": first})
    assert answer.json() == {"revision": second + 1}
    assert answer.headers["etag"] == f'"{second + 1}"'
    assert {route.name: route for route in fresh.state.router.routes} == {route.name: route for route in before}
    assert fresh.get("/v1/history").json()["entries"][0]["cause"] == f"rollback to {first}"


def test_a_revision_that_is_not_known_is_a_404(served: Served) -> None:
    problem(served.get("/v1/diff", params={"first": 0, "second": 999}), 404, "revision_not_found")
    problem(served.post("/v1/rollback", {"revision": 999}), 404, "revision_not_found")
    problem(served.get("/v1/diff", params={"first": 0, "second": 2**63}), 422, "invalid_request")
    problem(served.get("/v1/diff", params={"first": 0}), 422, "invalid_request")
    problem(served.post("/v1/rollback", {"revision": -1}), 422, "invalid_request")


def test_a_rollback_can_be_tied_to_what_was_seen(fresh: Served) -> None:
    fresh.ask("DELETE", "/v1/routes/weather")
    tag = fresh.get("/v1/routes").headers["etag"]
    fresh.ask("DELETE", "/v1/routes/music")
    body = {"revision": 0}
    problem(fresh.post("/v1/rollback", body, headers={"If-Match": tag}), 412, "revision_conflict")
    assert len(fresh.state.router) == 1
    tag = fresh.get("/v1/routes").headers["etag"]
    assert fresh.post("/v1/rollback", body, headers={"If-Match": tag}).status_code == 200
    assert len(fresh.state.router) == 0


def test_snapshots_are_saved_used_and_deleted(fresh: Served) -> None:
    saved = fresh.post("/v1/snapshots", {"name": "before/1"})
    assert saved.status_code == 201
    assert saved.json()["routes"] == 3
    assert saved.json()["actor"] == "http"
    problem(fresh.post("/v1/snapshots", {"name": "before/1"}), 409, "snapshot_exists")
    problem(fresh.post("/v1/snapshots", {"name": "-"}), 422, "invalid_route")
    assert fresh.get("/v1/snapshots").json() == {"snapshots": [saved.json()]}
    fresh.ask("DELETE", "/v1/routes/weather")
    stale = {"If-Match": '"1"'}
    problem(fresh.post("/v1/snapshots/before%2F1/use", headers=stale), 412, "revision_conflict")
    used = fresh.post("/v1/snapshots/before%2F1/use")
    assert used.json() == {"revision": fresh.state.router.revision}
    assert "weather" in fresh.state.router
    assert fresh.ask("DELETE", "/v1/snapshots/before%2F1").status_code == 200
    problem(fresh.ask("DELETE", "/v1/snapshots/before%2F1"), 404, "snapshot_not_found")
    problem(fresh.post("/v1/snapshots/before%2F1/use"), 404, "snapshot_not_found")
