"""What could be done about a decision that was wrong. Only ideas: ``replay`` finds out what each is worth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from synaptoroute.corrections.records import OptionKey, RouteEdit
from synaptoroute.models import Decision, Reason, Route
from synaptoroute.table import RouteTable

#: Limits are set in steps of this: a score of 0.8734 just passes 0.873 and just fails 0.874.
_STEPS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Idea:
    """See ``Option``."""

    key: OptionKey
    summary: str
    edits: tuple[RouteEdit, ...] = ()
    min_confidence: float | None = None

    @property
    def teaches(self) -> bool:
        """Whether utterances would change, so that the routes would have to be learned anew."""
        return any(edit.add or edit.remove for edit in self.edits)


NOTHING = Idea(key="nothing", summary="leave everything as it is")


def ideas(
    table: RouteTable, text: str, expected: str | None, decision: Decision, *, own_point: bool
) -> tuple[Idea, ...]:
    """What might lead from the decision to the expected one; the last is to do nothing.

    Args:
        table: What decided.
        text: The query.
        expected: The route it should get; None if none. It is in the table.
        decision: What it got.
        own_point: Whether the router was made with a ``min_confidence``, which no operating point can change.
    """
    if decision.name == expected:
        return (NOTHING,)
    if expected is None:
        found = _away(table, text, decision, own_point=own_point)
    else:
        found = _towards(table, text, expected, decision, own_point=own_point)
    return (*found, NOTHING)


def edited(table: RouteTable, edits: tuple[RouteEdit, ...]) -> list[Route]:
    """The routes as they would be after the edits."""
    routes = []
    for edit in edits:
        route = table.get(edit.route)
        kept = tuple(text for text in route.utterances if text not in edit.remove)
        threshold = route.threshold if edit.threshold is None else edit.threshold
        routes.append(route.replaced(utterances=(*kept, *edit.add), threshold=threshold))
    return routes


def _towards(table: RouteTable, text: str, expected: str, decision: Decision, *, own_point: bool) -> Iterator[Idea]:
    """Where a route is wanted and another was chosen, or none."""
    wanted = table.get(expected)
    if text not in wanted.utterances:
        holder = _holder(table, text)
        if holder is None:
            yield Idea(
                key="add_utterance",
                summary=f"add the text to the utterances of {expected!r}",
                edits=(RouteEdit(route=expected, add=(text,)),),
            )
        else:
            yield Idea(
                key="move_utterance",
                summary=f"move the text, which is an utterance of {holder!r}, to {expected!r}",
                edits=(RouteEdit(route=holder, remove=(text,)), RouteEdit(route=expected, add=(text,))),
            )
    best = decision.matches[0]
    if best.name != expected:
        if best.utterance != text and len(table.get(best.name).utterances) > 1:
            remove = RouteEdit(route=best.name, remove=(best.utterance,))
            if best.utterance not in wanted.utterances:
                yield Idea(
                    key="move_stray",
                    summary=f"move {_quoted(best.utterance)}, which won, from {best.name!r} to {expected!r}",
                    edits=(remove, RouteEdit(route=expected, add=(best.utterance,))),
                )
            yield Idea(
                key="remove_stray",
                summary=f"remove {_quoted(best.utterance)}, which won, from {best.name!r}",
                edits=(remove,),
            )
        return
    # The best route is the right one, but it was not sure enough.
    too_far = decision.reason is Reason.BELOW_THRESHOLD
    if too_far or not own_point:
        yield _threshold(wanted, math.floor(best.score * _STEPS) / _STEPS)
    if not too_far and not own_point:
        yield _point(math.floor(decision.confidence * _STEPS) / _STEPS)


def _away(table: RouteTable, text: str, decision: Decision, *, own_point: bool) -> Iterator[Idea]:
    """Where no route is wanted and one was chosen."""
    best = decision.matches[0]
    chosen = table.get(best.name)
    if len(chosen.utterances) > 1:
        if text in chosen.utterances:
            yield Idea(
                key="remove_utterance",
                summary=f"remove the text from the utterances of {best.name!r}",
                edits=(RouteEdit(route=best.name, remove=(text,)),),
            )
        if best.utterance != text:
            yield Idea(
                key="remove_stray",
                summary=f"remove {_quoted(best.utterance)}, which won, from {best.name!r}",
                edits=(RouteEdit(route=best.name, remove=(best.utterance,)),),
            )
    if (above := (math.floor(best.score * _STEPS) + 1) / _STEPS) <= 1:
        yield _threshold(chosen, above)
    above = (math.floor(decision.confidence * _STEPS) + 1) / _STEPS
    if chosen.threshold is None and above <= 1 and not own_point:
        yield _point(above)


def _threshold(route: Route, value: float) -> Idea:
    if route.threshold is None:
        said = f"give {route.name!r} a threshold of {value:g}, which then decides in place of its confidence"
    else:
        said = f"{'lower' if value < route.threshold else 'raise'} the threshold of {route.name!r} from "
        said += f"{route.threshold:g} to {value:g}"
    return Idea(key="set_threshold", summary=said, edits=(RouteEdit(route=route.name, threshold=value),))


def _point(value: float) -> Idea:
    return Idea(
        key="set_operating_point",
        summary=f"answer from a confidence of {value:g} on, for all routes without a threshold",
        min_confidence=value,
    )


def _holder(table: RouteTable, text: str) -> str | None:
    """A route that has the text as one of several utterances; None if there is none."""
    found = (route.name for route in table.routes if len(route.utterances) > 1 and text in route.utterances)
    return next(found, None)


def _quoted(utterance: str) -> str:
    return repr(utterance if len(utterance) <= 60 else f"{utterance[:60]}…")
