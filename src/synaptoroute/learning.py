"""Learner: keeps what is learned up with the routes, in one background thread that no query waits for."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

from synaptoroute.errors import RouterClosedError, SynaptoRouteError
from synaptoroute.forking import PerProcess
from synaptoroute.table import LearnedTable, RouteTable

logger = logging.getLogger(__name__)

#: Changes often come in groups: learning begins when there was none for this long, or after the longest wait.
QUIET_S, LONGEST_WAIT_S = 0.05, 1.0


class _Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Raised inside training to leave it."""


class Learner:
    """Trains on the current table whenever it is woken and there is something new to learn.

    Args:
        current: Gives the table to learn from.
        publish: Takes what was learned. Routes may have changed meanwhile; the table sorts that out.
    """

    def __init__(self, current: Callable[[], RouteTable], publish: Callable[[LearnedTable | None], None]) -> None:
        self._current = current
        self._publish = publish
        self._worker: PerProcess[_Worker] = PerProcess()
        self._closed = False

    def wake(self) -> None:
        """Start learning if what is known is not up to date. Returns at once."""
        if not self._closed:
            self._get().wake()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until what is known is up to date; False if that took longer than the timeout.

        Raises:
            SynaptoRouteError: Learning failed; the cause says why.
            RouterClosedError: The router was closed meanwhile.
        """
        return self._get().wait(timeout_s)

    def learn_now(self) -> None:
        """Train in the calling thread and publish."""
        self._publish(self._current().learn())
        self._get().forget_failure()

    def close(self) -> None:
        """Stop at the next step of training and wait for that."""
        self._closed = True
        self._get().close()

    def _get(self) -> _Worker:
        return self._worker.get(lambda: _Worker(self._current, self._publish))


class _Worker:
    """The thread of one process, started when first needed."""

    def __init__(self, current: Callable[[], RouteTable], publish: Callable[[LearnedTable | None], None]) -> None:
        self._current = current
        self._publish = publish
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._failure: Exception | None = None
        self.pid = os.getpid()
        _alive.add(self)

    def wake(self) -> None:
        with self._changed:
            # A failure is tried again when somebody waits for it, not at every query.
            if self._thread is None and not self._stopping and self._failure is None:
                self._thread = threading.Thread(target=self._run, name="synaptoroute-learn", daemon=True)
                self._thread.start()

    def forget_failure(self) -> None:
        with self._changed:
            self._failure = None

    def wait(self, timeout_s: float | None) -> bool:
        self.forget_failure()
        self.wake()
        with self._changed:
            settled = self._changed.wait_for(lambda: self._thread is None or self._stopping, timeout_s)
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
                if not table.fitted:
                    self._publish(table.learn(self._checkpoint))
                with self._changed:
                    # Decided under the lock, so that a waker either sees a thread that will look again, or none.
                    if self._current().fitted:
                        self._thread = None
                        return
        except _Stopped:
            pass
        except Exception as exc:
            logger.exception("learning from the routes failed; neighbours alone decide")
            failure = exc
        finally:
            with self._changed:
                # After a success another thread may have been started already.
                if self._thread is threading.current_thread():
                    self._thread = None
                    self._failure = failure
                self._changed.notify_all()

    def _settled_table(self) -> RouteTable:
        """The current table, once it has stayed the same for a moment."""
        deadline = time.monotonic() + LONGEST_WAIT_S
        table = self._current()
        while not table.fitted and time.monotonic() < deadline:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, QUIET_S)
            self._checkpoint()
            latest = self._current()
            if latest is table:
                break
            table = latest
        return table

    def _checkpoint(self) -> None:
        if self._stopping:
            raise _Stopped


_alive: weakref.WeakSet[_Worker] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """A thread that the interpreter's end cuts off inside native code takes the process down with it."""
    for worker in list(_alive):
        # A forked child has copies of its parent's workers, but not their threads.
        if worker.pid == os.getpid():
            worker.close()
