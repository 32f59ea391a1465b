from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute import lint as lint_module
from synaptoroute.encoder import BundledEncoder
from synaptoroute.lint import Finding, Fix, Kind, Severity, lint
from synaptoroute.models import Route
from synaptoroute.storage.base import DropRoute, PutRoute, StoredTable
from synaptoroute.table import RouteTable

DIM = 8

#: A route's name, its threshold, and an angle in degrees for each utterance: cosines are those of the differences.
Angles = tuple[str, float | None, Sequence[float]]


def at(degrees: Sequence[float], plane: int = 0) -> np.ndarray:
    """Unit vectors at these angles in one of the four planes, all of which are orthogonal."""
    vectors = np.zeros((len(degrees), DIM), np.float32)
    vectors[:, 2 * plane] = np.cos(np.radians(degrees))
    vectors[:, 2 * plane + 1] = np.sin(np.radians(degrees))
    return vectors


def table_of(*routes: Route, vectors: np.ndarray) -> RouteTable:
    stored = StoredTable(revision=1, routes=routes, vectors=vectors.astype(np.float32))
    return RouteTable.from_stored(stored, lambda _: np.empty((0, vectors.shape[1]), np.float32))


def angled(*routes: Angles) -> RouteTable:
    made = [
        Route(name=name, utterances=[f"{name} at {angle}" for angle in angles], threshold=threshold)
        for name, threshold, angles in routes
    ]
    return table_of(*made, vectors=at([angle for _, _, angles in routes for angle in angles]))


def found(table: RouteTable, kind: Kind) -> list[Finding]:
    return [finding for finding in lint(table) if finding.kind is kind]


def encoded(encoder: BundledEncoder, **routes: list[str]) -> RouteTable:
    made = [Route(name=name, utterances=utterances) for name, utterances in routes.items()]
    return table_of(*made, vectors=encoder.encode([text for route in made for text in route.utterances]))


WIDE = (0.0, 40.0, 80.0, 120.0, 160.0)


# ------------------------------------------------------------------------------------------------ nothing to find
def test_a_table_without_routes_has_no_findings() -> None:
    assert lint(table_of(vectors=np.empty((0, DIM)))) == ()


def test_routes_that_are_apart_and_varied_have_no_findings() -> None:
    routes = [Route(name=name, utterances=[f"{name} number {n}" for n in range(5)]) for name in "ab"]
    assert lint(table_of(*routes, vectors=np.concatenate([at(WIDE), at(WIDE, plane=1)]))) == ()


# ----------------------------------------------------------------------------------------------- between the routes
def test_the_same_text_in_two_routes_is_an_error_whatever_its_case_spacing_and_end_mark() -> None:
    first = Route(name="a", utterances=["Pay my bill!", "b", "c"])
    second = Route(name="b", utterances=["pay  my\u00a0bill", "e"])
    vectors = np.concatenate([at([0, 30, 60]), at([0, 170])])
    (finding,) = found(table_of(first, second, vectors=vectors), Kind.DUPLICATE)
    assert (finding.severity, finding.routes, finding.evidence) == (Severity.ERROR, ("a", "b"), 2)
    assert finding.utterances == ("Pay my bill!", "pay  my\u00a0bill")
    # It is 30 degrees from the others of a, 170 from those of b.
    assert finding.fixes == (Fix(action="remove_utterance", route="b", utterance="pay  my\u00a0bill"),)
    assert "'a'" in finding.advice


def test_what_else_differs_is_no_exact_duplicate() -> None:
    for other in ("pay my bills", "help with C#", "?"):
        routes = Route(name="a", utterances=["help with C++", "!"]), Route(name="b", utterances=[other])
        assert not found(table_of(*routes, vectors=at([0, 90, 45])), Kind.DUPLICATE)


