"""The thread that reads the common order and applies it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from synaptoroute.errors import RouterClosedError, SynaptoRouteError, SyncForeignError
from synaptoroute.sync.base import Contents, RemoteChange
from synaptoroute.sync.drift import Drift
from synaptoroute.sync.ledger import Cursor, Step, Version
from synaptoroute.sync.parts import Parts, Status
from synaptoroute.sync.plans import Entry, GapError, Plan, of_entries
from synaptoroute.sync.records import PoisonError, Record, unpacked_many
from synaptoroute.sync.resync import Resync
from synaptoroute.sync.standing import REFUSED_WAIT_S, Backoff

#: Entries read and applied at once, in one transaction.
_ENTRIES_AT_ONCE = 64
#: How long the server is asked to wait for an entry. What was lost on the server is noticed after this long.
_BLOCK_S = 0.25
#: How long what changes no route may wait for an entry to be written with. Only what is read again if it is lost.
_UNWRITTEN_S = 0.05

logger = logging.getLogger(__name__)


class Follower:
    """Applies what others have published, in the order all replicas see.

    Args:
        parts: Of this thread.
        check_every_s: How often all routes are compared with what was agreed.
        changed_alone: The store was changed by somebody who did not synchronise.
    """

    def __init__(self, parts: Parts, *, check_every_s: float, changed_alone: bool) -> None:
        self._parts = parts
        self._resync = Resync(parts)
        self._drift = Drift(parts, self._resync, check_every_s)
        self.changed_alone = changed_alone
        self._backoff = Backoff()

    def run(self, stopping: threading.Event) -> None:
        """Until told to stop."""
        self._parts.stopping = stopping
        while not stopping.is_set():
            try:
                self._follow()
            except RouterClosedError:
                return
            except Exception as exc:
                if stopping.is_set():
                    return
                if not isinstance(exc, SynaptoRouteError):
                    logger.exception("changes of other replicas could not be applied; this is tried again")
                refused = isinstance(exc, SyncForeignError)
                self._parts.standing.failed("reading", exc, refused=refused)
                stopping.wait(REFUSED_WAIT_S if refused else self._backoff.next_s())

    def _follow(self) -> None:
        if self.changed_alone:
            self._drift.adopt_changes_made_alone()
            self.changed_alone = False
        status = self._parts.status()
        if self._parts.ledger.cursor is None:
            self._resync.run(status)
        expecting = False
        while not self._parts.stopping.is_set():
            try:
                expecting = self._read_on(expecting=expecting)
            except GapError as gap:
                logger.warning("everything is compared with the other replicas: %s", gap)
                self._resync.run(self._parts.status())
                expecting = False
            self._parts.standing.follows()
            self._backoff.reset()

    def _read_on(self, *, expecting: bool) -> bool:
        """Read and apply what there is; whether there is surely more. Raises GapError if what must be there is not."""
        cursor = self._parts.ledger.cursor
        assert cursor is not None  # noqa: S101 - a resync has set it
        last = f"{cursor.seq}-{cursor.minor}"
        wait_s = _UNWRITTEN_S if self._parts.ledger.has_unwritten else _BLOCK_S
        batch = self._parts.link.entries_after(last, _ENTRIES_AT_ONCE, 0 if expecting else wait_s)
        if not batch:
            self._parts.write_what_waits()
        if batch:
            try:
                self._apply(batch)
            except GapError:
                if self._parts.status().head != cursor.uid:
                    raise
                self._set_aside(batch)
            if len(batch) == _ENTRIES_AT_ONCE:
                return False
        elif expecting:
            raise GapError("entries that were there are gone")
        asked_at = time.monotonic()
        status = self._parts.status()
        if self._is_behind(status):
            return True
        self._parts.standing.in_step(asked_at)
        self._drift.compare_digests(status)
        if not batch:
            self._drift.compare_some()
        return False

    def _is_behind(self, status: Status) -> bool:
        """Whether there must be entries that were not applied yet. Raises GapError if they cannot be there."""
        cursor = self._parts.ledger.cursor
        assert cursor is not None  # noqa: S101 - the caller has used it
        if status.head == cursor.uid:
            return False
        if status.seq <= cursor.seq:
            raise GapError("the server has lost entries, or begun anew")
        return True

    def _apply(self, batch: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> None:
        dead: list[tuple[str, bytes]] = []
        entries: list[tuple[Entry, list[tuple[Record, Version]]]] = []
        for entry_id, fields in batch:
            try:
                entry = Entry.parsed(entry_id, fields)
            except PoisonError as exc:
                dead.append((f"entry {entry_id.decode(errors='replace')}: {exc}", b"\n".join(fields.values())))
            else:
                entries.append((entry, self._records(entry, dead)))

        def plan(contents: Contents) -> RemoteChange:
            planned = of_entries(self._parts.ledger, entries)
            planned.step.cursor = _past(batch, planned.step.cursor)
            planned.step.dead = dead
            return self._parts.planned(contents, planned, may_wait=True)

        self._parts.replica.change(plan)

    def _set_aside(self, batch: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> None:
        """All of these: the server says that none of them is part of the order."""
        dead = [("not part of the order", b"\n".join(fields.values())) for _, fields in batch]
        step = Step(cursor=_past(batch, self._parts.ledger.cursor), dead=dead)
        self._parts.replica.change(lambda contents: self._parts.planned(contents, Plan(step=step)))

    def _records(self, entry: Entry, dead: list[tuple[str, bytes]]) -> list[tuple[Record, Version]]:
        contents = [content for content, _ in entry.records]
        found = []
        records = unpacked_many(contents, self._parts.replica.identity, self._parts.key)
        for (content, version), record in zip(entry.records, records, strict=True):
            if isinstance(record, PoisonError):
                dead.append((f"entry {entry.seq}: {record}", content))
            else:
                found.append((record, version))
        return found


def _past(batch: Sequence[tuple[bytes, dict[bytes, bytes]]], cursor: Cursor | None) -> Cursor:
    """So that nothing of the batch is read again."""
    assert cursor is not None  # noqa: S101 - a resync has set it
    seq, minor = map(int, batch[-1][0].split(b"-"))
    return cursor._replace(seq=seq, minor=minor)
