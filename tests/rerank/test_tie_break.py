"""A router with a reranker: asked about ties alone, trusted as far as held-out utterances show, never in the way."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Decision
from synaptoroute.errors import DeadlineExceededError, InvalidInputError, RerankerError
from synaptoroute.models import Stage
from synaptoroute.rerank import TieBreak
from synaptoroute.rerank.base import score_checked
from synaptoroute.storage import SQLiteStorage
from tests.rerank.routes_apart import NAMES, QUERIES, PlaceEncoder, SideReranker, routes, side

Opening = Callable[..., AdaptiveRouter]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of routes that only the reranker can tell apart, with what was learned of them and of it."""
    path = tmp_path_factory.mktemp("learned") / "store.db"
    with AdaptiveRouter(PlaceEncoder(), SQLiteStorage(path), reranker=SideReranker()) as router:
        router.add_routes(routes())
        router.wait_until_fitted()
    return path


@pytest.fixture
def opening(learned: Path, tmp_path: Path) -> Iterator[Opening]:
    """Opens a router over a copy of that store."""
    path = tmp_path / "store.db"
    path.write_bytes(learned.read_bytes())
    opened = []

    def make(reranker: SideReranker | TieBreak | None, **options: object) -> AdaptiveRouter:
        router = AdaptiveRouter(PlaceEncoder(), SQLiteStorage(path), reranker=reranker, **options)  # type: ignore[arg-type]
        opened.append(router)
        return router

    yield make
    for router in opened:
        router.close()


def right(decisions: list[Decision]) -> float:
    return float(np.mean([decision.name == name for decision, name in zip(decisions, NAMES, strict=True)]))


# ---------------------------------------------------------------------------------------------------- decisions
def test_it_decides_what_the_vectors_cannot(opening: Opening) -> None:
    alone = opening(None)
    alone.wait_until_fitted()
    assert right(alone.route_many(QUERIES)) < 0.7
    alone.close()
    router = opening(SideReranker())
    router.wait_until_fitted()
    decisions = router.route_many(QUERIES)
    assert right(decisions) > 0.95
    assert {decision.stage for decision in decisions} == {Stage.RERANKER}
    assert router("something else entirely").stage is Stage.ENCODER


def test_confidences_say_how_often_it_is_right_and_fall_along_the_matches(opening: Opening) -> None:
    router = opening(SideReranker())
    decisions = router.route_many(QUERIES)
    # The reranker is never wrong here, and what is left to doubt is whether a query is in scope.
    assert 0.75 < np.mean([decision.confidence for decision in decisions]) <= 1
    for decision in decisions:
        falling = [match.confidence for match in decision.matches]
        assert falling == sorted(falling, reverse=True)
        assert decision.margin == pytest.approx(falling[0] - falling[1])
        assert sum(falling) <= 1 + 1e-9


def test_a_restart_learns_nothing_again(opening: Opening) -> None:
    reranker = SideReranker()
    router = opening(reranker)
    assert router.settled
    assert router(QUERIES[0]).stage is Stage.RERANKER
    assert reranker.queries == [QUERIES[0]]


@pytest.mark.parametrize("other", ["reranker", "band"])
def test_another_reranker_or_band_is_not_believed_before_it_was_learned(opening: Opening, other: str) -> None:
    made = SideReranker("sides-2") if other == "reranker" else TieBreak(reranker=SideReranker(), band=(0.2, 0.85))
    router = opening(made)
    assert not router.settled
    assert router.route(QUERIES[0]).stage is Stage.ENCODER
    assert router.wait_until_fitted()
    assert router.route(QUERIES[1]).stage is Stage.RERANKER


def test_a_reranker_that_does_not_help_is_not_asked(opening: Opening) -> None:
    class Guessing(SideReranker):
        def score(self, query: str, texts: object) -> np.ndarray:
            super().score(query, [])
            return np.random.default_rng(len(self.queries)).random(len(texts), np.float32)  # type: ignore[arg-type]

    reranker = Guessing("guesses")
    router = opening(reranker)
    router.wait_until_fitted()
    assert reranker.queries, "it was tried on held-out utterances"
    reranker.queries.clear()
    assert {decision.stage for decision in router.route_many(QUERIES)} == {Stage.ENCODER}
    assert not reranker.queries
    assert router.settled


