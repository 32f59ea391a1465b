"""A router as the sync room sees it: what it holds, and one way to change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from synaptoroute.models import Route
from synaptoroute.storage.base import BaseStorage, EncoderIdentity, Vectors
from synaptoroute.sync.base import Contents, RemoteChange
from synaptoroute.table import RouteTable


class TableContents:
    """The routes of a table with their vectors; see ``Contents``."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table

    @property
    def revision(self) -> int:
        """See ``Contents.revision``."""
        return self._table.revision

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __len__(self) -> int:
        return len(self._table)

    def names(self) -> Iterator[str]:
        """See ``Contents.names``."""
        return iter(self._table.catalog)

    def of(self, names: Sequence[str]) -> list[tuple[Route, Vectors]]:
        """See ``Contents.of``."""
        if not names:
            return []
        catalog, index = self._table.catalog, self._table.index
        slots = np.array([catalog.slot(name) for name in names], np.int64)
        rows, places = index.members(slots[:, None])
        vectors = index.vectors_of(rows)
        ends = np.searchsorted(places, np.arange(len(names)), side="right").tolist()
        starts = [0, *ends[:-1]]
        return [
            (catalog.get(slot), vectors[start:end])
            for slot, start, end in zip(slots.tolist(), starts, ends, strict=True)
        ]


class RouterReplica:
    """See ``Replica``.

    Args:
        storage: Of the router.
        identity: Gives that of its encoder.
        table: Gives its current table.
        change: Applies what a plan makes of its current table, under its change lock.
    """

    def __init__(
        self,
        storage: BaseStorage,
        identity: Callable[[], EncoderIdentity],
        table: Callable[[], RouteTable],
        change: Callable[[Callable[[RouteTable], RemoteChange]], None],
    ) -> None:
        self._storage = storage
        self._identity = identity
        self._table = table
        self._change = change

    @property
    def identity(self) -> EncoderIdentity:
        """See ``Replica.identity``."""
        return self._identity()

    @property
    def storage(self) -> BaseStorage:
        """See ``Replica.storage``."""
        return self._storage

    def contents(self) -> Contents:
        """See ``Replica.contents``."""
        return TableContents(self._table())

    def change(self, plan: Callable[[Contents], RemoteChange]) -> None:
        """See ``Replica.change``."""
        self._change(lambda table: plan(TableContents(table)))
