"""A proposal: every idea for a piece of feedback, with what it would do to held-out queries."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from synaptoroute.calibrating import Encode
from synaptoroute.corrections.effects import effect_of
from synaptoroute.corrections.options import NOTHING, ideas
from synaptoroute.corrections.records import Decided, Feedback, Option, OptionKey, Origin, Proposal
from synaptoroute.corrections.replay import Replay
from synaptoroute.corrections.rows import digest_of
from synaptoroute.decision.policy import Limits
from synaptoroute.errors import InvalidInputError
from synaptoroute.models import Decision
from synaptoroute.table import RouteTable

#: With fewer checks, a warning says that they tell little.
_FEW = 30

Progress = Callable[[int, int], None]


def proposal(
    table: RouteTable,
    encode: Encode,
    encode_queries: Encode,
    limits: Limits,
    feedback: Feedback,
    *,
    basis: str,
    others: Sequence[Feedback],
    progress: Progress,
) -> Proposal:
    """Try everything that could be done; takes as long as learning from the routes a few times.

    Args:
        table: The routes as they are, learned.
        encode: Utterances to unit rows.
        encode_queries: Queries to unit rows.
        limits: What a query must reach that asks for nothing.
        feedback: What is to be done something about.
        basis: Fingerprint of all that the table decides by.
        others: Other feedback that may be asked, without contradictions.
        progress: Told how many of how many ideas were tried, and at every step of learning. What it raises ends it.

    Raises:
        InvalidInputError: The expected route is gone.
    """
    text, expected = feedback.text, feedback.expected
    if expected is not None and expected not in table:
        raise InvalidInputError(f"there is no route {expected!r} any more; dismiss the feedback, or add the route")
    (decision,) = table.decide([text], encode_queries((text,)), limits=limits)
    found = ideas(table, text, expected, decision, own_point=limits.min_confidence is not None)
    decided = Decided(name=decision.name, confidence=decision.confidence, revision=table.revision)
    if len(found) == 1:
        return _nothing_to_do(table, feedback, decision, decided, basis)
    done, total = 0, len(found)
    replay = Replay(
        table,
        encode,
        encode_queries,
        limits,
        text=text,
        others=[(other.text, other.expected) for other in others],
        touched={edit.route for idea in found for edit in idea.edits},
        strays={each for idea in found for edit in idea.edits for each in (*edit.add, *edit.remove)},
        checkpoint=lambda: progress(done, total),
    )
    before = replay.before()
    options = []
    for idea in found:
        after = replay.after(idea)
        options.append(
            Option(
                key=idea.key,
                summary=idea.summary,
                edits=idea.edits,
                min_confidence=idea.min_confidence,
                effect=effect_of(replay.checks, before.names, after.names, expected=expected, decision=after.decision),
            )
        )
        done += 1
        progress(done, total)
    *doing, nothing = options
    doing.sort(key=lambda option: (not option.effect.fixes, -option.effect.net))
    checks: dict[Origin, int] = dict(Counter(check.origin for check in replay.checks))
    outside = sum(check.expected is None for check in replay.checks)
    return Proposal(
        revision=table.revision,
        basis=basis,
        at=datetime.now(UTC),
        decided=decided,
        checks=checks,
        out_of_scope=outside,
        options=(*doing, nothing),
        recommended=_recommended(doing),
        warnings=(*_disagreements(table, feedback), *_weaknesses(checks, outside)),
    )


def _nothing_to_do(table: RouteTable, feedback: Feedback, decision: Decision, decided: Decided, basis: str) -> Proposal:
    """Where nothing can be tried, nothing need be asked either."""
    right = decision.name == feedback.expected
    why = "the text is decided as it should be by now" if right else "nothing that could be changed was found"
    nothing = Option(
        key=NOTHING.key,
        summary=NOTHING.summary,
        effect=effect_of((), (), (), expected=feedback.expected, decision=decision),
    )
    return Proposal(
        revision=table.revision,
        basis=basis,
        at=datetime.now(UTC),
        decided=decided,
        checks={},
        out_of_scope=0,
        options=(nothing,),
        recommended=nothing.key,
        warnings=(why, *_disagreements(table, feedback)),
    )


def basis_of(table: RouteTable, limits: Limits) -> str:
    """Fingerprint of all that decisions depend on besides the encoder: routes, labelled queries, operating point."""
    labelled, point = table.labelled, table.point
    said = [
        table.revision,
        [labelled.texts, labelled.labels, labelled.min_confidence] if labelled else None,
        point.min_confidence if point else None,
        limits.min_confidence,
    ]
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()


def _recommended(options: Sequence[Option]) -> OptionKey:
    best = options[0] if options else None
    return best.key if best is not None and best.effect.fixes and best.effect.net >= 0 else "nothing"


def _disagreements(table: RouteTable, feedback: Feedback) -> list[str]:
    """Who wants something else for the same text."""
    found = []
    if feedback.contradicts:
        numbers = ", ".join(str(number) for number in feedback.contradicts)
        found.append(f"other feedback wants something else for the same text: {numbers}")
    if table.labelled is not None:
        labels = {
            label
            for text, label in zip(table.labelled.texts, table.labelled.labels, strict=True)
            if digest_of(text) == digest_of(feedback.text)
        }
        if labels - {feedback.expected}:
            found.append("the labelled queries of fit have the same text with another label")
    return found


def _weaknesses(checks: dict[Origin, int], outside: int) -> list[str]:
    """What gains and losses on these checks cannot tell."""
    count = sum(checks.values())
    if not count:
        return ["there is nothing held out to replay: what an option would break is not known"]
    found = []
    if count < _FEW:
        found.append(f"only {count} held-out queries: a few gains or losses say little")
    if not outside:
        found.append("no held-out query is out of scope: what an option would let in wrongly does not show")
    if outside == count:
        found.append("every held-out query is out of scope: what an option would turn away wrongly does not show")
    return found
