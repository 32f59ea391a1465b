"""Every index keeps the contract."""

from __future__ import annotations

import numpy as np
import pytest

from synaptoroute.index import ExactIndex, FaissIndex, HnswGraph, SegmentedIndex
from synaptoroute.index.base import Owners, Vectors
from synaptoroute.testing import IndexContract


class TestExactIndex(IndexContract):
    def make(self, vectors: Vectors, owners: Owners) -> ExactIndex:
        return ExactIndex(vectors, owners)


class TestSegmentedIndex(IndexContract):
    def make(self, vectors: Vectors, owners: Owners) -> SegmentedIndex:
        order = np.argsort(owners, kind="stable")
        return SegmentedIndex(vectors[order], owners[order])


class TestSegmentedIndexThatIsAllTail(IndexContract):
    def make(self, vectors: Vectors, owners: Owners) -> SegmentedIndex:
        return SegmentedIndex(vectors[:0], owners[:0]).extended(vectors, owners)


class TestSegmentedIndexHalfSealed(IndexContract):
    def make(self, vectors: Vectors, owners: Owners) -> SegmentedIndex:
        half = len(owners) // 2
        order = np.argsort(owners[:half], kind="stable")
        return SegmentedIndex(vectors[order], owners[order]).extended(vectors[half:], owners[half:])


class TestSegmentedIndexWithGraph(IndexContract):
    recall = 0.95

    def make(self, vectors: Vectors, owners: Owners) -> SegmentedIndex:
        if not HnswGraph.available():
            pytest.skip("needs the extra hnsw")
        order = np.argsort(owners, kind="stable")
        return SegmentedIndex(vectors[order], owners[order], HnswGraph.build(vectors[order]))


class TestFaissFlat(IndexContract):
    def make(self, vectors: Vectors, owners: Owners) -> FaissIndex:
        one_core()
        return FaissIndex(vectors, owners, "flat")


class TestFaissHnsw(IndexContract):
    recall = 0.95

    def make(self, vectors: Vectors, owners: Owners) -> FaissIndex:
        one_core()
        return FaissIndex(vectors, owners, "hnsw")


def one_core() -> None:
    """Otherwise the small builds here wait for the other cores, for a second each when these are busy."""
    pytest.importorskip("faiss").omp_set_num_threads(1)
