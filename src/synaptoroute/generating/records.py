"""What generating takes and gives: a budget, and what was kept, refused, tried and spent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from synaptoroute.errors import InvalidInputError

if TYPE_CHECKING:
    from synaptoroute.router import AdaptiveRouter


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much may be asked of the language model.

    Attributes:
        requests: Most requests; attempts that the client repeats after an error count once.
        tokens: Most tokens of questions and answers together, as the server counts them; a request that by its
            length would go beyond is not made. None for any.
    """

    requests: int = 12
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("requests", self.requests), ("tokens", self.tokens)):
            if value is not None and value < 1:
                raise InvalidInputError(f"a budget of {value} {name} is none; give at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was asked of the language model; or, of a dry run, what would be asked at most.

    Attributes:
        requests: How many requests.
        tokens: Of questions and answers together.
        estimated: Whether the tokens were counted by length, because the server did not say.
    """

    requests: int = 0
    tokens: int = 0
    estimated: bool = False


class Refusal(StrEnum):
    """Why a text did not become an utterance."""

    INVALID = "invalid"
    """No text, empty, too long for an utterance, or with control characters."""
    REPEAT = "repeat"
    """The same words as an utterance that is there already."""
    NEAR_REPEAT = "near_repeat"
    """So near to an utterance that is there already that it adds nothing."""
    FAR = "far"
    """No nearer to the route than sentences about anything."""
    SIBLING = "sibling"
    """The router would send it to another route."""
    UNCLEAR = "unclear"
    """The router would rather think of another route, without being sure."""
    SURPLUS = "surplus"
    """More than were wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A text of the language model's that did not become an utterance."""

    text: str
    reason: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """A text that is near to the route and belongs to another one.

    Attributes:
        text: The text.
        route: Where it belongs.
        score: Cosine with the nearest utterance of the route that it does not belong to.
        confused: Whether the router, as it is, would send it to the route that it does not belong to.
    """

    text: str
    route: str
    score: float
    confused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutCheck:
    """How queries that the language model has not seen are decided without the new utterances, and with them.

    Attributes:
        queries: How many there are.
        before: Share decided rightly as things are.
        after: The same, with the new utterances.
        with_negatives: The same, with the negatives as utterances of their routes too; None if there are none.
        source: "given" for labelled queries of the caller's; "withheld" for utterances of the route and its siblings
            that were kept from the language model and left out here.
    """

    queries: int
    before: float
    after: float
    with_negatives: float | None
    source: str

    @property
    def helps(self) -> bool:
        """Whether nothing got worse."""
        return self.after >= self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What came out. Nothing is changed until ``apply``.

    Attributes:
        route: The route's name.
        siblings: The routes it was told apart from, the nearest first.
        utterances: New utterances, in the order they were accepted.
        negatives: Texts that belong to a sibling.
        refused: What was not taken, and why.
        check: Whether it helps; None where nothing could be held out.
        cost: What was asked; of a dry run, what would be at most.
        warnings: What the reader should know.
        questions: Of a dry run, what would be sent first; else empty.
    """

    route: str
    siblings: tuple[str, ...]
    utterances: tuple[str, ...] = ()
    negatives: tuple[Negative, ...] = ()
    refused: tuple[Refused, ...] = field(default=(), repr=False)
    check: HeldOutCheck | None = None
    cost: Cost = Cost()
    warnings: tuple[str, ...] = ()
    questions: tuple[str, ...] = field(default=(), repr=False)

    def apply(self, router: AdaptiveRouter, *, negatives: bool = False, force: bool = False) -> int:
        """Add the utterances to their route, durably. Returns the revision.

        Args:
            router: The router they were generated for; its routes may have changed meanwhile.
            negatives: Give the negatives to the routes they belong to as well.
            force: Also if the check says that it does not help, or there was none.

        Raises:
            InvalidInputError: There is nothing to add, or it does not help; nothing was changed.
            RouteNotFoundError: One of the routes is gone.
        """
        self._require_help(negatives=negatives, force=force)
        adding: dict[str, list[str]] = {self.route: list(self.utterances)}
        if negatives:
            for negative in self.negatives:
                adding.setdefault(negative.route, []).append(negative.text)
        routes = [router.get_route(name) for name, texts in adding.items() if texts]
        changed = [route.replaced(utterances=(*route.utterances, *adding[route.name])) for route in routes]
        return router.put_routes(changed, cause="generated utterances")

    def _require_help(self, *, negatives: bool, force: bool) -> None:
        if not self.utterances and not (negatives and self.negatives):
            raise InvalidInputError(f"nothing was generated for {self.route!r}, so there is nothing to add")
        if force:
            return
        if self.check is None:
            raise InvalidInputError(
                "there was nothing to hold out, so nobody knows whether it helps; give labelled queries (held_out=…), "
                "or read the utterances and pass force=True"
            )
        after = self.check.with_negatives if negatives else self.check.after
        if after is not None and after < self.check.before:
            raise InvalidInputError(
                f"of {self.check.queries} held-out queries {self.check.before:.1%} are decided rightly without and "
                f"{after:.1%} with them; nothing was changed. Read them and pass force=True to add them all the same"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        refused = [{"text": each.text, "reason": each.reason.value} for each in self.refused]
        return asdict(self) | {"refused": refused}
