"""Which stored utterances are nearest to a query. Exact search is the default; the graphs are extras."""

from __future__ import annotations

from synaptoroute.index.base import BaseIndex, Nearest
from synaptoroute.index.exact import ExactIndex
from synaptoroute.index.faiss import FaissIndex
from synaptoroute.index.hnsw import GRAPH_PAYS_FROM, Graph, HnswGraph
from synaptoroute.index.pgvector import PgVectorIndex
from synaptoroute.index.segmented import SegmentedIndex

__all__ = [
    "BaseIndex",
    "ExactIndex",
    "FaissIndex",
    "GRAPH_PAYS_FROM",
    "Graph",
    "HnswGraph",
    "Nearest",
    "PgVectorIndex",
    "SegmentedIndex",
]