def test_a_route_is_never_left_without_utterances() -> None:
    routes = [Route(name=name, utterances=["pay my bill"]) for name in "abc"]
    (finding,) = found(table_of(*routes, vectors=at([0, 0, 0])), Kind.DUPLICATE)
    assert (finding.routes, finding.evidence, finding.fixes) == (("a", "b", "c"), 3, ())
    # With one of them in a larger route, it is the larger route that gives way.
    large = Route(name="d", utterances=["pay my bill", "x", "y"])
    (finding,) = found(table_of(routes[0], large, vectors=at([0, 0, 1, 2])), Kind.DUPLICATE)
    assert [fix.route for fix in finding.fixes] == ["d"]


def test_nearly_the_same_text_in_two_routes_is_a_warning() -> None:
    # 18 degrees are a cosine of 0.951, 19 degrees of 0.946.
    (finding,) = found(angled(("a", None, [0, 300]), ("b", None, [18, 60])), Kind.NEAR_DUPLICATE)
    assert finding.severity is Severity.WARNING
    assert finding.evidence == pytest.approx(0.9511, abs=1e-4)
    # b's fits better with its route, 42 degrees against 60, so a's is in front and goes.
    assert finding.utterances == ("a at 0", "b at 18")
    assert finding.fixes == (Fix(action="remove_utterance", route="a", utterance="a at 0"),)
    assert not found(angled(("a", None, [0, 300]), ("b", None, [19, 60])), Kind.NEAR_DUPLICATE)


def test_an_utterance_nearer_to_another_route_is_a_stray_and_far_nearer_a_warning() -> None:
    (finding,) = found(angled(("a", None, [0, 10, 120]), ("b", None, [150, 180, 210])), Kind.STRAY)
    assert finding.severity is Severity.WARNING
    assert (finding.routes, finding.utterances) == (("a", "b"), ("a at 120", "b at 150"))
    lead = np.cos(np.radians(30)) - np.cos(np.radians(110))
    assert finding.evidence == pytest.approx(lead, abs=1e-4)
    assert finding.fixes == (Fix(action="move_utterance", route="a", utterance="a at 120", to="b"),)
    # Moved as proposed, it is none.
    assert not found(angled(("a", None, [0, 10]), ("b", None, [150, 180, 210, 120])), Kind.STRAY)


def test_of_two_that_are_nearest_to_each_other_the_one_out_of_place_is_the_stray() -> None:
    (finding,) = found(angled(("a", None, [180, 190, 30]), ("b", None, [0, 300])), Kind.STRAY)
    assert finding.utterances == ("a at 30", "b at 0")


def test_a_little_nearer_is_an_info_that_proposes_no_move() -> None:
    (finding,) = found(angled(("a", None, [0, 10, 50]), ("b", None, [85, 100, 115])), Kind.STRAY)
    assert (finding.severity, finding.fixes) == (Severity.INFO, ())
    assert "move" not in finding.advice


def test_a_duplicate_or_the_only_utterance_of_a_route_is_no_stray() -> None:
    assert not found(angled(("a", None, [0, 90]), ("b", None, [5, 95])), Kind.STRAY)
    assert not found(angled(("a", None, [0]), ("b", None, [30, 60])), Kind.STRAY)


def test_routes_that_overlap_are_ranked_by_the_share_of_utterances_that_cross() -> None:
    # Every second one belongs to the other; 30 degrees apart, so none is a near-duplicate.
    mixed = angled(("a", None, [0, 60, 120]), ("b", None, [30, 90, 150]))
    (finding,) = found(mixed, Kind.OVERLAP)
    assert (finding.severity, finding.routes, finding.evidence) == (Severity.WARNING, ("a", "b"), 1)
    assert finding.fixes == ()
    # One that crosses is a stray, not an overlap.
    assert not found(angled(("a", None, [0, 10, 120]), ("b", None, [150, 180, 210])), Kind.OVERLAP)


