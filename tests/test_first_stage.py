"""The static first stage in a router: what it answers, what it leaves, and that nobody is told otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Decision, OptimizationProfile, Reason, Route
from synaptoroute.decision.lexical import Bags, ngrams
from synaptoroute.encoder import BundledEncoder, StaticEncoder
from synaptoroute.models import Stage
from synaptoroute.observability.events import QueryEvent
from synaptoroute.storage import SQLiteStorage
from tests.first_stage_routes import QUERIES, first_stage_routes

TEXTS = [text for text, _ in QUERIES]
OOS = [text for text, name in QUERIES if name is None]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, encoder: BundledEncoder) -> Path:
    """The routes with all that is learned from them, the first stage included."""
    path = tmp_path_factory.mktemp("first") / "store.db"
    with AdaptiveRouter(encoder, SQLiteStorage(path), first_stage=True) as router:
        router.add_routes(first_stage_routes())
        router.wait_until_fitted()
        assert router.status().first_stage
    return path


@pytest.fixture
def copied(store: Path, tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    path.write_bytes(store.read_bytes())
    return path


def opened(path: Path, encoder: Any, **options: Any) -> AdaptiveRouter:
    return AdaptiveRouter(encoder, SQLiteStorage(path), **{"first_stage": True, **options})


@pytest.fixture
def router(copied: Path, encoder: BundledEncoder) -> Iterator[AdaptiveRouter]:
    with opened(copied, encoder) as router:
        yield router


class Counting:
    """The bundled encoder, and what it was asked."""

    def __init__(self, encoder: BundledEncoder) -> None:
        self._encoder, self.asked = encoder, list[str]()
        self.name, self.dim, self.fingerprint = encoder.name, encoder.dim, encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> Any:
        self.asked += texts
        return self._encoder.encode(texts)


def stages(decisions: Sequence[Decision]) -> set[Stage]:
    return {decision.stage for decision in decisions}


# ------------------------------------------------------------------------------------------------------------ answers
def test_what_is_clear_is_answered_without_the_encoder_and_the_rest_by_it(
    copied: Path, encoder: BundledEncoder
) -> None:
    counting = Counting(encoder)
    with opened(copied, counting) as router:
        decisions = router.route_many(TEXTS)
        first = [text for text, found in zip(TEXTS, decisions, strict=True) if found.stage is Stage.STATIC]
        left = [text for text in TEXTS if text not in first]
        assert first
        assert left
        assert counting.asked == left
        assert set(OOS) <= set(left)
        status = router.status()
        assert (status.first_decided, status.first_left) == (len(first), len(left))
    with opened(copied, encoder, first_stage=False) as full:
        by_full = full.route_many(TEXTS)
        assert stages(by_full) == {Stage.ENCODER}
    assert [found.name for found in decisions] == [found.name for found in by_full]
    for found, other in zip(decisions, by_full, strict=True):
        if found.stage is Stage.ENCODER:
            assert [match.name for match in found.matches] == [match.name for match in other.matches]
            assert found.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_what_it_has_spelled_of_the_rest_is_not_spelled_again(
    router: AdaptiveRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    spelled: list[str] = []

    def counting(texts: Sequence[str]) -> Bags:
        spelled.extend(texts)
        return ngrams(texts)

    monkeypatch.setattr("synaptoroute.decision.head.ngrams", counting)
    texts = [f"{text} please" for text in TEXTS]
    decisions = router.route_many(texts)
    assert stages(decisions) == {Stage.STATIC, Stage.ENCODER}
    assert spelled == texts


def test_its_decision_says_what_it_is_made_of(router: AdaptiveRouter) -> None:
    found = next(found for found in router.route_many(TEXTS, top_k=3) if found.stage is Stage.STATIC)
    text = TEXTS[router.route_many(TEXTS, top_k=3).index(found)]
    assert found.reason is Reason.MATCHED
    assert found.revision == router.revision
    assert found.confidence >= 0.5
    assert found.matches[0].name == found.name
    assert len(found.matches) == 3
    assert found.confidence == found.matches[0].confidence
    assert found.margin == pytest.approx(found.confidence - found.matches[1].confidence)
    assert found.score == found.matches[0].score
    confidences = [match.confidence for match in found.matches]
    assert confidences == sorted(confidences, reverse=True)
    # The score is the cosine of the static vectors, and the utterance the nearest one of its route.
    static = StaticEncoder()
    for match in found.matches:
        utterances = router.get_route(match.name).utterances
        cosines = static.encode(utterances) @ static.encode([text])[0]
        assert match.utterance == utterances[int(cosines.argmax())]
        assert match.score == pytest.approx(float(cosines.max()), abs=1e-6)


def test_one_is_a_batch_of_one_sync_and_async(router: AdaptiveRouter, copied: Path, encoder: BundledEncoder) -> None:
    together = router.route_many(TEXTS)
    with opened(copied, encoder, cache_bytes=0) as other:
        alone = [other.route(text) for text in TEXTS]

        async def ask() -> tuple[list[Decision], ...]:
            at_once = await asyncio.gather(*map(other.aquery, TEXTS))
            return [await other.aquery(text) for text in TEXTS], at_once, await other.aquery_many(TEXTS)

        awaited = asyncio.run(ask())
    for found in (alone, *awaited):
        assert [(each.name, each.stage) for each in found] == [(each.name, each.stage) for each in together]
        np.testing.assert_allclose(
            [each.confidence for each in found], [each.confidence for each in together], atol=1e-5
        )


def test_the_profile_decides_unless_the_caller_does(copied: Path, encoder: BundledEncoder) -> None:
    for profile in OptimizationProfile:
        with AdaptiveRouter(encoder, SQLiteStorage(copied), profile=profile) as router:
            assert router.status().first_stage is (profile is OptimizationProfile.THROUGHPUT)
    with AdaptiveRouter(
        encoder, SQLiteStorage(copied), profile=OptimizationProfile.THROUGHPUT, first_stage=False
    ) as router:
        assert not router.status().first_stage
        assert stages(router.route_many(TEXTS)) == {Stage.ENCODER}


# -------------------------------------------------------------------------------------------------------- leaves
@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.1},
        {"min_confidence": 0.2},
        {"min_confidence": 0.5},
        {"min_margin": 0.0},
        {"allow": ["weather", "music"]},
        {"exact": True},
    ],
    ids=str,
)
def test_whoever_asks_for_something_in_particular_gets_the_full_path(
    router: AdaptiveRouter, options: dict[str, Any]
) -> None:
    assert stages(router.route_many(TEXTS, **options)) == {Stage.ENCODER}
    assert router.status().first_decided == 0


def test_how_many_matches_are_listed_is_nothing_in_particular(router: AdaptiveRouter) -> None:
    for top_k in (1, 2, 50):
        found = [found for found in router.route_many(TEXTS, top_k=top_k) if found.stage is Stage.STATIC]
        assert found
        assert {len(each.matches) for each in found} == {min(top_k, 12)}
        assert all(each.margin is not None for each in found)


def test_a_route_with_a_threshold_of_its_own_is_left_to_the_full_path(router: AdaptiveRouter) -> None:
    before = {found.name for found in router.route_many(TEXTS) if found.stage is Stage.STATIC}
    name = sorted(str(each) for each in before)[0]
    router.update_threshold(name, 0.1)
    after = router.route_many(TEXTS)
    assert name in {found.name for found in after}
    assert {found.name for found in after if found.stage is Stage.STATIC} == before - {name}
    router.update_threshold(name, None)
    assert {found.name for found in router.route_many(TEXTS) if found.stage is Stage.STATIC} == before


def test_routes_that_have_changed_are_left_to_the_full_path_until_it_is_learned_anew(router: AdaptiveRouter) -> None:
    router.add_route(Route(name="garden", utterances=["water the roses", "mow the lawn", "plant tulips"]))
    table = router.snapshot
    assert table.decide_first(TEXTS, top_k=5, point=0.5) is None
    router.wait_until_fitted()
    found = router.route_many(TEXTS)
    assert Stage.STATIC in stages(found)
    assert {each.revision for each in found} == {router.revision}
    router.delete_route("garden")
    router.wait_until_fitted()
    assert Stage.STATIC in stages(router.route_many(TEXTS))


def test_a_router_that_must_be_surer_lets_the_first_stage_answer_less(copied: Path, encoder: BundledEncoder) -> None:
    counts = []
    for least in (None, 0.9, 1.0):
        with opened(copied, encoder, min_confidence=least) as router:
            found = router.route_many(TEXTS)
            counts.append(sum(each.stage is Stage.STATIC for each in found))
            assert all(each.confidence >= (least or 0.5) for each in found if each)
    assert counts[0] >= counts[1] >= counts[2] == 0
    with opened(copied, encoder) as router:
        router.set_operating_point(1.0)
        assert not router.status().first_stage
        assert stages(router.route_many(TEXTS)) == {Stage.ENCODER}


def test_a_small_table_proves_nothing_and_is_not_learned_over_and_over(encoder: BundledEncoder) -> None:
    with AdaptiveRouter(encoder, first_stage=True) as router:
        router.add_routes(first_stage_routes()[:3])
        router.wait_until_fitted()
        assert router.settled
        assert not router.status().first_stage
        assert stages(router.route_many(TEXTS)) == {Stage.ENCODER}
        assert router.settled
    with AdaptiveRouter(encoder, first_stage=True) as router:
        assert router.route("anything").reason is Reason.NO_ROUTES
        router.add_route(Route(name="only", utterances=["just this"]))
        router.wait_until_fitted()
        assert router.settled
        assert router.route("just this").stage is Stage.ENCODER


# ------------------------------------------------------------------------------------------------------------- truth
def test_an_explanation_tells_which_stage_route_would_have_asked(router: AdaptiveRouter) -> None:
    decisions = router.route_many(TEXTS)
    explained = router.explain_many(TEXTS)
    assert [each.decision.stage for each in explained] == [found.stage for found in decisions]
    assert [each.decision.name for each in explained] == [found.name for found in decisions]
    for each in explained:
        assert (each.decided_by == "static") is (each.decision.stage is Stage.STATIC)
        assert each.nearest
    particular = router.explain_many(TEXTS, exact=True)
    assert {each.decided_by for each in particular} == {"head"}


def test_an_evaluation_is_of_what_route_decides(router: AdaptiveRouter) -> None:
    decisions = router.route_many(TEXTS)
    evaluation = router.evaluate(TEXTS, [name for _, name in QUERIES])
    right = sum(found.name == name for found, (_, name) in zip(decisions, QUERIES, strict=True))
    assert evaluation.accuracy == pytest.approx(right / len(QUERIES))
    assert router.status().first_decided == sum(found.stage is Stage.STATIC for found in decisions)


class Hearing:
    def __init__(self) -> None:
        self.events = list[QueryEvent]()

    def on_query(self, event: QueryEvent) -> None:
        self.events.append(event)


def test_hooks_hear_of_it_as_of_any_decision_and_a_known_one_is_known(copied: Path, encoder: BundledEncoder) -> None:
    hearing = Hearing()
    with opened(copied, encoder, hooks=[hearing]) as router:
        found = router.route_many(TEXTS)
        text = next(text for text, each in zip(TEXTS, found, strict=True) if each.stage is Stage.STATIC)
        again = router.route(text)
    with opened(copied, encoder, hooks=[hearing], cache_bytes=0) as router:
        alone = router.route(text)
    whole, known, single = hearing.events
    assert (whole.decisions, known.decisions, single.decisions) == (found, [again], [alone])  # type: ignore[union-attr]
    assert not whole.stages.known
    assert known.stages.known
    assert again is found[TEXTS.index(text)]
    # No worker, no encoder: only a search.
    assert not single.stages.known
    assert (single.stages.queue_s, single.stages.encode_s) == (None, None)
    assert single.stages.search_s is not None


def test_a_shadow_compares_what_the_first_stage_has_decided(router: AdaptiveRouter) -> None:
    router.save_snapshot("before")
    with router.shadow("before") as shadow:
        shadow.wait_until_fitted()
        assert Stage.STATIC in stages(router.route_many(TEXTS))
        shadow.wait_until_compared()
        assert shadow.report().live.compared == len(TEXTS)
        assert shadow.report().live.changed == 0


# ---------------------------------------------------------------------------------------------------------- learning
def test_opening_again_learns_nothing_and_decides_the_same(copied: Path, encoder: BundledEncoder) -> None:
    with opened(copied, encoder) as router:
        assert router.settled
        before = router.route_many(TEXTS)
    with opened(copied, encoder) as router:
        assert router.settled
        assert router.route_many(TEXTS) == before
        assert Stage.STATIC in stages(before)


def test_without_a_first_stage_what_was_learned_with_one_serves_too(copied: Path, encoder: BundledEncoder) -> None:
    with opened(copied, encoder, first_stage=False) as router:
        assert router.settled
        assert stages(router.route_many(TEXTS)) == {Stage.ENCODER}


def test_what_was_learned_without_one_is_learned_again_with_one(
    copied: Path, encoder: BundledEncoder, tmp_path: Path
) -> None:
    with opened(copied, encoder, first_stage=False) as router:
        router.refit()
    with opened(copied, encoder) as router:
        assert not router.settled
        assert stages(router.route_many(TEXTS)) == {Stage.ENCODER}
        router.wait_until_fitted()
        assert Stage.STATIC in stages(router.route_many(TEXTS))


def test_a_fit_calibrates_it_anew_beside_what_was_fitted(router: AdaptiveRouter) -> None:
    former = router.snapshot.learned
    queries = [f"{text} today" for text, name in QUERIES for _ in (0, 1) if name] + OOS
    queries += [f"{text} quickly" for text, name in QUERIES if name]
    labels = [name for _, name in QUERIES for _ in (0, 1) if name] + [None] * len(OOS)
    labels += [name for _, name in QUERIES if name]
    report = router.fit(queries, labels, force=True)
    assert report.applied
    learned = router.snapshot.learned
    assert former is not None
    assert learned is not None
    assert former.model.first is not None
    assert learned.model.first is not None
    assert router.settled
    added = len(learned.model.first.trials.kinds) - len(former.model.first.trials.kinds)
    assert added == report.queries
    assert not np.array_equal(learned.model.first.head.vector_weights, former.model.first.head.vector_weights)
    full = router.route_many(TEXTS, exact=True)
    found = router.route_many(TEXTS)
    assert [each.name for each in found] == [each.name for each in full]


def test_with_another_encoder_it_is_calibrated_beside_that(encoder: BundledEncoder) -> None:
    """The static encoder as the router's own: both stages see the same, and agree."""
    with AdaptiveRouter(StaticEncoder(), first_stage=True) as router:
        router.add_routes(first_stage_routes())
        router.wait_until_fitted()
        assert router.encoder.dim == 256
        found = router.route_many(TEXTS)
        assert [each.name for each in found] == [each.name for each in router.route_many(TEXTS, exact=True)]
