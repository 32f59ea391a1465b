"""HnswGraph: the real usearch, real files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synaptoroute.errors import MissingExtraError, StorageCorruptError
from synaptoroute.index import HnswGraph, hnsw
from synaptoroute.index.base import Vectors
from tests.encoder import run_python
from tests.index.test_exact import random_rows

if not HnswGraph.available():
    pytest.skip("needs the extra hnsw", allow_module_level=True)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return random_rows(1, 3_000)


@pytest.fixture(scope="module")
def graph(vectors: Vectors) -> HnswGraph:
    return HnswGraph.build(vectors)


def test_it_finds_nearly_all_of_the_nearest_rows(graph: HnswGraph, vectors: Vectors) -> None:
    queries = random_rows(2, 50)
    nearest = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    found = graph.search(queries, 20)
    assert found.shape == (50, 20)
    assert found.dtype == np.int64
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, nearest, strict=True)]) > 0.97


@pytest.mark.parametrize(("rows", "count"), [(0, 128), (250_000, 128), (1_000_000, 256), (5_000_000, 573)])
def test_of_more_rows_more_are_looked_at(rows: int, count: int) -> None:
    assert hnsw.looked_at(rows) == count


@pytest.mark.parametrize("restored", [HnswGraph.load, HnswGraph.view])
def test_looking_at_more_finds_more_in_a_file_too(
    restored: Callable[[Path], HnswGraph], vectors: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, path = random_rows(2, 200), tmp_path / "graph"
    nearest = (queries @ vectors.T).argmax(axis=1)
    found = {}
    for enough_for in (10**12, 30):
        monkeypatch.setattr(hnsw, "_LOOKED_AT_SEARCHING", 8)
        monkeypatch.setattr(hnsw, "_ENOUGH_FOR", enough_for)
        HnswGraph.build(vectors).save(path)
        # The graph keeps whole numbers, so the nearest need not come first.
        rows = restored(path).search(queries, 4)
        found[enough_for] = np.mean([row in some for row, some in zip(nearest, rows, strict=True)])
    assert found[10**12] < found[30]


def test_a_batch_finds_what_each_query_finds_alone(graph: HnswGraph) -> None:
    queries = random_rows(3, 8)
    together = graph.search(queries, 12)
    for query in range(8):
        assert graph.search(queries[query : query + 1], 12)[0].tolist() == together[query].tolist()


@pytest.mark.parametrize("queries", [1, 3])
def test_what_it_cannot_find_is_no_row(queries: int) -> None:
    small = HnswGraph.build(random_rows(1, 4))
    found = small.search(random_rows(2, queries), 7)
    assert sorted(found[0][found[0] >= 0].tolist()) == [0, 1, 2, 3]
    assert HnswGraph.build(np.empty((0, 8), np.float32)).search(random_rows(2, queries), 3).max(initial=-1) == -1


@pytest.mark.parametrize("threads", [1, 4])
def test_a_path_leads_to_every_row(vectors: Vectors, threads: int) -> None:
    graph = HnswGraph.build(vectors, threads=threads)
    assert set(graph.search(vectors[:1], 2 * len(vectors))[0].tolist()) - {-1} == set(range(len(vectors)))


def test_one_thread_builds_the_same_file_every_time(vectors: Vectors, tmp_path: Path) -> None:
    for name in ("one", "two"):
        HnswGraph.build(vectors).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_file_answers_as_the_graph_it_was_saved_from(graph: HnswGraph, tmp_path: Path) -> None:
    graph.save(tmp_path / "graph")
    queries = random_rows(4, 20)
    for again in (HnswGraph.load(tmp_path / "graph"), HnswGraph.view(tmp_path / "graph")):
        assert again.search(queries, 10).tolist() == graph.search(queries, 10).tolist()
    assert HnswGraph.view(tmp_path / "graph").nbytes < HnswGraph.load(tmp_path / "graph").nbytes


@pytest.mark.parametrize("content", [b"", b"no graph at all" * 100, None])
def test_a_file_that_is_no_graph_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "graph"
    if content is not None:
        path.write_bytes(content)
    for opened in (HnswGraph.load, HnswGraph.view):
        with pytest.raises(StorageCorruptError, match="build"):
            opened(path)


def test_progress_is_told_and_may_end_the_build(vectors: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synaptoroute.index.hnsw._ROWS_AT_ONCE", 1_024)
    told: list[tuple[int, int]] = []
    HnswGraph.build(vectors, progress=lambda done, of: told.append((done, of)))
    assert told == [(1_024, 3_000), (2_048, 3_000), (3_000, 3_000)]

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HnswGraph.build(vectors, progress=stop)


def test_without_the_package_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'synaptoroute\[hnsw\]'"):
        HnswGraph.build(random_rows(1, 3))


def test_onnxruntime_may_be_imported_after_it() -> None:
    """It killed the process: a store with a graph was opened, and then the first query loaded the encoder."""
    script = (
        "import numpy, sys; from synaptoroute.index import HnswGraph; HnswGraph.build(numpy.eye(4, dtype='f4')); "
        "assert 'onnxruntime' not in sys.modules; "
        "from synaptoroute.encoder import BundledEncoder; print(BundledEncoder().encode(['hi']).shape)"
    )
    done = run_python(script)
    assert (done.returncode, done.stdout) == (0, "(1, 384)\n"), done.stderr
