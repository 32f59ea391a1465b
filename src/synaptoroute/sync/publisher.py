"""The thread that brings own changes into the common order."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Sequence

from synaptoroute.errors import SyncError, SyncForeignError, SyncUnavailableError
from synaptoroute.sync.base import Contents, Replica
from synaptoroute.sync.ledger import BYTES_AT_ONCE, MOST_DROPPED, Ledger, Own, Version
from synaptoroute.sync.link import Link
from synaptoroute.sync.records import Packed, packed
from synaptoroute.sync.standing import REFUSED_WAIT_S, Backoff, Standing

logger = logging.getLogger(__name__)


class Outlet:
    """Sends what routes are; each entry is taken whole or not at all.

    Args:
        link: To the server.
        replica: Whose routes.
        key: Shared by all replicas that trust each other, or None.
        max_entries: Of the stream.
        max_bytes: Of the stream.
    """

    def __init__(self, link: Link, replica: Replica, key: bytes | None, max_entries: int, max_bytes: int) -> None:
        self._link = link
        self._replica = replica
        self._key = key
        self._limits = (max_entries, max_bytes, MOST_DROPPED)

    def packed(self, contents: Contents, names: Sequence[str]) -> list[Packed]:
        """Records of these routes as they are in the contents."""
        here = [name for name in names if name in contents]
        held = dict(zip(here, contents.of(here), strict=True))
        return [packed(name, held.get(name), self._replica.identity, self._key) for name in names]

    def send(
        self, writer: tuple[str, int | str], floor: int, records: Sequence[tuple[Packed, Version | None]]
    ) -> bytes:
        """One entry.

        Args:
            writer: And the number of the entry among theirs; "" and any name for one that may come twice.
            floor: The entry comes after this sequence number.
            records: And the version each keeps, if it has one already.

        Returns:
            "ok", or "seen" for an entry that was taken before.
        """
        arguments: list[str | bytes | int] = [self._replica.identity.fingerprint, *writer, floor, *self._limits]
        for record, version in records:
            arguments += [record.name, record.digest, record.content]
            arguments += ["", ""] if version is None else [version.seq, version.uid]
        word = self._link.publish(arguments)
        if word == b"absent":
            raise SyncUnavailableError("the stream was deleted meanwhile; it is begun anew")
        if word == b"refused":
            raise SyncForeignError("the stream has become one of another encoder's vectors")
        return word


class Publisher:
    """Sends own changes in their order, each once, as soon as they are durable here."""

    def __init__(self, outlet: Outlet, replica: Replica, ledger: Ledger, standing: Standing) -> None:
        self._outlet = outlet
        self._replica = replica
        self._ledger = ledger
        self._standing = standing
        self._backoff = Backoff()

    def run(self, stopping: threading.Event) -> None:
        """Until told to stop."""
        while not stopping.is_set():
            with self._standing.changed:
                self._standing.changed.wait_for(lambda: stopping.is_set() or self._next() is not None)
                own = self._next()
            if own is None:
                continue
            try:
                self._send(own)
            except SyncError as exc:
                refused = isinstance(exc, SyncForeignError)
                self._standing.failed("publishing", exc, refused=refused)
                stopping.wait(REFUSED_WAIT_S if refused else self._backoff.next_s())
            except Exception as exc:
                logger.exception("an own change could not be published and is tried again")
                self._standing.failed("publishing", exc)
                stopping.wait(self._backoff.next_s())
            else:
                self._backoff.reset()
                self._standing.works("publishing")

    def _next(self) -> Own | None:
        # The follower looks at the server first: whether there is a stream, and that it is one of ours.
        if not self._standing.following:
            return None
        waiting = self._ledger.waiting
        return next((own for number, own in waiting.items() if number not in self._standing.published_now), None)

    def _send(self, own: Own) -> None:
        ledger, contents = self._ledger, self._replica.contents()
        known = (ledger.agreed.get(name) for name in own.names)
        floor = max([ledger.cursor.seq if ledger.cursor else 0, *(agreed.version.seq for agreed in known if agreed)])
        records = self._outlet.packed(contents, own.names)
        # Routes may have grown since the change was divided. What is sent before the last part may come twice.
        part: list[tuple[Packed, Version | None]] = []
        filled = 0
        for record in records:
            if part and filled + len(record.content) > 2 * BYTES_AT_ONCE:
                self._outlet.send(("", secrets.token_hex(8)), floor, part)
                part, filled = [], 0
            part.append((record, None))
            filled += len(record.content)
        self._outlet.send(own.writer, floor, part)
        with self._standing.changed:
            self._standing.published_now.add(own.number)
            self._standing.published += 1
            self._standing.changed.notify_all()
