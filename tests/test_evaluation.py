from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from synaptoroute.errors import InvalidInputError
from synaptoroute.evaluation import CURVE_POINTS, Confusion, Evaluation, check_labels, evaluated
from synaptoroute.models import Decision, Match, Reason


def decision(best: str | None, confidence: float, *, passed: bool = True) -> Decision:
    """A decision whose best match is that route; None for a router without routes."""
    if best is None:
        return Decision(
            name=None, score=None, confidence=0.0, margin=None, matches=(), reason=Reason.NO_ROUTES, revision=1
        )
    match = Match(name=best, score=0.75, confidence=confidence, utterance=f"an utterance of {best}")
    return Decision(
        name=best if passed else None,
        score=0.75,
        confidence=confidence,
        margin=None,
        matches=(match,),
        reason=Reason.MATCHED if passed else Reason.BELOW_CONFIDENCE,
        revision=1,
    )


#: Query, label, what the router made of it: four right, one confused, one rejected, two out of scope.
CASES: list[tuple[str, str | None, Decision]] = [
    ("a1", "a", decision("a", 0.9)),
    ("a2", "a", decision("a", 0.8)),
    ("a3", "a", decision("b", 0.7)),
    ("b1", "b", decision("b", 0.6)),
    ("b2", "b", decision("b", 0.4, passed=False)),
    ("c1", "c", decision("a", 0.3, passed=False)),
    ("o1", None, decision("a", 0.2, passed=False)),
    ("o2", None, decision("b", 0.65)),
]


def of(cases: list[tuple[str, str | None, Decision]]) -> Evaluation:
    return evaluated([case[0] for case in cases], [case[1] for case in cases], [case[2] for case in cases])


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return of(CASES)


# --------------------------------------------------------------------------------------------------- the figures
def test_no_route_is_right_for_a_query_out_of_scope_and_wrong_for_any_other(evaluation: Evaluation) -> None:
    assert (evaluation.n, evaluation.n_in_scope) == (8, 6)
    assert evaluation.accuracy == 4 / 8  # a1, a2, b1, o1
    assert evaluation.in_scope_accuracy == 3 / 6
    assert evaluation.oos_recall == 1 / 2
    low, high = evaluation.accuracy_interval
    assert 0 <= low < 0.5 < high <= 1


def test_the_best_match_counts_although_it_was_rejected(evaluation: Evaluation) -> None:
    assert evaluation.best_match_accuracy == 4 / 6  # b2 too


def test_confidence_tells_in_scope_from_out_of_scope(evaluation: Evaluation) -> None:
    # Of the 12 pairs, o1 loses all six and o2 (0.65) loses to 0.9, 0.8 and 0.7.
    assert evaluation.auroc == 9 / 12
    # All six in scope must pass to reach 95 %, at 0.3; only o2 does too.
    assert evaluation.fpr_at_95 == 1 / 2
    assert evaluation.oos_recall_at_5 == 1 / 2


def test_the_confidence_is_that_the_best_match_is_right(evaluation: Evaluation) -> None:
    # Each query is alone in its bin of 1/15.
    right = {0.9: 1, 0.8: 1, 0.7: 0, 0.6: 1, 0.4: 1, 0.3: 0, 0.2: 0, 0.65: 0}
    assert len({math.ceil(confidence * 15) for confidence in right}) == 8
    assert evaluation.ece == pytest.approx(sum(abs(confidence - hit) for confidence, hit in right.items()) / 8)


def test_each_bin_says_how_often_its_confidence_was_right(evaluation: Evaluation) -> None:
    alone = [(0.2, 0), (0.3, 0), (0.4, 1), (0.6, 1), (0.65, 0), (0.7, 0), (0.8, 1), (0.9, 1)]
    assert [(one.confidence, one.accuracy, one.count) for one in evaluation.reliability] == [(*one, 1) for one in alone]
    (together,) = of([("x", "a", decision("a", 0.91)), ("y", "a", decision("b", 0.93))]).reliability
    assert together.confidence == pytest.approx(0.92)
    assert (together.accuracy, together.count) == (0.5, 2)


