"""``explain``: the same decision as ``route``, and what made it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Reason, Route
from synaptoroute.decision import lessons
from synaptoroute.errors import DeadlineExceededError, InvalidQueryError, RouteNotFoundError, RouterClosedError
from synaptoroute.explaining import NEAREST
from synaptoroute.storage import SQLiteStorage
from tests.cli.test_cli import run
from tests.seeded import SeededEncoder, route, small_heads, vectors_of

NAMES = tuple(f"r{number}" for number in range(8))


@pytest.fixture
def router() -> Iterator[AdaptiveRouter]:
    with AdaptiveRouter(SeededEncoder()) as router:
        router.add_routes(route(name) for name in NAMES)
        router.wait_until_fitted()
        yield router


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"allow": ["r3", "r4"]}, {"threshold": 0.9, "min_margin": 0.1}])
def test_it_is_the_decision_that_route_gives(router: AdaptiveRouter, options: dict[str, object]) -> None:
    for query in ("r3 wanted", "nothing of the kind"):
        decision = router.route(query, **options)  # type: ignore[arg-type]
        assert router.explain(query, **options).decision == decision  # type: ignore[arg-type]


def test_the_nearest_utterances_are_those_of_all_routes_in_order(router: AdaptiveRouter) -> None:
    stored = [(name, text) for name in NAMES for text in router.get_route(name).utterances]
    scores = vectors_of([text for _, text in stored]) @ vectors_of(["r3 wanted"])[0]
    first = np.argsort(-scores, kind="stable")[:NEAREST]
    found = router.explain("r3 wanted").nearest
    assert [(each.name, each.utterance) for each in found] == [stored[row] for row in first]
    assert [each.score for each in found] == pytest.approx(scores[first].tolist(), abs=1e-5)
    assert {each.name for each in router.explain("r3 wanted", allow=["r1"]).nearest} == {"r1"}


def test_limits_say_where_they_came_from(router: AdaptiveRouter) -> None:
    def told(query: str = "r1 wanted", **options: float) -> dict[str, tuple[float | None, str | None]]:
        limits = router.explain(query, **options).to_dict()["limits"]  # type: ignore[arg-type]
        return {name: (limit["value"], limit["source"]) for name, limit in limits.items()}

    nothing = (None, None)
    assert told() == {"threshold": nothing, "min_confidence": (0.5, "default"), "min_margin": nothing}
    assert told(min_confidence=0.0)["min_confidence"] == (0.0, "call")
    assert told(min_margin=0.1)["min_margin"] == (0.1, "call")
    assert told(threshold=0.0) == {"threshold": (0.0, "call"), "min_confidence": nothing, "min_margin": nothing}
    router.update_threshold("r1", 0.25)
    assert told() == {"threshold": (0.25, "route"), "min_confidence": nothing, "min_margin": nothing}
    assert told(threshold=0.5)["threshold"] == (0.5, "call")
    with AdaptiveRouter(SeededEncoder(), min_confidence=0.7) as other:
        other.add_route(route("r1"))
        limit = other.explain("r1 wanted").limits.min_confidence
        assert (limit.value, limit.source) == (0.7, "router")


def test_it_says_which_part_decided(router: AdaptiveRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    assert router.explain("r2 wanted").decided_by == "head"
    table = router.snapshot.with_learned(None)
    assert table.part_for(0) == "neighbours"
    router.add_route(route("new"))
    explained = router.explain("new wanted")
    assert (explained.decision.name, explained.decided_by) == ("new", "neighbours")
    monkeypatch.setattr(lessons, "EFFORTS", small_heads(10))
    with AdaptiveRouter(SeededEncoder()) as large:
        large.add_routes(route(name) for name in NAMES)
        large.wait_until_fitted()
        assert large.explain("r2 wanted").decided_by == "two_stage"


def test_it_says_what_was_cached_and_decides_anew(router: AdaptiveRouter) -> None:
    assert router.explain("r5 wanted").cached is None
    assert router.explain("r5 wanted").cached == "decision"
    assert router.explain("r5 wanted", top_k=1).cached == "vector"
    router.update_threshold("r1", 0.1)
    assert router.explain("r5 wanted").cached == "vector"
    assert isinstance(router.encoder, SeededEncoder)
    with AdaptiveRouter(SeededEncoder(), cache_bytes=0) as without:
        without.add_route(route("r1"))
        assert [without.explain("r1 wanted").cached for _ in range(2)] == [None, None]


def test_stages_and_revision_are_there_and_json_takes_it(router: AdaptiveRouter) -> None:
    explained = router.explain("r1 wanted")
    stages = explained.stages
    assert min(stages.encode_ms, stages.search_ms, stages.decide_ms) > 0
    assert explained.revision == router.revision == explained.decision.revision
    told = json.loads(json.dumps(explained.to_dict()))
    assert told["decision"] == explained.decision.to_dict()
    assert told["nearest"][0] == {
        "name": "r1",
        "utterance": explained.nearest[0].utterance,
        "score": pytest.approx(explained.nearest[0].score),
    }


def test_without_routes_there_is_nothing_to_tell() -> None:
    with AdaptiveRouter(SeededEncoder()) as empty:
        explained = empty.explain("anything")
        assert explained.decision.reason is Reason.NO_ROUTES
        assert (explained.nearest, explained.decided_by) == ((), None)


def test_several_are_explained_in_order_from_threads_and_loops(router: AdaptiveRouter) -> None:
    queries = [f"{name} wanted" for name in NAMES]
    assert [each.decision.name for each in router.explain_many(queries)] == list(NAMES)

    async def ask() -> list[str | None]:
        one, *_ = await asyncio.gather(*(router.aexplain(query) for query in queries))
        many = await router.aexplain_many(queries)
        return [one.decision.name, *(each.decision.name for each in many)]

    assert asyncio.run(ask()) == ["r0", *NAMES]


def test_it_refuses_what_route_refuses(router: AdaptiveRouter) -> None:
    with pytest.raises(InvalidQueryError):
        router.explain(" ")
    with pytest.raises(RouteNotFoundError):
        router.explain("r1 wanted", allow=["nowhere"])
    with pytest.raises(DeadlineExceededError):
        router.explain("something never asked", deadline_s=0)
    router.close()
    with pytest.raises(RouterClosedError):
        router.explain("r1 wanted")


def test_observers_see_an_explained_decision_once(router: AdaptiveRouter) -> None:
    with router.shadow(router.revision) as shadow:
        router.explain("r1 wanted")
        shadow.wait_until_compared()
        assert shadow.report().live.compared == 1


def test_the_command_explains(tmp_path: Path) -> None:
    db = tmp_path / "routes.db"
    with AdaptiveRouter(storage=SQLiteStorage(db)) as router:
        router.add_route(Route(name="billing", utterances=["what do I owe", "show my balance"], threshold=0.1))
        router.add_route(Route(name="weather", utterances=["will it rain tomorrow", "what is the forecast"]))
    shown = run("route", "my balance please", "--explain", "--db", db)
    assert "billing (matched)" in shown.stdout
    assert "needed threshold 0.100, from the route" in shown.stdout
    assert "show my balance" in shown.stdout
    told = run("route", "my balance please", "--explain", "--json", "--db", db).json
    assert told["name"] == "billing"
    assert told["explanation"]["nearest"][0]["utterance"] == "show my balance"
    assert told["explanation"]["limits"]["threshold"] == {"value": 0.1, "source": "route"}
    assert run("route", "who painted the Mona Lisa", "--explain", "--db", db).code in (0, 3)
