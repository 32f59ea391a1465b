from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from synaptoroute.blas import one_blas_thread


def threads() -> set[int]:
    return {library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()}


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    import scipy.linalg  # noqa: F401 - its BLAS, too

    with threadpool_limits(2, user_api="blas"):
        yield


def test_inside_there_is_one_thread_and_afterwards_as_many_as_before() -> None:
    assert threads() == {2}
    with one_blas_thread():
        assert threads() == {1}
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {2}


def test_an_error_inside_leaves_nothing_behind() -> None:
    with pytest.raises(ValueError, match="broken"), one_blas_thread():
        raise ValueError("broken")
    assert threads() == {2}


def test_it_holds_until_the_last_thread_has_left() -> None:
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
        assert threads() == {1}
        leave.set()
        for done in staying:
            done.result(30)
    assert threads() == {2}
