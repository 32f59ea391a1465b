"""Ray Data: ``dataset.map_batches(RouteBatches, ...)``. The extra ``[ray]``.

::

    ray.data.read_parquet("texts.parquet").map_batches(
        RouteBatches,
        fn_constructor_kwargs={"store": "/data/routes.db"},
        batch_format="pyarrow",
        batch_size=1024,
        compute=ray.data.ActorPoolStrategy(size=2),
    )
"""

from __future__ import annotations

from typing import Unpack

import pyarrow as pa

from synaptoroute.bulk import Asked, BatchRouter, BulkColumns
from synaptoroute.bulk.stores import Store, opened_once


class RouteBatches:
    """Routes tables; an actor opens the store once. Each encodes in one thread: take an actor for each core.

    Args:
        store: The path of an SQLite file that all workers can open, or a function that opens a router.
        columns: Which column is routed, what is added.
        asked: How to decide.

    Raises:
        StorageError: The store cannot be read.
        InvalidInputError: An option is out of its range.
    """

    def __init__(self, store: Store, *, columns: BulkColumns | None = None, **asked: Unpack[Asked]) -> None:
        self._router = BatchRouter(opened_once(store), columns=columns, alone=True, **asked)

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with its decisions. Raises InvalidInputError if its columns do not fit."""
        schema = self._router.columns.after(table.schema)
        return pa.Table.from_batches(map(self._router.routed, table.to_batches()), schema)
