"""A call between the first stage and the full path: order, and one revision for all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from synaptoroute.cascading import Cascade
from synaptoroute.models import Decision, Reason, Stage

TEXTS = ["a", "b", "c"]


def decision(name: str, revision: int = 1, stage: Stage = Stage.ENCODER) -> Decision:
    return Decision(
        name=name,
        score=0.9,
        confidence=0.9,
        margin=None,
        matches=(),
        reason=Reason.MATCHED,
        revision=revision,
        stage=stage,
    )


def sure(name: str) -> Decision:
    return decision(name, stage=Stage.STATIC)


@pytest.mark.parametrize("given", [None, [None, None, None]])
def test_what_the_first_stage_leaves_whole_is_decided_whole(given: list[Decision | None] | None) -> None:
    call = Cascade(TEXTS, given)
    assert call.rest == TEXTS
    found = [decision(name) for name in "xyz"]
    call.add(found)
    assert (call.decisions, call.rest) == (found, [])


def test_what_is_sure_needs_nothing_more() -> None:
    found = [sure(name) for name in "xyz"]
    call = Cascade(TEXTS, found)
    assert (call.decisions, call.rest) == (found, [])


def test_the_rest_goes_where_it_belongs() -> None:
    call = Cascade(TEXTS, [None, sure("y"), None])
    assert call.rest == ["a", "c"]
    call.add([decision("x"), decision("z")])
    assert call.rest == []
    assert [(found.name, found.stage) for found in call.decisions] == [
        ("x", Stage.ENCODER),
        ("y", Stage.STATIC),
        ("z", Stage.ENCODER),
    ]


def test_if_routes_have_changed_in_between_the_full_path_decides_all_of_it() -> None:
    call = Cascade(TEXTS, [None, sure("y"), None])
    call.add([decision("x", 2), decision("z", 2)])
    assert call.rest == TEXTS
    call.add([decision(name, 3) for name in "xyz"])
    assert call.rest == []
    assert [(found.name, found.revision, found.stage) for found in call.decisions] == [
        (name, 3, Stage.ENCODER) for name in "xyz"
    ]


def test_no_query_is_no_work() -> None:
    none: list[Decision | None] = []
    for given in (None, none):
        call = Cascade([], given)
        assert (call.rest, call.decisions) == ([], [])


def test_its_decisions_are_a_list_of_its_own() -> None:
    given = [sure("x")]
    call = Cascade(["a"], given)
    call.decisions[0] = replace(call.decisions[0], name="other")
    assert given[0].name == "x"
