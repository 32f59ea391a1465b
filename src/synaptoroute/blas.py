"""One BLAS thread for what must not wait for several: queries and training."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from synaptoroute.forking import PerProcess


class _Limit:
    """Counts who is inside, and sets the number of threads when the first comes and the last leaves."""

    def __init__(self) -> None:
        # SciPy brings a BLAS of its own, which must be loaded to be limited.
        import scipy.linalg  # noqa: F401
        from threadpoolctl import ThreadpoolController

        found = ThreadpoolController().select(user_api="blas").lib_controllers
        self._libraries: list[Any] = [library for library in found if library.get_num_threads() is not None]
        self._former = [library.get_num_threads() for library in self._libraries]
        self._lock = threading.Lock()
        self._inside = 0

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._former = [library.get_num_threads() for library in self._libraries]
                self._set([1] * len(self._libraries))

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set(self._former)

    def _set(self, numbers: Sequence[int]) -> None:
        for library, number in zip(self._libraries, numbers, strict=True):
            # threadpoolctl 3.8 lets only the thread that set the number first set it again; here whoever holds the
            # lock may set it.
            release = getattr(library, "clear_controlling_thread", _nothing)
            release(force=True)
            library.set_num_threads(number)
            release(force=True)


def _nothing(**_: bool) -> None:
    """What older versions of threadpoolctl need."""


_limit: PerProcess[_Limit] = PerProcess()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, NumPy's and SciPy's products use one thread, in the whole process. A few microseconds.

    Several threads wait for each other on a busy machine, and keep a core busy for a while after each product. Measured
    on two cores: training 16 routes took 13 s instead of 0.9.
    """
    limit = _limit.get(_Limit)
    limit.enter()
    try:
        yield
    finally:
        limit.leave()
