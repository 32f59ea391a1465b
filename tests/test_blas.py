from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import scipy.linalg  # noqa: F401 - its BLAS, too
from threadpoolctl import ThreadpoolController

from synaptoroute.blas import one_blas_thread


def threads() -> list[int]:
    """Of NumPy's and SciPy's BLAS; other packages that tests load bring more of them."""
    found = ThreadpoolController().select(user_api="blas").info()
    return [
        library["num_threads"] for library in found if "numpy" in library["filepath"] or "scipy" in library["filepath"]
    ]


def test_inside_there_is_one_thread_and_afterwards_as_many_as_before() -> None:
    before = threads()
    ones = [1] * len(before)
    with one_blas_thread():
        assert threads() == ones
        with one_blas_thread():
            assert threads() == ones
        assert threads() == ones
    assert threads() == before


def test_an_error_inside_leaves_nothing_behind() -> None:
    before = threads()
    with pytest.raises(ValueError, match="broken"), one_blas_thread():
        raise ValueError("broken")
    assert threads() == before


def test_it_holds_until_the_last_thread_has_left() -> None:
    before = threads()
    entered, leave = threading.Barrier(3), threading.Event()

    def stay() -> None:
        with one_blas_thread():
            entered.wait(30)
            leave.wait(30)

    with ThreadPoolExecutor(2) as pool:
        staying = [pool.submit(stay) for _ in range(2)]
        entered.wait(30)
        with one_blas_thread():
            pass
        assert threads() == [1] * len(before)
        leave.set()
        for done in staying:
            done.result(30)
    assert threads() == before
