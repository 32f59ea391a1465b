"""What belongs to one process: values a forked child must make anew, and threads to end before the interpreter."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value made on first use, once in every process that uses it.

    Threads and native pools do not survive a fork, a lock may have been held at that moment, and two processes cannot
    speak over one connection: a forked child forgets the value and makes its own.
    """

    def __init__(self) -> None:
        self._forget()
        _alive.add(self)

    def _forget(self) -> None:
        self._value: T | None = None
        self._making = threading.Lock()

    def get(self, make: Callable[[], T]) -> T:
        """The value, made by ``make`` if this process has none yet; other threads wait for it meanwhile.

        Raises:
            Exception: Whatever ``make`` raises; the next call tries again.
        """
        value = self._value
        if value is None:
            with self._making:
                value = self._value
                if value is None:
                    value = self._value = make()
        return value


_alive: weakref.WeakSet[PerProcess[Any]] = weakref.WeakSet()


def _forget_in_child() -> None:
    for value in _alive:
        value._forget()  # noqa: SLF001 - this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def close_at_exit(value: T, close: Callable[[T], None]) -> None:
    """Call ``close(value)`` before the interpreter ends, if the value still exists; not in a forked child.

    A thread that the interpreter's end cuts off inside native code takes the process down with it.
    """
    # The child has a copy of the value, but not its threads.
    _closing[value] = os.getpid(), close


_closing: weakref.WeakKeyDictionary[Any, tuple[int, Callable[[Any], None]]] = weakref.WeakKeyDictionary()


@atexit.register
def _close_all() -> None:
    for value, (pid, close) in list(_closing.items()):
        if pid == os.getpid():
            close(value)
