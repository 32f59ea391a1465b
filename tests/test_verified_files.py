"""Files that are too large to be checked when a table is opened: checked in the background, replaced if damaged."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synaptoroute import AdaptiveRouter, Decision, cache_files, table, table_files
from synaptoroute.cache_files import Generation
from synaptoroute.decision import lessons
from synaptoroute.errors import StorageError, SynaptoRouteError
from synaptoroute.index import SegmentedIndex
from synaptoroute.storage import SQLiteStorage
from synaptoroute.table_files import TableFiles
from tests.seeded import SeededEncoder, route, small_heads

ROUTES = [route(f"r{number}") for number in range(20)]
QUERIES = [f"r{number} wanted" for number in range(20)]


@pytest.fixture(autouse=True)
def _large_from_ten_utterances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "SEGMENTED_FROM", 10)
    monkeypatch.setattr(table_files, "SEGMENTED_FROM", 10)
    monkeypatch.setattr(lessons, "EFFORTS", small_heads(100))


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with files beside it, all of which count as large from now on."""
    path = tmp_path / "routes.db"
    with opened(path) as router:
        router.add_routes(ROUTES)
    with opened(path) as router:
        router.wait_until_fitted()
    monkeypatch.setattr(cache_files, "SMALL_BYTES", 0)
    return path


def opened(path: Path) -> AdaptiveRouter:
    return AdaptiveRouter(SeededEncoder(), SQLiteStorage(path))


def answers(router: AdaptiveRouter) -> list[Decision]:
    router.wait_until_fitted()
    return router.route_many(QUERIES)


def answers_of_a_fresh_build(db: Path) -> list[Decision]:
    copy = db.with_name("copy.db")
    shutil.copy(db, copy)
    with opened(copy) as router:
        return answers(router)


def damage(db: Path) -> Path:
    """Flip the highest byte of the first number of the newest vectors."""
    path = max(db.with_name("routes.db-index").glob("gen-*/vectors.bin"))
    content = bytearray(path.read_bytes())
    content[3] ^= 0xFF
    path.write_bytes(content)
    return path.parent


def during(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, act: Callable[[], object]) -> None:
    """Have that happen at the end of each call of the method."""
    method = getattr(owner, name)

    def wrapped(*arguments: object) -> object:
        result = method(*arguments)
        act()
        return result

    monkeypatch.setattr(owner, name, wrapped)


def first_vector(router: AdaptiveRouter) -> np.ndarray:
    return router.snapshot.index.vectors_of(np.array([0]))


def test_sound_files_are_verified_once_and_stay_in_use(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[None] = []
    during(monkeypatch, Generation, "verify", lambda: verified.append(None))
    with opened(db) as router:
        assert not router.settled
        assert router.wait_until_fitted()
        assert router.settled
        opened_from = router.snapshot
        router.route(QUERIES[0])
        assert router.wait_until_fitted()
        assert router.snapshot is opened_from
    assert len(verified) == 1


def test_small_files_were_checked_when_they_were_opened(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_files, "SMALL_BYTES", 1 << 20)
    with opened(db) as router:
        assert router.settled


def test_a_damaged_file_is_replaced_from_the_store(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = answers_of_a_fresh_build(db)
    folder = damage(db)
    with opened(db) as router, caplog.at_level(logging.WARNING):
        damaged = first_vector(router)
        assert answers(router) == expected
        assert (first_vector(router) != damaged).any()
        assert isinstance(router.snapshot.index, SegmentedIndex)
        assert router.settled
    assert "vectors is damaged" in caplog.text
    assert "now read from the store" in caplog.text
    assert not folder.exists()
    with opened(db) as router:
        assert answers(router) == expected


def test_a_query_is_enough_to_have_the_files_verified(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = threading.Event()
    during(monkeypatch, Generation, "verify", verified.set)
    with opened(db) as router:
        assert not verified.is_set()
        router.route(QUERIES[0])
        assert verified.wait(30)


@pytest.mark.parametrize(("owner", "name"), [(Generation, "verify"), (TableFiles, "_from_store")])
def test_changes_made_meanwhile_are_kept(db: Path, owner: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(db)
    with opened(db) as router:

        def change() -> None:
            if "new" not in router:
                router.add_route(route("new"))
                router.delete_route("r3")
                router.update_threshold("r4", 0.25)

        during(monkeypatch, owner, name, change)
        router.wait_until_fitted()
        assert [each.name for each in router.routes] == [each.name for each in ROUTES if each.name != "r3"] + ["new"]
        assert router.get_route("r4").threshold == 0.25
        assert router.revision == 4
        assert router("new wanted").matches[0].name == "new"
        found = answers(router)
    assert found == answers_of_a_fresh_build(db)


def test_files_that_another_process_has_removed_are_replaced_too(db: Path) -> None:
    expected = answers_of_a_fresh_build(db)
    with opened(db) as router:
        shutil.rmtree(db.with_name("routes.db-index"))
        assert answers(router) == expected
        assert router.settled


def test_a_store_that_cannot_be_read_either_leaves_all_as_it_was(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(db)

    def unreadable(_files: TableFiles) -> None:
        raise StorageError("the disk is gone")

    with opened(db) as router:
        expected = answers_of_a_fresh_build(db)
        with monkeypatch.context() as patch:
            patch.setattr(TableFiles, "_from_store", unreadable)
            with pytest.raises(SynaptoRouteError, match="the disk is gone"):
                router.wait_until_fitted()
            assert not router.settled
            assert len(router.routes) == len(ROUTES)
        assert answers(router) == expected
