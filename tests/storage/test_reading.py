from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.errors import StorageError, StorageForeignError
from synaptoroute.storage import SQLiteStorage
from synaptoroute.storage.reading import SQLiteReader
from tests import seeded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "routes.db"
    with AdaptiveRouter(seeded.SeededEncoder(), SQLiteStorage(path)) as router:
        router.add_routes([seeded.route("billing"), seeded.route("weather")])
        router.wait_until_fitted()
    return path


def test_many_read_beside_the_one_who_writes_and_learn_nothing_anew(path: Path) -> None:
    with AdaptiveRouter(seeded.SeededEncoder(), SQLiteStorage(path)) as writer:
        readers = [AdaptiveRouter(seeded.SeededEncoder(), SQLiteReader(path)) for _ in range(3)]
        writer.delete_route("weather")
        for reader in readers:
            assert reader.settled
            assert reader("weather now").name == "weather"
            assert (reader.revision, writer.revision) == (1, 2)
            reader.close()
        later = AdaptiveRouter(seeded.SeededEncoder(), SQLiteReader(path))
        assert [route.name for route in later.routes] == ["billing"]
        later.close()


def test_another_process_reads_what_is_open_for_writing_here(path: Path) -> None:
    code = (
        "import sys; from synaptoroute.storage.reading import SQLiteReader\n"
        "print([route.name for route in SQLiteReader(sys.argv[1]).routes()])"
    )
    with AdaptiveRouter(seeded.SeededEncoder(), SQLiteStorage(path)) as writer:
        writer.add_route(seeded.route("greeting"))
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "['billing', 'weather', 'greeting']\n"


def test_nothing_is_written_through_it(path: Path) -> None:
    before = path.read_bytes()
    with AdaptiveRouter(seeded.SeededEncoder(), SQLiteReader(path)) as reader:
        with pytest.raises(StorageError, match="readonly"):
            reader.add_route(seeded.route("greeting"))
        with pytest.raises(StorageError, match="readonly"):
            reader.forget_fit()
        reader.refit()
        assert "greeting" not in reader
    assert path.read_bytes() == before


def test_what_is_no_store_is_refused_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"there is no store .*gone.db"):
        SQLiteReader(tmp_path / "gone.db")
    assert not list(tmp_path.iterdir())
    (tmp_path / "text").write_text("hello")
    with pytest.raises(StorageForeignError, match="not a SynaptoRoute database"):
        SQLiteReader(tmp_path / "text")
    connection = sqlite3.connect(tmp_path / "other")
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(StorageForeignError, match="of another program"):
        SQLiteReader(tmp_path / "other")


@pytest.mark.parametrize("version", [1, 999])
def test_another_schema_is_left_to_those_who_write(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(StorageForeignError, match=f"has schema {version}, wanted"):
        SQLiteReader(path)
