"""Large tables: files beside the store that may be missing, old, damaged or half written, and compaction."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Decision, Route, cache_files
from synaptoroute.decision import lessons
from synaptoroute.errors import StorageCorruptError
from synaptoroute.index import ExactIndex, HnswGraph, SegmentedIndex
from synaptoroute.storage import SQLiteStorage
from tests.seeded import SeededEncoder, route, small_heads, vectors_of

ROUTES = [route(f"r{number}") for number in range(40)]
QUERIES = [f"r{number} what" for number in range(45)]


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 utterances are many, ten new rows call for compaction, and no head is learned."""
    for module in ("table", "table_files"):
        monkeypatch.setattr(f"synaptoroute.{module}.SEGMENTED_FROM", 60)
    monkeypatch.setattr("synaptoroute.table_files.GRAPH_PAYS_FROM", 10_000)
    monkeypatch.setattr("synaptoroute.index.segmented._TAIL_ROWS", 10)
    monkeypatch.setattr(lessons, "EFFORTS", small_heads(100))


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    if not HnswGraph.available():
        pytest.skip("needs the extra hnsw")
    monkeypatch.setattr("synaptoroute.table_files.GRAPH_PAYS_FROM", 60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.db"


def opened(path: Path | str) -> AdaptiveRouter:
    return AdaptiveRouter(SeededEncoder(), SQLiteStorage(path))


def filled(path: Path | str, routes: list[Route] = ROUTES) -> AdaptiveRouter:
    router = opened(path)
    texts = [text for each in routes for text in each.utterances]
    router.add_routes(routes, vectors=vectors_of(texts))
    return router


def settled(path: Path) -> list[Decision]:
    """Fills a store, has it compacted, and closes it."""
    with filled(path) as router:
        router.wait_until_fitted()
    with opened(path) as router:
        router.wait_until_fitted()
        return router.route_many(QUERIES)


def generations(path: Path) -> list[str]:
    return sorted(entry.name for entry in Path(f"{path}-index").glob("gen-*"))


def newest(path: Path) -> Path:
    folder = Path(f"{path}-index")
    return folder / f"gen-{max(int(name[4:]) for name in generations(path) if name[4:].isdigit())}"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one whenever a whole store is read."""
    calls: list[object] = []
    whole = SQLiteStorage.read

    def read(self: SQLiteStorage, *arguments: Any, **options: Any) -> Any:
        calls.append(self)
        return whole(self, *arguments, **options)

    monkeypatch.setattr(SQLiteStorage, "read", read)
    return calls


def same(ours: list[Decision], theirs: list[Decision]) -> None:
    """But for the revision and the last digits."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.name == other.name
        assert [match.name for match in one.matches] == [match.name for match in other.matches]
        assert [match.utterance for match in one.matches] == [match.utterance for match in other.matches]
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def holds(router: AdaptiveRouter, routes: dict[str, tuple[str, ...]]) -> None:
    """Just these routes, each row with the vector of its utterance."""
    assert {each.name: each.utterances for each in router.routes} == routes
    table = router.snapshot
    assert len(table.index) == sum(map(len, routes.values()))
    for name, utterances in routes.items():
        rows = table.index.rows_of(table.catalog.slot(name))
        np.testing.assert_array_equal(table.index.vectors_of(rows), vectors_of(utterances))


WHOLE = {each.name: each.utterances for each in ROUTES}


# ------------------------------------------------------------------------------------------------------- opening
def test_a_small_table_needs_no_files(path: Path) -> None:
    with filled(path, ROUTES[:5]) as router:
        router.wait_until_fitted()
    with opened(path) as router:
        assert isinstance(router.snapshot.index, ExactIndex)
    assert not Path(f"{path}-index").exists()


def test_the_first_opening_writes_files_and_the_next_reads_nothing_else(path: Path, reads: list[object]) -> None:
    filled(path).close()
    reads.clear()
    with opened(path) as router:
        assert len(reads) == 1
        assert isinstance(router.snapshot.index, SegmentedIndex)
        holds(router, WHOLE)
        router.wait_until_fitted()
        before = router.route_many(QUERIES)
    assert generations(path)
    with opened(path) as router:
        assert len(reads) == 1
        holds(router, WHOLE)
        assert router.settled
        assert router.route_many(QUERIES) == before
        assert router.encoder.encoded == len(QUERIES)  # type: ignore[attr-defined] # SeededEncoder


def test_what_has_changed_since_the_files_is_read_from_the_store(path: Path, reads: list[object]) -> None:
    settled(path)
    reads.clear()
    with opened(path) as router:
        router.add_route(route("new"))
        router.delete_route("r3")
        router.update_route("r4", utterances=["r4 2", "r4 9"])
        router.update_threshold("r5", 0.9)
        router.delete_route("r6")
        router.add_route(route("r6", 7))
        expected, revision = router.route_many(QUERIES), router.revision
    with opened(path) as router:
        assert not reads
        assert router.revision == revision
        changed = {"new": route("new").utterances, "r4": ("r4 2", "r4 9"), "r6": ("r6 7",)}
        holds(router, {name: said for name, said in WHOLE.items() if name != "r3"} | changed)
        assert router.get_route("r5").threshold == 0.9
        same(router.route_many(QUERIES), expected)


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes()[:-4] + b"\0\x01\x02\x03"),
        lambda file: file.unlink(),
    ],
    ids=["emptied", "cut", "flipped", "removed"],
)
@pytest.mark.parametrize("name", ["vectors.bin", "utterances.bin", "first_utterances.bin", "manifest.json"])
def test_damaged_files_are_set_aside_and_made_anew(
    path: Path, reads: list[object], harm: Callable[[Path], object], name: str
) -> None:
    expected = settled(path)
    for entry in Path(f"{path}-index").glob("gen-*"):
        harm(entry / name)
    reads.clear()
    with opened(path) as router:
        assert len(reads) == 1
        holds(router, WHOLE)
        router.wait_until_fitted()
        same(router.route_many(QUERIES), expected)
    assert any(".corrupt-" in entry for entry in generations(path))
    with opened(path):
        assert len(reads) == 1


