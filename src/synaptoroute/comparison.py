"""How the decisions of two tables on the same queries differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from synaptoroute.models import Decision

#: Pairs of routes that a comparison counts apart: enough to read, and a bound on memory whatever the traffic.
_PAIRS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPair:
    """How often one route, or none (None), was decided before and another, or none, after."""

    before: str | None
    after: str | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedDecision:
    """One query that is decided differently, as an example.

    Attributes:
        query: The text.
        before: The route decided before; None for none.
        after: And after.
        confidence_before: That the best route is right, in [0, 1].
        confidence_after: The same, after.
    """

    query: str
    before: str | None
    after: str | None
    confidence_before: float
    confidence_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Decisions before and after. A decision has changed if another route is chosen, or none in place of one.

    Attributes:
        compared: Queries.
        changed: Those decided differently.
        pairs: By which pair of routes, most frequent first.
        examples: Some of the changed queries, the first that were seen; none unless asked for.
    """

    compared: int
    changed: int
    pairs: tuple[ChangedPair, ...]
    examples: tuple[ChangedDecision, ...] = field(default=(), repr=False)

    @property
    def share(self) -> float:
        """Of decisions that changed, in [0, 1]; 0 without any query."""
        return self.changed / self.compared if self.compared else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields and the share."""
        return asdict(self) | {"share": self.share}

    def __str__(self) -> str:
        return f"{self.changed:,} of {self.compared:,} decisions changed ({self.share:.1%})"


class Tally:
    """Counts decisions before and after as they come in. One thread at a time.

    Args:
        examples: So many changed queries are kept as texts.
    """

    def __init__(self, examples: int = 0) -> None:
        self._room = examples
        self._compared = self._changed = 0
        self._pairs = Counter[tuple[str | None, str | None]]()
        self._examples: list[ChangedDecision] = []

    def add(self, query: str, before: Decision, after: Decision) -> None:
        """One query, decided twice."""
        self._compared += 1
        if before.name == after.name:
            return
        self._changed += 1
        pair = before.name, after.name
        if pair in self._pairs or len(self._pairs) < _PAIRS:
            self._pairs[pair] += 1
        if len(self._examples) < self._room:
            self._examples.append(
                ChangedDecision(
                    query=query,
                    before=before.name,
                    after=after.name,
                    confidence_before=before.confidence,
                    confidence_after=after.confidence,
                )
            )

    def result(self) -> Comparison:
        """What has been counted so far."""
        pairs = sorted(self._pairs.items(), key=lambda item: (-item[1], item[0][0] or "", item[0][1] or ""))
        return Comparison(
            compared=self._compared,
            changed=self._changed,
            pairs=tuple(ChangedPair(before=before, after=after, count=count) for (before, after), count in pairs),
            examples=tuple(self._examples),
        )


def compared(
    queries: Sequence[str], before: Sequence[Decision], after: Sequence[Decision], *, examples: int = 0
) -> Comparison:
    """Compare decisions on the same queries, and keep so many of those that changed."""
    tally = Tally(examples)
    for query, first, second in zip(queries, before, after, strict=True):
        tally.add(query, first, second)
    return tally.result()
