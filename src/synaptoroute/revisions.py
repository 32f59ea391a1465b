"""What a router offers beside routing and changing its routes: their history, and ways back."""

from __future__ import annotations

import functools
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from synaptoroute import planning
from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.errors import (
    EncoderError,
    InvalidInputError,
    RevisionConflictError,
    RouterClosedError,
    SynaptoRouteError,
)
from synaptoroute.history import RouteDiff, changed_since, differences
from synaptoroute.lane import Lane, Progress
from synaptoroute.learning import Learning
from synaptoroute.migration import (
    FormerEncoder,
    MigrationReport,
    asked_by_caller,
    asked_by_fit,
    encode_beside,
    encoded_as_queries,
    reported,
    unchanged,
)
from synaptoroute.models import Route, clean_name
from synaptoroute.observability.events import EncoderChanged
from synaptoroute.shadow import Shadow
from synaptoroute.storage.base import Change, EncoderIdentity
from synaptoroute.storage.history import HistoryEntry, Snapshot
from synaptoroute.table import RouteTable
from synaptoroute.teaching import learn_from

logger = logging.getLogger(__name__)


class Revisions(Learning, ABC):
    """The part of ``AdaptiveRouter`` that deals with revisions other than the current one, and with other encoders."""

    _migrating: threading.Lock

    @abstractmethod
    def _open_lane(self, encoder: BaseEncoder) -> Lane: ...

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

    def rollback(self, revision: int, *, progress: Progress | None = None, expected_revision: int | None = None) -> int:
        """Make the routes what they were at that revision. Returns the new revision, for this is a change as well.

        Nothing of the history is rewritten, so a rollback can be rolled back. Utterances that their routes still have
        keep their vectors; others are encoded. Routes that were deleted since stand behind the others. Labelled
        queries stay as they are.

        Args:
            revision: Whose routes are wanted.
            progress: Told how many of how many utterances have been encoded.
            expected_revision: See ``replace_routes``.

        Raises:
            RevisionNotFoundError: It has not been reached yet, or its history was forgotten.
            RevisionConflictError: The routes have changed since the expected revision.
            EncoderError: An utterance could not be encoded.
            StorageError: The change could not be written.
        """

        def plan(table: RouteTable) -> list[Change]:
            planning.require_at(table, expected_revision)
            return self._becoming(table, changed_since(table, self._storage, revision), progress)

        return self._change(plan, cause=f"rollback to {revision}")

    def replace_routes(
        self, routes: Iterable[Route], *, progress: Progress | None = None, expected_revision: int | None = None
    ) -> int:
        """Make these the only routes, all or none. Returns the new revision.

        Utterances that their routes have already keep their vectors. Labelled queries stay as they are.

        Args:
            routes: As they shall be.
            progress: Told how many of how many utterances have been encoded.
            expected_revision: The ``revision`` of all routes that this was decided upon; None replaces whatever is
                there.

        Raises:
            InvalidInputError: Two of them have the same name.
            RevisionConflictError: The routes have changed since the expected revision.
        """
        routes = list(routes)
        planning.require_distinct(routes)

        def plan(table: RouteTable) -> list[Change]:
            planning.require_at(table, expected_revision)
            return self._becoming(table, planning.only(table, routes), progress)

        return self._change(plan, cause="replacement of all routes")

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

    def use_snapshot(self, name: str, *, progress: Progress | None = None, expected_revision: int | None = None) -> int:
        """Make the routes what they were when the snapshot was saved; as ``rollback`` does. Returns the new revision.

        Raises:
            SnapshotNotFoundError: There is none of that name.
        """
        routes = self._storage.snapshot_routes(name)

        def plan(table: RouteTable) -> list[Change]:
            planning.require_at(table, expected_revision)
            return self._becoming(table, planning.only(table, routes), progress)

        return self._change(plan, cause=f"snapshot {name}")

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot. Raises SnapshotNotFoundError."""
        self._storage.delete_snapshot(name)

    def _becoming(
        self, table: RouteTable, wanted: Mapping[str, Route | None], progress: Progress | None
    ) -> list[Change]:
        return planning.becoming(table, wanted, functools.partial(self._lane.encode, progress=progress))

    # --------------------------------------------------------------------------------------------------- shadows
    def shadow(self, of: int | str, *, examples: int = 0) -> Shadow:
        """Ask the routes of a revision or a snapshot what live queries are asked, to see what they would change.

        The shadow learns in the background as the live table does. Live queries do not wait for it. Close it, or use
        it as a context manager.

        Args:
            of: A revision, or the name of a snapshot.
            examples: So many changed queries are kept as texts for the report; none unless asked for.

        Raises:
            RevisionNotFoundError: The revision has not been reached yet, or its history was forgotten.
            SnapshotNotFoundError: There is no such snapshot.
            EncoderError: An utterance that is not stored any more could not be encoded.
        """
        self._require_open()
        lane = self._lane
        table = lane.table
        if isinstance(of, str):
            wanted, source = planning.only(table, self._storage.snapshot_routes(of)), f"snapshot {of}"
        else:
            wanted, source = changed_since(table, self._storage, of), f"revision {of}"
        changes = planning.becoming(table, wanted, lane.encode)

        def plan(now: RouteTable) -> list[Change]:
            if now.revision != table.revision:
                raise RevisionConflictError(
                    f"the routes are at revision {now.revision}, the shadow was made at {table.revision}: promoting it "
                    "would undo what was changed since; make another, or use 'rollback' or 'use_snapshot'"
                )
            return changes

        def promote(candidate: RouteTable) -> int:
            with self._changing:
                revision = self._change(plan, cause=f"shadow of {source}")
                self._publish(candidate.learned or candidate.two_stage, lane)
            return revision

        def closed(shadow: Shadow) -> None:
            with self._changing:
                lane.observers = tuple(other for other in lane.observers if other is not shadow)

        shadow = Shadow(
            lane,
            table.applied(changes, table.revision).with_learned(None),
            of=source,
            plain=self._plain_terms,
            promote=promote,
            examples=examples,
            closed=closed,
        )
        with self._changing:
            lane.observers = (*lane.observers, shadow)
        return shadow

    def _close_shadows(self) -> None:
        for observer in self._lane.observers:
            if isinstance(observer, Shadow):
                observer.close()

    # ---------------------------------------------------------------------------------------------- another encoder
    def migrate_encoder(
        self,
        encoder: BaseEncoder,
        *,
        queries: Sequence[str] | None = None,
        labels: Sequence[str | None] | None = None,
        progress: Progress | None = None,
    ) -> MigrationReport:
        """Encode everything anew with another encoder, while queries go on with the present one, then swap the two.

        The vectors are made part by part and kept in the store beside those in use: after a crash, the same call goes
        on where it was. Routes may be changed meanwhile; at the end changes wait, while the store is swapped in one
        transaction and the head is learned anew. Then queries are decided by the new vectors.

        With the present encoder, it removes what an unfinished migration has left, and changes nothing.

        Args:
            encoder: The other one.
            queries: To be decided before and after, for the report. Without them, those of ``fit``, or else held-out
                utterances are.
            labels: The route of each query, None for out of scope, if it is known.
            progress: Told how many of how many texts have been encoded.

        Raises:
            InvalidInputError: A migration is running already, queries and labels are not of one length, or there is a
                sync manager.
            EncoderError: One of the encoders failed.
            RevisionConflictError: Another process changes the store; close its router first.
            StorageError: The store cannot be read or written. If that was after the swap, queries go on with the
                former encoder until the router is opened anew.
        """
        if self._sync is not None:
            raise InvalidInputError(
                "other replicas have vectors of the present encoder, and the two cannot be compared: close this "
                "router, migrate its store without a sync manager, and open it with one of another namespace"
            )
        self._require_open()
        if not self._migrating.acquire(blocking=False):
            raise InvalidInputError("a migration to another encoder is running already; wait for it")
        try:
            return self._migrate(encoder, queries, labels, progress)
        finally:
            self._migrating.release()

    def _migrate(
        self,
        encoder: BaseEncoder,
        queries: Sequence[str] | None,
        labels: Sequence[str | None] | None,
        progress: Progress | None,
    ) -> MigrationReport:
        identity = EncoderIdentity(name=encoder.name, dim=encoder.dim, fingerprint=encoder.fingerprint)
        began, former = time.monotonic(), self._lane
        if identity.fingerprint == former.identity.fingerprint:
            self._storage.save_reencoded([], former.encode([]), encoder=identity)
            return unchanged(former)
        asked = asked_by_caller(queries, labels, former, encoder)
        if not isinstance(former.encoder, FormerEncoder):
            self._settle_for_comparison()
        encoded = encode_beside(self._storage, encoder, identity, progress)
        with self._changing:
            self._require_open()
            # What has been changed meanwhile.
            encoded += encode_beside(self._storage, encoder, identity)
            labelled = encoded_as_queries(former.table.labelled, encoder)
            revision = self._storage.swap_encoder(identity, expected_revision=former.table.revision, actor=self._acting)
            if labelled is not None:
                self._storage.save_labelled(labelled, encoder=identity)
                self._storage.save_operating_point(former.table.point)
            lane = self._open_lane(encoder)
            if lane.table.can_learn:
                with suppress(EncoderError):  # Else it will be learned in the background, once the encoder works.
                    lane.table = lane.table.with_learned(learn_from(lane.table))
            self._lane = lane
            asked = asked or asked_by_fit(former.table, lane.table)
        self._publish(lane.table.learned, lane)
        self._hooks.routes_changed(
            EncoderChanged(
                former=former.identity.name,
                name=identity.name,
                revision=revision,
                took_s=time.monotonic() - began,
            )
        )
        former.batcher.close()
        self._settle_for_comparison()
        return reported(former, lane, asked, self._plain_terms, revision=revision, encoded=encoded)

    def _settle_for_comparison(self) -> None:
        """Wait until all is learned, if it can be: an encoder that does not work shall not be one to keep for ever."""
        try:
            self.wait_until_fitted()
        except RouterClosedError:
            raise
        except SynaptoRouteError as exc:
            logger.warning("decisions are compared although not all is learned: %s", exc)