# ------------------------------------------------------------------------------------------------ inside one route
def test_a_threshold_that_no_utterance_reaches_when_left_out_is_a_warning() -> None:
    cosine = float(np.cos(np.radians(30)))
    (finding,) = found(angled(("a", 0.9, [0, 30, 60])), Kind.UNREACHABLE_THRESHOLD)
    assert (finding.severity, finding.routes) == (Severity.WARNING, ("a",))
    assert finding.evidence == pytest.approx(cosine, abs=1e-4)
    assert finding.fixes == (Fix(action="set_threshold", route="a", threshold=0.86),)
    for threshold in (0.86, 0.0, -1.0, None):
        assert not found(angled(("a", threshold, [0, 30, 60])), Kind.UNREACHABLE_THRESHOLD)
    # The only utterance of a route cannot tell.
    assert not found(angled(("a", 0.9, [0])), Kind.UNREACHABLE_THRESHOLD)


def test_fewer_than_five_utterances_are_few() -> None:
    findings = found(angled(("a", None, WIDE), ("b", None, WIDE[:4]), ("c", None, WIDE[:1])), Kind.FEW)
    assert [(finding.routes, finding.evidence) for finding in findings] == [(("c",), 1), (("b",), 4)]
    assert {finding.severity for finding in findings} == {Severity.WARNING}
    assert "4 more" in findings[0].advice


def test_utterances_that_are_all_alike_do_not_cover_a_route() -> None:
    (finding,) = found(angled(("a", None, [0, 20, 40])), Kind.UNIFORM)
    cosines = np.cos(np.radians([20, 20, 40]))
    assert finding.evidence == pytest.approx(cosines.mean(), abs=1e-4)
    assert finding.severity is Severity.WARNING
    assert not found(angled(("a", None, [0, 30, 60])), Kind.UNIFORM)
    assert not found(angled(("a", None, [0])), Kind.UNIFORM)


def test_many_repeats_are_an_info_that_keeps_the_first_of_each() -> None:
    # 11 degrees are a cosine of 0.982, 12 degrees of 0.978.
    (finding,) = found(angled(("a", None, [0, 90, 11, 180, 270])), Kind.REPEATS)
    assert (finding.severity, finding.utterances, finding.evidence) == (Severity.INFO, ("a at 11",), 0.2)
    assert finding.fixes == (Fix(action="remove_utterance", route="a", utterance="a at 11"),)
    assert not found(angled(("a", None, [0, 90, 12, 180, 270])), Kind.REPEATS)
    assert not found(angled(("a", None, [0, 90, 11, 180, 270, 45])), Kind.REPEATS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("balance", 1), ("what's", 1), ("C++", 1), ("?!", 0), ("👍", 0), ("我想查余额", None), ("余", 1),
        ("残高", None), ("pay now", None), ("- balance -", 1), ("ยอดเงิน", None), ("Überweisung", 1),
    ],
)  # fmt: skip
def test_one_word_is_an_info_and_none_a_warning_in_any_script(text: str, words: int | None) -> None:
    routes = Route(name="a", utterances=["some longer text", text])
    findings = found(table_of(routes, vectors=at([0, 90])), Kind.SHORT)
    if words is None:
        assert not findings
        return
    (finding,) = findings
    assert (finding.utterances, finding.evidence) == ((text,), words)
    assert finding.severity is (Severity.INFO if words else Severity.WARNING)
    assert bool(finding.fixes) == (words == 0)


# ------------------------------------------------------------------------------------------------------- the whole
def test_the_worst_comes_first_and_everything_is_json() -> None:
    routes = [
        Route(name="a", utterances=["pay", "pay my bill", "one more text"], threshold=0.99),
        Route(name="b", utterances=["Pay my bill", "other text"]),
    ]
    findings = lint(table_of(*routes, vectors=at([0, 45, 90, 45, 200])))
    severities = [finding.severity for finding in findings]
    assert severities == sorted(severities, key=list(Severity).index)
    assert findings[0].kind is Kind.DUPLICATE
    shown = json.loads(json.dumps([finding.to_dict() for finding in findings], allow_nan=False))
    assert shown[0]["severity"] == "error"
    assert shown[0]["kind"] == "duplicate"
    assert shown[0]["fixes"] == [{"action": "remove_utterance", "route": "b", "utterance": "Pay my bill"}]
    assert all(finding["problem"] and finding["advice"] for finding in shown)


