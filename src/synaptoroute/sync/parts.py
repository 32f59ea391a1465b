"""What following, comparing and putting right have in common: one link, one replica, one ledger."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from synaptoroute.errors import RouterClosedError, SyncForeignError
from synaptoroute.storage.base import NotingStorage
from synaptoroute.sync.base import Contents, RemoteChange, Replica
from synaptoroute.sync.ledger import Ledger, Step
from synaptoroute.sync.link import Link
from synaptoroute.sync.plans import Plan, changes
from synaptoroute.sync.publisher import Outlet
from synaptoroute.sync.records import estimated_bytes
from synaptoroute.sync.standing import Standing

logger = logging.getLogger(__name__)


class Status(NamedTuple):
    """What the server says of the stream.

    Attributes:
        seq: Sequence number of the last entry.
        head: Its uid.
        entries: How many there have been.
        routes: How many there are.
        digest: Of all of them.
        horizon: Routes dropped up to this sequence number may have been forgotten.
    """

    seq: int
    head: str
    entries: int
    routes: int
    digest: str
    horizon: int

    @classmethod
    def parsed(cls, found: Sequence[Any]) -> Status:
        """Raises SyncForeignError."""
        try:
            seq, head, entries, routes, digest, horizon = (value.decode() for value in found)
            return cls(int(seq), head, int(entries), int(routes), digest, int(horizon))
        except (ValueError, AttributeError) as exc:
            raise SyncForeignError(f"the stream's description is damaged ({exc}); delete the namespace's keys") from exc


@dataclass(kw_only=True)
class Parts:
    """Of the thread that reads.

    Attributes:
        link: For this thread alone.
        outlet: Over the same link, for what the server has lost.
        replica: Whose routes.
        ledger: What it remembers.
        standing: Where to tell how it goes.
        key: Shared by all replicas that trust each other, or None.
        stopping: Set when it is time to leave.
    """

    link: Link
    outlet: Outlet
    replica: Replica
    ledger: Ledger
    standing: Standing
    key: bytes | None
    stopping: threading.Event = field(default_factory=threading.Event)

    def checkpoint(self) -> None:
        """Raises RouterClosedError when it is time to leave."""
        if self.stopping.is_set():
            raise RouterClosedError("synchronising was stopped")

    def status(self) -> Status:
        """Of the stream, which is begun if there is none."""
        identity = self.replica.identity
        status = Status.parsed(self.link.open(f"begin:{secrets.token_hex(8)}", identity.fingerprint, identity.name))
        cursor = self.ledger.cursor
        self.standing.contact(max(0, status.entries - cursor.entries) if cursor else None)
        return status

    def planned(self, contents: Contents, plan: Plan, *, may_wait: bool = False) -> RemoteChange:
        """What makes a plan true, here and in the ledger, in one transaction.

        Args:
            contents: To be changed.
            plan: How.
            may_wait: What changes no route need not be durable at once: so an own change that comes back in the
                common order costs no second sync to disk, which the replicas' changes would wait for.
        """
        ledger, step = self.ledger, plan.step
        ledger.forget_oldest(step)
        found = changes(contents, plan.wins.values())
        revision = contents.revision + bool(found)
        waits = may_wait and not found and ledger.may_wait(step)

        def done() -> None:
            with self.standing.changed:
                if waits:
                    ledger.done_for_now(step)
                else:
                    ledger.done(step, revision)
                self.standing.applied += len(found)
                self.standing.conflicts += plan.conflicts
                self.standing.poison += len(step.dead)
                self.standing.published_now -= step.seen
                self.standing.changed.notify_all()
            if step.dead:
                logger.warning("%d set aside, the first one: %s", len(step.dead), step.dead[0][0])

        return RemoteChange(changes=found, notes={} if waits else ledger.notes(step, revision), done=done)

    def write_what_waits(self) -> None:
        """Make durable what ``planned`` has left for later, if anything."""
        if self.ledger.has_unwritten:
            self.replica.change(lambda contents: self.planned(contents, Plan()))

    def write_at_the_end(self) -> None:
        """The same when this thread has ended, whether or not the router is closed by now."""
        try:
            self.write_what_waits()
        except RouterClosedError:
            # Nobody can change anything any more.
            ledger, contents = self.ledger, self.replica.contents()
            cast(NotingStorage, self.replica.storage).save_notes(ledger.notes(Step(), contents.revision))

    def sizes(self, contents: Contents, names: Sequence[str]) -> dict[str, int]:
        """About how many bytes the record of each of these routes takes."""
        dim = self.replica.identity.dim
        return {route.name: estimated_bytes(route, dim) for route, _ in contents.of(names)}
