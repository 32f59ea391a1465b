"""``doctor --db`` on a store with a large table: the files beside it, and whether search by them finds enough."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from synaptoroute import AdaptiveRouter, cache_files, index, table, table_files
from synaptoroute.cli import app
from synaptoroute.decision import lessons
from synaptoroute.encoder import BundledEncoder
from synaptoroute.index import HnswGraph, SegmentedIndex
from synaptoroute.storage import SQLiteStorage
from tests.seeded import route, small_heads

ROUTES = [route(name) for name in ("weather", "billing", "music", "travel", "cooking", "sports")]


@pytest.fixture(autouse=True)
def _large_from_ten_utterances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "SEGMENTED_FROM", 10)
    monkeypatch.setattr(table_files, "SEGMENTED_FROM", 10)
    monkeypatch.setattr(lessons, "EFFORTS", small_heads(1))


@pytest.fixture
def db(tmp_path: Path, encoder: BundledEncoder) -> Path:
    path = tmp_path / "store.db"
    with AdaptiveRouter(encoder, SQLiteStorage(path)) as router:
        router.add_routes(ROUTES)
    return path


def settle(db: Path, encoder: BundledEncoder) -> Path:
    """Have the files made; gives their folder."""
    with AdaptiveRouter(encoder, SQLiteStorage(db)) as router:
        router.wait_until_fitted()
    return db.with_name("store.db-index")


def graphs_pay_from(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (index, table_files):
        monkeypatch.setattr(module, "GRAPH_PAYS_FROM", rows)


def checks(db: Path) -> dict[str, dict[str, Any]]:
    """What doctor says of the cache and the search; neither makes it fail."""
    result = CliRunner().invoke(app, ["doctor", "--db", str(db), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    found = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    return {name: found[name] for name in ("cache", "search") if name in found}


def test_a_small_table_needs_no_cache(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "SEGMENTED_FROM", 1_000)
    assert checks(db) == {}


def test_a_store_that_was_not_opened_since_has_no_cache_yet(db: Path) -> None:
    found = checks(db)
    assert list(found) == ["cache"]
    assert found["cache"]["status"] == "ok"
    assert "yet; the next router to open the store makes one" in found["cache"]["seen"]
    assert not db.with_name("store.db-index").exists(), "doctor only looks"


def test_a_sound_cache_without_a_graph(db: Path, encoder: BundledEncoder) -> None:
    folder = settle(db, encoder)
    found = checks(db)
    assert found["cache"]["seen"] == f"{folder / 'gen-1'} is sound"
    assert found["search"]["seen"] == "18 utterances, all of which are compared with each query"
    assert {check["status"] for check in found.values()} == {"ok"}


def test_a_large_table_without_the_library_is_told_what_to_install(
    db: Path, encoder: BundledEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(db, encoder)
    graphs_pay_from(12, monkeypatch)
    assert "builds a graph in the background" in checks(db)["search"]["seen"]
    monkeypatch.setattr(HnswGraph, "available", lambda: False)
    found = checks(db)["search"]
    assert found["status"] == "warning"
    assert "pip install 'synaptoroute[hnsw]'" in found["advice"]


@pytest.mark.skipif(importlib.util.find_spec("usearch") is None, reason="the extra hnsw is not installed")
def test_a_graph_is_asked_for_rows_that_are_known(
    db: Path, encoder: BundledEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs_pay_from(12, monkeypatch)
    folder = settle(db, encoder)
    found = checks(db)["search"]
    assert found["status"] == "ok"
    assert found["seen"] == "18 utterances by a graph, which finds 100.0% of the nearest"
    monkeypatch.setattr(SegmentedIndex, "recall", lambda _self: 0.5)
    found = checks(db)["search"]
    assert (found["status"], found["advice"]) == ("warning", f"delete the folder {folder}, it will be built again")


@pytest.mark.parametrize("small_bytes", [0, 1 << 20])
def test_a_damaged_cache_may_be_deleted(
    db: Path, encoder: BundledEncoder, small_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_files, "SMALL_BYTES", small_bytes)
    folder = settle(db, encoder)
    vectors = folder / "gen-1" / "vectors.bin"
    content = bytearray(vectors.read_bytes())
    content[3] ^= 0xFF
    vectors.write_bytes(content)
    found = checks(db)
    assert list(found) == ["cache"]
    assert found["cache"]["status"] == "warning"
    assert found["cache"]["advice"] == f"delete the folder {folder}, it will be built again"
