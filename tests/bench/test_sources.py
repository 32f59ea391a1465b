from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from synaptoroute.bench.sources import (
    CACHE_VARIABLE,
    DATA_VARIABLE,
    SOURCES,
    DatasetError,
    Source,
    cache_folder,
    data_folder,
    fetch,
)

CONTENT = b"will it rain\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
#: Nothing listens on port 9 of a test machine.
NOWHERE = "http://127.0.0.1:9/upstream/tiny.txt"


def source(address: str = NOWHERE) -> Source:
    return Source(name="tiny/tiny.txt", sha256=SHA256, address=address, licence="CC BY 4.0")


def put(folder: Path, content: bytes) -> Path:
    path = folder / "tiny" / "tiny.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return folder


def test_a_file_that_is_there_and_right_is_taken(tmp_path: Path) -> None:
    assert fetch(source(), data=put(tmp_path / "data", CONTENT), cache=tmp_path / "cache") == CONTENT
    assert not (tmp_path / "cache").exists()


def test_a_tampered_file_is_refused_with_both_hashes_and_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        fetch(source(), data=put(tmp_path, b"will it rain?\n"), cache=tmp_path / "cache")
    seen = hashlib.sha256(b"will it rain?\n").hexdigest()
    for words in (seen, SHA256, "tiny.txt is not the pinned file", NOWHERE, "CC BY 4.0"):
        assert words in str(caught.value)


@pytest.mark.parametrize("data_is_named", [True, False])
def test_a_missing_file_and_an_unreachable_upstream_name_address_file_and_licence(
    tmp_path: Path, data_is_named: bool
) -> None:
    with pytest.raises(DatasetError) as caught:
        fetch(source(), data=tmp_path if data_is_named else None, cache=tmp_path / "cache", timeout_s=2)
    for words in ("cannot download tiny/tiny.txt", NOWHERE, "CC BY 4.0", "--data", DATA_VARIABLE):
        assert words in str(caught.value)
    assert not list(tmp_path.rglob("*.txt"))


def test_a_missing_file_is_downloaded_once_and_kept(tmp_path: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_oneshot_request("/tiny.txt").respond_with_data(CONTENT)
    wanted = source(httpserver.url_for("/tiny.txt"))
    assert fetch(wanted, data=None, cache=tmp_path) == CONTENT
    assert fetch(wanted, data=None, cache=tmp_path) == CONTENT
    assert len(httpserver.log) == 1
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["tiny.txt"]


def test_a_damaged_file_in_the_cache_is_downloaded_again(tmp_path: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_oneshot_request("/tiny.txt").respond_with_data(CONTENT)
    cache = put(tmp_path, b"half of")
    assert fetch(source(httpserver.url_for("/tiny.txt")), data=None, cache=cache) == CONTENT
    assert (cache / "tiny" / "tiny.txt").read_bytes() == CONTENT


def test_another_file_at_the_upstream_address_is_refused_and_not_kept(tmp_path: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/tiny.txt").respond_with_data(b"<html>moved</html>")
    with pytest.raises(DatasetError, match=r"upstream's tiny/tiny.txt is not the pinned file"):
        fetch(source(httpserver.url_for("/tiny.txt")), data=None, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_upstream_that_says_no_is_told_as_such(tmp_path: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/tiny.txt").respond_with_data(b"", status=404)
    with pytest.raises(DatasetError, match=r"cannot download tiny/tiny.txt: NOT FOUND.*CC BY"):
        fetch(source(httpserver.url_for("/tiny.txt")), data=None, cache=tmp_path)


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/tiny.txt").respond_with_data(CONTENT)
    (tmp_path / "file").touch()
    assert fetch(source(httpserver.url_for("/tiny.txt")), data=None, cache=tmp_path / "file") == CONTENT


def test_folders_come_from_the_argument_then_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert data_folder(None) is None
    assert cache_folder().parts[-2:] == ("synaptoroute", "data")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "kept"))
    assert data_folder(None) == tmp_path
    assert cache_folder() == tmp_path / "kept"
    with pytest.raises(DatasetError, match="nowhere is not there; name another with --data"):
        data_folder(tmp_path / "nowhere")


def test_every_file_has_a_hash_an_address_and_a_licence() -> None:
    for name, one in SOURCES.items():
        assert name == one.name
        assert len(bytes.fromhex(one.sha256)) == 32
        assert one.address.startswith("https://raw.githubusercontent.com/")
        assert one.licence in {"CC BY 3.0", "CC BY 3.0, the sentences CC BY-SA 3.0", "CC BY 4.0", "MIT", "CC0"}
    assert len({one.address for one in SOURCES.values()}) == len(SOURCES)
