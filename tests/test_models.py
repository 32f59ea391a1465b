"""Route, Decision and Match: what is accepted, what is refused, and that nothing can change afterwards."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptoroute.errors import InvalidInputError, InvalidQueryError, InvalidRouteError, SynaptoRouteError
from synaptoroute.models import (
    MAX_TEXT_CHARS,
    Decision,
    FrozenDict,
    Match,
    Reason,
    Route,
    clean_query,
    clean_utterances,
)


def decision(name: str | None) -> Decision:
    match = Match(name="billing", score=0.5, confidence=0.25, utterance="pay my bill")
    return Decision(
        name=name,
        score=0.5,
        confidence=0.25,
        margin=0.1,
        matches=(match,),
        reason=Reason.MATCHED if name else Reason.BELOW_CONFIDENCE,
        revision=3,
    )


def test_utterances_are_stripped_and_repeats_dropped_in_first_order() -> None:
    route = Route(name="a", utterances=["  b ", "a", "b", "\ta\n"])
    assert route.utterances == ("b", "a")


@pytest.mark.parametrize("name", ["billing", "Refund_not_showing_up", "reverted_card_payment?", "a b", "café", "x/y:z"])
def test_names_of_public_data_sets_are_accepted(name: str) -> None:
    assert Route(name=name, utterances=["x"]).name == name


@pytest.mark.parametrize("name", ["", " a", "a ", "-a", "a\nb", "a\x00b", "<b>", "x" * 129, 'a"b', "a\\b", None, 7])
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(InvalidRouteError, match="name"):
        Route(name=name, utterances=["x"])  # type: ignore[arg-type]


def test_a_decomposed_name_is_the_composed_one() -> None:
    assert Route(name="cafe\u0301", utterances=["x"]).name == "caf\u00e9"


@pytest.mark.parametrize("threshold", [-1, 0, 0.0, 0.5, 1, None])
def test_thresholds_are_cosines_and_zero_is_not_none(threshold: float | None) -> None:
    assert Route(name="a", utterances=["x"], threshold=threshold).threshold == threshold


@pytest.mark.parametrize("threshold", [-1.01, 1.01, float("nan"), float("inf"), "high"])
def test_other_thresholds_are_refused(threshold: object) -> None:
    with pytest.raises(InvalidRouteError, match="threshold"):
        Route(name="a", utterances=["x"], threshold=threshold)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "utterances", [[], [""], ["  "], "just one", ["a", 7], ["\ud800"], ["x" * (MAX_TEXT_CHARS + 1)], None]
)
def test_unusable_utterances_are_refused(utterances: object) -> None:
    with pytest.raises(InvalidRouteError):
        Route(name="a", utterances=utterances)  # type: ignore[arg-type]


def test_too_many_utterances_are_refused() -> None:
    with pytest.raises(InvalidRouteError, match="at most 100,000"):
        clean_utterances(str(number) for number in range(100_001))


@pytest.mark.parametrize(
    "metadata", [{"f": object()}, {"n": float("nan")}, ["list"], {"big": "x" * 70_000}, {"s": "\ud800"}]
)
def test_metadata_must_be_a_small_json_object(metadata: object) -> None:
    with pytest.raises(InvalidRouteError, match="metadata"):
        Route(name="a", utterances=["x"], metadata=metadata)  # type: ignore[arg-type]


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(InvalidRouteError, match="utterence"):
        Route(name="a", utterances=["x"], utterence=["y"])


def test_a_blank_description_is_none_and_a_broken_one_is_refused() -> None:
    assert Route(name="a", utterances=["x"], description="").description is None
    with pytest.raises(InvalidRouteError):
        Route(name="a", utterances=["x"], description="\ud800")


def test_a_route_cannot_be_changed_anywhere() -> None:
    given_metadata = {"tags": ["a"], "nested": {"deep": [1]}}
    route = Route(name="a", utterances=["x"], metadata=given_metadata)
    given_metadata["tags"].append("b")  # type: ignore[attr-defined]
    assert route.metadata["tags"] == ("a",)
    with pytest.raises(ValueError, match="frozen"):
        route.name = "b"  # type: ignore[misc]
    for change in (
        lambda: route.metadata.update(x=1),
        lambda: route.metadata["nested"].__setitem__("deep", 2),
        lambda: route.metadata.pop("tags"),
    ):
        with pytest.raises(TypeError, match="update_route"):
            change()


def test_a_route_survives_json_and_pickle() -> None:
    route = Route(name="a", utterances=["x", "y"], threshold=0.0, description="d", metadata={"k": [1, {"z": None}]})
    assert Route.model_validate_json(route.model_dump_json()) == route
    copy = pickle.loads(pickle.dumps(route))  # noqa: S301 - our own bytes
    assert copy == route
    assert isinstance(copy.metadata, FrozenDict)


def test_replaced_validates_again() -> None:
    route = Route(name="a", utterances=["x"], threshold=0.3)
    assert route.replaced(threshold=None).threshold is None
    with pytest.raises(InvalidRouteError):
        route.replaced(threshold=2)


@pytest.mark.parametrize("query", ["", " \n\t", "\ud800 hello", "x" * 1_000_000, None, 5, b"bytes"])
def test_unusable_queries_are_refused_with_one_kind_of_error(query: object) -> None:
    with pytest.raises(InvalidQueryError) as caught:
        clean_query(query)
    assert isinstance(caught.value, SynaptoRouteError)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 200


def test_an_error_message_never_repeats_the_text() -> None:
    with pytest.raises(InvalidInputError) as caught:
        clean_query("secret \ud800")
    assert "secret" not in str(caught.value)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_that_is_not_blank_is_a_query(text: str) -> None:
    if text.strip():
        assert clean_query(text) == text.strip()
    else:
        with pytest.raises(InvalidQueryError):
            clean_query(text)


def test_a_decision_is_false_exactly_when_it_abstained() -> None:
    assert decision("billing")
    assert not decision(None)


def test_a_decision_cannot_be_changed_and_becomes_plain_json() -> None:
    with pytest.raises(AttributeError):
        decision(None).name = "billing"  # type: ignore[misc]
    plain = json.loads(json.dumps(decision("billing").to_dict()))
    assert plain["reason"] == "matched"
    assert plain["matches"] == [{"name": "billing", "score": 0.5, "confidence": 0.25, "utterance": "pay my bill"}]
    assert plain["revision"] == 3
