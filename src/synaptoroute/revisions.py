"""What a router offers beside routing and changing its routes: their history, and ways back."""

from __future__ import annotations

import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from synaptoroute import planning
from synaptoroute.history import RouteDiff, changed_since, current_actor, differences
from synaptoroute.lane import Lane, Progress
from synaptoroute.models import Route, clean_name
from synaptoroute.storage.base import BaseStorage, Change
from synaptoroute.storage.history import HistoryEntry, Snapshot
from synaptoroute.table import RouteTable

Plan = Callable[[RouteTable], list[Change]]


class Revisions(ABC):
    """The half of ``AdaptiveRouter`` that deals with revisions other than the current one."""

    _lane: Lane
    _storage: BaseStorage
    _actor: str | None

    @property
    @abstractmethod
    def _changing(self) -> threading.RLock: ...

    @abstractmethod
    def _require_open(self) -> None: ...

    @abstractmethod
    def _change(self, plan: Plan, *, expected: Mapping[str, int] | None = None, cause: str | None = None) -> int: ...

    @property
    def _acting(self) -> str | None:
        """Who changes routes here and now; None if nobody said."""
        return current_actor() or self._actor

    def history(self, *, limit: int | None = 100, route: str | None = None) -> tuple[HistoryEntry, ...]:
        """What was done to the routes, newest first: all that is remembered if the limit is None.

        Remembered are the last 10,000 revisions with up to 100,000 entries, one for each route that a change touched.
        """
        return self._storage.history(route=route, limit=limit).entries

    def diff(self, first: int, second: int) -> RouteDiff:
        """What leads from the routes of one revision to those of another, which may be the earlier one.

        Raises:
            RevisionNotFoundError: One of them has not been reached yet, or its history was forgotten.
        """
        return differences(self._lane.table, self._storage, first, second)

    def rollback(self, revision: int, *, progress: Progress | None = None) -> int:
        """Make the routes what they were at that revision. Returns the new revision, for this is a change as well.

        Nothing of the history is rewritten, so a rollback can be rolled back. Utterances that their routes still have
        keep their vectors; others are encoded. Routes that were deleted since stand behind the others. Labelled
        queries stay as they are.

        Raises:
            RevisionNotFoundError: It has not been reached yet, or its history was forgotten.
            EncoderError: An utterance could not be encoded.
            StorageError: The change could not be written.
        """

        def plan(table: RouteTable) -> list[Change]:
            return self._becoming(table, changed_since(table, self._storage, revision), progress)

        return self._change(plan, cause=f"rollback to {revision}")

    def save_snapshot(self, name: str) -> Snapshot:
        """Keep the routes as they are now under a name, until it is deleted and however much history is forgotten.

        Raises:
            InvalidInputError: The name is taken or no name.
        """
        self._require_open()
        table = self._lane.table
        return self._storage.save_snapshot(clean_name(name), table.routes, revision=table.revision, actor=self._acting)

    def snapshots(self) -> tuple[Snapshot, ...]:
        """All snapshots, in the order they were saved."""
        return self._storage.snapshots()

    def use_snapshot(self, name: str, *, progress: Progress | None = None) -> int:
        """Make the routes what they were when the snapshot was saved; as ``rollback`` does. Returns the new revision.

        Raises:
            SnapshotNotFoundError: There is none of that name.
        """
        routes = self._storage.snapshot_routes(name)

        def plan(table: RouteTable) -> list[Change]:
            return self._becoming(table, planning.only(table, routes), progress)

        return self._change(plan, cause=f"snapshot {name}")

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot. Raises SnapshotNotFoundError."""
        self._storage.delete_snapshot(name)

    def _becoming(
        self, table: RouteTable, wanted: Mapping[str, Route | None], progress: Progress | None
    ) -> list[Change]:
        return planning.becoming(table, wanted, functools.partial(self._lane.encode, progress=progress))
