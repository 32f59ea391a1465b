"""Where routes live between processes. A change is durable before it is acknowledged.

The stores are imported when first used: a shell that completes a route's name waits for neither NumPy nor a driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synaptoroute.storage.base import BaseStorage as BaseStorage
    from synaptoroute.storage.postgres import PostgresStorage as PostgresStorage
    from synaptoroute.storage.sqlite import SQLiteStorage as SQLiteStorage

_HOME = {"BaseStorage": "base", "PostgresStorage": "postgres", "SQLiteStorage": "sqlite"}

__all__ = ["BaseStorage", "PostgresStorage", "SQLiteStorage"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"synaptoroute.storage.{_HOME[name]}"), name)
    globals()[name] = value
    return value
