from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import scipy.linalg  # noqa: F401 - its BLAS, too
from threadpoolctl import ThreadpoolController

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.blas import one_blas_thread, one_blas_thread_for_training
from synaptoroute.storage import SQLiteStorage


def threads() -> list[int]:
    """Of NumPy's and SciPy's BLAS; other packages that tests load bring more of them."""
    found = ThreadpoolController().select(user_api="blas").info()
    return [
        library["num_threads"] for library in found if "numpy" in library["filepath"] or "scipy" in library["filepath"]
    ]


def test_inside_there_is_one_thread_and_afterwards_as_many_as_before() -> None:
    before = threads()
    ones = [1] * len(before)
    with one_blas_thread_for_training():
        assert threads() == ones
        with one_blas_thread_for_training():
            assert threads() == ones
        assert threads() == ones
    assert threads() == before


def test_an_error_inside_leaves_nothing_behind() -> None:
    before = threads()
    with pytest.raises(ValueError, match="broken"), one_blas_thread_for_training():
        raise ValueError("broken")
    assert threads() == before


def test_it_holds_until_the_last_thread_has_left() -> None:
    before = threads()
    entered, leave = threading.Barrier(3), threading.Event()

    def stay() -> None:
        with one_blas_thread_for_training():
            entered.wait(30)
            leave.wait(30)

    with ThreadPoolExecutor(2) as pool:
        staying = [pool.submit(stay) for _ in range(2)]
        entered.wait(30)
        with one_blas_thread_for_training():
            pass
        assert threads() == [1] * len(before)
        leave.set()
        for done in staying:
            done.result(30)
    assert threads() == before


def test_a_query_limits_numpy_beside_a_training_that_limits_both() -> None:
    before = threads()
    entered, leave = threading.Barrier(2), threading.Event()

    def train() -> None:
        with one_blas_thread_for_training():
            entered.wait(30)
            leave.wait(30)

    with ThreadPoolExecutor(1) as pool, one_blas_thread():
        training = pool.submit(train)
        entered.wait(30)
        assert threads() == [1] * len(before)
        leave.set()
        training.result(30)
        assert 1 in threads()
    assert threads() == before


def test_a_query_on_what_was_learned_before_does_not_load_scipy(tmp_path: Path) -> None:
    """It would take longer than encoding a hundred queries."""
    path = tmp_path / "routes.db"
    with AdaptiveRouter(storage=SQLiteStorage(path)) as router:
        router.add_routes([Route(name="billing", utterances=["pay my bill"]), Route(name="rain", utterances=["rain?"])])
        router.wait_until_fitted()
    code = (
        "import sys\n"
        "from synaptoroute import AdaptiveRouter\n"
        "from synaptoroute.storage import SQLiteStorage\n"
        f"with AdaptiveRouter(storage=SQLiteStorage({str(path)!r})) as router:\n"
        "    print(router('pay the bill').matches[0].name, 'scipy' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["billing", "False"]
