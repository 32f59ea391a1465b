"""Fit and evaluate as jobs: their progress, their results, and how they end early."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from synaptoroute.server import jobs
from synaptoroute.server.jobs import Job, JobState, JobStore
from synaptoroute.server.keys import ANYBODY, Caller, Scope
from synaptoroute.server.problems import Problem
from synaptoroute.server.settings import ServerSettings
from tests.server.serving import SAFE_S, GatedEncoder, Served, problem, serving, small_router, until

NAMES = ("billing", "music", "weather")
QUERIES: list[dict[str, Any]] = [
    {"text": f"{name} query {number}", "label": name} for number in range(8) for name in NAMES
] + [{"text": f"other thing {number}", "label": None} for number in range(8)]


@pytest.fixture
def store() -> Iterator[JobStore]:
    store = JobStore(ServerSettings(max_jobs=4, max_waiting_jobs=2, job_memory_s=1_000))
    yield store
    store.close()


def test_an_evaluation_is_that_of_the_router(served: Served) -> None:
    job = served.finished(served.post("/v1/evaluate", {"queries": QUERIES}))
    assert (job["state"], job["problem"]) == ("done", None)
    assert job["progress"] == {"done": len(QUERIES), "total": len(QUERIES)}
    expected = served.state.router.evaluate([q["text"] for q in QUERIES], [q["label"] for q in QUERIES])
    assert job["result"]["accuracy"] == expected.accuracy
    assert job["result"]["n"] == len(QUERIES)
    assert len(job["result"]["failures"]) == len(expected.failures)
    listed = served.get("/v1/jobs").json()["jobs"]
    assert listed[0] == {**job, "result": None}


def test_a_fit_is_used_and_can_be_forgotten(fresh: Served) -> None:
    job = fresh.finished(fresh.post("/v1/fit", {"queries": QUERIES, "force": True, "target_precision": 0.9}))
    assert job["state"] == "done", job
    assert job["result"]["applied"] is True
    fitted = fresh.get("/v1/status").json()["fitted"]
    assert fitted["queries"] == len(QUERIES)
    assert fitted["min_confidence"] == job["result"]["min_confidence"]
    assert fresh.ask("DELETE", "/v1/fit").json() == {"revision": fresh.state.router.revision}
    assert fresh.get("/v1/status").json()["fitted"] is None


def test_a_job_that_fails_says_why(served: Served) -> None:
    job = served.finished(served.post("/v1/evaluate", {"queries": [{"text": "a", "label": "nonsense"}]}))
    assert job["state"] == "failed"
    assert job["problem"]["code"] == "invalid_input"
    assert job["result"] is None
    job = served.finished(served.post("/v1/fit", {"queries": QUERIES[:3]}))
    assert job["problem"]["code"] == "invalid_input"


@pytest.mark.parametrize("body", [{}, {"queries": []}, {"queries": [{"text": "a"}]}, {"queries": [["a", "b"]]}, []])
def test_what_is_no_list_of_labelled_queries_is_refused_at_once(served: Served, body: Any) -> None:
    problem(served.post("/v1/evaluate", body), 422, "invalid_request")
    problem(served.post("/v1/fit", body), 422, "invalid_request")
    problem(served.post("/v1/fit", {"queries": QUERIES, "target_precision": 2}), 422, "invalid_request")


def test_labelled_queries_may_be_larger_than_other_bodies(served: Served) -> None:
    with serving(served.state.router, max_body_bytes=1_024, max_labelled_bytes=4_096) as small:
        assert small.finished(small.post("/v1/evaluate", {"queries": QUERIES}))["state"] == "done"
        problem(small.post("/v1/evaluate", {"queries": QUERIES * 10}), 413, "body_too_large")


def test_a_job_can_be_cancelled_while_it_waits_and_while_it_runs() -> None:
    encoder = GatedEncoder()
    with small_router(encoder) as router, serving(router, max_waiting_jobs=1) as served:
        slow = {"queries": [{"text": f"wait {number}", "label": None} for number in range(600)]}
        running = served.post("/v1/evaluate", slow)
        assert encoder.waiting.acquire(timeout=SAFE_S)
        waiting = served.post("/v1/evaluate", slow)
        problem(served.post("/v1/evaluate", slow), 429, "jobs_full")
        assert served.ask("DELETE", waiting.headers["location"]).json()["state"] == "cancelled"
        assert served.ask("DELETE", running.headers["location"]).json()["state"] == "running"
        encoder.gate.set()
        assert served.finished(running)["state"] == "cancelled"
        assert served.ask("DELETE", running.headers["location"]).json()["state"] == "cancelled"


def test_a_cancelled_fit_changes_nothing() -> None:
    encoder = GatedEncoder()
    with small_router(encoder) as router, serving(router) as served:
        slow = [{"text": f"wait {number}", "label": NAMES[number % 3]} for number in range(60)]
        running = served.post("/v1/fit", {"queries": slow, "force": True})
        assert encoder.waiting.acquire(timeout=SAFE_S)
        served.ask("DELETE", running.headers["location"])
        encoder.gate.set()
        assert served.finished(running)["state"] == "cancelled"
        assert router.snapshot.labelled is None


def test_ones_own_jobs_may_be_cancelled_and_those_of_others_by_who_may_write() -> None:
    encoder = GatedEncoder()
    with small_router(encoder) as router, serving(router, keys=("read", "write")) as served:
        slow = {"queries": [{"text": "wait", "label": None}]}
        of_writer = served.post("/v1/evaluate", slow, key="write").headers["location"]
        of_reader = served.post("/v1/evaluate", slow, key="read").headers["location"]
        problem(served.ask("DELETE", of_writer, key="read"), 403, "forbidden")
        assert served.ask("DELETE", of_reader, key="read").status_code == 200
        assert served.ask("DELETE", of_writer, key="write").status_code == 200
        encoder.gate.set()


def test_a_job_that_is_not_there_is_a_404(served: Served) -> None:
    problem(served.get("/v1/jobs/nonsense"), 404, "job_not_found")
    problem(served.ask("DELETE", "/v1/jobs/nonsense"), 404, "job_not_found")


# ----------------------------------------------------------------------------------------------------- the store
def ended(store: JobStore, work: jobs.Work, kind: str = "test") -> Job:
    job = store.submit(kind, work, ANYBODY)
    until(lambda: job.finished)
    return job


def test_finished_jobs_give_way_to_new_ones(store: JobStore) -> None:
    done = [ended(store, lambda job: {"id": job.id}) for _ in range(6)]
    assert [job.id for job in store.all()] == [job.id for job in reversed(done[-4:])]
    with pytest.raises(Problem, match="no such job"):
        store.get(done[0].id)
    assert store.get(done[-1].id).result == b'{"id":"%s"}' % done[-1].id.encode()


def test_large_results_are_forgotten_first_when_there_are_too_many(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_RESULT_BYTES", 1_000)
    first, second = (ended(store, lambda _: {"text": "x" * 600}) for _ in range(2))
    assert [job.id for job in store.all()] == [second.id]
    assert first.state is JobState.DONE


def test_a_finished_job_is_forgotten_after_a_while() -> None:
    store = JobStore(ServerSettings(job_memory_s=1))
    job = ended(store, lambda _: {})
    job._ended_s -= 1.1
    assert store.all() == []
    store.close()


def test_no_more_jobs_wait_than_are_allowed(store: JobStore) -> None:
    gate = threading.Event()

    def wait(_: Job) -> dict[str, Any]:
        assert gate.wait(SAFE_S)
        return {}

    running = store.submit("test", wait, ANYBODY)
    until(lambda: running.state is JobState.RUNNING)
    waiting = [store.submit("test", wait, ANYBODY) for _ in range(2)]
    with pytest.raises(Problem) as refused:
        store.submit("test", wait, ANYBODY)
    assert (refused.value.code, refused.value.headers) == ("jobs_full", {"Retry-After": "10"})
    gate.set()
    until(lambda: all(job.state is JobState.DONE for job in (running, *waiting)))


def test_a_mistake_in_a_job_is_told_without_its_content(store: JobStore, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Job) -> dict[str, Any]:
        raise ZeroDivisionError("the secret text")

    job = ended(store, fail)
    assert job.problem is not None
    assert job.problem.code == "internal_error"
    assert b"secret" not in job.to_json()
    assert job.id in caplog.text


def test_closing_ends_the_job_under_way_and_those_that_wait() -> None:
    store = JobStore(ServerSettings())
    begun = threading.Event()

    def until_cancelled(job: Job) -> dict[str, Any]:
        begun.set()
        while True:
            job.progress(1, 2)

    running = store.submit("test", until_cancelled, Caller("someone", Scope.READ))
    assert begun.wait(SAFE_S)
    waiting = store.submit("test", until_cancelled, ANYBODY)
    store.close()
    assert {running.state, waiting.state} == {JobState.CANCELLED}
    assert (running.done, running.total) == (1, 2)
    with pytest.raises(Problem):
        store.submit("test", until_cancelled, ANYBODY)