def test_the_curve_is_over_all_queries(evaluation: Evaluation) -> None:
    points = [(point.min_confidence, point.coverage, point.precision) for point in evaluation.curve]
    assert points == [
        (0.9, 1 / 8, 1), (0.8, 2 / 8, 1), (0.7, 3 / 8, 2 / 3), (0.65, 4 / 8, 2 / 4), (0.6, 5 / 8, 3 / 5),
        (0.4, 6 / 8, 4 / 6), (0.3, 7 / 8, 4 / 7), (0.2, 8 / 8, 4 / 8),
    ]  # fmt: skip


def test_a_long_curve_is_thinned_from_end_to_end() -> None:
    confidences = np.linspace(1, 0.001, 5000)
    curve = of([(str(at), "a", decision("a", float(at))) for at in confidences]).curve
    assert CURVE_POINTS - 1 <= len(curve) <= CURVE_POINTS
    assert (curve[0].coverage, curve[-1].coverage) == (1 / 5000, 1)
    assert max(np.diff([point.coverage for point in curve])) < 0.011


def test_each_route_has_its_figures_lowest_first(evaluation: Evaluation) -> None:
    rows = [(r.name, r.support, r.chosen, r.right, r.precision, r.recall, r.f1) for r in evaluation.routes]
    assert rows == [
        ("c", 1, 0, 0, None, 0, 0),  # never chosen: no precision
        ("b", 2, 3, 1, 1 / 3, 1 / 2, 2 / 5),
        ("a", 3, 2, 2, 1, 2 / 3, 4 / 5),
    ]
    # Chosen but never expected: no recall.
    (only,) = of([("x", None, decision("d", 0.9))]).routes
    assert (only.support, only.precision, only.recall, only.f1) == (0, 0, None, 0)


def test_confusions_are_ranked_and_hold_those_with_none(evaluation: Evaluation) -> None:
    assert evaluation.confusions == (
        Confusion(expected=None, chosen="b", count=1),
        Confusion(expected="a", chosen="b", count=1),
        Confusion(expected="b", chosen=None, count=1),
        Confusion(expected="c", chosen=None, count=1),
    )
    assert of([*CASES, CASES[4]]).confusions[0] == Confusion(expected="b", chosen=None, count=2)


def test_every_failure_comes_with_its_evidence_most_confident_first(evaluation: Evaluation) -> None:
    shown = [(f.query, f.expected, f.chosen, f.confidence) for f in evaluation.failures]
    assert shown == [("a3", "a", "b", 0.7), ("o2", None, "b", 0.65), ("b2", "b", None, 0.4), ("c1", "c", None, 0.3)]
    first = evaluation.failures[0]
    assert (first.score, first.reason) == (0.75, Reason.MATCHED)
    assert first.matches[0].utterance == "an utterance of b"


routes = st.sampled_from(["a", "b", "c"])
cases = st.lists(
    st.tuples(st.just("q"), st.none() | routes, st.builds(decision, routes, st.floats(0, 1), passed=st.booleans())),
    min_size=1,
    max_size=30,
)


@given(cases)
def test_the_parts_agree_with_each_other_and_with_scikit_learn(
    some: list[tuple[str, str | None, Decision]],
) -> None:
    found = of(some)
    wrong = sum(pair.count for pair in found.confusions)
    assert wrong == len(found.failures) == round((1 - found.accuracy) * found.n)
    assert found.curve[-1].coverage == 1
    assert found.curve[-1].precision == pytest.approx((found.best_match_accuracy or 0) * found.n_in_scope / found.n)
    assert sum(route.support for route in found.routes) == found.n_in_scope
    names = [route.name for route in found.routes]
    expected, chosen = [str(case[1]) for case in some], [str(case[2].name) for case in some]
    theirs = precision_recall_fscore_support(expected, chosen, labels=names, zero_division=0) if names else ([],) * 4
    for route, precision, recall, f1 in zip(found.routes, *theirs[:3], strict=True):
        assert (route.precision or 0, route.recall or 0, route.f1) == pytest.approx((precision, recall, f1))


