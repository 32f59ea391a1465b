"""Utterances that are left out and asked: each once, of routes that have not seen it."""

from __future__ import annotations

import pytest

from synaptoroute import AdaptiveRouter, Route, holdout
from synaptoroute.decision.policy import Limits
from synaptoroute.holdout import HeldOutShares, ask_held_out, by_route, without
from tests.seeded import SeededEncoder, route


@pytest.fixture
def router() -> AdaptiveRouter:
    router = AdaptiveRouter(SeededEncoder())
    router.add_routes([route("pay", *range(6)), route("rain", *range(3)), Route(name="alone", utterances=["alone x"])])
    return router


def test_every_utterance_is_asked_once_but_a_routes_only_one(router: AdaptiveRouter) -> None:
    asked = ask_held_out(router.snapshot)
    assert sorted(each.text for each in asked) == sorted(
        [f"pay {n}" for n in range(6)] + [f"rain {n}" for n in range(3)]
    )
    shares = by_route(asked)
    assert {name: found.asked for name, found in shares.items()} == {"pay": 6, "rain": 3}
    assert all(found.right + found.wrong + found.abstained == found.asked for found in shares.values())


def test_what_is_asked_is_not_what_answers(router: AdaptiveRouter) -> None:
    for each in ask_held_out(router.snapshot):
        assert each.text not in {match.utterance for match in each.decision.matches}


def test_limits_and_the_choice_of_routes_count(router: AdaptiveRouter) -> None:
    asked = ask_held_out(router.snapshot, routes={"rain"}, limits=Limits(min_confidence=1.0))
    assert by_route(asked) == {"rain": HeldOutShares(asked=3, right=0, wrong=0, abstained=3)}


def test_the_same_table_gives_the_same_answer(router: AdaptiveRouter) -> None:
    assert ask_held_out(router.snapshot) == ask_held_out(router.snapshot)


def test_a_large_table_is_asked_about_a_part(router: AdaptiveRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holdout, "ALL_PARTS_UP_TO", 5)
    monkeypatch.setattr(holdout, "ASKED", 2)
    assert len(ask_held_out(router.snapshot)) == 2


def test_without_takes_out_of_each_route_what_it_should(router: AdaptiveRouter) -> None:
    table = without(router.snapshot, ["pay", "rain"], ["pay 1", "rain 0"])
    assert [len(each.utterances) for each in table.routes] == [5, 2, 1]
    assert len(table.index) == 8
