"""What a store is, and the changes it is given. The same changes build the next in-memory table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from synaptoroute.errors import RevisionConflictError
from synaptoroute.models import Route
from synaptoroute.storage.history import Snapshot, StoredHistory

Vectors = NDArray[np.float32]
#: For commits that keep none.
NO_NOTES: Mapping[str, bytes | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderIdentity:
    """Whose vectors these are. Vectors of different fingerprints are never mixed."""

    name: str
    dim: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRoute:
    """The route as it shall be, whether it is new or replaces one of the same name.

    ``route.utterances`` are those already stored and kept, in their stored order, and then ``added``.

    Attributes:
        route: The whole route.
        added: Utterances that are not stored yet.
        vectors: Theirs, float32 (len(added), dim).
        removed: Stored utterances that shall go.
    """

    route: Route
    added: tuple[str, ...]
    vectors: Vectors
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRoute:
    """The route of that name shall go, with all its utterances."""

    name: str


Change = PutRoute | DropRoute


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledQueries:
    """Queries with their right routes, which ``fit`` was given, and where it decided to abstain.

    Attributes:
        texts: q queries.
        labels: The route of each; None for out of scope (q).
        vectors: Unit rows float32 (q, dim).
        min_confidence: Least confidence to answer; None leaves it at the default.
    """

    texts: tuple[str, ...]
    labels: tuple[str | None, ...]
    vectors: Vectors
    min_confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPoint:
    """An operating point that somebody set; it comes before the one that ``fit`` chose.

    Attributes:
        min_confidence: Least confidence to answer, in [0, 1].
        actor: Who set it; None if they did not say.
        at: When, in UTC, by the clock of who did it.
    """

    min_confidence: float
    actor: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTable:
    """All that a store holds.

    Attributes:
        revision: Number of the last change; 0 for a new store.
        routes: In the order they were added.
        vectors: Those of all utterances, route after route, float32 (n, dim).
        labelled: What ``fit`` was given; None if it never was.
        point: The operating point that somebody set; None if nobody has.
    """

    revision: int
    routes: tuple[Route, ...]
    vectors: Vectors
    labelled: LabelledQueries | None = None
    point: ChosenPoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """Which content a cache was made of. Two equal states of a store are the same routes, bit for bit.

    Attributes:
        store_id: Made once, with the store.
        lineage: Made anew by every process that writes. A backup that was restored and then changed differently counts
            its revisions on from the same number, and this tells the two apart.
        revision: Number of the last change; 0 for a new store.
    """

    store_id: str
    lineage: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredChanges:
    """What leads from an earlier state of a store to this one.

    Attributes:
        state: The state they lead to.
        changes: First the drops, of which some may name routes that the earlier state did not have. Then the routes
            that are new or changed since, in the order they were added, each whole: all its utterances are in
            ``added`` and take the place of those it had.
        labelled: What ``fit`` was given; None if it never was.
        routes: How many routes there are then; None if the store does not know.
        point: The operating point that somebody set; None if nobody has.
    """

    state: StoreState
    changes: tuple[Change, ...]
    labelled: LabelledQueries | None
    routes: int | None = None
    point: ChosenPoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredStream:
    """All that a store holds, for reading in little memory.

    Attributes:
        state: The one state it is read from, whatever is committed meanwhile.
        batches: Routes in the order they were added, and the vectors of their utterances, float32 (n, dim).
        labelled: What ``fit`` was given; None if it never was.
        point: The operating point that somebody set; None if nobody has.
    """

    state: StoreState
    batches: Iterator[tuple[tuple[Route, ...], Vectors]]
    labelled: LabelledQueries | None
    point: ChosenPoint | None = None


def require_revision(name: str, *, seen: int, expected: int) -> None:
    """Raise RevisionConflictError unless the route changed last at the expected revision; 0 for no route."""
    if seen != expected:
        state = f"changed last at revision {seen}" if seen else "is not there"
        wanted = f"at revision {expected} when it was read" if expected else "expected to be new"
        raise RevisionConflictError(
            f"route {name!r} {state}, but was {wanted}; nothing was changed: read it again and decide anew"
        )


class BaseStorage(Protocol):
    """A durable, revisioned set of routes with the vectors of their utterances."""

    @property
    def cache_folder(self) -> Path | None:
        """Where files may be kept that make opening a large table fast; None for nowhere. Losing them loses nothing."""
        ...

    def load(self, encoder: EncoderIdentity) -> StoredTable:
        """Everything, as of one revision; vectors come back bit for bit as they were given.

        Raises:
            EncoderMismatchError: The vectors were written with another encoder.
            StorageCorruptError: The content is damaged.
        """
        ...

    def read(self, encoder: EncoderIdentity, *, rows: int = 10_000) -> AbstractContextManager[StoredStream]:
        """Everything, as of one revision, in batches of at least ``rows`` utterances; writers need not wait.

        Raises:
            EncoderMismatchError: The vectors were written with another encoder.
            StorageCorruptError: The content is damaged; it may come with a later batch.
        """
        ...

    def state(self) -> StoreState:
        """Which content the store has now."""
        ...

    def encoder(self) -> EncoderIdentity | None:
        """Whose vectors are stored; None if none are."""
        ...

    def changes_since(self, state: StoreState, encoder: EncoderIdentity) -> StoredChanges | None:
        """What has changed since that state.

        Returns:
            None if the state is not an earlier one of this store, is too long ago, or so much has changed that
            reading everything is better.

        Raises:
            EncoderMismatchError: The vectors were written with another encoder.
            StorageCorruptError: The content is damaged.
        """
        ...

    def commit(
        self,
        changes: Sequence[Change],
        *,
        encoder: EncoderIdentity,
        expected_revision: int,
        expected: Mapping[str, int] | None = None,
        actor: str | None = None,
        cause: str | None = None,
    ) -> int:
        """Make all changes durable with an entry of history for each, or nothing, and return the new revision.

        Args:
            changes: What shall be done, in this order; of each route, utterances are removed before others are added.
            encoder: Whose vectors they bring.
            expected_revision: The revision they were planned on.
            expected: Route -> the revision at which it must have changed last; 0 if it must not be there.
            actor: Who does it, for the history.
            cause: What it is part of, for the history.

        Raises:
            RevisionConflictError: The store is not at ``expected_revision``, or a route not at the ``expected`` one.
            StorageError: The changes could not be written; none was.
        """
        ...

    def route_revision(self, name: str) -> int:
        """The revision at which that route changed last; 0 if it is not there."""
        ...

    def history(self, *, since: int = 0, route: str | None = None, limit: int | None = None) -> StoredHistory:
        """What was done after the revision ``since``, to one route or all; only the newest ``limit`` entries."""
        ...

    def save_snapshot(self, name: str, routes: Iterable[Route], *, revision: int, actor: str | None = None) -> Snapshot:
        """Keep these routes, which are those of that revision, under a name until it is deleted.

        Raises:
            InvalidInputError: The name is taken.
            StorageError: They could not be written.
        """
        ...

    def snapshots(self) -> tuple[Snapshot, ...]:
        """All snapshots, in the order they were saved."""
        ...

    def snapshot_routes(self, name: str) -> tuple[Route, ...]:
        """The routes of a snapshot, in their order.

        Raises:
            SnapshotNotFoundError: There is none of that name.
            StorageCorruptError: It is damaged.
        """
        ...

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot. Raises SnapshotNotFoundError."""
        ...

    def unencoded(self, encoder: EncoderIdentity, *, after: int = 0, limit: int = 1_000) -> tuple[list[str], int]:
        """Stored texts that have no vector of that encoder, neither in use nor set aside by ``save_reencoded``.

        Args:
            encoder: The one that a migration leads to.
            after: Where to go on: the number that came with the former texts. 0 begins.
            limit: At most so many utterances are looked at.

        Returns:
            Texts of utterances and labelled queries, none twice, perhaps none although there are more; and where to
            go on, which is -1 after the last.
        """
        ...

    def save_reencoded(self, texts: Sequence[str], vectors: Vectors, *, encoder: EncoderIdentity) -> None:
        """Set vectors of another encoder aside, durably, beside those in use; those of any third encoder are removed.

        Args:
            texts: Any (n).
            vectors: Theirs, float32 (n, encoder.dim).
            encoder: Whose they are.
        """
        ...

    def swap_encoder(self, encoder: EncoderIdentity, *, expected_revision: int, actor: str | None = None) -> int:
        """Put the vectors that were set aside in the place of all others, or change nothing. Returns the new revision.

        What was learned from the former vectors is forgotten, and so are vectors set aside for texts that are gone.

        Raises:
            RevisionConflictError: The store is not at ``expected_revision``, or a stored text has no such vector.
            StorageError: The vectors could not be written.
        """
        ...

    def save_labelled(self, labelled: LabelledQueries | None, *, encoder: EncoderIdentity) -> None:
        """Replace the labelled queries, durably; None forgets them. The revision stays: no route changes.

        An operating point that somebody set is forgotten with them, and where these bring one of their own.

        Raises:
            StorageError: They could not be written; the former ones are still there.
        """
        ...

    def save_operating_point(self, point: ChosenPoint | None) -> None:
        """Keep the operating point that somebody set, durably; None takes it away. The revision stays.

        Raises:
            StorageError: It could not be written; the former one is still there.
        """
        ...

    def save_learned(self, learned: bytes) -> None:
        """Keep what was learned, so that it need not be learned again. A cache: losing it loses nothing."""
        ...

    def load_learned(self) -> bytes | None:
        """What ``save_learned`` kept, or None."""
        ...

    def close(self) -> None:
        """Release files and connections. Closing twice does nothing."""
        ...


