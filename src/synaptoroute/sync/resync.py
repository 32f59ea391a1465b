"""Comparing everything: at a first start, after a gap, and when digests differ."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from synaptoroute.sync.base import Contents, RemoteChange
from synaptoroute.sync.ledger import BYTES_AT_ONCE, NAMES_AT_ONCE, Agreed, Cursor, Version
from synaptoroute.sync.parts import Parts, Status
from synaptoroute.sync.plans import Plan
from synaptoroute.sync.records import Packed, PoisonError, Record, unpacked_many

#: Records asked for at once: first, and most; in between as many as should take 4 MB.
_FIRST_AT_ONCE, _MOST_AT_ONCE = 16, 2_000

Dead = list[tuple[str, bytes]]


@dataclass
class _Differences:
    """Between what is agreed there and here.

    Attributes:
        newer: There, to be fetched.
        lost: There, to be given back.
        gone: Dropped so long ago that this has been forgotten there.
    """

    newer: list[tuple[str, Agreed]] = field(default_factory=list)
    lost: list[tuple[str, Agreed]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class Resync:
    """Fetches what is newer elsewhere, gives back what the server has lost, and applies it in one transaction.

    What changes meanwhile may be among what is fetched or not: its entry comes after the cursor that is kept, and an
    entry that is applied already does nothing.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        # Kept while it fails again and again, so that it comes to an end on the worst of lines.
        self._fetched: dict[str, tuple[Agreed, Record]] = {}

    def run(self, status: Status) -> None:
        """Compare with the state that has this status, or a later one."""
        parts, ledger = self._parts, self._parts.ledger
        parts.standing.resyncing()
        numbers = parts.link.numbers()
        dead: Dead = []
        there = dict(self._versions(dead))
        contents = parts.replica.contents()
        mine = dict(ledger.agreed)
        found = _compared(there, mine, self._waiting(numbers), status.horizon)
        self._give_back(contents, found.lost)
        self._fetch(found.newer, dead)
        unknown = [name for name in contents.names() if name not in mine]
        unknown = [name for name in unknown if name not in there or there[name].digest == "-"]

        def plan(contents: Contents) -> RemoteChange:
            planned = Plan()
            step = planned.step
            step.dead = dead
            if ledger.cursor is None or ledger.cursor.uid != status.head:
                step.cursor = Cursor(status.seq, status.head, status.entries)
            step.seen = {number for number, own in ledger.waiting.items() if _is_among(own.writer, numbers)}
            # What has changed here since is newer.
            waiting = self._waiting(numbers)
            for name, (its, record) in self._fetched.items():
                if name not in waiting:
                    step.agreed[name], planned.wins[name] = its, record
            for name in found.gone:
                if name not in waiting:
                    step.agreed[name] = None
                    planned.wins[name] = Record.dropped(name)
            new = [name for name in unknown if name in contents and name not in waiting]
            step.waiting = ledger.own(new, parts.sizes(contents, new))
            for name in new:
                planned.wins.pop(name, None)
            return parts.planned(contents, planned)

        parts.replica.change(plan)
        self._fetched.clear()
        with parts.standing.changed:
            # The server may have lost what it had been given.
            parts.standing.published_now.clear()

    def _waiting(self, numbers: Mapping[bytes, bytes]) -> set[str]:
        """Routes with an own change that the server has not been given yet."""
        owns = list(self._parts.ledger.waiting.values())
        return {name for own in owns if not _is_among(own.writer, numbers) for name in own.names}

    def _versions(self, dead: Dead) -> Iterator[tuple[str, Agreed]]:
        for name, version in self._parts.link.versions(self._parts.checkpoint).items():
            try:
                yield name.decode(), Agreed.parsed(version.decode())
            except ValueError as exc:
                dead.append((f"a version: {exc}", name + b" " + version))

    def _fetch(self, wanted: Sequence[tuple[str, Agreed]], dead: Dead) -> None:
        """Into ``self._fetched``, which then has nothing else."""
        former, self._fetched = self._fetched, {}
        missing = []
        for name, its in wanted:
            if its.digest == "-":
                self._fetched[name] = its, Record.dropped(name)
            elif name in former and former[name][0] == its:
                self._fetched[name] = former[name]
            else:
                missing.append((name, its))
        at, size = 0, _FIRST_AT_ONCE
        while at < len(missing):
            self._parts.checkpoint()
            part = missing[at : at + size]
            at += len(part)
            contents = self._parts.link.records([name for name, _ in part])
            self._read(
                [(*one, content) for one, content in zip(part, contents, strict=True) if content is not None], dead
            )
            self._parts.standing.contact()
            filled = sum(len(content or b"") for content in contents)
            size = max(1, min(_MOST_AT_ONCE, BYTES_AT_ONCE * len(part) // (filled + 1)))

    def _read(self, found: Sequence[tuple[str, Agreed, bytes]], dead: Dead) -> None:
        records = unpacked_many((content for _, _, content in found), self._parts.replica.identity, self._parts.key)
        for (name, its, content), record in zip(found, records, strict=True):
            if isinstance(record, PoisonError):
                dead.append((f"route {name}: {record}", content))
            # Otherwise it has changed meanwhile, and its entry is still to come.
            elif record.name == name and record.digest == its.digest:
                self._fetched[name] = its, record

    def _give_back(self, contents: Contents, lost: Sequence[tuple[str, Agreed]]) -> None:
        """With the versions they had. A route that is not as agreed itself is left to others."""
        sound = [(name, own) for name, own in lost if (own.digest != "-") == (name in contents)]
        for start in range(0, len(sound), NAMES_AT_ONCE):
            versions = {name: own.version for name, own in sound[start : start + NAMES_AT_ONCE]}
            part: list[tuple[Packed, Version | None]] = []
            filled = 0
            for record in self._parts.outlet.packed(contents, list(versions)):
                part.append((record, versions[record.name]))
                filled += len(record.content)
                if filled > BYTES_AT_ONCE:
                    self._send(part)
                    part, filled = [], 0
            if part:
                self._send(part)

    def _send(self, part: Sequence[tuple[Packed, Version | None]]) -> None:
        self._parts.checkpoint()
        self._parts.outlet.send(("", f"again:{secrets.token_hex(8)}"), 0, part)
        self._parts.standing.contact()


def _compared(there: Mapping[str, Agreed], mine: Mapping[str, Agreed], waiting: set[str], horizon: int) -> _Differences:
    found = _Differences()
    for name, its in there.items():
        own = mine.get(name)
        if name in waiting or its == own:
            continue
        if own is not None and own.version > its.version:
            found.lost.append((name, own))
        else:
            found.newer.append((name, its))
    for name, own in mine.items():
        if name in there or name in waiting:
            continue
        if own.version.seq > horizon:
            found.lost.append((name, own))
        else:
            found.gone.append(name)
    return found


def _is_among(writer: tuple[str, int], numbers: Mapping[bytes, bytes]) -> bool:
    """Whether the server has been given this own change."""
    try:
        return writer[1] <= int(numbers.get(writer[0].encode(), b"-1"))
    except ValueError:
        return False
