"""What keeps several routers the same, and what it is given of each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from synaptoroute.models import Route
from synaptoroute.observability.events import SyncChanged
from synaptoroute.storage.base import BaseStorage, Change, EncoderIdentity, Vectors

#: Named values for the store, see ``NotingStorage.commit``; None deletes one.
Notes = Mapping[str, bytes | None]


class Contents(Protocol):
    """The routes of one revision, with their vectors. Immutable."""

    @property
    def revision(self) -> int:
        """Number of the change that made it."""
        ...

    def __contains__(self, name: object) -> bool: ...

    def __len__(self) -> int: ...

    def names(self) -> Iterator[str]:
        """Of all routes."""
        ...

    def of(self, names: Sequence[str]) -> list[tuple[Route, Vectors]]:
        """The routes of those names, all of which must be there, with the vectors of their utterances, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteChange:
    """What a change from elsewhere does here.

    Attributes:
        changes: To the routes; may be empty.
        notes: Written in the same transaction.
        done: Called when it is durable, before anything else can change.
    """

    changes: Sequence[Change]
    notes: Notes
    done: Callable[[], None]


class Replica(Protocol):
    """One router, as far as synchronising needs it."""

    @property
    def identity(self) -> EncoderIdentity:
        """Whose vectors it holds."""
        ...

    @property
    def storage(self) -> BaseStorage:
        """Where it keeps them."""
        ...

    def contents(self) -> Contents:
        """What it holds now."""
        ...

    def change(self, plan: Callable[[Contents], RemoteChange]) -> None:
        """Apply what the plan makes of the current contents: durable, then visible, with nothing in between.

        Raises:
            RouterClosedError: The router was closed.
            StorageError: It could not be written; nothing was changed.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncHealth:
    """How a replica keeps up with the others.

    Attributes:
        state: "following"; or "starting", "resyncing", "waiting" after a failure, "refused" by a server, "stopped".
        error: What went wrong last; None once all is well again.
        lag_entries: Published by others and not applied here yet, as of the last contact; None before the first.
        last_contact_s: Seconds since the server last answered; None before the first.
        outbox: Own changes that are durable here and not yet seen in the common order.
        applied: Changes of others that were applied since the start.
        published: Own changes that were handed to the server since the start.
        reconnects: How often a connection was made after the first.
        resyncs: How often the whole state was compared and what differed fetched: at a gap, and at a first start.
        repairs: Routes that differed from what was agreed although nothing was missed, and were put right.
        conflicts: Changes of others that an own, later one has overruled.
        poison: Entries set aside for they could not be read or trusted.
        routes: How many the agreed state has, as known here.
        digest: Of these, with all they contain; equal in replicas that have applied the same.
    """

    state: str
    error: str | None
    lag_entries: int | None
    last_contact_s: float | None
    outbox: int
    applied: int
    published: int
    reconnects: int
    resyncs: int
    repairs: int
    conflicts: int
    poison: int
    routes: int
    digest: str


class BaseSyncManager(Protocol):
    """Keeps one router the same as others. The router calls ``outgoing`` and ``committed`` while it is changing."""

    def attach(self, replica: Replica) -> None:
        """Begin to synchronise this router, and no other.

        Raises:
            SyncError: It can never work like this; that a server is away for now is no error.
        """
        ...

    def outgoing(self, changes: Sequence[Change], revision: int) -> Notes:
        """What to write in the transaction that makes these own changes durable as ``revision``.

        Raises:
            InvalidRouteError: A route is too large to be sent.
        """
        ...

    def committed(self) -> None:
        """What ``outgoing`` was last asked about is durable and visible. Returns at once."""
        ...

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until own changes are published and those that others had published by now are applied here.

        Returns:
            False if that took longer than the timeout.

        Raises:
            SyncError: It can never work like this.
        """
        ...

    def health(self) -> SyncHealth:
        """How it goes."""
        ...

    def close(self) -> None:
        """Publish what waits if the server answers in time, and stop. Closing twice does nothing."""
        ...


@runtime_checkable
class TellingSyncManager(Protocol):
    """A sync manager that says when keeping in step begins to go otherwise; ``hooks.HearsSync`` hears of it then."""

    def tell(self, listener: Callable[[SyncChanged], None], /) -> None:
        """Call the listener whenever the state changes, from any thread; it returns at once."""
        ...