class Watching(Protocol):
    """A watch that goes on until it is closed."""

    def close(self) -> None:
        """End it, and wait for a call that is being made. Closing twice does nothing."""
        ...


@runtime_checkable
class WatchableStorage(Protocol):
    """A store that others write to as well and that can tell of it."""

    def watch(self, changed: Callable[[StoreState | None], bool]) -> Watching:
        """Have ``changed`` called, in a thread of its own, soon after anybody has committed, or saved labelled
        queries or an operating point.

        It is called once at the beginning, and again after every time the store was out of reach. What the caller
        itself commits is told of too.

        Args:
            changed: Given the state of the store, or None if something else than routes may have changed too. Returns
                whether it wants to be called again. What it raises is logged, and it is called again.
        """
        ...

    def last_commit(self) -> StoreState | None:
        """The state that the last ``commit`` of this object led to; None if it has made none, or it failed."""
        ...


@runtime_checkable
class NotingStorage(BaseStorage, Protocol):
    """A store that keeps small named values, which a commit can write in its own transaction."""

    def commit(
        self,
        changes: Sequence[Change],
        *,
        encoder: EncoderIdentity,
        expected_revision: int,
        expected: Mapping[str, int] | None = None,
        actor: str | None = None,
        cause: str | None = None,
        notes: Mapping[str, bytes | None] = NO_NOTES,
    ) -> int:
        """See ``BaseStorage.commit``; the notes are durable with the changes or not at all, and None deletes one."""
        ...

    def save_notes(self, notes: Mapping[str, bytes | None]) -> None:
        """Keep these notes, durably, all or none; None deletes one. The revision stays: no route changes.

        Raises:
            StorageError: They could not be written; the former ones are still there.
        """
        ...

    def notes(self, prefix: str = "") -> dict[str, bytes]:
        """All notes whose names begin like this, by name, in the order of their names."""
        ...