def test_files_of_another_encoder_are_not_used(path: Path, reads: list[object]) -> None:
    settled(path)

    class Other(SeededEncoder):
        fingerprint = "seeded-2"

    with opened(path) as router:
        for each in router.routes:
            router.delete_route(each.name)
    with AdaptiveRouter(Other(), SQLiteStorage(path)) as router:
        assert len(router) == 0


def test_a_restored_backup_that_went_another_way_is_read_anew(path: Path, reads: list[object]) -> None:
    settled(path)
    shutil.copy(path, path.with_name("backup.db"))
    with opened(path) as router:
        router.add_routes([route(f"first{number}") for number in range(8)])
        router.wait_until_fitted()
    shutil.copy(path.with_name("backup.db"), path)
    reads.clear()
    with opened(path) as router:
        assert len(reads) == 1
        holds(router, WHOLE)
        router.add_routes([route(f"second{number}") for number in range(8)])
    with opened(path) as router:
        holds(router, WHOLE | {f"second{number}": route(f"second{number}").utterances for number in range(8)})


def test_where_no_files_can_be_written_the_table_is_kept_in_memory(
    path: Path, reads: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    filled(path).close()
    Path(f"{path}-index").write_text("in the way")
    for _ in range(2):
        with opened(path) as router:
            holds(router, WHOLE)
            router.add_routes([route(f"new{number}") for number in range(8)])
            router.wait_until_fitted()
            assert router.settled
            assert router("new3 what").matches[0].name == "new3"
            for number in range(8):
                router.delete_route(f"new{number}")
    assert "queries work without it" in caplog.text


def test_files_that_may_be_read_but_not_written_are_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a process that runs under another user; root, who runs these tests in CI, may write everywhere."""
    expected = settled(path)
    before = generations(path)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with opened(path) as router:
        same(router.route_many(QUERIES), expected)
        router.add_routes([route(f"new{number}") for number in range(8)])
        router.wait_until_fitted()
        assert router.settled
        assert router("new3 what").matches[0].name == "new3"
    assert generations(path) == before


# ------------------------------------------------------------------------------------------------------ compacting
class Held:
    """Where a compaction waits after it has read the table, until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def sealed_in_parts(self, index: SegmentedIndex) -> Iterator[np.ndarray]:
        self.reached.set()
        assert self.go_on.wait(30)
        return _SEALED(index)


_SEALED = SegmentedIndex.sealed_in_parts


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held()
    monkeypatch.setattr(SegmentedIndex, "sealed_in_parts", lambda index: held.sealed_in_parts(index))
    yield held
    held.go_on.set()


@pytest.mark.parametrize("where", ["file", "memory"])
def test_changes_made_during_a_compaction_are_not_lost(path: Path, held: Held, where: str) -> None:
    with filled(path if where == "file" else ":memory:") as router:
        router.add_routes([route(f"new{number}") for number in range(8)])
        router("r1 what")
        assert held.reached.wait(30)
        router.delete_route("r0")
        router.add_route(route("r0", 9))
        router.delete_route("new1")
        router.update_route("r2", utterances=["r2 1", "r2 5"])
        router.add_route(route("late"))
        router.update_threshold("r7", 0.8)
        router.delete_route("late")
        router.add_route(route("later"))
        revision, before = router.revision, router.snapshot.index
        held.go_on.set()
        assert router.wait_until_fitted()
        assert router.revision == revision
        assert router.snapshot.index is not before
        expected = WHOLE | {f"new{number}": route(f"new{number}").utterances for number in range(8)}
        del expected["new1"]
        expected |= {"r0": ("r0 9",), "r2": ("r2 1", "r2 5"), "later": route("later").utterances}
        holds(router, expected)
        assert router.get_route("r7").threshold == 0.8
        assert router("r0 9").matches[0].utterance == "r0 9"
        router.add_route(route("last"))
        assert router("last 0").matches[0].utterance == "last 0"
    if where == "file":
        with opened(path) as router:
            holds(router, expected | {"last": route("last").utterances})


def test_what_is_learned_labelled_or_forgotten_during_a_compaction_stays(path: Path, held: Held) -> None:
    with filled(path) as router:
        router.add_routes([route(f"new{number}") for number in range(8)])
        router("r1 what")
        assert held.reached.wait(30)
        router.refit()
        learned = router.snapshot.two_stage
        assert learned is not None
        held.go_on.set()
        assert router.wait_until_fitted()
        assert router.snapshot.two_stage is learned


def test_compactions_beside_changes_lose_nothing(path: Path) -> None:
    with filled(path) as router:
        expected = dict(WHOLE)
        random = np.random.default_rng(0)
        for step in range(120):
            name = f"n{step}"
            router.add_routes([route(name, *range(int(random.integers(1, 5))))])
            expected[name] = router.get_route(name).utterances
            if step % 3 == 0:
                gone = str(random.choice(list(expected)))
                router.delete_route(gone)
                del expected[gone]
            router(f"{name} what")
        holds(router, expected)
        assert router.wait_until_fitted()
        assert isinstance(router.snapshot.index, SegmentedIndex)
        assert not router.snapshot.index.needs_compaction
        holds(router, expected)
    with opened(path) as router:
        holds(router, expected)
    assert len([name for name in generations(path) if name[4:].isdigit()]) <= 2


def test_a_store_in_memory_is_compacted_too() -> None:
    with filled(":memory:") as router:
        for number in range(20):
            router.delete_route(f"r{number}")
        assert router.wait_until_fitted()
        assert router.snapshot.catalog.slots == len(router) == 20
        holds(router, {name: said for name, said in WHOLE.items() if int(name[1:]) >= 20})


def test_closing_ends_a_compaction_and_leaves_what_there_was(path: Path, held: Held) -> None:
    held.go_on.set()
    settled(path)
    held.reached.clear()
    held.go_on.clear()
    router = opened(path)
    router.add_routes([route(f"new{number}") for number in range(8)])
    router("r1 what")
    assert held.reached.wait(30)
    closing = threading.Thread(target=router.close)
    closing.start()
    held.go_on.set()
    closing.join(30)
    assert not closing.is_alive()
    with opened(path) as router:
        holds(router, WHOLE | {f"new{number}": route(f"new{number}").utterances for number in range(8)})
    assert not any(name.endswith(".tmp") for name in generations(path))


def test_another_process_that_compacts_at_the_same_time_does_no_harm(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes a generation of another revision just after ours; ours must be the one that is used."""
    with filled(path) as router:
        write = cache_files.write

        def write_and_be_overtaken(folder: Path, contents: Any, meta: dict[str, Any]) -> None:
            write(folder, contents, meta)
            monkeypatch.setattr(cache_files, "write", write)
            with opened(path) as other:
                other.wait_until_fitted()
                older = other.snapshot.applied([], meta["state"]["revision"] - 1)
                other._files.compacted(older, lambda: None)

        monkeypatch.setattr(cache_files, "write", write_and_be_overtaken)
        router.add_routes([route(f"new{number}") for number in range(8)])
        assert router.wait_until_fitted()
        holds(router, WHOLE | {f"new{number}": route(f"new{number}").utterances for number in range(8)})


# ----------------------------------------------------------------------------------------------------------- graphs
def test_a_graph_is_built_kept_and_answers_as_exact_search(path: Path, graphs: None, reads: list[object]) -> None:
    with filled(path) as router:
        assert router.wait_until_fitted()
        assert isinstance(router.snapshot.index, SegmentedIndex)
        assert isinstance(router.snapshot.index.graph, HnswGraph)
        found = router.route_many(QUERIES)
        same(found, router.snapshot.decide(QUERIES, vectors_of(QUERIES), exact=True))
    reads.clear()
    with opened(path) as router:
        assert not reads
        assert router.settled
        assert router.route_many(QUERIES) == found


@pytest.mark.parametrize("harm", ["damaged", "missing", "of another version"])
def test_a_graph_that_cannot_be_used_is_built_again_when_a_query_comes(
    path: Path, graphs: None, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = settled(path)
    graph = newest(path) / "graph.bin"
    if harm == "damaged":
        graph.write_bytes(b"x" + graph.read_bytes()[1:])
    elif harm == "missing":
        graph.unlink()
    else:
        monkeypatch.setattr("synaptoroute.table_files.HnswGraph.view", unreadable(HnswGraph.view))
    with opened(path) as router:
        assert router.snapshot.two_stage is not None
        same(router.route_many(QUERIES), expected)
        wait_without_asking(router)
        assert isinstance(router.snapshot.index, SegmentedIndex)
        assert router.snapshot.index.graph is not None
        same(router.route_many(QUERIES), expected)


def unreadable(view: Callable[[Path], HnswGraph]) -> Callable[[Path], HnswGraph]:
    """The first file is one of another version of usearch."""
    seen: list[Path] = []

    def fails_once(path: Path) -> HnswGraph:
        seen.append(path)
        if len(seen) == 1:
            raise StorageCorruptError(f"{path} is no graph that usearch can read")
        return view(path)

    return fails_once


def wait_without_asking(router: AdaptiveRouter) -> None:
    """``wait_until_fitted`` would itself begin the work."""
    tick = threading.Event()
    for _ in range(600):
        if router.settled:
            return
        tick.wait(0.05)
    pytest.fail("nobody began to compact")


def test_where_a_graph_file_can_never_be_read_the_graph_is_kept_in_memory(
    path: Path, graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(path: Path) -> HnswGraph:
        raise StorageCorruptError(f"{path} is no graph that usearch can read")

    monkeypatch.setattr("synaptoroute.table_files.HnswGraph.view", never)
    with filled(path) as router:
        assert router.wait_until_fitted(60)
        assert isinstance(router.snapshot.index, SegmentedIndex)
        assert router.snapshot.index.graph is not None


def test_without_the_library_large_tables_work_and_it_is_said_once(
    path: Path, graphs: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("synaptoroute.table_files.HnswGraph.available", lambda: False)
    with filled(path) as router, caplog.at_level(logging.WARNING):
        router.add_routes([route(f"new{number}") for number in range(8)])
        assert router.wait_until_fitted()
        assert router("r3 what").matches[0].name == "r3"
        assert caplog.text.count("searched one by one") == 1


def test_a_bit_that_rotted_in_a_large_array_is_noticed_in_the_background(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(path)
    vectors = newest(path) / "vectors.bin"
    vectors.write_bytes(vectors.read_bytes()[:-4] + b"\0\0\0\0")
    monkeypatch.setattr(cache_files, "SMALL_BYTES", 16)
    with opened(path) as router:
        router.delete_route("r0")
        router("r1 what")
        wait_without_asking(router)
        router.add_route(route("r0"))
        holds(router, {name: said for name, said in WHOLE.items() if name != "r0"} | {"r0": WHOLE["r0"]})
    assert any(".corrupt-" in name for name in generations(path))


# ------------------------------------------------------------------------------------------------------- crashes
#: Opens the store, adds routes until killed, and prints each that is acknowledged; compacts all the time.
WRITER = """
import sys
import tests.test_table_files as t
from synaptoroute import table, table_files
from synaptoroute.index import segmented
from synaptoroute.decision import lessons
table.SEGMENTED_FROM = table_files.SEGMENTED_FROM = 60
table_files.GRAPH_PAYS_FROM, segmented._TAIL_ROWS = 60, 3
lessons.EFFORTS = t.small_heads(100)
router, first = t.opened(sys.argv[1]), int(sys.argv[2])
for number in range(first, first + 100_000):
    router.add_route(t.route(f"n{number}"))
    print(number, flush=True)
    router(f"n{number} what")
"""


@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_a_process_killed_while_it_compacts_loses_nothing(path: Path, rounds: int) -> None:
    settled(path)
    random, acknowledged = np.random.default_rng(0), list[int]()
    seen = set[str]()
    for round_number in range(rounds):
        first = 100_000 * (round_number + 1)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(first)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"PYTHONPATH": "src:."},
        )
        assert writer.stdout is not None
        wanted = int(random.integers(3, 30))
        for line in writer.stdout:
            acknowledged.append(int(line))
            seen.update(generations(path))
            if len(acknowledged) % 30 >= wanted and any(name.endswith(".tmp") for name in generations(path)):
                break
            if int(line) - first > 200:
                break
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1] if line]
        writer.stdout.close()
        assert writer.wait() == -signal.SIGKILL
        with opened(path) as router:
            names = {each.name for each in router.routes}
            assert names >= WHOLE.keys() | {f"n{number}" for number in acknowledged}
            holds(router, {each.name: route(each.name).utterances for each in router.routes})
            assert router.storage.check() == []  # type: ignore[attr-defined] # SQLiteStorage
            router.wait_until_fitted()
            holds(router, {each.name: route(each.name).utterances for each in router.routes})
        # What was being written when it was killed may lie there until something is written again.
        assert not any("corrupt" in name for name in generations(path))
    assert seen
