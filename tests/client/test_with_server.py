"""The client against a real server: the same Decisions and errors as a router of its own gives."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

import pytest

from synaptoroute import AdaptiveRouter, Decision, Route
from synaptoroute.bench.http.service import Service
from synaptoroute.client import AsyncClient, Client
from synaptoroute.corrections import Feedback
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import (
    DeadlineExceededError,
    FeedbackNotFoundError,
    InvalidInputError,
    InvalidQueryError,
    RemoteError,
    RevisionConflictError,
    RevisionNotFoundError,
    RouteExistsError,
    RouteNotFoundError,
    SnapshotNotFoundError,
)
from synaptoroute.evaluation import Evaluation
from synaptoroute.fitting import FitReport
from synaptoroute.route_files import read_routes

TEXTS = ["Where is my parcel?", "I want my money back", "who painted the Mona Lisa", "naïve café ☕ 東京"]
NEW = Route(
    name="a/b: x? & (y)",
    utterances=["water the plants", "the garden is dry"],
    threshold=0.25,
    description="Gardening.",
    metadata={"owner": "é", "deep": {"list": [1, None]}},
)


@pytest.fixture(scope="module")
def router(encoder: BundledEncoder) -> Iterator[AdaptiveRouter]:
    with AdaptiveRouter(encoder) as router:
        with (resources.files("synaptoroute") / "demo" / "routes.json").open("rb") as file:
            router.add_routes(read_routes(file, "json"))
        router.wait_until_fitted()
        yield router


@pytest.fixture
def added(client: Client) -> Iterator[Route]:
    client.create_route(NEW)
    yield NEW
    if any(info.name == NEW.name for info in client.iter_routes()):
        client.delete_route(NEW.name)


def alike(remote: Decision, local: Decision) -> None:
    assert type(remote) is Decision
    assert remote.name == local.name
    assert remote.reason is local.reason
    assert [match.utterance for match in remote.matches] == [match.utterance for match in local.matches]
    assert remote.confidence == pytest.approx(local.confidence, abs=1e-5)
    assert remote.score == pytest.approx(local.score, abs=1e-5)


# --------------------------------------------------------------------------------------------------------- routing
def test_decisions_are_those_of_a_router_of_ones_own(client: Client, router: AdaptiveRouter) -> None:
    for remote, local in zip(client.route_many(TEXTS), router.route_many(TEXTS), strict=True):
        alike(remote, local)
    options: dict[str, Any] = {"top_k": 2, "threshold": 0.0, "min_confidence": 0.0, "deadline_s": 5.0}
    alike(client.route(TEXTS[0], **options), router.route(TEXTS[0], **options))
    name = router.routes[0].name
    alike(client.route(TEXTS[2], allow=[name], exact=True), router.route(TEXTS[2], allow=[name], exact=True))
    assert not client.route(TEXTS[2])


def test_a_decision_is_explained(client: Client) -> None:
    explained = client.explain(TEXTS[0])
    assert explained.decision.name == client.route(TEXTS[0]).name
    assert explained.explanation


def test_it_is_asked_from_many_threads(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        decisions = list(pool.map(client.route, TEXTS * 8))
    assert [decision.name for decision in decisions[: len(TEXTS)]] * 8 == [decision.name for decision in decisions]


async def test_it_is_asked_from_an_event_loop(service: Service, router: AdaptiveRouter) -> None:
    async with AsyncClient(service.url) as client:
        decisions = await asyncio.gather(*map(client.route, TEXTS * 8))
        for remote, local in zip(decisions, router.route_many(TEXTS * 8), strict=True):
            alike(remote, local)
        assert [info.name async for info in client.iter_routes(page=7)] == [route.name for route in router.routes]
        found = await client.evaluate(TEXTS, [None] * len(TEXTS), timeout_s=60)
        assert found.n == len(TEXTS)


def test_errors_of_routing_are_those_of_the_router(client: Client) -> None:
    with pytest.raises(RouteNotFoundError, match="nonsense"):
        client.route("hello", allow=["nonsense"])
    with pytest.raises(DeadlineExceededError):
        client.route_many([f"a text that nobody asked before, number {n}" for n in range(200)], deadline_s=0.001)
    with pytest.raises(InvalidInputError, match="top_k"):
        client.route("hello", top_k=10_001)


# ---------------------------------------------------------------------------------------------------------- routes
def test_a_route_comes_back_as_it_was_given(client: Client, added: Route) -> None:
    info = client.get_route(added.name)
    assert info.route == added
    assert info.utterance_count == 2
    assert client.route("my flowers need water").name == added.name
    with pytest.raises(RouteExistsError):
        client.create_route(added)
    assert client.delete_route(added.name) > info.revision
    with pytest.raises(RouteNotFoundError):
        client.get_route(added.name)


def test_changes_depend_on_the_revision_they_are_based_on(client: Client, added: Route) -> None:
    first = client.get_route(added.name)
    second = client.add_utterances(added.name, ["prune the roses"], expected_revision=first.revision)
    assert second.utterances == (*added.utterances, "prune the roses")
    stale: dict[str, Any] = {"expected_revision": first.revision}
    for change in (
        lambda: client.add_utterances(added.name, ["x"], **stale),
        lambda: client.remove_utterances(added.name, ["prune the roses"], **stale),
        lambda: client.update_route(added.name, threshold=None, **stale),
        lambda: client.put_route(added, **stale),
        lambda: client.put_route(added, expected_revision=0),
        lambda: client.delete_route(added.name, **stale),
    ):
        with pytest.raises((RevisionConflictError, RouteExistsError)):
            change()
    assert client.get_route(added.name) == second
    third = client.remove_utterances(added.name, ["prune the roses"], expected_revision=second.revision)
    assert third.route == added
    changed = client.update_route(added.name, threshold=None, metadata={}, expected_revision=third.revision)
    assert (changed.threshold, changed.metadata, changed.description) == (None, {}, "Gardening.")
    assert client.put_route(added).route == added


def test_routes_are_listed_page_by_page_and_searched(client: Client, added: Route) -> None:
    pages = list(client.iter_routes(page=5, utterances=True))
    assert pages[-1].route == added
    assert [info.name for info in pages] == [info.name for info in client.iter_routes()]
    found = client.list_routes(containing="garden")
    assert [info.name for info in found.routes] == [added.name]
    assert (found.total, found.next) == (1, None)
    assert found.routes[0].utterances is None
    with pytest.raises(InvalidInputError, match="utterances=True"):
        _ = found.routes[0].route


@pytest.mark.parametrize("kind", ["json", "jsonl", "yaml", "csv"])
def test_routes_are_exported_and_imported(client: Client, kind: Any) -> None:
    content = client.export_routes(kind)
    count = len(list(client.iter_routes()))
    report = client.import_routes(content, mode="put", format=kind)
    assert (report.added, report.updated, report.deleted, report.unchanged) == (0, 0, 0, count)
    with pytest.raises(RouteExistsError):
        client.import_routes(content, format=kind)
    report = client.import_routes([NEW], mode="replace", dry_run=True)
    assert (report.added, report.deleted) == (1, count)
    assert len(list(client.iter_routes())) == count
    with pytest.raises(RevisionConflictError):
        client.import_routes([NEW], mode="replace", expected_revision=report.revision + 1)


# --------------------------------------------------------------------------------------------------------- history
def test_what_was_changed_is_shown_and_taken_back(client: Client) -> None:
    before = client.status().revision
    client.create_route(NEW)
    after = client.status().revision
    (entry,) = client.history(limit=1, route=NEW.name)
    assert (entry.revision, entry.operation, entry.route) == (after, "add", NEW.name)
    difference = client.diff(before, after)
    (change,) = difference.changes
    assert (change.route, change.operation, change.added) == (NEW.name, "add", NEW.utterances)
    with pytest.raises(RevisionConflictError):
        client.rollback(before, expected_revision=before)
    assert client.rollback(before, expected_revision=after) > after
    with pytest.raises(RouteNotFoundError):
        client.get_route(NEW.name)
    with pytest.raises(RevisionNotFoundError):
        client.rollback(10**9)


def test_snapshots_are_saved_used_and_deleted(client: Client) -> None:
    snapshot = client.save_snapshot("before/it")
    assert client.list_snapshots() == (snapshot,)
    with pytest.raises(InvalidInputError, match="before/it"):
        client.save_snapshot("before/it")
    client.create_route(NEW)
    client.use_snapshot("before/it")
    assert NEW.name not in [info.name for info in client.iter_routes()]
    client.delete_snapshot("before/it")
    with pytest.raises(SnapshotNotFoundError):
        client.use_snapshot("before/it")


# -------------------------------------------------------------------------------------------------------- learning
def labelled() -> tuple[list[str], list[str | None]]:
    content = (resources.files("synaptoroute") / "demo" / "queries.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(content.splitlines()))
    return [row["query"] for row in rows], [row["route"] or None for row in rows]


def test_an_evaluation_is_that_of_the_router(client: Client, router: AdaptiveRouter) -> None:
    queries, labels = labelled()
    remote, local = client.evaluate(queries, labels, timeout_s=60), router.evaluate(queries, labels)
    assert type(remote) is Evaluation
    assert remote.accuracy == local.accuracy
    assert str(remote) == str(local)
    assert remote.failures[0].matches[0].name == local.failures[0].matches[0].name


def test_a_fit_is_reported_and_forgotten(client: Client) -> None:
    queries, labels = labelled()
    report = client.fit(queries, labels, force=True, timeout_s=60)
    assert type(report) is FitReport
    assert report.applied
    fitted = client.status().fitted
    assert fitted is not None
    assert fitted["queries"] == len(queries)
    client.forget_fit()
    assert client.status().fitted is None


def test_feedback_is_given_proposed_and_decided(client: Client) -> None:
    # Decided as it should be, so that nothing has to be tried.
    text = client.list_routes(utterances=True).routes[0].route.utterances[0]
    decision = client.route(text)
    wanted = decision.name
    assert wanted is not None
    said = client.add_feedback(text, wanted, decided=decision, note="a parrot")
    assert type(said) is Feedback
    assert (said.expected, said.decided.name, said.note, said.state) == (wanted, decision.name, "a parrot", "open")
    proposed = client.propose_correction(said.id, timeout_s=120)
    assert proposed.proposal is not None
    assert proposed == client.get_feedback(said.id)
    assert client.list_feedback(state="proposed")[0] == proposed
    before = client.status().revision
    accepted = client.accept_correction(said.id, "nothing")
    assert accepted.outcome is not None
    assert (accepted.outcome.option, client.status().revision) == ("nothing", before)
    other = client.add_feedback("something else", None)
    assert client.dismiss_feedback(other.id, note="no").state == "dismissed"
    for number in (said.id, other.id):
        client.forget_feedback(number)
        with pytest.raises(FeedbackNotFoundError):
            client.get_feedback(number)


def test_the_operating_point_is_set_and_reset(client: Client) -> None:
    assert client.operating_point().source == "default"
    point = client.set_operating_point(0.75, expected_revision=client.status().revision)
    assert (point.min_confidence, point.source, point.actor) == (0.75, "set", "http")
    assert client.operating_point() == point
    with pytest.raises(RevisionConflictError):
        client.set_operating_point(0.1, expected_revision=10_000)
    assert client.set_operating_point(None).min_confidence == 0.5


def test_a_job_that_fails_says_why(client: Client) -> None:
    with pytest.raises((RemoteError, InvalidInputError), match="nonsense"):
        client.evaluate(["hello"], ["nonsense"], timeout_s=60)


def test_jobs_are_listed_and_cancelled(client: Client) -> None:
    job = client.start_evaluate(*labelled())
    assert job.id in [other.id for other in client.list_jobs()]
    client.cancel_job(job.id)
    assert client.wait_for_job(job.id, timeout_s=60).finished
    with pytest.raises(RemoteError) as raised:
        client.get_job("nonsense")
    assert raised.value.status == 404


def test_waiting_for_a_job_ends_in_time(client: Client) -> None:
    queries = [f"text number {n}" for n in range(2_000)]
    with pytest.raises(DeadlineExceededError, match="goes on"):
        client.evaluate(queries, [None] * len(queries), timeout_s=0)
    (job, *_) = client.list_jobs()
    client.cancel_job(job.id)
    client.wait_for_job(job.id, timeout_s=60)


def test_what_lint_finds_can_be_mended(client: Client, added: Route) -> None:
    client.add_utterances(added.name, [client.list_routes(utterances=True).routes[0].route.utterances[0]])
    report = client.lint()
    finding = next(finding for finding in report.findings if added.name in finding.routes and finding.fixes)
    revision = client.apply_fix(finding.fixes, expected_revision=report.revision)
    assert revision > report.revision
    with pytest.raises((RevisionConflictError, RouteNotFoundError)):
        client.apply_fix(finding.fixes, expected_revision=report.revision)


# ---------------------------------------------------------------------------------------------------------- status
def test_the_server_tells_how_it_is(client: Client, service: Service) -> None:
    status = client.status()
    assert status.routes == len(list(client.iter_routes()))
    assert status.scopes == ("read", "write", "admin")
    assert client.is_live()
    assert client.is_ready()
    with Client(service.url + "/nonsense") as lost, pytest.raises(RemoteError) as raised:
        lost.status()
    assert raised.value.code == "not_found"
    assert raised.value.request_id


def test_texts_the_server_would_refuse_are_refused_here(client: Client) -> None:
    with pytest.raises(InvalidQueryError):
        client.route("\ud800")
    with pytest.raises(InvalidInputError):
        client.route("NUL \x00")
