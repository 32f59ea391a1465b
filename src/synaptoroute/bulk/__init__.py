"""Many texts at once: Arrow batches in, the same batches with their decisions out. Needs pyarrow.

One function, ``route_batches``, serves the command line, Ray Data and Spark; ``route_file`` streams a file through it
and continues after a kill.
"""

from __future__ import annotations

from synaptoroute.errors import MissingExtraError

try:
    import pyarrow  # noqa: F401 - all of this room is made of it
except ImportError as exc:
    raise MissingExtraError("routing many texts at once", "parquet") from exc

from synaptoroute.bulk.batches import ADDED, Asked, BatchRouter, BulkColumns, Unrouted, route_batches
from synaptoroute.bulk.run import BulkReport, route_file

__all__ = [
    "ADDED",
    "Asked",
    "BatchRouter",
    "BulkColumns",
    "BulkReport",
    "Unrouted",
    "route_batches",
    "route_file",
]
