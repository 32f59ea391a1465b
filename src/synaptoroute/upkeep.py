"""Upkeep: keeps what is derived from the routes up with them, in one background thread that no query waits for."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from synaptoroute.errors import RouterClosedError, SynaptoRouteError
from synaptoroute.forking import PerProcess, close_at_exit
from synaptoroute.table import RouteTable

Current = Callable[[], RouteTable]
Settled = Callable[[RouteTable], bool]
Work = Callable[[RouteTable, Callable[[], None]], None]

logger = logging.getLogger(__name__)

#: Changes often come in groups: work begins when there was none for this long, after the longest wait, or at once when
#: somebody waits for it. Learning after each of 200 changes, 0.2 s apart, kept a core from what takes them over.
QUIET_S, LONGEST_WAIT_S = 0.25, 1.0
#: How long each step of the work gives way to a change at most, and how often it looks whether that has ended.
GIVES_WAY_S, LOOKS_EVERY_S = 0.05, 0.001


class _Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside the work to leave it."""


class Upkeep:
    """Learns and compacts whenever it is woken and the current table needs it.

    Args:
        current: Gives the current table.
        settled: Whether a table needs nothing.
        work: Does one thing that a table needs and publishes it. Routes may have changed meanwhile. Calls the function
            it is given now and then, which raises to end it.
        failed: Told of what the work raised.
    """

    def __init__(
        self, current: Current, settled: Settled, work: Work, *, failed: Callable[[Exception], None] | None = None
    ) -> None:
        self._make_worker = lambda: _Worker(current, settled, work, failed, lambda: self._changing_in == os.getpid())
        self._worker: PerProcess[_Worker] = PerProcess()
        self._closed = False
        # The process, for a forked child has a copy of this and not of who changes something.
        self._changing_in: int | None = None

    @contextmanager
    def giving_way(self) -> Iterator[None]:
        """While this lasts, work pauses at its next step. One thread at a time.

        The interpreter is given away at every statement to the store, and a thread that computes gives it back late:
        on two busy cores changes of another replica took effect after 40 and 46 ms (medians of 50), after 27 and 30 ms
        like this.
        """
        self._changing_in = os.getpid()
        try:
            yield
        finally:
            self._changing_in = None

    def wake(self) -> None:
        """Start working if there is something to do. Returns at once."""
        if not self._closed:
            self._get().wake()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until nothing is left to do; False if that took longer than the timeout.

        Raises:
            SynaptoRouteError: The work failed; the cause says why.
            RouterClosedError: The router was closed meanwhile.
        """
        return self._get().wait(timeout_s)

    def forget_failure(self) -> None:
        """Try again at the next query: the work has been done otherwise meanwhile."""
        self._get().forget_failure()

    def close(self) -> None:
        """Stop at the next step of the work and wait for that."""
        self._closed = True
        self._get().close()

    def _get(self) -> _Worker:
        return self._worker.get(self._make_worker)


class _Worker:
    """The thread of one process, started when first needed."""

    def __init__(
        self,
        current: Current,
        settled: Settled,
        work: Work,
        failed: Callable[[Exception], None] | None,
        gives_way: Callable[[], bool],
    ) -> None:
        self._failed = failed
        self._current = current
        self._settled = settled
        self._work = work
        self._gives_way = gives_way
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._waiting = 0
        self._failure: Exception | None = None
        close_at_exit(self, _Worker.close)

    def wake(self) -> None:
        with self._changed:
            # A failure is tried again when somebody waits for it, not at every query.
            if self._thread is None and not self._stopping and self._failure is None:
                self._thread = threading.Thread(target=self._run, name="synaptoroute-upkeep", daemon=True)
                self._thread.start()

    def forget_failure(self) -> None:
        with self._changed:
            self._failure = None

    def wait(self, timeout_s: float | None) -> bool:
        self.forget_failure()
        self.wake()
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            try:
                settled = self._changed.wait_for(lambda: self._thread is None or self._stopping, timeout_s)
            finally:
                self._waiting -= 1
            if self._stopping:
                raise RouterClosedError("the router was closed before it had finished learning")
            if self._failure is not None:
                raise SynaptoRouteError(f"learning failed: {self._failure}") from self._failure
            return settled

    def close(self) -> None:
        with self._changed:
            self._stopping = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            while True:
                table = self._settled_table()
                if not self._settled(table):
                    self._work(table, self._checkpoint)
                with self._changed:
                    # Decided under the lock, so that a waker either sees a thread that will look again, or none.
                    if self._settled(self._current()):
                        self._thread = None
                        return
        except _Stopped:
            pass
        except Exception as exc:
            logger.exception("learning from the routes, or compacting them, failed; queries are decided as before")
            failure = exc
            if self._failed is not None:
                self._failed(exc)
        finally:
            with self._changed:
                # After a success another thread may have been started already.
                if self._thread is threading.current_thread():
                    self._thread = None
                    self._failure = failure
                self._changed.notify_all()

    def _settled_table(self) -> RouteTable:
        """The current table, once it has stayed the same for a moment or somebody waits."""
        deadline = time.monotonic() + LONGEST_WAIT_S
        table = self._current()
        while not self._settled(table) and time.monotonic() < deadline:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._waiting > 0, QUIET_S)
                hurried = self._waiting > 0
            self._checkpoint()
            former, table = table, self._current()
            if hurried or table is former:
                break
        return table

    def _checkpoint(self) -> None:
        deadline = time.monotonic() + GIVES_WAY_S
        while self._gives_way() and not self._stopping and time.monotonic() < deadline:
            time.sleep(LOOKS_EVERY_S)
        if self._stopping:
            raise _Stopped
