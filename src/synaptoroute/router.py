"""AdaptiveRouter: the object users hold. It wires encoder, table and store, for sync and async callers."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self, Unpack, cast

from synaptoroute import learned_file, planning
from synaptoroute.asking import RouteOptions, Terms, deadline_of, probability, terms
from synaptoroute.batching import BatcherHealth
from synaptoroute.encoder.base import BaseEncoder, Vectors, checked_vectors
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.errors import (
    InvalidInputError,
    InvalidRouteError,
    RevisionConflictError,
    RouteNotFoundError,
    RouterClosedError,
    StorageError,
    StorageInUseError,
)
from synaptoroute.evaluation import Evaluation, check_labels, check_queries, evaluated
from synaptoroute.fitting import FitReport, fit
from synaptoroute.following import PLANS, Following, pause
from synaptoroute.forking import PerProcess
from synaptoroute.history import checked_actor
from synaptoroute.lane import Lane, Progress
from synaptoroute.migration import MigrationReport
from synaptoroute.models import Decision, Route, clean_query, clean_utterances
from synaptoroute.profile import OptimizationProfile
from synaptoroute.replica import RouterReplica
from synaptoroute.revisions import Revisions
from synaptoroute.storage.base import (
    BaseStorage,
    Change,
    DropRoute,
    LabelledQueries,
    NotingStorage,
    StoreState,
    require_revision,
)
from synaptoroute.storage.sqlite import SQLiteStorage
from synaptoroute.sync.base import BaseSyncManager, RemoteChange
from synaptoroute.table import Learned, RouteTable
from synaptoroute.table_files import TableFiles
from synaptoroute.upkeep import Upkeep

__all__ = ["AdaptiveRouter", "OptimizationProfile", "RouteOptions"]

logger = logging.getLogger(__name__)

_Unset = object()


class AdaptiveRouter(Revisions):
    """Routes text to the route it most likely belongs to, or abstains.

    Queries never wait for changes: they read one immutable table, and a change swaps in the next one after it is
    durable. Everything may be called from any thread and from several event loops; ``aquery`` keeps the loop free.
    What is asked by many at once is encoded by as many threads as there are cores; what does not fit into the queue is
    turned away at once.

    Args:
        encoder: Texts to vectors; the bundled encoder by default.
        storage: Where routes live; in memory by default.
        profile: How much of the machine one query may take.
        min_confidence: Least calibrated probability of being right. Unset, routes without a threshold need 0.5.
        cache_bytes: Memory for the vectors of texts asked lately; 0 also stops keeping decisions.
        actor: Who changes routes through this router, for the history; ``history.acting_as`` says so for a while.
        sync_manager: Keeps the routes the same as those of other routers; closed with this one.

    Raises:
        EncoderMismatchError: The store was written with another encoder.
        StorageError: The store cannot be read.
        SyncError: The sync manager can never work like this.
    """

    def __init__(
        self,
        encoder: BaseEncoder | None = None,
        storage: BaseStorage | None = None,
        *,
        profile: OptimizationProfile = OptimizationProfile.BALANCED,
        min_confidence: float | None = None,
        cache_bytes: int = 32 << 20,
        actor: str | None = None,
        sync_manager: BaseSyncManager | None = None,
    ) -> None:
        self._profile = OptimizationProfile(profile)
        self._storage = storage if storage is not None else SQLiteStorage(":memory:")
        self._min_confidence = probability(min_confidence)
        self._actor = checked_actor(actor)
        self._lock: PerProcess[threading.RLock] = PerProcess()
        self._migrating = threading.Lock()
        self._closed = False
        # Changes made while the table is being rebuilt, with their revisions.
        self._journal: list[tuple[Sequence[Change], int]] | None = None
        self._upkeep = Upkeep(lambda: self._table, lambda table: self._lane.settled(table), self._settle)
        self._cache_bytes = cache_bytes
        self._lane = self._open_lane(encoder if encoder is not None else BundledEncoder(profile=self._profile))
        # What the change that is being made has encoded, for planning it anew when another process was faster.
        self._encoded: dict[str, Vectors] = {}
        self._following = Following(self._storage, lambda: self._lane)
        self._following.begin(self._follow)
        self._sync = sync_manager
        if sync_manager is not None:
            sync_manager.attach(
                RouterReplica(
                    self._storage, lambda: self._lane.identity, lambda: self._table, self._change_from_elsewhere
                )
            )

    def _open_lane(self, encoder: BaseEncoder) -> Lane:
        return Lane(
            encoder, self._storage, profile=self._profile, cache_bytes=self._cache_bytes, wake=self._upkeep.wake
        )

    # ------------------------------------------------------------------------------------------------- routing
    def __call__(self, query: str) -> Decision:
        """Route one query; same as ``route(query)``."""
        return self.route(query)

    def route(self, query: str, **options: Unpack[RouteOptions]) -> Decision:
        """Route one query of 1 to 32,768 characters; see ``RouteOptions``.

        Raises:
            InvalidQueryError: The text cannot be routed.
            InvalidInputError: An option is out of its range.
            RouteNotFoundError: A name in ``allow`` is not a route.
            EncoderError: The encoder failed.
            RouterOverloadedError: Too many queries wait already.
            DeadlineExceededError: ``deadline_s`` has passed.
            RouterClosedError: The router was closed.
        """
        return self.route_many([query], **options)[0]

    def route_many(self, queries: Sequence[str], **options: Unpack[RouteOptions]) -> list[Decision]:
        """Route several queries, all on the same revision; one Decision each, in order. Raises as ``route`` does."""
        texts, asked, deadline_s = self._asked(queries, options)
        while True:
            lane = self._lane
            try:
                return lane.known(texts, asked) or lane.batcher.run(texts, asked, deadline_s=deadline_s)
            except RouterClosedError:
                if lane is self._lane:
                    raise

    async def aquery(self, query: str, **options: Unpack[RouteOptions]) -> Decision:
        """``route`` without blocking the event loop."""
        return (await self.aquery_many([query], **options))[0]

    async def aquery_many(self, queries: Sequence[str], **options: Unpack[RouteOptions]) -> list[Decision]:
        """``route_many`` without blocking the event loop."""
        texts, asked, deadline_s = self._asked(queries, options)
        while True:
            lane = self._lane
            try:
                return lane.known(texts, asked) or await lane.batcher.arun(texts, asked, deadline_s=deadline_s)
            except RouterClosedError:
                if lane is self._lane:
                    raise

    def _asked(self, queries: Sequence[str], options: RouteOptions) -> tuple[list[str], Terms, float | None]:
        """Clean texts, how to decide them, and within how long."""
        self._require_open()
        self._following.go_on()
        if isinstance(queries, str):
            raise InvalidInputError("a list of queries is wanted here; route takes a single text")
        asked = terms(options, self._min_confidence) if options else self._plain_terms
        return [clean_query(query) for query in queries], asked, deadline_of(options)

    @functools.cached_property
    def _plain_terms(self) -> Terms:
        return terms({}, self._min_confidence)

    def health(self) -> BatcherHealth:
        """How many queries wait, are being encoded, were turned away; and how the workers are."""
        return self._lane.batcher.health()

    # ------------------------------------------------------------------------------------------------ learning
    def refit(self) -> None:
        """Learn from the current routes now, in this thread; takes seconds (see ``wait_until_fitted``)."""
        self._require_open()
        lane = self._lane
        self._publish(lane.table.learn(), lane)
        self._upkeep.forget_failure()

    def wait_until_fitted(self, timeout_s: float | None = None) -> bool:
        """Wait until what is learned is up to date with the routes; False if that took longer than the timeout.

        Until then, routes that are new or changed are decided by their nearest utterances alone. Waiting makes
        decisions independent of timing. About 16 routes take half a second, 150 with 15,000 utterances 20 seconds;
        a table of 50,000 routes is also sorted into segments and a graph, which takes a minute.

        Raises:
            SynaptoRouteError: Learning failed; the cause says why.
        """
        self._require_open()
        return self.settled or self._upkeep.wait(timeout_s)

    def fit(
        self,
        queries: Sequence[str],
        labels: Sequence[str | None],
        *,
        target_precision: float | None = None,
        max_false_reject: float | None = None,
        force: bool = False,
    ) -> FitReport:
        """Learn from labelled queries, and choose where to abstain. Deterministic; takes seconds.

        The queries are stored with the routes: what is learned later, after routes have changed, still uses those
        whose route is there. A fit that does not improve on held-out queries changes nothing unless forced.

        Args:
            queries: At least 20 texts, not among the stored utterances.
            labels: The route of each; None for out of scope.
            target_precision: Choose the operating point at which this share of answers is right.
            max_false_reject: Choose the operating point at which at most this share of in-scope queries is rejected.
            force: Apply the fit even if it does not help.

        Raises:
            InvalidQueryError: A query cannot be routed.
            InvalidInputError: Unknown routes, not enough data, or an option out of its range.
            StorageError: The queries could not be stored; nothing was changed.
        """
        self._require_open()
        check_queries(queries, labels)
        lane = self._lane
        names = check_labels(labels, lane.table)
        texts = [clean_query(query) for query in queries]
        given = LabelledQueries(texts=tuple(texts), labels=names, vectors=lane.encode(texts))
        report, labelled, learned = fit(
            lane.table, given, target_precision=target_precision, max_false_reject=max_false_reject, force=force
        )
        if report.applied:
            with self._changing:
                self._require_open()
                if lane is not self._lane:
                    raise RevisionConflictError("the encoder was changed while queries were fitted; fit them again")
                self._storage.save_labelled(labelled, encoder=lane.identity)
                # Both at once: between the two, a query would send the learner off to learn this again.
                self._table = self._table.with_labelled(labelled).with_learned(learned)
            self._publish(learned, lane)
        return report

    def forget_fit(self) -> None:
        """Forget the labelled queries and the operating point, and learn from the utterances alone again."""
        with self._changing:
            self._require_open()
            self._storage.save_labelled(None, encoder=self._lane.identity)
            self._table = self._table.with_labelled(None)

    def evaluate(self, queries: Sequence[str], labels: Sequence[str | None]) -> Evaluation:
        """Hold the router's decisions against labels; waits until it has learned from its routes.

        Args:
            queries: Texts.
            labels: The route of each; None for out of scope.

        Raises:
            InvalidInputError: Lengths differ, there is nothing to evaluate, or a label is no route.
        """
        check_queries(queries, labels)
        names = check_labels(labels, self._table)
        self.wait_until_fitted()
        texts = [clean_query(query) for query in queries]
        # Beside the queue: thousands of queries at once would be turned away while others wait.
        lane = self._lane
        decisions = lane.table.decide(texts, lane.encode(texts), **self._plain_terms._asdict())
        return evaluated(queries, names, decisions)

    def _publish(self, learned: Learned | None, lane: Lane) -> None:
        """Use and keep what was learned from a table of that lane, unless it is not the router's any more."""
        with self._changing:
            if lane is not self._lane:
                return
            self._table = table = self._table.with_learned(learned)
        content = learned_file.dump(learned, table) if learned else None
        with self._changing:
            # Once more, for what was learned of another encoder's vectors must not come after a swap of encoders.
            if content is None or self._closed or lane is not self._lane:
                return
            try:
                self._storage.save_learned(content)
            except StorageInUseError:
                logger.info("what was learned is not kept: another process writes to the store")
            except StorageError:
                logger.warning("what was learned could not be kept and will be learned again at the next start")

    @property
    def settled(self) -> bool:
        """Whether everything is learned and compacted, so that ``wait_until_fitted`` would not wait."""
        return self._lane.settled(self._table)

    def _settle(self, table: RouteTable, checkpoint: Callable[[], None]) -> None:
        lane = self._lane
        if lane.table.encode is not table.encode:
            # The encoder was changed since the upkeep looked; it will look again.
            return
        # Verified first: compacting damaged vectors would give them a valid checksum.
        if not lane.files.verified:
            lane.files.verify(lambda rebuilt: self._rebuild(rebuilt, lane))
        elif lane.files.needs_compaction(table):
            self._rebuild(lambda older: lane.files.compacted(older, checkpoint), lane)
        else:
            self._publish(table.learn(checkpoint), lane)

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
    def snapshot(self) -> RouteTable:
        """The immutable table that the next query will be decided by."""
        return self._table

    # ------------------------------------------------------------------------------------------------ changing
    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes in the order they were added."""
        return self._table.routes

    @property
    def revision(self) -> int:
        """How many changes the store has seen."""
        return self._table.revision

    @property
    def encoder(self) -> BaseEncoder:
        """The encoder."""
        return self._lane.encoder

    @property
    def min_confidence(self) -> float | None:
        """Least probability of being right that calls get which name none; None leaves it to the calibration."""
        return self._min_confidence

    @property
    def storage(self) -> BaseStorage:
        """The store."""
        return self._storage

    @property
    def sync_manager(self) -> BaseSyncManager | None:
        """What keeps the routes the same as those of other routers; its ``health()`` tells how that goes."""
        return self._sync

    def migrate_encoder(
        self,
        encoder: BaseEncoder,
        *,
        queries: Sequence[str] | None = None,
        labels: Sequence[str | None] | None = None,
        progress: Progress | None = None,
    ) -> MigrationReport:
        """See ``Revisions.migrate_encoder``. Raises InvalidInputError if there is a sync manager."""
        if self._sync is not None:
            raise InvalidInputError(
                "other replicas have vectors of the present encoder, and the two cannot be compared: close this "
                "router, migrate its store without a sync manager, and open it with one of another namespace"
            )
        return super().migrate_encoder(encoder, queries=queries, labels=labels, progress=progress)

    def get_route(self, name: str) -> Route:
        """The route of that name. Raises RouteNotFoundError."""
        return self._table.get(name)

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

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __len__(self) -> int:
        return len(self._table)

    def add_route(self, route: Route, *, vectors: Vectors | None = None) -> int:
        """Add a route; it takes part in the next query. Returns the new revision, durable.

        Args:
            route: A new route.
            vectors: See ``add_routes``.

        Raises:
            RouteExistsError: The name is taken; use ``update_route``.
            EncoderError: An utterance could not be encoded.
            StorageError: The change could not be written.
        """
        return self.add_routes([route], vectors=vectors)

    def add_routes(
        self, routes: Iterable[Route], *, vectors: Vectors | None = None, progress: Progress | None = None
    ) -> int:
        """Add routes, all of them or, on any error, none; see ``add_route``. Returns the new revision.

        Args:
            routes: New routes.
            vectors: What the router's encoder makes of their ``utterances``, route after route, float32 (n, dim), if
                that is known already; else they are encoded.
            progress: Told how many of how many utterances have been encoded.
        """
        routes = list(routes)
        count = sum(len(route.utterances) for route in routes)

        def plan(table: RouteTable) -> list[Change]:
            if vectors is None:
                planning.require_new(table, routes)
                return self._puts(table, routes, progress)
            known = checked_vectors(vectors, (count, self._lane.identity.dim), "the given vectors")
            planning.require_new(table, routes)
            return planning.puts_of_known(routes, known)

        return self._change(plan)

    def put_routes(
        self,
        routes: Iterable[Route],
        *,
        progress: Progress | None = None,
        expected_revisions: Mapping[str, int] | None = None,
    ) -> int:
        """Add routes or put them in the place of those of the same name, all or none. Returns the revision.

        Only utterances that are new to a route are encoded; routes that are there just so are left alone.

        Args:
            routes: As they shall be.
            progress: Told how many of how many utterances have been encoded.
            expected_revisions: Name -> the revision at which that route must have changed last (``route_revision``);
                0 if it must be new.

        Raises:
            InvalidInputError: Two of them have the same name.
            RevisionConflictError: One of the routes has changed since the expected revision.
        """
        routes = list(routes)
        planning.require_distinct(routes)
        return self._change(lambda table: self._puts(table, routes, progress), expected=expected_revisions)

    def load_routes(self, routes: Iterable[Route], *, progress: Callable[[int], None] | None = None) -> int:
        """``put_routes`` in parts of 1,000, each of them all or none, for many routes. Returns the revision.

        Routes are taken from the iterable as they are needed. What was loaded before an error or a crash stays, and
        loading the same again goes on from there: what is stored already is not encoded again. Learning from the new
        routes begins when all are there.

        Args:
            routes: Any number; ``route_files.iter_routes`` reads them from a file.
            progress: Told how many utterances have been encoded so far.
        """
        before = encoded = 0

        def advance(done: int, _of_part: int) -> None:
            nonlocal encoded
            encoded = before + done
            if progress:
                progress(encoded)

        with self._growing():
            for part in planning.in_parts(routes):
                self.put_routes(part, progress=advance)
                before = encoded
        return self.revision

    @contextmanager
    def _growing(self) -> Iterator[None]:
        files = self._files
        with self._changing:
            files.growing += 1
        try:
            yield
        finally:
            with self._changing:
                files.growing -= 1

    def update_route(
        self,
        name: str,
        *,
        utterances: Iterable[str] | None = None,
        threshold: Any = _Unset,
        description: Any = _Unset,
        metadata: Any = _Unset,
        expected_revision: int | None = None,
    ) -> int:
        """Change some fields of a route; those not given stay. Returns the new revision.

        Only utterances that are new to the route are encoded.

        Args:
            name: Of the route.
            utterances: All that it shall have.
            threshold: Least cosine score; None removes it.
            description: None removes it.
            metadata: All that it shall have.
            expected_revision: The ``route_revision`` that the change was based on; None overwrites whatever is there.
                Every change of a single route takes one.

        Raises:
            RouteNotFoundError: There is no such route.
            InvalidRouteError: A value cannot be accepted.
            RevisionConflictError: The route has changed since ``expected_revision``; nothing was changed.
        """
        fields = {"threshold": threshold, "description": description, "metadata": metadata}
        given = {field: value for field, value in fields.items() if value is not _Unset}
        if utterances is not None:
            given["utterances"] = clean_utterances(utterances)
        expected = _expected(name, expected_revision)
        return self._change(lambda table: self._puts(table, [table.get(name).replaced(**given)]), expected=expected)

    def update_threshold(self, name: str, threshold: float | None, *, expected_revision: int | None = None) -> int:
        """Set or, with None, remove a route's threshold. Returns the new revision."""
        return self.update_route(name, threshold=threshold, expected_revision=expected_revision)

    def add_utterance(self, name: str, utterance: str, *, expected_revision: int | None = None) -> int:
        """Add an example; nothing changes if the route has it already. Returns the revision."""
        return self.add_utterances(name, [utterance], expected_revision=expected_revision)

    def add_utterances(self, name: str, utterances: Iterable[str], *, expected_revision: int | None = None) -> int:
        """Add examples to a route; those it has already are skipped. Returns the revision."""
        texts = clean_utterances(utterances)

        def plan(table: RouteTable) -> list[Change]:
            route = table.get(name)
            return self._puts(table, [route.replaced(utterances=(*route.utterances, *texts))])

        return self._change(plan, expected=_expected(name, expected_revision))

    def remove_utterance(self, name: str, utterance: str, *, expected_revision: int | None = None) -> int:
        """Remove an example. Returns the new revision.

        Raises:
            RouteNotFoundError: There is no such route, or it has no such utterance.
            InvalidRouteError: It is the route's last one; use ``delete_route``.
        """
        (text,) = clean_utterances([utterance])

        def plan(table: RouteTable) -> list[Change]:
            route = table.get(name)
            if text not in route.utterances:
                raise RouteNotFoundError(f"route {name!r} has no such utterance")
            kept = tuple(other for other in route.utterances if other != text)
            if not kept:
                raise InvalidRouteError(f"route {name!r} would be left without utterances; use delete_route")
            return self._puts(table, [route.replaced(utterances=kept)])

        return self._change(plan, expected=_expected(name, expected_revision))

    def delete_route(self, name: str, *, expected_revision: int | None = None) -> int:
        """Remove a route. Returns the new revision. Raises RouteNotFoundError, or RevisionConflictError."""

        def plan(table: RouteTable) -> list[Change]:
            return [DropRoute(name=table.get(name).name)]

        return self._change(plan, expected=_expected(name, expected_revision))

    def _puts(self, table: RouteTable, routes: list[Route], progress: Progress | None = None) -> list[Change]:
        encode = functools.partial(self._encode, progress=progress)
        return planning.puts(table, routes, functools.partial(planning.encoded_once, self._encoded, encode))

    def _encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        return self._lane.encode(texts, progress)

    def _change(
        self,
        plan: Callable[[RouteTable], list[Change]],
        *,
        expected: Mapping[str, int] | None = None,
        cause: str | None = None,
    ) -> int:
        """Plan on the current table, make it durable, then swap in the next: the order that loses nothing.

        Where another process has changed the store first, plan anew on what it has made of it.
        """
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
            table, changes = self._following.caught_up(self._table)
            if table is not self._table:
                self._swap_in(table, changes)
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

    # ------------------------------------------------------------------------------------------------ lifetime
    async def start(self) -> Self:
        """Load the encoder and learn from the routes before the first query. Calling it is optional."""
        await asyncio.to_thread(self.warm_up)
        return self

    def warm_up(self) -> None:
        """Do now what queries would otherwise do, or do without: load the encoder, learn from the routes."""
        self._require_open()
        self._encode(["warm up"])
        self.wait_until_fitted()

    async def stop(self, drain_s: float | None = None) -> None:
        """``close`` without blocking the event loop."""
        await asyncio.to_thread(self.close, drain_s)

    def close(self, drain_s: float | None = None) -> None:
        """Answer what was accepted, then release threads and the store; further calls raise RouterClosedError.

        Closing twice is fine.

        Args:
            drain_s: What is not answered after this long fails with RouterClosedError; None waits for all.
        """
        with self._changing:
            self._closed = True
        self._following.close()
        if self._sync is not None:
            self._sync.close()
        self._close_shadows()
        self._lane.batcher.close(drain_s)
        self._upkeep.close()
        self._storage.close()

    @property
    def _changing(self) -> threading.RLock:
        """Held by whoever changes the table; queries never take it. A forked child has its own."""
        return self._lock.get(threading.RLock)

    def _require_open(self) -> None:
        if self._closed:
            raise RouterClosedError("this router was closed; make a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        return f"AdaptiveRouter({len(self)} routes, revision {self.revision}, encoder={self.encoder.name!r})"


def _expected(name: str, revision: int | None) -> dict[str, int] | None:
    return None if revision is None else {name: revision}
