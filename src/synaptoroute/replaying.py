"""Deciding recorded queries again, by the routes of now or of another revision, to see what would change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from synaptoroute.asking import terms
from synaptoroute.comparison import Comparison, Tally
from synaptoroute.encoder.base import encode_checked
from synaptoroute.errors import InvalidInputError
from synaptoroute.models import Decision, clean_query
from synaptoroute.observability.record_reading import DecisionRecord
from synaptoroute.router import AdaptiveRouter
from synaptoroute.table import RouteTable

#: Records decided together.
_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What replaying recorded decisions came to.

    Attributes:
        at: By whose routes they were decided again, such as "revision 12" or "snapshot spring".
        records: How many there were.
        without_text: How many could not be decided again, for their queries were not recorded.
        unusable: How many lines were no records, as a process leaves that was killed, or held what no query may be.
        comparison: The recorded decisions held against the new ones.
    """

    at: str
    records: int
    without_text: int
    unusable: int
    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        return {
            "at": self.at,
            "records": self.records,
            "without_text": self.without_text,
            "unusable": self.unusable,
            "comparison": self.comparison.to_dict(),
        }

    def __str__(self) -> str:
        return (
            f"{self.at}: {self.comparison}; of {self.records:,} records, {self.without_text:,} have no text and cannot "
            f"be replayed, {self.unusable:,} cannot be used"
        )


def replay(
    router: AdaptiveRouter,
    records: Iterable[DecisionRecord | None],
    *,
    at: int | str | None = None,
    examples: int = 10,
    progress: Callable[[int], None] | None = None,
) -> ReplayReport:
    """Decide recorded queries again, as they were asked, once everything is learned from the routes in question.

    Limits that a call or the router had set hold again; a route that a call allowed and that is not there any more is
    left out.

    Args:
        router: Over the store whose history has the revision.
        records: Of ``record_reading.read_records``.
        at: A revision, or the name of a snapshot; the routes of now if None.
        examples: So many changed queries are given back as texts.
        progress: Told how many records have been read.

    Raises:
        RevisionNotFoundError: The revision has not been reached yet, or its history was forgotten.
        SnapshotNotFoundError: There is no such snapshot.
        EncoderError: The encoder failed.
    """
    if at is None:
        router.wait_until_fitted()
        table = router.snapshot
        return _replayed(router, table, f"revision {table.revision}", records, examples, progress)
    with router.shadow(at) as shadow:
        shadow.wait_until_fitted()
        named = f"revision {at}" if isinstance(at, int) else f"snapshot {at}"
        return _replayed(router, shadow.table, named, records, examples, progress)


def _replayed(
    router: AdaptiveRouter,
    table: RouteTable,
    at: str,
    records: Iterable[DecisionRecord | None],
    examples: int,
    progress: Callable[[int], None] | None,
) -> ReplayReport:
    tally = Tally(examples)
    read = without_text = unusable = 0
    rest = iter(records)
    while part := list(islice(rest, _AT_ONCE)):
        read += len(part)
        usable: list[tuple[str, DecisionRecord]] = []
        for record in part:
            if record is None:
                unusable += 1
            elif record.query is None:
                without_text += 1
            else:
                try:
                    usable.append((clean_query(record.query), record))
                except InvalidInputError:
                    unusable += 1
        decided = _decided(router, table, usable)
        for (text, record), decision in zip(usable, decided, strict=True):
            if decision is None:
                unusable += 1
            else:
                tally.add(text, record.decision, decision)
        if progress:
            progress(read)
    return ReplayReport(at=at, records=read, without_text=without_text, unusable=unusable, comparison=tally.result())


def _decided(
    router: AdaptiveRouter, table: RouteTable, usable: Sequence[tuple[str, DecisionRecord]]
) -> list[Decision | None]:
    """The decision on each; None where what was asked for makes no sense."""
    if not usable:
        return []
    vectors = encode_checked(router.encoder, [text for text, _ in usable], queries=True)
    found: list[Decision | None] = [None] * len(usable)
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, (_, record) in enumerate(usable):
        groups[repr(sorted(record.asked.items(), key=lambda item: item[0]))].append(place)
    for places in groups.values():
        asked = dict(usable[places[0]][1].asked)
        if asked.get("allow") is not None:
            asked["allow"] = [name for name in asked["allow"] if name in table]
        try:
            how = terms(asked, None)  # type: ignore[arg-type]  # checked by the call
            decisions = table.decide([usable[place][0] for place in places], vectors[places], **how._asdict())
        except (InvalidInputError, TypeError):
            continue
        for place, decision in zip(places, decisions, strict=True):
            found[place] = decision
    return found