def test_long_texts_are_shortened_in_sentences_only() -> None:
    text = "please " * 50
    routes = [Route(name=name, utterances=[text, f"{name} other"]) for name in "ab"]
    finding = found(table_of(*routes, vectors=at([0, 90, 0, 180])), Kind.DUPLICATE)[0]
    assert finding.utterances == (text.strip(),) * 2
    assert len(finding.problem) < 100


angles = st.lists(st.integers(0, 359), min_size=1, max_size=6, unique=True)


@settings(max_examples=60)
@given(st.lists(angles, min_size=1, max_size=4), st.integers(1, 5))
def test_blocks_of_any_size_find_what_brute_force_finds(groups: list[list[int]], rows: int) -> None:
    table = angled(*((f"r{number}", None, group) for number, group in enumerate(groups)))
    flat = [(f"r{number}", angle) for number, group in enumerate(groups) for angle in group]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lint_module, "_SCORES_AT_ONCE", rows * len(flat))
        in_blocks = lint(table)
    assert in_blocks == lint(table)

    def cosine(one: int, other: int) -> float:
        return float(np.cos(np.radians(one - other)))

    leads = {}
    for name, angle in flat:
        own = [cosine(angle, other) for route, other in flat if route == name and other != angle]
        others = [cosine(angle, other) for route, other in flat if route != name]
        if own and others and max(others) < 0.95:
            leads[f"{name} at {angle}"] = max(others) - max(own)
    strays = {finding.utterances[0]: finding.evidence for finding in in_blocks if finding.kind is Kind.STRAY}
    rivals = {finding.utterances[1] for finding in in_blocks if finding.kind is Kind.STRAY}
    assert {text for text, lead in leads.items() if lead > 1e-4} <= set(strays) | rivals
    for text, evidence in strays.items():
        assert evidence == pytest.approx(leads[text], abs=1e-4)


def test_a_table_that_was_changed_is_read_in_the_order_of_its_routes() -> None:
    table = angled(("a", None, [0, 10]), ("b", None, [90, 100]))
    grown = Route(name="a", utterances=["a at 0", "a at 10", "a at 95"])
    added = PutRoute(route=grown, added=("a at 95",), vectors=at([95]))
    changed = table.applied([added, DropRoute(name="b")], 2)
    again = PutRoute(
        route=Route(name="c", utterances=["c at 85", "c at 150"]), added=("c at 85", "c at 150"), vectors=at([85, 150])
    )
    (finding,) = found(changed.applied([again], 3), Kind.NEAR_DUPLICATE)
    assert finding.utterances == ("a at 95", "c at 85")


def test_real_texts_give_the_findings_a_person_would(encoder: BundledEncoder) -> None:
    table = encoded(
        encoder,
        billing=["what do I owe", "show my balance", "pay my bill", "how much is my invoice", "will it snow tonight"],
        weather=["will it rain tomorrow", "is it sunny outside", "how cold is it", "Pay my bill.", "is a storm coming"],
    )
    by_kind = {finding.kind: finding for finding in lint(table) if finding.severity is not Severity.INFO}
    assert by_kind[Kind.DUPLICATE].fixes == (Fix(action="remove_utterance", route="weather", utterance="Pay my bill."),)
    assert by_kind[Kind.STRAY].fixes == (
        Fix(action="move_utterance", route="billing", utterance="will it snow tonight", to="weather"),
    )
    assert set(by_kind) == {Kind.DUPLICATE, Kind.STRAY, Kind.OVERLAP}
