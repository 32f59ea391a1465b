"""Where routes live between processes. A change is durable before it is acknowledged."""

from __future__ import annotations

from synaptoroute.storage.base import BaseStorage
from synaptoroute.storage.postgres import PostgresStorage
from synaptoroute.storage.sqlite import SQLiteStorage

__all__ = ["BaseStorage", "PostgresStorage", "SQLiteStorage"]
