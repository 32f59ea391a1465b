"""A shadow sees what live queries see, tells what it would change, and is never in their way."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from synaptoroute import AdaptiveRouter, shadow
from synaptoroute.comparison import ChangedPair
from synaptoroute.errors import (
    RevisionConflictError,
    RevisionNotFoundError,
    RouterClosedError,
    SnapshotNotFoundError,
    SynaptoRouteError,
)
from synaptoroute.learned import Learned
from synaptoroute.models import Route
from synaptoroute.table import RouteTable
from synaptoroute.teaching import learn_from
from tests.seeded import SeededEncoder, route

NAMES = ("apple", "berry", "cherry", "damson")
QUERIES = [f"{name} asked {number}" for name in NAMES for number in range(5)]


@pytest.fixture
def router() -> Iterator[AdaptiveRouter]:
    """Its revision 1 lacks the route cherry, and has a damson that goes by another name."""
    with AdaptiveRouter(SeededEncoder()) as router:
        old = Route(name="elder", utterances=route("damson").utterances)
        router.add_routes([route("apple"), route("berry"), old])
        router.save_snapshot("old")
        router.delete_route("elder")
        router.add_routes([route("cherry"), route("damson")])
        assert router.wait_until_fitted(60)
        yield router


def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Learning in the thread of a shadow waits until the function that is given back is called."""
    released = threading.Event()

    def waiting(table: RouteTable, checkpoint: Callable[[], None]) -> Learned | None:
        while not released.wait(0.01):
            checkpoint()
        return learn_from(table, checkpoint)

    monkeypatch.setattr(shadow, "learn_from", waiting)
    return released.set


def test_live_decisions_are_held_against_the_shadow_s(router: AdaptiveRouter) -> None:
    with router.shadow("old", examples=3) as candidate:
        live = router.route_many(QUERIES)
        assert candidate.wait_until_compared(60)
        report = candidate.report()
        expected = candidate.table.decide(QUERIES, router._lane.encode(QUERIES))
    pairs = {(a.name, b.name) for a, b in zip(live, expected, strict=True) if a.name != b.name}
    assert {(pair.before, pair.after) for pair in report.live.pairs} == pairs
    assert ("damson", "elder") in pairs
    assert report.live.compared == len(QUERIES)
    assert report.live.changed == sum(pair.count for pair in report.live.pairs)
    assert report.live.changed == sum(a.name != b.name for a, b in zip(live, expected, strict=True))
    assert report.live.pairs[0].count == max(pair.count for pair in report.live.pairs)
    assert len(report.live.examples) == 3
    assert all(example.query in QUERIES for example in report.live.examples)
    assert (report.of, report.learned, report.waiting, report.dropped) == ("snapshot old", True, 0, 0)
    assert json.loads(json.dumps(report.to_dict()))["live"]["share"] == report.live.share
    assert str(report).startswith("shadow of snapshot old: ")


def test_nothing_changes_for_the_live_routes(router: AdaptiveRouter) -> None:
    before = router.route_many(QUERIES)
    with router.shadow(1) as candidate:
        assert candidate.wait_until_fitted(60)
        assert router.route_many(QUERIES) == before
    assert router.route_many(QUERIES) == before
    assert router.revision == 3


def test_texts_are_kept_only_when_asked_for(router: AdaptiveRouter) -> None:
    with router.shadow(1) as candidate:
        router.route_many(QUERIES)
        assert candidate.wait_until_compared(60)
        report = candidate.report()
    assert report.live.changed > 0
    assert report.live.examples == ()


def test_a_query_that_comes_again_counts_again(router: AdaptiveRouter) -> None:
    query = "damson asked anew"
    router.route(query)
    encoder = router.encoder
    assert isinstance(encoder, SeededEncoder)
    with router.shadow("old") as candidate:
        assert candidate.wait_until_fitted(60)
        encoder.encoded = 0
        for _ in range(7):
            router.route(query)
        assert candidate.wait_until_compared(60)
        report = candidate.report()
    assert (report.live.compared, report.live.changed) == (7, 7)
    assert encoder.encoded == 1, "once by the shadow, which had not seen it"


def test_a_shadow_that_lags_drops_and_counts_and_delays_nobody(
    router: AdaptiveRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "WAITING", 4)
    release = held(monkeypatch)
    with router.shadow("old") as candidate:
        router.route_many(QUERIES[:3])
        for query in QUERIES[3:10]:
            assert router.route(query).name == query.split()[0]
        report = candidate.report()
        assert (report.learned, report.live.compared, report.waiting, report.dropped) == (False, 0, 4, 6)
        assert not candidate.wait_until_compared(0.01)
        release()
        assert candidate.wait_until_compared(60)
        report = candidate.report()
    assert (report.learned, report.live.compared, report.waiting, report.dropped) == (True, 4, 0, 6)