def test_only_ties_reach_it(opening: Opening) -> None:
    reranker = SideReranker()
    tie_break = TieBreak(reranker=reranker, rival=0.6)
    router, alone = opening(tie_break), opening(None)
    router.wait_until_fitted()
    reranker.queries.clear()
    decisions = router.route_many(QUERIES)
    confidences = [[match.confidence for match in each.matches] for each in alone.route_many(QUERIES)]
    ties = [query for query, tie in zip(QUERIES, tie_break.ties(np.array(confidences)), strict=True) if tie]
    assert sorted(reranker.queries) == sorted(ties)
    assert 0 < len(ties) < len(QUERIES)
    assert [each.stage is Stage.RERANKER for each in decisions] == [query in ties for query in QUERIES]


def test_routes_that_are_not_allowed_are_not_asked_about(opening: Opening) -> None:
    reranker = SideReranker()
    router = opening(reranker)
    reranker.queries.clear()
    assert router.route(QUERIES[0], allow=["hall-left"]).stage is Stage.ENCODER
    assert not reranker.queries
    both = router.route(QUERIES[0], allow=["hall-left", "hall-right"], top_k=1)
    assert both.stage is Stage.RERANKER
    assert (both.name, len(both.matches)) == (NAMES[0], 1)


def test_changed_routes_are_learned_anew(opening: Opening) -> None:
    router = opening(SideReranker())
    router.delete_route("attic-left")
    router.wait_until_fitted()
    hall = [(query, name) for query, name in zip(QUERIES, NAMES, strict=True) if query.startswith("hall")]
    decisions = router.route_many([query for query, _ in hall])
    assert np.mean([decision.name == name for decision, (_, name) in zip(decisions, hall, strict=True)]) > 0.9


def test_evaluate_shadow_and_fit_ask_it_too(opening: Opening) -> None:
    router = opening(SideReranker())
    assert router.evaluate(QUERIES, NAMES).accuracy > 0.95
    report = router.fit(QUERIES, NAMES, force=True)
    assert report.applied
    assert router.settled
    assert {decision.stage for decision in router.route_many(QUERIES[:8])} == {Stage.RERANKER}


# ------------------------------------------------------------------------------------------------- explanations
def test_an_explanation_says_what_it_saw(opening: Opening) -> None:
    router = opening(SideReranker())
    explanation = router.explain(QUERIES[0])
    assert explanation.decision == router.route(QUERIES[0])
    first, second = explanation.tie[:2]
    assert first.name == NAMES[0] == explanation.decision.name
    assert first.after == explanation.decision.confidence
    assert first.after > second.after
    assert sum(each.before for each in explanation.tie) == pytest.approx(sum(each.after for each in explanation.tie))
    assert len(first.scored) == 3
    assert all(side(scored.utterance) == side(QUERIES[0]) for scored in first.scored)
    assert explanation.stages.rerank_ms > 0
    told = explanation.to_dict()["tie"][0]
    assert told["scored"][0] == {"utterance": first.scored[0].utterance, "score": 1.0}
    assert router.explain("something else entirely").tie == ()


# ------------------------------------------------------------------------------------- failures, threads, caches
def test_a_failing_reranker_costs_no_answer_and_is_counted(opening: Opening, caplog: pytest.LogCaptureFixture) -> None:
    reranker = SideReranker()
    router = opening(reranker)
    alone = opening(None)
    reranker.error = OSError(f"cannot say anything about {QUERIES[0]}")
    expected = alone.route_many(QUERIES)
    with caplog.at_level(logging.ERROR):
        assert router.route_many(QUERIES) == expected
    found = router.status().reranker
    assert found is not None
    assert (found.name, found.asked, found.failed, found.changed) == ("sides", len(QUERIES), len(QUERIES), 0)
    assert found.last_failure == "OSError"
    (record,) = caplog.records
    assert "sides has failed on 1 ties, last with OSError" in record.getMessage()
    assert QUERIES[0] not in caplog.text
    reranker.error = None
    assert router.route(QUERIES[0], top_k=4).stage is Stage.RERANKER


