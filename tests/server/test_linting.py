"""Findings, and their fixes at one click."""

from __future__ import annotations

import pytest

from synaptoroute import Route
from synaptoroute.lint import Fix
from synaptoroute.server.linting import mended
from synaptoroute.server.problems import Problem
from tests.seeded import route
from tests.server.serving import Served, problem


def test_a_finding_is_mended_by_its_fixes(fresh: Served) -> None:
    fresh.post("/v1/routes/music/utterances", {"utterances": ["billing 1"]})
    answer = fresh.get("/v1/lint")
    content = answer.json()
    assert answer.headers["etag"] == f'"{content["revision"]}"'
    assert content["total"] == len(content["findings"])
    finding = next(found for found in content["findings"] if found["kind"] == "duplicate")
    assert finding["fixes"]
    limited = fresh.get("/v1/lint?limit=1").json()
    assert (limited["findings"], limited["total"]) == (content["findings"][:1], content["total"])
    tag = {"If-Match": answer.headers["etag"]}
    mending = fresh.post("/v1/lint/fix", {"fixes": finding["fixes"]}, headers=tag)
    assert mending.json() == {"revision": fresh.state.router.revision}
    assert "duplicate" not in {found["kind"] for found in fresh.get("/v1/lint").json()["findings"]}
    problem(fresh.post("/v1/lint/fix", {"fixes": finding["fixes"]}, headers=tag), 412, "revision_conflict")
    problem(fresh.post("/v1/lint/fix", {"fixes": finding["fixes"]}), 404, "route_not_found")


def test_several_fixes_are_one_change(fresh: Served) -> None:
    before = fresh.state.router.revision
    fixes = [
        {"action": "move_utterance", "route": "music", "utterance": "music 1", "to": "weather"},
        {"action": "remove_utterance", "route": "music", "utterance": "music 2"},
        {"action": "set_threshold", "route": "weather", "threshold": 0.25},
    ]
    assert fresh.post("/v1/lint/fix", {"fixes": fixes}).json() == {"revision": before + 1}
    assert "music 1" in fresh.state.router.get_route("weather").utterances
    assert fresh.state.router.get_route("weather").threshold == 0.25
    assert {"music 1", "music 2"}.isdisjoint(fresh.state.router.get_route("music").utterances)


@pytest.mark.parametrize(
    ("fix", "status", "code"),
    [
        ({"action": "remove_utterance", "route": "gone", "utterance": "a"}, 404, "route_not_found"),
        ({"action": "remove_utterance", "route": "music", "utterance": "gone"}, 404, "route_not_found"),
        ({"action": "remove_utterance", "route": "music"}, 404, "route_not_found"),
        ({"action": "move_utterance", "route": "music", "utterance": "music 1"}, 422, "invalid_request"),
        ({"action": "move_utterance", "route": "music", "utterance": "music 1", "to": "gone"}, 404, "route_not_found"),
        ({"action": "set_threshold", "route": "music"}, 422, "invalid_request"),
        ({"action": "set_threshold", "route": "music", "threshold": 2}, 422, "invalid_request"),
        ({"action": "explode", "route": "music"}, 422, "invalid_request"),
    ],
)
def test_a_fix_that_does_not_fit_changes_nothing(
    served: Served, fix: dict[str, object], status: int, code: str
) -> None:
    before = served.state.router.revision
    problem(served.post("/v1/lint/fix", {"fixes": [fix]}), status, code)
    assert served.state.router.revision == before


def test_no_route_is_left_without_utterances() -> None:
    routes = {"a": Route(name="a", utterances=["x"]), "b": route("b")}
    with pytest.raises(Problem, match="left without utterances"):
        mended(routes, [Fix(action="move_utterance", route="a", utterance="x", to="b")])
