"""How the table of a router becomes another: durable first, then in use; its own changes and those of others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import cast

from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import RevisionConflictError, RouterClosedError
from synaptoroute.following import PLANS, Following, pause
from synaptoroute.forking import PerProcess
from synaptoroute.history import current_actor
from synaptoroute.lane import Lane
from synaptoroute.observability.events import Origin, RoutesChanged
from synaptoroute.observability.hooks import Hooks
from synaptoroute.storage.base import BaseStorage, Change, NotingStorage, PutRoute, StoreState, require_revision
from synaptoroute.sync.base import BaseSyncManager, RemoteChange
from synaptoroute.table import RouteTable
from synaptoroute.table_files import TableFiles
from synaptoroute.upkeep import Upkeep

#: What turns the routes of a table into others; made anew on another table where somebody else was faster.
Plan = Callable[[RouteTable], list[Change]]


class Committing:
    """The part of ``AdaptiveRouter`` that all changes of its table go through; the router sets what it holds."""

    _storage: BaseStorage
    _lane: Lane
    _following: Following
    _sync: BaseSyncManager | None
    _upkeep: Upkeep
    _hooks: Hooks
    _actor: str | None
    _closed: bool
    _lock: PerProcess[threading.RLock]
    #: Changes made while the table is being rebuilt, with their revisions.
    _journal: list[tuple[Sequence[Change], int]] | None
    #: What the change that is being made has encoded, for planning it anew when another process was faster.
    _encoded: dict[str, Vectors]

    @property
    def _table(self) -> RouteTable:
        return self._lane.table

    @_table.setter
    def _table(self, table: RouteTable) -> None:
        self._lane.table = table

    @property
    def _files(self) -> TableFiles:
        return self._lane.files

    @property
    def _changing(self) -> threading.RLock:
        """Held by whoever changes the table; queries never take it. A forked child has its own."""
        return self._lock.get(threading.RLock)

    def _require_open(self) -> None:
        if self._closed:
            raise RouterClosedError("this router was closed; make a new one")

    @property
    def _acting(self) -> str | None:
        """Who changes routes here and now; None if nobody said."""
        return current_actor() or self._actor

    def _change(self, plan: Plan, *, expected: Mapping[str, int] | None = None, cause: str | None = None) -> int:
        """Plan on the current table, make it durable, then swap in the next: the order that loses nothing.

        Where another process has changed the store first, plan anew on what it has made of it.
        """
        began = time.monotonic()
        with self._changing:
            self._require_open()
            self._encoded = {}
            try:
                for lost in range(PLANS):
                    table = self._table
                    # Looked at before anything is encoded, and once more in the transaction that writes.
                    for name, revision in (expected or {}).items():
                        require_revision(name, seen=self.route_revision(name), expected=revision)
                    changes = plan(table)
                    if not changes:
                        break
                    # Only with a sync manager, which asks for a store that can keep notes.
                    notes = {"notes": self._sync.outgoing(changes, table.revision + 1)} if self._sync else {}
                    try:
                        revision = self._storage.commit(
                            changes,
                            encoder=self._lane.identity,
                            expected_revision=table.revision,
                            expected=expected,
                            actor=self._acting,
                            cause=cause,
                            **notes,
                        )
                    except RevisionConflictError:
                        self.refresh()
                        if self._table is table or lost == PLANS - 1:
                            raise
                        pause(lost)
                        continue
                    self._swap_in(table.applied(changes, revision), changes)
                    self._following.committed(revision)
                    if self._sync:
                        self._sync.committed()
                    self._tell(table, changes, Origin.OWN, cause=cause, took_s=time.monotonic() - began)
                    break
            finally:
                self._encoded = {}
            return self._table.revision

    def _change_from_elsewhere(self, plan: Callable[[RouteTable], RemoteChange]) -> None:
        """The same for what another replica has changed; durable in one transaction with how far that was followed."""
        with self._changing, self._upkeep.giving_way():
            self._require_open()
            table, storage = self._table, cast(NotingStorage, self._storage)
            planned = plan(table)
            if planned.changes:
                revision = storage.commit(
                    planned.changes,
                    encoder=self._lane.identity,
                    expected_revision=table.revision,
                    actor=self._acting,
                    cause="another replica",
                    notes=planned.notes,
                )
                self._swap_in(table.applied(planned.changes, revision), planned.changes)
                self._following.committed(revision)
                self._tell(table, planned.changes, Origin.REPLICA)
            elif planned.notes:
                storage.save_notes(planned.notes)
            planned.done()

    def refresh(self) -> int:
        """Take over what others have committed to the store; queries go on meanwhile. Returns the revision.

        Stores that tell of changes, such as PostgresStorage, are followed without calling this.

        Raises:
            EncoderMismatchError: The vectors were written with another encoder meanwhile.
            StorageError: The store cannot be read; the routes stay as they are.
        """
        with self._changing:
            self._require_open()
            former = self._table
            table, changes = self._following.caught_up(former)
            if table is not former:
                self._swap_in(table, changes)
                if table.revision != former.revision or changes is None:
                    self._tell(former, changes, Origin.STORE)
            return self._table.revision

    def _follow(self, state: StoreState | None) -> None:
        """The store tells that it has come to that state, perhaps by a change of this router."""
        with self._changing:
            if state is None or state != self._following.shown:
                self.refresh()

    def _swap_in(self, table: RouteTable, changes: Sequence[Change] | None) -> None:
        """Make this the current table, which was made by these changes, or read from the store."""
        self._table = table
        if changes is None:
            self._journal = None
        elif self._journal is not None:
            self._journal.append((changes, table.revision))
        if self._files.needs_compaction(table):
            self._upkeep.wake()

    def _tell(
        self,
        former: RouteTable,
        changes: Sequence[Change] | None,
        origin: Origin,
        *,
        cause: str | None = None,
        took_s: float | None = None,
    ) -> None:
        """Those who hear of changes, that these have led from that table to the current one."""
        if not self._hooks.routes:
            return
        put = dropped = None
        if changes is not None:
            put = tuple(change.route.name for change in changes if isinstance(change, PutRoute))
            dropped = tuple(change.name for change in changes if not isinstance(change, PutRoute))
        self._hooks.routes_changed(
            RoutesChanged(
                revision=self._table.revision,
                former=former.revision,
                put=put,
                dropped=dropped,
                origin=origin,
                actor=self._acting if origin is Origin.OWN else None,
                cause=cause,
                took_s=took_s,
            )
        )

    def _rebuild(self, rebuilt: Callable[[RouteTable], RouteTable], lane: Lane) -> None:
        """Make a table beside the one in use, then repeat on it what has changed meanwhile, and swap it in."""
        with self._changing:
            older, self._journal = lane.table, []
        try:
            table = rebuilt(older)
            with self._changing:
                # An encoder has taken over, or the table was read from the store anew: this one is of no use.
                if lane is not self._lane or self._journal is None:
                    return
                for changes, revision in self._journal:
                    # One that was read from the store may have some of the changes already.
                    if revision > table.revision:
                        table = table.applied(changes, revision)
                self._table = table.resuming(self._table)
        finally:
            self._journal = None

    def route_revision(self, name: str) -> int:
        """The revision at which a route changed last; 0 if there is none of that name.

        Given to a change as ``expected_revision``, it keeps the change from overwriting what somebody else did since.
        Ask for it first and read the route then: a change in between will be noticed.

        Raises:
            RevisionConflictError: Another process has changed the route, and this router does not know it so.
        """
        with suppress(RevisionConflictError):
            return self._route_revision(name)
        # Perhaps a change of this router is stored already and about to be swapped in.
        with self._changing:
            return self._route_revision(name)

    def _route_revision(self, name: str) -> int:
        table = self._table
        revision = self._storage.route_revision(name)
        if revision > table.revision or (not revision and name in table):
            raise RevisionConflictError(
                f"route {name!r} was changed by another process after revision {table.revision}, which this router "
                "knows; open the store anew"
            )
        return revision
