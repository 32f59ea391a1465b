"""Connections that wait to be used again. No threads: who needs one makes it, and is told at once why that failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from synaptoroute.errors import StorageError

C = TypeVar("C", bound="psycopg.Connection[Any]")

#: Whoever has used a connection for so long makes another, so that servers behind a balancer share the load again.
OLDEST_S = 3600.0


class Pool(Generic[C]):
    """Keeps connections for those who come next, the one used last first.

    Args:
        make: Makes one; raises what the driver raises.
        most: How many may be in use at once.
    """

    def __init__(self, make: Callable[[], C], most: int) -> None:
        self._make = make
        self._most = most
        self._room = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[tuple[C, float]] = []
        self._closed = False

    @contextmanager
    def taken(self, timeout_s: float, *, fresh: bool = False) -> Iterator[C]:
        """A connection; one that comes back broken or inside a transaction is not kept.

        Args:
            timeout_s: How long to wait for one that is in use.
            fresh: Make a new one, and keep none of the others: what broke one has most likely broken all.

        Raises:
            StorageError: All are in use, for so long.
        """
        if not self._room.acquire(timeout=timeout_s):
            raise StorageError(f"all {self._most} connections have been in use for {timeout_s:g} s; allow more")
        try:
            if fresh:
                self.forget()
            connection, made = self._pop() or (self._make(), time.monotonic())
            try:
                yield connection
            finally:
                self._put(connection, made)
        finally:
            self._room.release()

    def _pop(self) -> tuple[C, float] | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _put(self, connection: C, made: float) -> None:
        usable = not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE
        with self._lock:
            if usable and not self._closed and time.monotonic() - made < OLDEST_S:
                self._idle.append((connection, made))
                return
        connection.close()

    def forget(self) -> None:
        """Close those that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def close(self) -> None:
        """Close those that are not in use now, and the others when they come back."""
        self._closed = True
        self.forget()