def test_closing_does_not_wait_for_the_learning(router: AdaptiveRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    held(monkeypatch)
    candidate = router.shadow("old")
    candidate.close()
    candidate.close()
    assert router._lane.observers == ()
    router.route("apple asked")
    assert candidate.report().live.compared == 0
    for late in (candidate.wait_until_fitted, candidate.promote, lambda: candidate.compare(["x"])):
        with pytest.raises(RouterClosedError, match="shadow was closed"):
            late()


def test_a_router_that_is_closed_closes_its_shadows(monkeypatch: pytest.MonkeyPatch) -> None:
    held(monkeypatch)
    with AdaptiveRouter(SeededEncoder()) as router:
        router.add_routes([route("apple"), route("berry")])
        candidates = [router.shadow(0), router.shadow(1)]
    assert not any(candidate._thread.is_alive() for candidate in candidates)


def test_a_shadow_that_fails_says_so_and_live_queries_go_on(
    router: AdaptiveRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(table: RouteTable, checkpoint: Callable[[], None]) -> Learned | None:
        raise ValueError("no convergence")

    monkeypatch.setattr(shadow, "learn_from", broken)
    with router.shadow("old") as candidate:
        for ask in (candidate.wait_until_fitted, candidate.report, candidate.promote):
            with pytest.raises(SynaptoRouteError, match="snapshot old failed: no convergence"):
                ask()
        assert router.route("apple asked").name == "apple"


def test_queries_can_be_compared_at_once(router: AdaptiveRouter) -> None:
    with router.shadow("old", examples=1) as candidate:
        outcome = candidate.compare(QUERIES)
        assert outcome.compared == len(QUERIES)
        assert ChangedPair(before="damson", after="elder", count=5) in outcome.pairs
        assert [len(candidate.compare(QUERIES, examples=count).examples) for count in (0, 2)] == [0, 2]
        assert len(outcome.examples) == 1
        assert candidate.report().live.compared == 0, "they are not traffic"


def test_what_a_call_asks_for_is_asked_of_the_shadow_too(router: AdaptiveRouter) -> None:
    with router.shadow("old") as candidate:
        router.route("damson asked", allow=["damson", "apple"], min_confidence=0.0)
        router.route("cherry asked", allow=["cherry"], min_confidence=0.0)
        assert candidate.wait_until_compared(60)
        pairs = candidate.report().live.pairs
    assert {(pair.before, pair.after) for pair in pairs} == {("damson", "apple"), ("cherry", None)}


def test_promoting_makes_its_routes_and_what_it_learned_live(router: AdaptiveRouter) -> None:
    candidate = router.shadow("old")
    assert candidate.wait_until_fitted(60)
    expected = candidate.table.decide(QUERIES, router._lane.encode(QUERIES))
    assert candidate.promote() == 4
    assert router.settled, "nothing has to be learned again"
    assert {its.name for its in router.routes} == {"apple", "berry", "elder"}
    assert [d.name for d in router.route_many(QUERIES)] == [d.name for d in expected]
    assert {entry.cause for entry in router.history() if entry.revision == 4} == {"shadow of snapshot old"}
    assert router._lane.observers == ()
    router.rollback(3)
    assert {its.name for its in router.routes} == set(NAMES)


def test_promoting_never_undoes_what_was_changed_since(router: AdaptiveRouter) -> None:
    with router.shadow("old") as candidate:
        router.update_threshold("apple", 0.1)
        with pytest.raises(RevisionConflictError, match="at revision 4, the shadow was made at 3"):
            candidate.promote()
    assert router.get_route("apple").threshold == 0.1


def test_only_what_is_known_can_be_shadowed(router: AdaptiveRouter) -> None:
    with pytest.raises(RevisionNotFoundError):
        router.shadow(99)
    with pytest.raises(SnapshotNotFoundError):
        router.shadow("unheard of")
    assert router._lane.observers == ()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_not_held_up_by_the_shadow_of_its_parent(router: AdaptiveRouter) -> None:
    with router.shadow("old") as candidate:
        assert candidate.wait_until_fitted(60)
        # As if the shadow's thread had held its lock at the moment of the fork.
        with candidate._changed:
            child = os.fork()
            if child == 0:
                os._exit(router.route("apple asked in the child").name != "apple")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert candidate.report().live.compared == 0
