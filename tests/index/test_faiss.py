"""FaissIndex beyond the contract."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from synaptoroute.errors import InvalidInputError, MissingExtraError
from synaptoroute.index import FaissIndex
from tests.index.test_exact import random_rows

OWNERS = np.arange(1_000, dtype=np.int32) % 100


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_what_faiss_finds_is_scored_exactly(kind: str) -> None:
    pytest.importorskip("faiss")
    vectors, queries = random_rows(1, 1_000), random_rows(2, 20)
    index = FaissIndex(vectors, OWNERS, kind)  # type: ignore[arg-type] # parametrised
    found, exact = index.search(queries, 3), index.search(queries, 3, exact=True)
    np.testing.assert_allclose(found.scores, exact.scores, atol=1e-5)
    assert index.search(queries[:1], 3).owners.tolist() == found.owners[:1].tolist()


def test_it_knows_two_kinds() -> None:
    pytest.importorskip("faiss")
    with pytest.raises(InvalidInputError, match="'flat' or 'hnsw'"):
        FaissIndex(random_rows(1, 1_000), OWNERS, "ivf")  # type: ignore[arg-type] # that is the point


def test_without_the_package_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'synaptoroute\[faiss\]'"):
        FaissIndex(random_rows(1, 1_000), OWNERS)
