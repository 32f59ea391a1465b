"""One BLAS thread for what must not wait for several: queries and training.

Several threads wait for each other on a busy machine, and keep a core busy for a while after each product. Measured on
two cores: training 16 routes took 13 s instead of 0.9.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from synaptoroute.forking import PerProcess


class _Limit:
    """Counts who is inside, and sets the number of threads when the first comes and the last leaves.

    Args:
        scipys: Whether to limit the BLAS that SciPy brings, which must have been loaded, or all others: NumPy's.
    """

    def __init__(self, *, scipys: bool) -> None:
        from threadpoolctl import ThreadpoolController

        found = ThreadpoolController().select(user_api="blas").lib_controllers
        self._libraries = [
            _threads_of(library)
            for library in found
            if library.get_num_threads() is not None and _is_scipys(library.filepath) == scipys
        ]
        self._former: list[int] = []
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._former = [get() for get, _ in self._libraries]
                self._set([1] * len(self._libraries))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set(self._former)

    def _set(self, numbers: Sequence[int]) -> None:
        for (_, set_), number in zip(self._libraries, numbers, strict=True):
            set_(number)


def _is_scipys(path: str) -> bool:
    # In .../scipy.libs or .../scipy/.dylibs; the name of the file says "scipy" in NumPy's wheels, too.
    return any(folder.name.startswith("scipy") for folder in list(Path(path).parents)[:2])


def _threads_of(library: Any) -> tuple[Callable[[], int], Callable[[int], object]]:
    """What gets and what sets its number of threads.

    Of an OpenBLAS whose threads all callers share, its own functions: threadpoolctl 3.8 lets only the thread that set
    the number first set it again, and takes 10 microseconds more, of which a query that is alone feels each.
    """
    if library.internal_api == "openblas" and library.threading_layer != "openmp":
        for prefix, suffix in product(("", "scipy_"), ("", "64_", "_64")):
            names = (f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set"))
            get, set_ = (getattr(library.dynlib, name, None) for name in names)
            if get is not None and set_ is not None:
                return get, set_
    return library.get_num_threads, library.set_num_threads


_numpy: PerProcess[_Limit] = PerProcess()
_scipy: PerProcess[_Limit] = PerProcess()


def one_blas_thread() -> _Limit:
    """Inside, NumPy's products use one thread, in the whole process. A few microseconds."""
    return _numpy.get(lambda: _Limit(scipys=False))


@contextmanager
def one_blas_thread_for_training() -> Iterator[None]:
    """Inside, NumPy's and SciPy's products use one thread, in the whole process."""
    import scipy.linalg  # noqa: F401 - its BLAS must be loaded to be limited, and a query need not wait for that

    with one_blas_thread(), _scipy.get(lambda: _Limit(scipys=True)):
        yield
