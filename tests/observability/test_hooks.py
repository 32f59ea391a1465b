"""What hooks are told, and that they can do no harm."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from synaptoroute import AdaptiveRouter, Reason, Route
from synaptoroute.batching import BatchLimits
from synaptoroute.errors import (
    DeadlineExceededError,
    EncoderError,
    InvalidInputError,
    InvalidQueryError,
    RouteNotFoundError,
    RouterClosedError,
    RouterOverloadedError,
)
from synaptoroute.history import acting_as
from synaptoroute.observability.events import (
    BatchEncoded,
    EncoderChanged,
    Origin,
    QueriesDecided,
    QueriesFitted,
    QueriesUnanswered,
    RoutesChanged,
    TableCompacted,
    TableLearned,
    Unanswered,
    UpkeepFailed,
)
from synaptoroute.storage import SQLiteStorage
from tests.observability.conftest import SAFE_S, GatedEncoder, Listener, small_router
from tests.seeded import SeededEncoder, route


class Other(SeededEncoder):
    name, fingerprint = "other", "other-1"


def test_a_new_query_is_told_with_the_time_of_each_stage_it_went_through(
    router: AdaptiveRouter, listener: Listener
) -> None:
    router.add_hook(listener)
    decision = router.route("  billing something ", top_k=2)
    (event,) = listener.of(QueriesDecided)
    assert event.texts == ["billing something"]
    assert event.decisions == [decision]
    assert event.conditions.top_k == 2
    stages = event.stages
    assert not stages.known
    assert [stage for stage, _, _ in stages.spans()] == ["queue", "encode", "search", "decide"]
    ends = [
        stages.began,
        stages.taken,
        stages.encoded,
        stages.searched_from,
        stages.ranked,
        stages.decided,
        stages.ended,
    ]
    assert ends == sorted(ends)
    parts = (stages.queue_s, stages.encode_s, stages.search_s, stages.decide_s)
    assert all(part is not None and part >= 0 for part in parts)
    assert sum(part for part in parts if part is not None) <= stages.total_s
    (batch,) = listener.of(BatchEncoded)
    assert (batch.texts, batch.failed) == (1, False)


def test_a_known_decision_is_told_and_went_through_no_stage(router: AdaptiveRouter, listener: Listener) -> None:
    router.route("billing something")
    router.add_hook(listener)
    router.route("billing something")
    (event,) = listener.of(QueriesDecided)
    assert event.stages.known
    assert event.stages.spans() == []
    assert event.stages.total_s > 0
    assert not listener.of(BatchEncoded)


def test_known_vectors_are_not_encoded_again_but_decided_anew(router: AdaptiveRouter, listener: Listener) -> None:
    router.route("billing something")
    router.add_hook(listener)
    router.route("billing something", top_k=1)
    (event,) = listener.of(QueriesDecided)
    assert [stage for stage, _, _ in event.stages.spans()] == ["search", "decide"]
    assert not listener.of(BatchEncoded)


async def test_calls_of_an_event_loop_are_told_likewise_each_with_its_own_stages(
    router: AdaptiveRouter, listener: Listener
) -> None:
    router.add_hook(listener)
    await asyncio.gather(*(router.aquery_many([f"music {number}", f"weather {number}"]) for number in range(20, 30)))
    events = listener.of(QueriesDecided)
    assert len(events) == 10
    assert len({id(event.stages) for event in events}) == 10
    for event in events:
        assert [stage for stage, _, _ in event.stages.spans()] == ["queue", "encode", "search", "decide"]


def test_explaining_is_told_as_the_query_it_is(router: AdaptiveRouter, listener: Listener) -> None:
    router.add_hook(listener)
    explanation = router.explain("billing something")
    asyncio.run(router.aexplain("music something"))
    first, second = listener.of(QueriesDecided)
    assert first.decisions == [explanation.decision]
    assert second.texts == ["music something"]


def test_a_call_without_queries_is_no_query(router: AdaptiveRouter, listener: Listener) -> None:
    router.add_hook(listener)
    assert router.route_many([]) == []
    assert [len(event.texts) for event in listener.of(QueriesDecided)] == [0]


def test_what_cannot_be_routed_is_told_without_its_text(router: AdaptiveRouter, listener: Listener) -> None:
    router.add_hook(listener)
    with pytest.raises(InvalidQueryError):
        router.route_many(["fine", " "])
    with pytest.raises(RouteNotFoundError):
        router.route("billing so", allow=["nobody"])
    with pytest.raises(InvalidInputError):
        router.route("billing", top_k=0)
    events = listener.of(QueriesUnanswered)
    assert [(event.why, event.queries) for event in events] == [(Unanswered.INVALID, n) for n in (2, 1, 1)]
    assert [event.error for event in events] == ["InvalidQueryError", "RouteNotFoundError", "InvalidInputError"]


def test_a_failing_encoder_is_told_by_the_class_of_its_error(listener: Listener) -> None:
    with small_router(GatedEncoder(), hooks=[listener]) as router:
        with pytest.raises(EncoderError):
            router.route("fail now")
        (event,) = listener.of(QueriesUnanswered)
        assert (event.why, event.error, event.shed_for) == (Unanswered.FAILED, "EncoderError", None)
        assert [batch.failed for batch in listener.of(BatchEncoded)] == [True]
        assert "secret" not in repr(event)


async def test_what_is_late_shed_left_or_cut_off_is_told_as_such(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = BatchLimits(workers=1, batch=1, max_queries=4)
    monkeypatch.setattr("synaptoroute.lane.batch_limits", lambda *_args, **_options: limits)
    encoder = GatedEncoder()
    router = small_router(encoder, hooks=[listener])
    try:
        held = asyncio.create_task(router.aquery("wait here"))
        assert await asyncio.to_thread(encoder.waiting.acquire, timeout=SAFE_S)
        with pytest.raises(DeadlineExceededError):
            await router.aquery("music late", deadline_s=0.01)
        left = asyncio.create_task(router.aquery("music left"))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        rest = [asyncio.create_task(router.aquery(f"music {number}")) for number in range(10, 13)]
        await asyncio.sleep(0)
        with pytest.raises(RouterOverloadedError):
            await router.aquery("one too many")
        closing = asyncio.create_task(router.stop(drain_s=0))
        for task in rest:
            with pytest.raises(RouterClosedError):
                await task
        encoder.gate.set()
        with pytest.raises(RouterClosedError):
            await held
        await closing
    finally:
        encoder.gate.set()
        router.close()
    events = listener.of(QueriesUnanswered)
    whys = [event.why for event in events]
    assert whys[:3] == [Unanswered.EXPIRED, Unanswered.CANCELLED, Unanswered.SHED]
    assert whys[3:] == [Unanswered.CLOSED] * 4
    assert events[2].shed_for == "queries"
    assert all(event.stages.total_s >= 0 for event in events)


def test_changes_are_told_with_who_made_them_and_what_they_were(listener: Listener) -> None:
    with AdaptiveRouter(SeededEncoder(), hooks=[listener], actor="ana") as router:
        router.add_routes([route("billing"), route("music")])
        with acting_as("ben"):
            router.delete_route("music")
        router.rollback(1)
        router.add_utterance("billing", "billing 1")
        changes = listener.of(RoutesChanged)
        assert [(change.former, change.revision) for change in changes] == [(0, 1), (1, 2), (2, 3)]
        assert [change.put for change in changes] == [("billing", "music"), (), ("music",)]
        assert [change.dropped for change in changes] == [(), ("music",), ()]
        assert [change.actor for change in changes] == ["ana", "ben", "ana"]
        assert [change.cause for change in changes] == [None, None, "rollback to 1"]
        assert {change.origin for change in changes} == {Origin.OWN}
        assert all(change.took_s is not None and change.took_s > 0 for change in changes)


def test_a_change_that_others_made_in_the_store_is_told_when_it_is_taken_over(
    tmp_path: Path, listener: Listener
) -> None:
    path = tmp_path / "routes.db"
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path)) as writer:
        writer.add_route(route("billing"))
        with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path), hooks=[listener]) as reader:
            writer.add_route(route("music"))
            reader.refresh()
            reader.refresh()
    (change,) = listener.of(RoutesChanged)
    assert (change.origin, change.put, change.revision) == (Origin.STORE, ("music",), 2)
    assert change.actor is None
    assert change.took_s is None


def test_learning_fitting_and_forgetting_are_told(router: AdaptiveRouter, listener: Listener) -> None:
    router.add_hook(listener)
    router.add_utterance("billing", "billing more")
    router.wait_until_fitted()
    (learned,) = listener.of(TableLearned)
    assert learned.revision == router.revision
    queries = [f"{name} {number}" for name in ("billing", "music", "weather") for number in range(50, 60)]
    labels = [query.split()[0] for query in queries]
    report = router.fit(queries, labels, force=True)
    router.forget_fit()
    applied, forgotten = listener.of(QueriesFitted)
    assert (applied.applied, applied.forgotten, applied.queries) == (True, False, 30)
    assert applied.accuracy_after == report.after.accuracy
    assert (forgotten.applied, forgotten.forgotten, forgotten.accuracy_after) == (False, True, None)


def test_learning_that_fails_is_told(listener: Listener) -> None:
    class Failing(SeededEncoder):
        def encode(self, texts):  # type: ignore[no-untyped-def]
            if len(texts) > 20:
                # The sentences that belong to no route, which learning asks for.
                raise RuntimeError("no")
            return super().encode(texts)

    with AdaptiveRouter(Failing(), hooks=[listener]) as router:
        router.add_routes([route("billing"), route("music")])
        with pytest.raises(Exception, match="learning failed"):
            router.wait_until_fitted()
        assert [event.error for event in listener.of(UpkeepFailed)] == ["EncoderError"]


def test_another_encoder_is_told_and_so_is_what_it_does(router: AdaptiveRouter, listener: Listener) -> None:
    router.add_hook(listener)
    router.migrate_encoder(Other())
    (change,) = listener.of(EncoderChanged)
    assert (change.former, change.name, change.revision) == ("seeded", "other", router.revision)
    listener.events.clear()
    router.route("billing by the other one")
    assert len(listener.of(BatchEncoded)) == 1


def test_compaction_is_told(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synaptoroute.table.SEGMENTED_FROM", 10)
    with AdaptiveRouter(SeededEncoder(), hooks=[listener]) as router:
        router.add_routes([route(f"route{number}", *range(8)) for number in range(4)])
        for number in range(3):
            router.delete_route(f"route{number}")
        router.wait_until_fitted()
        (compacted,) = listener.of(TableCompacted)
        assert (compacted.utterances, compacted.verified_only) == (8, False)


def test_a_hook_that_fails_costs_no_answer_and_its_words_are_not_logged(
    router: AdaptiveRouter, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def on_query(self, event: object) -> None:
            raise ValueError(f"cannot bear {event}")

        def on_routes(self, _event: object) -> None:
            raise ValueError

    listener = Listener()
    router.add_hook(Broken())
    router.add_hook(listener)
    with caplog.at_level(logging.INFO):
        for number in range(5):
            assert router.route(f"music secret {number}").reason in Reason
        router.add_route(Route(name="more", utterances=["more of it"]))
    assert len(listener.of(QueriesDecided)) == 5
    complaints = [record.getMessage() for record in caplog.records if "hook" in record.getMessage()]
    assert len(complaints) == 1
    assert "Broken" in complaints[0]
    assert "secret" not in caplog.text


def test_what_hears_nothing_is_no_hook_and_none_is_attached_twice(router: AdaptiveRouter, listener: Listener) -> None:
    with pytest.raises(InvalidInputError, match="on_query"):
        router.add_hook(object())  # type: ignore[arg-type]
    router.add_hook(listener)
    with pytest.raises(InvalidInputError, match="already"):
        router.add_hook(listener)
    router.remove_hook(listener)
    router.remove_hook(listener)
    router.route("music unheard")
    assert listener.events == []


def test_hooks_are_closed_with_their_router_and_a_failure_to_do_so_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    closed = []

    class Closable(Listener):
        def close(self) -> None:
            closed.append(self)
            raise OSError("cannot")

    first, second = Closable(), Closable()
    router = small_router(hooks=[first, second])
    router.close()
    router.close()
    assert closed == [first, second]
    assert "could not be closed" in caplog.text
    with pytest.raises(RouterClosedError):
        router.add_hook(Listener())


def test_a_hook_may_come_and_go_while_queries_run(router: AdaptiveRouter, listener: Listener) -> None:
    stop, failures = threading.Event(), []

    def ask() -> None:
        try:
            number = 0
            while not stop.is_set():
                router.route(f"music {number % 7}")
                router.route(f"music new {number}")
                number += 1
        except Exception as exc:  # noqa: BLE001 - shown by the test
            failures.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        router.add_hook(listener)
        router.remove_hook(listener)
    stop.set()
    for thread in threads:
        thread.join(SAFE_S)
    assert failures == []
    for event in listener.of(QueriesDecided):
        for _, start, end in event.stages.spans():
            assert event.stages.began <= start <= end <= event.stages.ended