# -------------------------------------------------------------------------------------------------------- the ends
def test_what_cannot_be_divided_is_none_and_not_zero() -> None:
    inside = of([("x", "a", decision("a", 0.9))])
    assert (inside.oos_recall, inside.auroc, inside.fpr_at_95, inside.oos_recall_at_5) == (None, None, None, None)
    assert (inside.accuracy, inside.in_scope_accuracy) == (1, 1)
    outside = of([("x", None, decision("a", 0.9))])
    assert (outside.best_match_accuracy, outside.in_scope_accuracy, outside.oos_recall) == (None, None, 0)


def test_a_router_without_routes_is_right_about_what_is_out_of_scope() -> None:
    found = of([("x", None, decision(None, 0)), ("y", "a", decision(None, 0))])
    assert (found.accuracy, found.oos_recall, found.best_match_accuracy, found.ece) == (0.5, 1, 0, 0)
    assert (found.failures[0].score, found.failures[0].matches) == (None, ())


def test_it_becomes_json_without_nan(evaluation: Evaluation) -> None:
    for one in (evaluation, of([("x", "a", decision(None, 0))])):
        shown = json.loads(json.dumps(one.to_dict(), allow_nan=False))
        assert shown["n"] == one.n
        assert len(shown["failures"]) == len(one.failures)
        assert set(shown) == set(Evaluation.__dataclass_fields__)
    shown = evaluation.to_dict()
    assert [failure["reason"] for failure in shown["failures"]] == ["matched"] * 2 + ["below_confidence"] * 2
    assert shown["failures"][0]["matches"][0] == {
        "name": "b", "score": 0.75, "confidence": 0.7, "utterance": "an utterance of b",
    }  # fmt: skip
    assert shown["confusions"][2] == {"expected": "b", "chosen": None, "count": 1}


def test_it_says_the_main_figures_in_one_line_and_all_in_a_table(evaluation: Evaluation) -> None:
    assert str(evaluation).startswith("8 queries: accuracy 50.0% (95 % interval ")
    assert str(evaluation).endswith("), in scope 50.0%, out of scope 50.0% rejected, AUROC 0.750, ECE 0.394, 4 wrong")
    table = dict(evaluation.to_table())
    assert (table["queries"], table["accuracy"], table["out of scope: rejected"]) == (8, 0.5, 0.5)
    alone = of([("x", "a", decision("a", 0.9))])
    assert "out of scope" not in str(alone)
    assert dict(alone.to_table())["out of scope: rejected"] is None


# --------------------------------------------------------------------------------------------------------- refused
@pytest.mark.parametrize(
    ("queries", "labels", "message"),
    [
        ([], [], "no queries"),
        (["x"], [], "1 queries and 0 labels"),
        (["x", 7], ["a", "a"], "query 1 is of type int"),
        ("x", ["a"], "queries is a single text"),
        (["x"], "a", "labels is a single text"),
        (["x"], ["a"], "0 decisions for 1 queries"),
    ],
)
def test_queries_and_labels_that_do_not_match_are_refused(queries: Any, labels: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        evaluated(queries, labels, [])


def test_labels_are_names_of_routes_or_none() -> None:
    assert check_labels(["a", None, "b"], {"a", "b"}) == ("a", None, "b")
    # Route names are stored in NFC.
    assert check_labels(["cafe\u0301"], {"caf\u00e9"}) == ("caf\u00e9",)
    with pytest.raises(InvalidInputError, match="label 1 is of type int"):
        check_labels(["a", 7], {"a"})  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match=r"no route named 'x', ''; add the route or correct .* None is for out"):
        check_labels(["x", "a", "", "x"], {"a"})
    with pytest.raises(InvalidInputError, match="'r0', 'r1', 'r2', 'r3', 'r4' and 3 more;"):
        check_labels([f"r{number}" for number in range(8)], {"a"})
