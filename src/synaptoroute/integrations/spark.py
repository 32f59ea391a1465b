"""Spark: ``frame.mapInArrow(route_in_arrow(...), schema_after(frame.schema))``. The extra ``[spark]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Unpack

import pyarrow as pa

from synaptoroute.bulk import Asked, BulkColumns, route_batches
from synaptoroute.bulk.stores import Store, opened_once
from synaptoroute.errors import MissingExtraError

try:
    from pyspark.sql.pandas.types import from_arrow_type, to_arrow_schema
    from pyspark.sql.types import StructField, StructType
except ImportError as exc:
    raise MissingExtraError("routing in Spark", "spark") from exc

Batches = Iterator[pa.RecordBatch]


def route_in_arrow(
    store: Store, *, columns: BulkColumns | None = None, **asked: Unpack[Asked]
) -> Callable[[Batches], Batches]:
    """A function for ``mapInArrow``. A Python worker opens the store once and encodes in one thread.

    Args:
        store: The path of an SQLite file that all workers can open, or a function of a module that opens a router.
        columns: Which column is routed, what is added.
        asked: How to decide.
    """

    def routed(batches: Batches) -> Batches:
        yield from route_batches(opened_once(store), batches, columns=columns, alone=True, **asked)

    return routed


def schema_after(schema: StructType, columns: BulkColumns | None = None) -> StructType:
    """The schema of what ``route_in_arrow`` gives for rows of that schema.

    Raises:
        InvalidInputError: The columns do not fit.
    """
    columns = columns if columns is not None else BulkColumns()
    given = to_arrow_schema(schema)
    added = list(columns.after(given))[len(given) :]
    return StructType([*schema.fields, *(StructField(field.name, from_arrow_type(field.type)) for field in added)])
