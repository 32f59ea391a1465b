"""Routes that are not as agreed although nothing was missed: changed behind our back, or damaged."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

from synaptoroute.sync.base import Contents, RemoteChange
from synaptoroute.sync.parts import Parts, Status
from synaptoroute.sync.plans import Plan
from synaptoroute.sync.records import Record, digest_of
from synaptoroute.sync.resync import Resync

#: Of every idle moment (a quarter of a second), how much goes into comparing: about 100 routes.
_COMPARING_S = 0.01
_COMPARED_AT_ONCE = 25

logger = logging.getLogger(__name__)


class Drift:
    """Finds routes that differ from what was agreed, and has them put right.

    Args:
        parts: Of the thread that reads.
        resync: Of the same.
        check_every_s: How often all routes are compared.
    """

    def __init__(self, parts: Parts, resync: Resync, check_every_s: float) -> None:
        self._parts = parts
        self._resync = resync
        self._check_every_s = check_every_s
        self._comparing: Iterator[str] | None = None
        self._began_at = time.monotonic()
        self._compared_all_at: float | None = None

    def adopt_changes_made_alone(self) -> None:
        """Publish what somebody has changed in the store without synchronising, like any own change."""
        parts, ledger = self._parts, self._parts.ledger
        contents = parts.replica.contents()
        differing = []
        for name, digest in self._digests(contents, list(contents.names())):
            agreed = ledger.agreed.get(name)
            if agreed is None or agreed.digest != digest:
                differing.append(name)
        missing = [name for name, digest in ledger.digests() if digest != "-" and name not in contents]

        def plan(contents: Contents) -> RemoteChange:
            planned = Plan()
            names = [name for name in (*differing, *missing) if not ledger.is_waiting(name)]
            here = [name for name in names if name in contents]
            planned.step.waiting = ledger.own(names, parts.sizes(contents, here))
            return parts.planned(contents, planned)

        parts.replica.change(plan)

    def compare_digests(self, status: Status) -> None:
        """Compare all versions if the server's digest is not the ledger's, at most once in a while."""
        ledger = self._parts.ledger
        if (status.digest, status.routes) == (ledger.digest, ledger.routes):
            return
        now = time.monotonic()
        if self._compared_all_at is not None and now - self._compared_all_at < self._check_every_s:
            return
        self._compared_all_at = now
        logger.warning("the digest of the routes is not the one agreed on; everything is compared")
        before = ledger.digest
        self._resync.run(status)
        self._parts.standing.repairs += ledger.digest != before

    def compare_some(self) -> None:
        """Compare a few routes with what was agreed, when it is time to."""
        now = time.monotonic()
        if self._comparing is None:
            if now - self._began_at < self._check_every_s:
                return
            self._began_at = now
            names = {name for name, digest in self._parts.ledger.digests() if digest != "-"}
            self._comparing = iter(list(names.union(self._parts.replica.contents().names())))
        wrong: list[str] = []
        while time.monotonic() - now < _COMPARING_S:
            names_now = [name for _, name in zip(range(_COMPARED_AT_ONCE), self._comparing, strict=False)]
            if not names_now:
                self._comparing = None
                break
            wrong += self._wrong(self._parts.replica.contents(), names_now)
        if wrong:
            self._put_right(wrong)

    def _digests(self, contents: Contents, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        for start in range(0, len(names), _COMPARED_AT_ONCE):
            self._parts.checkpoint()
            part = [name for name in names[start : start + _COMPARED_AT_ONCE] if name in contents]
            for route, vectors in contents.of(part):
                yield route.name, digest_of(route, vectors)

    def _wrong(self, contents: Contents, names: Sequence[str]) -> list[str]:
        ledger = self._parts.ledger
        digests = dict(self._digests(contents, names))
        wrong = []
        for name in names:
            agreed = ledger.agreed.get(name)
            if digests.get(name, "-") != (agreed.digest if agreed else "-") and not ledger.is_waiting(name):
                wrong.append(name)
        return wrong

    def _put_right(self, names: Sequence[str]) -> None:
        found: list[str] = []

        def plan(contents: Contents) -> RemoteChange:
            planned = Plan()
            # Looked at again where nothing can change: a change that is only just being made is no drift.
            found.extend(self._wrong(contents, names))
            for name in found:
                agreed = self._parts.ledger.agreed.get(name)
                if agreed is not None and agreed.digest == "-":
                    planned.wins[name] = Record.dropped(name)
                else:
                    # As if it had never been seen: it is fetched, or sent if nobody else knows it.
                    planned.step.agreed[name] = None
            return self._parts.planned(contents, planned)

        self._parts.replica.change(plan)
        if found:
            logger.warning("%d routes were not as agreed and are put right", len(found))
            self._parts.standing.repairs += len(found)
            self._resync.run(self._parts.status())
