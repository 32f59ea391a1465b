"""``fit``: labelled queries help or are refused, the operating point keeps its promise, and all of it survives."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from synaptoroute import AdaptiveRouter, Reason, Route
from synaptoroute.decision.labelled import threshold_for_false_rejects, threshold_for_precision
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import InvalidInputError
from synaptoroute.route_files import read_routes
from synaptoroute.storage import SQLiteStorage
from tests.seeded import SeededEncoder
from tests.seeded import route as seeded_route

DEMO = resources.files("synaptoroute") / "demo"


def demo_routes() -> list[Route]:
    with (DEMO / "routes.json").open("rb") as file:
        return read_routes(file, "json")


def demo_queries() -> tuple[list[str], list[str | None]]:
    rows = list(csv.DictReader((DEMO / "queries.csv").read_text(encoding="utf-8").splitlines()))
    return [row["query"] for row in rows], [row["route"] or None for row in rows]


@pytest.fixture
def router(encoder: BundledEncoder, demo_store: Path) -> Iterator[AdaptiveRouter]:
    with AdaptiveRouter(encoder, SQLiteStorage(demo_store)) as router:
        assert router.settled
        yield router


def test_labelled_queries_improve_held_out_decisions_and_the_report_says_so(router: AdaptiveRouter) -> None:
    queries, labels = demo_queries()
    report = router.fit(queries, labels)
    assert report.applied
    assert (report.queries, report.out_of_scope) == (84, 24)
    assert report.after.accuracy > report.before.accuracy
    assert report.after.auroc is not None
    assert 0.8 < report.after.auroc <= 1
    assert 0 <= report.after.ece < 0.3
    assert report.curve[-1].coverage == 1
    assert report.curve[-1].precision == pytest.approx((report.after.in_scope_accuracy or 0) * 60 / 84)
    assert report.warnings == ()
    assert json.loads(json.dumps(report.to_dict()))["applied"] is True
    assert "84 queries (24 out of scope)" in str(report)
    assert router.snapshot.fitted
    # What it was taught it now knows, which is why the report is of held-out outcomes only.
    assert router.evaluate(queries, labels).accuracy >= report.after.accuracy


def test_fitting_twice_gives_the_same(encoder: BundledEncoder) -> None:
    queries, labels = demo_queries()
    outcomes = []
    for _ in range(2):
        with AdaptiveRouter(encoder) as router:
            router.add_routes(demo_routes())
            outcomes.append((router.fit(queries, labels), router.route_many(queries[:10])))
    assert outcomes[0] == outcomes[1]


def test_a_fit_that_does_not_help_changes_nothing_unless_forced(router: AdaptiveRouter) -> None:
    queries, labels = demo_queries()
    router.wait_until_fitted()
    before = router.route_many(queries)
    right = [place for place, label in enumerate(labels) if before[place].name == label]
    known = [queries[place] for place in right]
    mislabelled = [labels[place] for place in right]
    # A third of the labels are dealt out anew: what they teach is noise.
    some = np.random.default_rng(0).permutation(len(known))[: len(known) // 3]
    for place, other in zip(some, np.roll(some, 1), strict=True):
        mislabelled[place] = labels[right[other]]
    report = router.fit(known, mislabelled)
    assert not report.applied
    assert report.after.accuracy < report.before.accuracy
    assert "refused" in report.warnings[-1]
    assert router.snapshot.labelled is None
    assert router.route_many(queries) == before
    forced = router.fit(known, mislabelled, force=True)
    assert forced.applied
    assert forced.after == report.after
    assert "does not improve" in forced.warnings[-1]
    assert "forced" in forced.warnings[-1]
    assert router.route_many(queries) != before


def test_it_survives_a_restart_without_learning_again(encoder: BundledEncoder, tmp_path: Path) -> None:
    queries, labels = demo_queries()
    with AdaptiveRouter(encoder, SQLiteStorage(tmp_path / "r.db")) as router:
        router.add_routes(demo_routes())
        router.fit(queries, labels, max_false_reject=0.2)
        before = router.route_many(queries)
        point = router.snapshot.labelled
    with AdaptiveRouter(encoder, SQLiteStorage(tmp_path / "r.db")) as router:
        assert router.snapshot.fitted
        assert router.snapshot.labelled is not None
        assert point is not None
        assert router.snapshot.labelled.min_confidence == point.min_confidence
        after = router.route_many(queries)
        assert [decision.name for decision in after] == [decision.name for decision in before]
        for one, other in zip(after, before, strict=True):
            assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_a_later_change_keeps_the_labels_and_confidence_stays_a_probability(router: AdaptiveRouter) -> None:
    queries, labels = demo_queries()
    router.fit(queries, labels)
    router.add_route(Route(name="careers", utterances=["are you hiring", "I am looking for a job at your company"]))
    router.delete_route("order_status")
    for wait in (False, True):
        if wait:
            router.wait_until_fitted()
        decisions = router.route_many([*queries, "do you have any job openings"])
        assert all(0 <= decision.confidence <= 1 for decision in decisions)
        assert decisions[-1].matches[0].name == "careers"
        assert "order_status" not in {match.name for decision in decisions for match in decision.matches}
    labelled = router.snapshot.labelled
    assert labelled is not None
    assert len(labelled.texts) == 84


def test_forgetting_the_fit_gives_back_the_router_as_it_was(router: AdaptiveRouter) -> None:
    queries, labels = demo_queries()
    router.wait_until_fitted()
    before = router.route_many(queries)
    router.fit(queries, labels)
    assert router.route_many(queries) != before
    router.forget_fit()
    router.wait_until_fitted()
    assert router.route_many(queries) == before


def test_the_operating_point_decides_where_nothing_else_is_asked(router: AdaptiveRouter) -> None:
    queries, labels = demo_queries()
    report = router.fit(queries, labels, max_false_reject=0.1)
    assert report.promise is not None
    assert report.promise.startswith("at most 10.0%")
    assert report.min_confidence is not None
    for decision in router.route_many(queries):
        if decision.reason is Reason.MATCHED:
            assert decision.confidence >= report.min_confidence
        else:
            assert decision.confidence < report.min_confidence
    assert router.route(queries[0], min_confidence=0.0)


def test_a_promise_that_the_data_cannot_support_is_not_made(router: AdaptiveRouter) -> None:
    queries, labels = demo_queries()
    report = router.fit(queries, labels, target_precision=0.999)
    assert report.min_confidence is None
    assert "cannot support" in str(report.promise)
    report = router.fit(queries, labels, max_false_reject=0.001)
    assert report.min_confidence is None
    assert "wanted at least 999" in str(report.promise)


def test_without_out_of_scope_queries_scope_is_judged_as_before(router: AdaptiveRouter) -> None:
    queries, labels = demo_queries()
    inside = [(query, label) for query, label in zip(queries, labels, strict=True) if label]
    router.wait_until_fitted()
    assert router.snapshot.learned is not None
    gate = router.snapshot.learned.model.gate
    report = router.fit(*zip(*inside, strict=True), force=True)
    assert any("out of scope" in warning for warning in report.warnings)
    assert report.after.out_of_scope_recall is None
    assert report.after.auroc is None
    assert router.snapshot.learned.model.gate.in_scope.tolist() == gate.in_scope.tolist()


def test_stored_utterances_and_repeats_are_left_out_with_a_warning(router: AdaptiveRouter) -> None:
    queries, labels = demo_queries()
    stored = router.routes[0]
    known = stored.utterances[0].upper()
    report = router.fit([*queries, known, f"{queries[0]} "], [*labels, stored.name, labels[0]], force=True)
    assert report.queries == 84
    assert "1 queries are stored utterances" in report.warnings[0]
    assert "1 repeated" in report.warnings[1]


def test_a_query_with_two_labels_teaches_neither(router: AdaptiveRouter) -> None:
    queries, labels = demo_queries()
    other = next(label for label in labels if label not in (None, labels[0]))
    report = router.fit([*queries, queries[0]], [*labels, other], force=True)
    assert report.queries == 83
    assert "1 queries come with several labels" in report.warnings[0]


def test_what_was_left_out_is_said_where_too_little_remains(router: AdaptiveRouter) -> None:
    stored = [(text, route.name) for route in router.routes for text in route.utterances]
    with pytest.raises(InvalidInputError, match=r"0 usable queries .* are stored utterances"):
        router.fit(*zip(*stored, strict=True))


def test_every_unknown_route_is_named_before_anything_is_learned(router: AdaptiveRouter) -> None:
    queries, _ = demo_queries()
    with pytest.raises(InvalidInputError, match="no route named 'nonsense', 'sports'; add the route or correct"):
        router.fit(queries, ["nonsense", "sports"] * (len(queries) // 2))
    assert router.snapshot.labelled is None


def test_a_single_route_and_nothing_else_cannot_be_learned_but_with_out_of_scope_it_can(
    router: AdaptiveRouter,
) -> None:
    queries, labels = demo_queries()
    one = labels[0]
    alone = [query for query, label in zip(queries, labels, strict=True) if label == one]
    alone += [f"{query}, please" for query in queries[: 30 - len(alone)]]
    with pytest.raises(InvalidInputError, match="30 usable queries with 1 different labels"):
        router.fit(alone, [one] * 30)
    outside = [query for query, label in zip(queries, labels, strict=True) if label is None]
    report = router.fit([*alone, *outside], [one] * 30 + [None] * len(outside), force=True)
    assert (report.applied, report.queries, report.out_of_scope) == (True, 54, 24)


@pytest.mark.parametrize(
    ("queries", "labels", "message"),
    [
        (["a", "b", "c"], ["order_status", None, None], "not enough data: 3 usable queries"),
        ([f"query {n}" for n in range(30)], ["order_status"] * 30, "not enough data: 30 usable queries with 1"),
        ([f"query {n}" for n in range(30)], ["nonsense"] * 30, "nonsense"),
        (["a"], [], "1 queries and 0 labels"),
        ([], [], "no queries"),
        (["", *(f"query {n}" for n in range(30))], [None] * 31, "empty"),
    ],
)
def test_bad_input_is_refused_and_nothing_changes(
    router: AdaptiveRouter, queries: list[str], labels: list[str | None], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        router.fit(queries, labels)
    assert router.snapshot.labelled is None


@pytest.mark.parametrize(
    "options", [{"target_precision": 1.0}, {"max_false_reject": 0}, {"target_precision": 0.9, "max_false_reject": 0.1}]
)
def test_bad_options_are_refused(router: AdaptiveRouter, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        router.fit(*demo_queries(), **options)


def test_there_must_be_routes(encoder: BundledEncoder) -> None:
    with AdaptiveRouter(encoder) as router, pytest.raises(InvalidInputError, match="cannot be fitted"):
        router.fit([f"query {n}" for n in range(30)], [None] * 30)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.sampled_from([0.01, 0.05, 0.2, 0.5]), st.integers(0, 100))
def test_the_conformal_threshold_rejects_at_most_its_share(count: int, rate: float, seed: int) -> None:
    confidences = np.random.default_rng(seed).random(count)
    threshold = threshold_for_false_rejects(confidences, rate)
    if threshold is None:
        assert count < 1 / rate - 1 + 1e-9
    else:
        assert (confidences < threshold).sum() <= rate * (count + 1) - 1 + 1e-9


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9, 1.0]) | st.floats(0, 1), st.booleans()), max_size=300),
    st.sampled_from([0.5, 0.8, 0.95]),
)
def test_all_that_pass_the_promised_threshold_together_are_proof_of_it(
    outcomes: list[tuple[float, bool]], precision: float
) -> None:
    """Queries of equal confidence pass together: those after the last one that was counted must be counted too."""
    confidences = np.array([confidence for confidence, _ in outcomes])
    right = np.array([was_right for _, was_right in outcomes], bool)
    threshold = threshold_for_precision(confidences, right, precision)
    if threshold is not None:
        passed = right[confidences >= threshold]
        assert binomtest(int(passed.sum()), len(passed), precision, alternative="greater").pvalue <= 0.05 + 1e-9


def test_the_right_ones_of_a_tie_do_not_speak_for_the_wrong_ones() -> None:
    right = np.repeat([True, False], 100)
    assert threshold_for_precision(np.full(200, 0.9), right, 0.8) is None
    confidences = np.repeat([0.9, 0.5], [100, 100])
    assert threshold_for_precision(confidences, right, 0.8) == 0.9


def test_the_promised_precision_holds_on_new_draws() -> None:
    """Of 200 fits on calibrated confidences, at most about 5 % may miss the promise."""
    random = np.random.default_rng(0)
    fresh = random.random(200_000)
    missed = promised = 0
    for _ in range(200):
        confidences = random.random(600)
        threshold = threshold_for_precision(confidences, random.random(600) < confidences, 0.8)
        if threshold is not None:
            promised += 1
            missed += fresh[fresh >= threshold].mean() < 0.8
    assert promised > 150
    assert missed <= 0.08 * promised


def test_progress_is_told_and_ends_what_it_is_told_of() -> None:
    queries = [f"{name} query {number}" for number in range(12) for name in ("a", "b")]
    labels = [query[0] for query in queries]
    told: list[tuple[int, int]] = []

    class Stop(Exception):  # noqa: N818 - no error
        pass

    def stop_at(step: int, done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == step:
            raise Stop

    with AdaptiveRouter(SeededEncoder()) as router:
        router.add_routes([seeded_route("a"), seeded_route("b")])
        router.wait_until_fitted()
        router.evaluate(queries, labels, progress=lambda done, total: told.append((done, total)))
        assert told == [(24, 24)]
        # After the queries are encoded, and while it learns from them.
        for step in (1, 3):
            told.clear()
            with pytest.raises(Stop):
                router.fit(queries, labels, force=True, progress=functools.partial(stop_at, step))
            assert router.snapshot.labelled is None
        assert router.fit(queries, labels, force=True, progress=lambda done, total: told.append((done, total))).applied
        assert set(told) == {(24, 24)}
