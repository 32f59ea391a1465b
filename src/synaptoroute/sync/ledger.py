"""Ledger: what a replica remembers of the common order, durable in its store beside the routes.

It is kept as notes of the store (see ``NotingStorage``), each written in the transaction it speaks of:

- ``cursor``: the last entry that was applied here;
- ``version/NAME``: which entry the route is as of, and its digest; "-" for a dropped route;
- ``out/NUMBER``: an own change that is not yet in the common order as far as known here: a uid and names of routes;
- ``at``: the store's revision; another one at the next start means that somebody changed it without synchronising;
- ``dead/NUMBER``: what could not be read or trusted, the latest 100.

An own change is kept as names alone: what is sent is what the routes are then. So a route that changes a thousand
times while the server is away is sent once.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from synaptoroute.storage.base import NotingStorage

#: Names in one entry, and bytes of its records if these are several. The server handles one entry at a time.
NAMES_AT_ONCE, BYTES_AT_ONCE = 500, 4 << 20
#: Own changes that may wait before they are drawn together, about 100 bytes each.
MOST_WAITING = 1_000
#: Versions of dropped routes that are kept, here and on the server, so that nobody revives what was dropped elsewhere.
MOST_DROPPED = 10_000
MOST_DEAD = 100
#: Notes that may wait for others to be written with, about 200 bytes each.
_MOST_UNWRITTEN = 1_000
_DEAD_BYTES = 2_048


class Version(NamedTuple):
    """Which entry a route is as of. The greater one wins, everywhere."""

    seq: int
    uid: str


class Agreed(NamedTuple):
    """What was agreed on a route: its version, and the digest of its content or "-"."""

    version: Version
    digest: str

    def __str__(self) -> str:
        return f"{self.version.seq} {self.version.uid} {self.digest}"

    @classmethod
    def parsed(cls, text: str) -> Agreed:
        """Raises ValueError."""
        seq, uid, digest = text.split(" ")
        if digest != "-" and len(bytes.fromhex(digest)) != 16:
            raise ValueError(f"{digest[:40]!r} is not a digest")
        return cls(Version(int(seq), uid), digest)


class Cursor(NamedTuple):
    """How far was read.

    Attributes:
        seq: Sequence number of the last entry that was applied, or of a later one that was set aside.
        uid: Of the last one that was applied.
        entries: How many there were by then.
        minor: The rest of the id of what was read last; 0 for entries of ours.
    """

    seq: int
    uid: str
    entries: int
    minor: int = 0


@dataclass(frozen=True, slots=True)
class Own:
    """An own change that is not yet known to be in the common order."""

    number: int
    uid: str
    names: tuple[str, ...]

    @property
    def writer(self) -> tuple[str, int]:
        """Whose it is and its place among theirs, which the server remembers."""
        writer, _, count = self.uid.partition(":")
        return writer, int(count)


@dataclass
class Step:
    """What the ledger will be once the transaction it was planned for is durable."""

    cursor: Cursor | None = None
    agreed: dict[str, Agreed | None] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    waiting: list[Own] = field(default_factory=list)
    dead: list[tuple[str, bytes]] = field(default_factory=list)


class Ledger:
    """Read at once, then kept in memory too. Only who holds the router's change lock may call what changes it.

    Args:
        storage: Where the notes are.
        namespace: Which common order it is about; a store may have taken part in several.
    """

    def __init__(self, storage: NotingStorage, namespace: str) -> None:
        self._prefix = f"sync/{namespace}/"
        self._writer, self._count = secrets.token_hex(6), 0
        self.cursor: Cursor | None = None
        self.agreed: dict[str, Agreed] = {}
        self.waiting: dict[int, Own] = {}
        self.revision: int | None = None
        self._digest, self._routes = 0, 0
        self._dead = 0
        # What ``done_for_now`` has left to be written.
        self._unwritten: dict[str, bytes | None] = {}
        self._dropped: dict[str, None] = {}
        for name, value in storage.notes(self._prefix).items():
            self._read(name.removeprefix(self._prefix), value.decode())
        self.waiting = dict(sorted(self.waiting.items()))
        self._next = max(self.waiting, default=0) + 1
        self._waiting_names = Counter(name for own in self.waiting.values() for name in own.names)

    def _read(self, name: str, value: str) -> None:
        kind, _, rest = name.partition("/")
        match kind:
            case "cursor":
                self.cursor = Cursor(*json.loads(value))
            case "version":
                self._agree(rest, Agreed.parsed(value))
            case "out":
                uid, names = json.loads(value)
                self.waiting[int(rest, 16)] = Own(int(rest, 16), uid, tuple(names))
            case "at":
                self.revision = int(value)
            case "dead":
                self._dead = max(self._dead, int(rest) + 1)

    # ------------------------------------------------------------------------------------------------- reading
    @property
    def digest(self) -> str:
        """Of all routes that were agreed on: equal in replicas that have applied the same. 32 hexadecimal digits."""
        return f"{self._digest:032x}"

    @property
    def routes(self) -> int:
        """How many were agreed on."""
        return self._routes

    def is_waiting(self, name: str) -> bool:
        """Whether an own change of the route is not yet in the common order."""
        return self._waiting_names[name] > 0

    def digests(self) -> Iterator[tuple[str, str]]:
        """Every route that was agreed on and its digest."""
        return ((name, agreed.digest) for name, agreed in list(self.agreed.items()))

    # ------------------------------------------------------------------------------------------------ planning
    def own(self, names: Iterable[str], sizes: Mapping[str, int]) -> list[Own]:
        """New own changes of these routes, divided so that each makes one entry."""
        found: list[Own] = []
        part: list[str] = []
        filled = 0
        for name in names:
            size = sizes.get(name, 0)
            if part and (len(part) >= NAMES_AT_ONCE or filled + size > BYTES_AT_ONCE):
                found.append(self._new(part))
                part, filled = [], 0
            part.append(name)
            filled += size
        if part:
            found.append(self._new(part))
        return found

    def _new(self, names: Sequence[str]) -> Own:
        self._count += 1
        own = Own(self._next, f"{self._writer}:{self._count}", tuple(names))
        self._next += 1
        return own

    def drawn_together(self, published: set[int]) -> list[Own]:
        """Own changes that are too many to keep apart, none of them published yet; empty if there are not too many."""
        if len(self.waiting) <= MOST_WAITING:
            return []
        return [own for number, own in self.waiting.items() if number not in published]

    def notes(self, step: Step, revision: int) -> dict[str, bytes | None]:
        """What makes the step and all before it durable, in a transaction that leads to that revision of the store."""
        notes = self._unwritten | {"at": str(revision).encode()} | self._notes(step)
        return {self._prefix + name: value for name, value in notes.items()}

    def _notes(self, step: Step) -> dict[str, bytes | None]:
        notes: dict[str, bytes | None] = {}
        if step.cursor is not None:
            notes["cursor"] = json.dumps(step.cursor).encode()
        for name, agreed in step.agreed.items():
            notes[f"version/{name}"] = None if agreed is None else str(agreed).encode()
        for number in step.seen:
            notes[f"out/{number:016x}"] = None
        for own in step.waiting:
            notes[f"out/{own.number:016x}"] = json.dumps([own.uid, own.names], ensure_ascii=False).encode()
        for place, (why, content) in enumerate(step.dead, start=self._dead):
            notes[f"dead/{place}"] = f"{why}\n".encode() + content[:_DEAD_BYTES]
            if place >= MOST_DEAD:
                notes[f"dead/{place - MOST_DEAD}"] = None
        return notes

    @property
    def has_unwritten(self) -> bool:
        """Whether the next ``notes`` also make former steps durable."""
        return bool(self._unwritten)

    def may_wait(self, step: Step) -> bool:
        """Whether the step may be written with a later one: after a crash it would be read again, to the same end."""
        return not step.waiting and not step.dead and len(self._unwritten) + len(step.agreed) <= _MOST_UNWRITTEN

    def forget_oldest(self, step: Step) -> None:
        """Let the step also forget the oldest dropped routes, if there are too many."""
        dropped = {name: None for name, agreed in step.agreed.items() if agreed is not None and agreed.digest == "-"}
        excess = len(self._dropped.keys() | dropped.keys()) - MOST_DROPPED
        for name in list(self._dropped)[: max(0, excess)]:
            if name not in step.agreed:
                step.agreed[name] = None

    # ---------------------------------------------------------------------------------------------------- done
    def done(self, step: Step, revision: int) -> None:
        """The step is durable, with its ``notes``."""
        self._unwritten.clear()
        self.revision = revision
        self._take(step)

    def done_for_now(self, step: Step) -> None:
        """The step counts from now on, and is made durable by the ``notes`` of a later one; see ``may_wait``."""
        self._unwritten |= self._notes(step)
        self._take(step)

    def _take(self, step: Step) -> None:
        if step.cursor is not None:
            self.cursor = step.cursor
        for name, agreed in step.agreed.items():
            self._agree(name, agreed)
        for number in step.seen:
            own = self.waiting.pop(number, None)
            if own is not None:
                self._waiting_names.subtract(own.names)
                for name in own.names:
                    if self._waiting_names[name] <= 0:
                        del self._waiting_names[name]
        for own in step.waiting:
            self.waiting[own.number] = own
            self._waiting_names.update(own.names)
        self._dead += len(step.dead)

    def _agree(self, name: str, agreed: Agreed | None) -> None:
        former = self.agreed.pop(name, None)
        self._dropped.pop(name, None)
        self._count_in(former, -1)
        self._count_in(agreed, 1)
        if agreed is not None:
            self.agreed[name] = agreed
            if agreed.digest == "-":
                self._dropped[name] = None

    def _count_in(self, agreed: Agreed | None, by: int) -> None:
        if agreed is not None and agreed.digest != "-":
            self._digest ^= int(agreed.digest, 16)
            self._routes += by
