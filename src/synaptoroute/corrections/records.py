"""What the correction loop keeps and shows: feedback, and the proposals that were made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import TypeAdapter

Origin = Literal["fit", "feedback", "utterance"]
#: What could be done. A "stray" is the utterance of another route that won.
OptionKey = Literal[
    "add_utterance",
    "move_utterance",
    "remove_utterance",
    "move_stray",
    "remove_stray",
    "set_threshold",
    "set_operating_point",
    "nothing",
]


class FeedbackState(StrEnum):
    """How far a piece of feedback is."""

    OPEN = "open"
    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The decision that somebody comments on.

    Attributes:
        name: The route that was chosen; None for none.
        confidence: Calibrated probability in [0, 1] that the best route was right.
        revision: The revision of the routes that decided.
    """

    name: str | None
    confidence: float
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteEdit:
    """What an option would change about one route.

    Attributes:
        route: Its name.
        add: Utterances it would get.
        remove: Utterances it would lose.
        threshold: The threshold it would get; None leaves it as it is.
    """

    route: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A query whose right answer is known and that the routes have not learned from.

    Attributes:
        text: The query.
        expected: The route it belongs to; None if to none.
        origin: "fit" is a labelled query of ``fit``, decided by a head and a gate that had not seen it; "feedback" is
            other feedback; "utterance" is a stored utterance, decided by routes that were learned without it.
    """

    text: str
    expected: str | None
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A check that an option would make right, or wrong.

    Attributes:
        text: The query; the first 300 characters of a longer one.
        expected: What is right; None for none.
        before: What is decided now; None for none.
        after: What would be decided.
        origin: Where the check is from.
    """

    text: str
    expected: str | None
    before: str | None
    after: str | None
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an option would do.

    Attributes:
        fixes: Whether the text of the feedback would be decided as it should.
        decided: What would be decided for it; None for none.
        confidence: With which confidence, in [0, 1].
        checked: Held-out queries that were decided before and after.
        gained: Of these, how many would become right.
        lost: And how many wrong.
        net_interval: 95 % interval of the change of accuracy on queries like these, in shares of all queries (a low and
            a high end in [-1, 1]); None without checks.
        gains: Those that would become right, at most 20.
        losses: Those that would become wrong, at most 20.
    """

    fixes: bool
    decided: str | None
    confidence: float
    checked: int
    gained: int
    lost: int
    net_interval: tuple[float, float] | None
    gains: tuple[Flip, ...] = field(default=(), repr=False)
    losses: tuple[Flip, ...] = field(default=(), repr=False)

    @property
    def net(self) -> int:
        """Checks that become right less those that become wrong."""
        return self.gained - self.lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One thing that could be done about a piece of feedback.

    Attributes:
        key: What is done; what it is called within its proposal.
        summary: The same in one sentence.
        edits: What would change about routes; one change of the store, all or nothing.
        min_confidence: The operating point that would be set; None leaves it.
        effect: What it would do.
    """

    key: OptionKey
    summary: str
    edits: tuple[RouteEdit, ...] = ()
    min_confidence: float | None = None
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Everything that could be done about a piece of feedback, and what each would do.

    Attributes:
        revision: The revision of the routes it holds for.
        basis: Fingerprint of all that decisions depended on; where it is another by now, nothing can be accepted.
        at: When it was made, in UTC.
        decided: What was decided for the text then.
        checks: How many held-out queries there were, by where they are from.
        out_of_scope: How many of them belong to no route.
        options: The most promising first; the last one is to do nothing.
        recommended: The key of the option that mends the decision and breaks the least; "nothing" if each breaks more
            than it mends.
        warnings: What the reader should know.
    """

    revision: int
    basis: str
    at: datetime
    decided: Decided
    checks: dict[Origin, int]
    out_of_scope: int
    options: tuple[Option, ...]
    recommended: OptionKey
    warnings: tuple[str, ...] = ()

    def option(self, key: str) -> Option | None:
        """The option of that key; None if there is none."""
        return next((option for option in self.options if option.key == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a person decided.

    Attributes:
        option: The key of the option that was accepted; None for a dismissal.
        revision: The revision that it led to, or at which it was dismissed.
        actor: Who decided; None if they did not say.
        at: When, in UTC.
        note: What they said about it.
    """

    option: str | None
    revision: int
    actor: str | None
    at: datetime
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """Somebody said what the right decision for a text is.

    Attributes:
        id: Its number.
        text: The query.
        expected: The route it should get; None if none.
        decided: What it got, as the sender said, or else as it was decided on arrival.
        note: What the sender said about it.
        actor: Who sent it first; None if they did not say.
        at: When it came first, in UTC.
        last_at: When it came last.
        count: How often the same was said of the same text, whatever its case and spaces.
        state: How far it is.
        proposal: What could be done, once that was asked for.
        outcome: What a person decided, once they did.
        contradicts: Numbers of other feedback that wants something else for the same text and was not dismissed.
        version: Counts its changes, so that none overwrites another.
    """

    id: int
    text: str
    expected: str | None
    decided: Decided
    note: str | None = None
    actor: str | None = None
    at: datetime
    last_at: datetime
    count: int = 1
    state: FeedbackState = FeedbackState.OPEN
    proposal: Proposal | None = None
    outcome: Outcome | None = None
    contradicts: tuple[int, ...] = ()
    version: int = 1

    @property
    def closed(self) -> bool:
        """Whether a person has decided."""
        return self.state in {FeedbackState.ACCEPTED, FeedbackState.DISMISSED}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields; each effect with its net."""
        told: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        if self.proposal is not None:
            for shown, option in zip(told["proposal"]["options"], self.proposal.options, strict=True):
                shown["effect"]["net"] = option.effect.net
        return told

    def to_json(self) -> str:
        """As it is stored, in ASCII."""
        return _ADAPTER.dump_json(self, ensure_ascii=True, exclude={"contradicts"}).decode("ascii")

    @classmethod
    def from_json(cls, content: str) -> Feedback:
        """What ``to_json`` wrote. Raises ValueError if it is not that."""
        return _ADAPTER.validate_json(content)


_ADAPTER: TypeAdapter[Feedback] = TypeAdapter(Feedback)