def test_one_that_fails_while_learning_is_tried_again_at_the_next_start(opening: Opening) -> None:
    reranker = SideReranker("sides-2")
    reranker.error = ValueError("not now")
    router = opening(reranker)
    assert router.wait_until_fitted()
    reranker.error = None
    assert router.settled
    assert router.route(QUERIES[0]).stage is Stage.ENCODER
    router.close()
    again = opening(SideReranker("sides-2"))
    assert not again.settled
    again.wait_until_fitted()
    assert again.route(QUERIES[0]).stage is Stage.RERANKER


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (np.zeros(3), r"shape \(3,\), wanted \(2,\)"),
        (np.array([np.nan, 0]), "NaN or infinite"),
        (["a", "b"], "no numeric array"),
        (None, "shape"),
    ],
)
def test_what_is_no_score_is_an_error_that_repeats_no_text(said: object, problem: str) -> None:
    class Odd(SideReranker):
        def score(self, query: str, texts: object) -> np.ndarray:
            return said  # type: ignore[return-value]

    with pytest.raises(RerankerError, match=problem) as caught:
        score_checked(Odd(), "a secret query", ["one", "two"])
    assert "secret" not in str(caught.value)
    assert score_checked(Odd(), "a secret query", []).shape == (0,)


async def test_it_never_runs_in_the_event_loop(opening: Opening) -> None:
    reranker = SideReranker()
    router = opening(reranker)
    await router.aquery(QUERIES[0])
    # Its vector is known now, so that only the terms are new.
    await router.aquery(QUERIES[0], top_k=2)
    await router.aexplain(QUERIES[0])
    assert len(reranker.threads) == 3
    assert threading.main_thread() not in reranker.threads


async def test_a_deadline_holds_while_it_is_asked(opening: Opening) -> None:
    reranker = SideReranker()
    router = opening(reranker)
    first = router.route(QUERIES[0])
    reranker.gate.clear()
    try:
        with pytest.raises(DeadlineExceededError):
            await router.aquery(QUERIES[0], top_k=2, deadline_s=0.05)
        with pytest.raises(DeadlineExceededError):
            await asyncio.to_thread(router.route, QUERIES[0], top_k=3, deadline_s=0.05)
        waiting = asyncio.create_task(router.aquery(QUERIES[0], top_k=2))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    finally:
        reranker.gate.set()
    assert (await router.aquery(QUERIES[0], top_k=3)).name == first.name


def test_a_decision_is_asked_for_once_while_the_table_stays(opening: Opening) -> None:
    reranker = SideReranker()
    router = opening(reranker)
    decisions = [router.route(QUERIES[0]) for _ in range(3)]
    assert reranker.queries == [QUERIES[0]]
    assert decisions[0] is decisions[1] is decisions[2]


# ------------------------------------------------------------------------------------------------------ settings
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"band": (0.8, 0.2)}, "band is"),
        ({"band": (-0.1, 0.2)}, "band is"),
        ({"band": (0.5, 1.5)}, "band is"),
        ({"rival": -0.1}, "rival is"),
        ({"candidates": 1}, "candidates is 1"),
        ({"candidates": 6}, "candidates is 6"),
        ({"utterances": 0}, "utterances is 0"),
        ({"reranker": "ms-marco"}, "reranker is a str"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        TieBreak(**{"reranker": SideReranker(), **options})  # type: ignore[arg-type]


def test_a_tie_is_in_the_band_and_has_a_rival() -> None:
    tie_break = TieBreak(reranker=SideReranker(), band=(0.2, 0.8), rival=0.25)
    rows = [(0.2, 0.05), (0.8, 0.2), (0.19, 0.19), (0.81, 0.19), (0.4, 0.09), (0.5, 0.0)]
    assert tie_break.ties(np.array(rows)).tolist() == [True, True, False, False, False, False]
    assert not tie_break.ties(np.array([[0.5]])).any()
    nobody = TieBreak(reranker=SideReranker(), rival=0.0)
    assert not nobody.ties(np.array([[0.5, 0.0]])).any()


def test_the_router_tells_its_reranker(opening: Opening) -> None:
    reranker = SideReranker()
    assert opening(reranker).reranker is reranker
    alone = opening(None)
    assert alone.reranker is None
    assert alone.status().reranker is None
