"""Tells of commits to the PostgreSQL store: by LISTEN, by looking now and then, and after every reconnection."""

from __future__ import annotations

import logging
import os
import random
import select
import threading
from collections.abc import Callable

import psycopg

from synaptoroute.errors import SynaptoRouteError
from synaptoroute.forking import close_at_exit
from synaptoroute.postgres.database import Database, PatientConnection
from synaptoroute.storage.base import StoreState

#: First and longest pause before connecting again; each is twice the last, and a random share of it is waited for.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0

logger = logging.getLogger(__name__)

Mark = tuple[str, str, int, int]


class Watch:
    """A thread with a connection of its own.

    Args:
        database: Where the store is.
        channel: What commits notify.
        poll_s: How often to look without having been notified.
        changed: See ``WatchableStorage.watch``.
    """

    def __init__(
        self,
        database: Database,
        *,
        channel: str,
        poll_s: float,
        changed: Callable[[StoreState | None], bool],
    ) -> None:
        self._database = database
        self._channel = channel
        self._poll_s = poll_s
        self._changed = changed
        self._stopping = threading.Event()
        # Written to, it ends the wait for a notification.
        self._wakes, self._wake = os.pipe()
        self._closing, self._ended = threading.Lock(), False
        self._notified = False
        self._thread = threading.Thread(target=self._run, name="synaptoroute-watch", daemon=True)
        self._thread.start()
        close_at_exit(self, Watch.close)

    def close(self) -> None:
        """See ``Watching.close``."""
        self._stopping.set()
        with self._closing:
            if not self._ended:
                os.write(self._wake, b"x")
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        try:
            while not self._stopping.is_set():
                try:
                    with self._database.connect() as connection:
                        self._listen(connection)
                        pause_s = FIRST_PAUSE_S
                        self._follow(connection)
                except (psycopg.Error, OSError) as exc:
                    if pause_s == FIRST_PAUSE_S:
                        logger.warning(
                            "changes of %s are not seen until it can be reached again; queries go on: %s",
                            self._database.shown,
                            self._database.address.without_secrets(exc),
                        )
                    self._stopping.wait(pause_s * random.uniform(0.5, 1))  # noqa: S311 - spreads load, hides nothing
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            with self._closing:
                self._ended = True
                os.close(self._wakes)
                os.close(self._wake)

    def _listen(self, connection: PatientConnection) -> None:
        standby = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        # A standby passes no notifications on; there, looking has to do.
        if standby is not None and not standby[0]:
            connection.add_notify_handler(self._note)
            connection.execute(f"LISTEN {self._channel}")

    def _follow(self, connection: PatientConnection) -> None:
        told: Mark | None = None
        while not self._stopping.is_set():
            self._notified = False
            mark = self._mark(connection)
            if mark != told and self._tell(mark, told):
                told = mark
                continue
            # A notification that came with the answer may be of a commit that the answer does not show yet.
            if not self._notified:
                select.select([connection.fileno(), self._wakes], [], [], self._poll_s)

    def _note(self, _notification: psycopg.Notify) -> None:
        self._notified = True

    def _mark(self, connection: PatientConnection) -> Mark | None:
        query = "SELECT store_id, token, revision, labelling FROM state, lineages ORDER BY since DESC LIMIT 1"
        return connection.execute(query).fetchone()

    def _tell(self, mark: Mark | None, told: Mark | None) -> bool:
        """Whether it was heard."""
        try:
            only_routes = mark is not None and told is not None and mark[3] == told[3]
            state = StoreState(store_id=mark[0], lineage=mark[1], revision=mark[2]) if mark and only_routes else None
            if not self._changed(state):
                self._stopping.set()
        except SynaptoRouteError as exc:
            logger.warning("changes of %s could not be taken over yet: %s", self._database.shown, exc)
            return False
        return True
