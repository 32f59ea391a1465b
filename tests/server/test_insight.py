"""``/v1/traffic`` and ``/v1/map`` over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.encoder import BundledEncoder
from synaptoroute.labelled_files import read_queries
from synaptoroute.server import insight, projection
from synaptoroute.storage import SQLiteStorage
from tests.seeded import SeededEncoder, route
from tests.server.serving import GatedEncoder, Served, problem, serving, small_router, until


@pytest.fixture
def own() -> Iterator[Served]:
    with small_router() as router, serving(router) as served:
        yield served


# ------------------------------------------------------------------------------------------------------- traffic
def test_queries_are_counted_and_those_that_are_explained_are_not(own: Served) -> None:
    assert own.get("/v1/traffic").json()["totals"]["queries"] == 0  # warming up is no traffic
    own.post("/v1/route", {"texts": ["billing one", "music two"]})
    own.post("/v1/route", {"text": "billing one", "explain": True})
    own.post("/v1/map/locate", {"text": "billing one"})
    decisions = own.post("/v1/route", {"text": "nothing of the kind", "min_confidence": 1.0}).json()["decisions"]
    assert decisions[0]["name"] is None
    found = own.get("/v1/traffic").json()
    assert (found["totals"]["queries"], found["totals"]["abstained"]) == (3, 1)
    assert sum(found["seconds"]["queries"]) == 3
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"] < 30_000
    assert (sum(found["confidence"]["live"]), found["confidence"]["n_live"]) == (3, 3)
    assert (found["confidence"]["state"], found["confidence"]["drift"]) == ("unfitted", None)
    assert len(found["bins"]) == len(found["confidence"]["live"]) + 1


def test_what_is_past_its_deadline_has_failed() -> None:
    encoder = GatedEncoder()
    with small_router(encoder) as router, serving(router) as served:
        answer = served.post("/v1/route", {"text": "wait for it", "deadline_ms": 20})
        problem(answer, 504, "deadline_exceeded")
        encoder.gate.set()
        totals = served.get("/v1/traffic").json()["totals"]
    assert (totals["queries"], totals["failed"]) == (0, 1)


def test_a_router_is_let_go_of_with_its_server() -> None:
    with small_router() as router:
        with serving(router) as served:
            traffic = served.state.insight.traffic
            served.post("/v1/route", {"text": "billing"})
        router.route("billing")
        assert traffic.to_dict()["totals"]["queries"] == 1


def test_the_fitted_queries_become_the_baseline(demo_store: Path, encoder: BundledEncoder) -> None:
    with resources.as_file(resources.files("synaptoroute") / "demo" / "queries.csv") as path:
        queries, labels = read_queries(path)

    def state(served: Served) -> Any:
        return served.get("/v1/traffic").json()["confidence"]

    with AdaptiveRouter(encoder, SQLiteStorage(demo_store)) as router, serving(router) as served:
        assert router.fit(queries, labels, force=True).applied
        served.post("/v1/route", {"texts": queries})
        served.post("/v1/route", {"texts": queries[:20]})
        assert state(served)["state"] == "learning"
        found = until(lambda: (now := state(served))["state"] == "ready" and now)
        assert (sum(found["baseline"]), found["n_baseline"]) == (len(queries), len(queries))
        assert found["n_live"] == len(queries) + 20
        assert found["drift"]["psi"] > found["drift"]["chance"] > 0
        # Worked out once for this fit, whatever happens to the routes.
        router.add_route(route("another"))
        assert state(served)["baseline"] == found["baseline"]
        router.forget_fit()
        assert state(served)["state"] == "unfitted"


# ----------------------------------------------------------------------------------------------------------- map
def test_the_map_follows_the_routes(own: Served) -> None:
    first = own.get("/v1/map").json()
    assert (first["shown"], first["total"], len(first["points"])) == (18, 18, 18)
    own.post("/v1/routes/billing/utterances", {"utterances": ["billing anew"]})
    second = own.get("/v1/map").json()
    assert second["revision"] == first["revision"] + 1
    assert {point["utterance"] for point in second["points"]} - {point["utterance"] for point in first["points"]} == {
        "billing anew"
    }


def test_a_query_falls_where_an_utterance_of_the_same_text_is(served: Served) -> None:
    for shown in ({}, {"routes": ["billing", "music"]}, {"limit": 7}):
        points = served.get("/v1/map", params=shown).json()["points"]
        for point in points[:3]:
            found = served.post("/v1/map/locate", {"text": f" {point['utterance']} ", **shown}).json()
            assert (found["x"], found["y"]) == (
                pytest.approx(point["x"], abs=2e-5),
                pytest.approx(point["y"], abs=2e-5),
            )
            assert found["decision"]["matches"][0]["utterance"] == point["utterance"]


def test_what_cannot_be_drawn_is_refused(served: Served) -> None:
    problem(served.get("/v1/map?routes=nothing"), 404, "route_not_found")
    problem(served.post("/v1/map/locate", {"text": "a", "routes": ["nothing"]}), 404, "route_not_found")
    problem(served.post("/v1/map/locate", {"text": " "}), 422, "invalid_query")
    problem(served.post("/v1/map/locate", {"text": "a", "more": 1}), 422, "invalid_request")
    for limit in (0, 10_001, "x"):
        problem(served.get(f"/v1/map?limit={limit}"), 422, "invalid_request")
    problem(served.get("/v1/map", params={"routes": ["a"] * 51}), 422, "invalid_request")


def test_a_map_is_drawn_once_however_many_ask(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(*args: Any) -> Any:
        drawn.append(args)
        return really(*args)

    really = projection.draw
    monkeypatch.setattr(insight, "draw", draw)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: own.get("/v1/map").content, range(16)))
    assert len(set(answers)) == 1
    assert len(drawn) == 1


def test_an_empty_router_has_an_empty_map() -> None:
    with AdaptiveRouter(SeededEncoder()) as router, serving(router) as served:
        found = served.get("/v1/map").json()
        assert (found["points"], found["overlaps"], found["total"]) == ([], [], 0)
        located = served.post("/v1/map/locate", {"text": "anything"}).json()
        assert (located["x"], located["y"], located["decision"]["reason"]) == (0, 0, "no_routes")
