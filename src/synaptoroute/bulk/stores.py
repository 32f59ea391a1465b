"""How a worker of an engine comes to its router: by the name of a store, once in each process."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import TypeAlias

from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage.reading import SQLiteReader

#: The path of an SQLite file; or a function that opens a router over anything, with any encoder.
Store: TypeAlias = str | os.PathLike[str] | Callable[[], AdaptiveRouter]


def opened_once(store: Store) -> AdaptiveRouter:
    """The router of this process over that store, opened for reading when first asked for.

    A function is known again if it is one of a module; one made on the spot opens another router for every task.

    Raises:
        StorageError: The store cannot be read.
    """
    return _opened(store) if callable(store) else _opened(os.fspath(store))


@lru_cache(maxsize=1)
def _opened(store: Hashable) -> AdaptiveRouter:
    return store() if callable(store) else AdaptiveRouter(storage=SQLiteReader(str(store)))
