"""What entries of the common order, or the agreed state as a whole, change in what a replica holds. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from synaptoroute.models import Route
from synaptoroute.storage.base import Change, DropRoute, PutRoute, Vectors
from synaptoroute.sync.base import Contents
from synaptoroute.sync.ledger import Agreed, Cursor, Ledger, Step, Version
from synaptoroute.sync.records import PoisonError, Record

#: Routes in one entry; a replica writes 500 at most.
_MOST_RECORDS = 1_000


class GapError(Exception):
    """Entries are missing before the next one. Stays inside the room: everything is compared then."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the stream.

    Attributes:
        seq: Its sequence number.
        uid: Its own name.
        previous: That of the entry before it.
        count: How many there were with it.
        records: Of each route the record, not read yet, and its version.
    """

    seq: int
    uid: str
    previous: str
    count: int
    records: tuple[tuple[bytes, Version], ...]

    @classmethod
    def parsed(cls, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
        """Raises PoisonError if it is not an entry."""
        try:
            seq, minor = map(int, entry_id.split(b"-"))
            uid, previous, count = fields[b"u"].decode(), fields[b"p"].decode(), int(fields[b"n"])
            records = []
            for place in range(1, _MOST_RECORDS + 1):
                record = fields.get(b"r%d" % place)
                if record is None:
                    break
                kept = fields.get(b"v%d" % place)
                version = Version(seq, uid)
                if kept is not None:
                    its_seq, its_uid = kept.decode().split(" ")
                    version = Version(int(its_seq), its_uid)
                records.append((record, version))
        except (KeyError, ValueError) as exc:
            raise PoisonError(f"it is not an entry of this package: {exc}") from None
        if minor or not records or len(uid) > 100 or " " in uid:
            raise PoisonError("it is not an entry of this package")
        return cls(seq, uid, previous, count, tuple(records))


@dataclass
class Plan:
    """What to do for some entries.

    Attributes:
        step: What the ledger will be.
        wins: The record that each route shall be as.
        conflicts: How many records an own, later change has overruled.
    """

    step: Step = field(default_factory=Step)
    wins: dict[str, Record] = field(default_factory=dict)
    conflicts: int = 0


def of_entries(ledger: Ledger, entries: Sequence[tuple[Entry, Sequence[tuple[Record, Version]]]]) -> Plan:
    """What entries in their order, with the records that could be read, do here.

    A route is as its latest version says; the versions of entries grow with their order. While an own change of it
    waits for its place in the order, the route stays as it is: that change will come later than anything read now.

    Raises:
        GapError: There were others between two of them, or before the first.
    """
    plan = Plan()
    cursor = ledger.cursor
    if cursor is None:
        raise GapError("there is nothing to go on from")
    own = {waiting.uid: waiting for waiting in ledger.waiting.values()}
    waits = Counter(name for waiting in own.values() for name in waiting.names)
    for entry, records in entries:
        if entry.previous != cursor.uid:
            raise GapError(f"the entry {entry.seq} does not follow the one that was applied last")
        cursor = Cursor(entry.seq, entry.uid, entry.count)
        seen = own.get(entry.uid)
        if seen is not None and seen.number not in plan.step.seen:
            plan.step.seen.add(seen.number)
            waits.subtract(seen.names)
        for record, version in records:
            if waits[record.name] > 0:
                plan.conflicts += seen is None
            elif version > _version(ledger, plan.step, record.name):
                plan.step.agreed[record.name] = Agreed(version, record.digest)
                plan.wins[record.name] = record
    plan.step.cursor = cursor
    return plan


_NEVER = Version(-1, "")


def _version(ledger: Ledger, step: Step, name: str) -> Version:
    agreed = step.agreed.get(name) or ledger.agreed.get(name)
    return agreed.version if agreed else _NEVER


def changes(contents: Contents, wins: Iterable[Record]) -> list[Change]:
    """What makes the routes as these records say; nothing for those that are so already."""
    wins = list(wins)
    here = [record.name for record in wins if record.name in contents] if len(contents) else []
    held = dict(zip(here, contents.of(here), strict=True))
    found: list[Change] = []
    for record in wins:
        had = held.get(record.name)
        if record.route is None:
            if had is not None:
                found.append(DropRoute(name=record.name))
        else:
            change = _put(record.route, record.vectors, had)
            if change is not None:
                found.append(change)
    return found


def _put(route: Route, vectors: Vectors, had: tuple[Route, Vectors] | None) -> PutRoute | None:
    if had is None:
        return PutRoute(route=route, added=route.utterances, vectors=vectors)
    stored, rows = had
    kept = _kept(stored.utterances, rows, route.utterances, vectors)
    if stored == route and kept == len(route.utterances):
        return None
    stays = set(route.utterances[:kept])
    removed = tuple(text for text in stored.utterances if text not in stays)
    return PutRoute(route=route, added=route.utterances[kept:], vectors=vectors[kept:], removed=removed)


def _kept(had: Sequence[str], rows: Vectors, shall: Sequence[str], vectors: Vectors) -> int:
    """How many of the first utterances that shall be are there in that order, with the same vectors, bit for bit."""
    at = kept = 0
    while kept < len(shall):
        while at < len(had) and not (had[at] == shall[kept] and np.array_equal(rows[at], vectors[kept])):
            at += 1
        if at == len(had):
            break
        at += 1
        kept += 1
    return kept
