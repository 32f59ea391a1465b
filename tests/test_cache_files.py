"""cache_files: an old generation or the new one, whole and checked, or none; whatever happens to the files."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from synaptoroute import cache_files
from synaptoroute.cache_files import Array, Content, Generation
from synaptoroute.errors import StorageError

META = {"store_id": "s1", "encoder": "e1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "routes.db-index"


def arrays(revision: int) -> dict[str, Array]:
    random = np.random.default_rng(revision)
    return {
        "vectors": random.normal(size=(20 + revision, 4)).astype(np.float32),
        "owners": np.repeat(np.arange(10, dtype=np.int32), 2),
        "nothing": np.empty((0, 3), np.float64),
    }


def graph(revision: int) -> bytes:
    return bytes(range(256)) * (revision + 1)


def write(folder: Path, revision: int) -> None:
    def write_graph(path: Path) -> None:
        path.write_bytes(graph(revision))

    contents: dict[str, Content] = {**arrays(revision), "graph": write_graph}
    cache_files.write(folder, contents.items(), META | {"revision": revision})


def revision_of(generation: Generation | None) -> int | None:
    """Its revision, after holding all its content against what was written; None for no generation."""
    if generation is None:
        return None
    revision = int(generation.meta["revision"])
    written = arrays(revision)
    assert set(generation.arrays) == set(written)
    for name, array in generation.arrays.items():
        assert array.dtype == written[name].dtype
        assert array.shape == written[name].shape
        assert array.tobytes() == written[name].tobytes()
    path = generation.opaque("graph")
    assert path is None or path.read_bytes() == graph(revision)
    return revision


def newest(folder: Path) -> int | None:
    return revision_of(cache_files.newest(folder, META))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# -------------------------------------------------------------------------------------------- writing and reading
def test_what_was_written_comes_back_bit_for_bit_and_read_only(folder: Path) -> None:
    assert cache_files.newest(folder, META) is None
    write(folder, 1)
    generation = cache_files.newest(folder, META)
    assert generation is not None
    assert revision_of(generation) == 1
    assert generation.meta == META | {"revision": 1}
    assert type(generation.arrays["vectors"]) is np.ndarray
    assert generation.arrays["vectors"].ctypes.data % 64 == 0
    assert not generation.arrays["vectors"].flags.writeable
    assert generation.verify()


def test_an_array_may_come_in_parts_and_a_later_content_be_built_meanwhile(folder: Path) -> None:
    built: list[int] = []

    def parts() -> Iterator[Array]:
        for number in range(5):
            built.append(number)
            yield np.full((2, 3), number, np.float32)

    def contents() -> Iterator[tuple[str, Content]]:
        yield "rows", parts()
        yield "counts", np.array(built)
        yield "transposed", np.arange(6).reshape(2, 3).T

    cache_files.write(folder, contents(), {})
    generation = cache_files.newest(folder, {})
    assert generation is not None
    assert (generation.arrays["rows"] == np.repeat(np.arange(5), 2)[:, None]).all()
    assert generation.arrays["rows"].shape == (10, 3)
    assert generation.arrays["counts"].tolist() == [0, 1, 2, 3, 4]
    assert generation.arrays["transposed"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_two_generations_are_kept_and_a_mapped_one_outlives_its_files(folder: Path) -> None:
    write(folder, 1)
    first = cache_files.newest(folder, META)
    for revision in (2, 3, 4):
        write(folder, revision)
    assert names(folder) == ["gen-3", "gen-4", "lock"]
    assert newest(folder) == 4
    assert first is not None
    assert first.arrays["vectors"].tobytes() == arrays(1)["vectors"].tobytes()
    assert first.opaque("graph") is None


def test_a_cache_of_something_else_is_passed_over_and_left_alone(folder: Path) -> None:
    write(folder, 1)
    for expect in ({"store_id": "s2"}, {"encoder": "e2"}, {"library": 1}):
        assert cache_files.newest(folder, META | expect) is None
    assert cache_files.newest(folder, {"revision": 1}) is not None
    assert names(folder) == ["gen-1", "lock"]


def test_a_cache_of_another_format_is_passed_over_and_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 1)
    monkeypatch.setattr(cache_files, "FORMAT", cache_files.FORMAT + 1)
    write(folder, 2)
    monkeypatch.undo()
    assert newest(folder) == 1
    assert names(folder) == ["gen-1", "gen-2", "lock"]


def test_a_name_that_would_leave_the_folder_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        cache_files.write(folder, [("../owners", np.empty(0))], {})
    assert names(folder) == ["lock"]


# --------------------------------------------------------------------------------------------------- interruptions
def killed_at(line: int, folder: Path, revision: int) -> bool:
    """Whether a child that writes a generation is killed before this many lines; otherwise it has written it."""
    left = line

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != cache_files.__file__:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os._exit(9)
        return trace

    child = os.fork()
    if child == 0:
        try:
            sys.settrace(trace)
            write(folder, revision)
        finally:
            os._exit(int(sys.exc_info()[0] is not None))
    exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert exit_code in (0, 9)
    return exit_code == 9


def test_a_writer_killed_at_any_line_leaves_the_old_generation_or_the_new_one(folder: Path, tmp_path: Path) -> None:
    write(folder, 1)
    outcomes: list[int | None] = []
    copy = shutil.copytree(folder, tmp_path / "0")
    while killed_at(4 * len(outcomes), copy, 2):
        outcomes.append(newest(copy))
        write(copy, 3)
        assert newest(copy) == 3
        assert len(names(copy)) == 3, "two generations and the lock: what the killed one left is gone"
        copy = shutil.copytree(folder, tmp_path / str(len(outcomes)))
    assert newest(copy) == 2
    old, new = outcomes.count(1), outcomes.count(2)
    assert outcomes == [1] * old + [2] * new
    assert old > new > 0


@pytest.mark.parametrize("failing", range(8))
def test_a_failing_disk_leaves_the_cache_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    write(folder, 1)
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing + 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    if failing <= 6:
        with pytest.raises(StorageError, match=r"cannot write the cache .*Input/output error"):
            write(folder, 2)
    else:
        write(folder, 2)
    renamed = failing >= 6
    assert names(folder) == (["gen-1", "gen-2", "lock"] if renamed else ["gen-1", "lock"])
    assert newest(folder) == (2 if renamed else 1)


def test_a_full_disk_leaves_the_cache_as_it_was(folder: Path) -> None:
    write(folder, 1)

    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        cache_files.write(folder, [("owners", np.arange(5)), ("graph", full)], META)
    assert names(folder) == ["gen-1", "lock"]
    assert newest(folder) == 1


def test_only_one_process_writes_at_a_time(folder: Path) -> None:
    refused: list[str] = []

    def write_meanwhile(path: Path) -> None:
        path.touch()
        with pytest.raises(StorageError, match="being written by another") as caught:
            write(folder, 2)
        refused.append(str(caught.value))

    cache_files.write(folder, [("graph", write_meanwhile)], META)
    assert len(refused) == 1
    assert names(folder) == ["gen-1", "lock"]


def test_a_folder_without_permissions_is_no_cache_and_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    write(folder, 1)
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    # Permissions do not apply to root, so the child becomes nobody after its imports.
    code = f"""
import os, sys
from pathlib import Path
from synaptoroute import cache_files
from synaptoroute.errors import StorageError
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
folder = Path({str(folder)!r})
print(cache_files.newest(folder, {{}}))
try:
    cache_files.write(folder, [], {{}})
except StorageError as exc:
    print("refused")
"""
    for locked in (folder, folder / "gen-1", folder / "gen-1" / "owners.bin"):
        mode = locked.stat().st_mode
        (folder / "lock").chmod(0o444)
        locked.chmod(0)
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        locked.chmod(mode)
        assert result.stdout.splitlines() == ["None", "refused"], result.stderr
        assert names(folder) == ["gen-1", "lock"]
    assert newest(folder) == 1


# --------------------------------------------------------------------------------------------------------- damage
def any_file(generation: Path, random: np.random.Generator) -> Path:
    files = sorted(path for path in generation.iterdir() if path.is_file())
    return files[random.integers(len(files))]


def flip(path: Path, random: np.random.Generator) -> None:
    content = bytearray(path.read_bytes() or b"\0")
    content[random.integers(len(content))] ^= 1 << random.integers(8)
    path.write_bytes(content)


def blank(path: Path, random: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    start = random.integers(len(content) + 1)
    path.write_bytes(content[:start] + bytes(len(content[start : start + 64])) + content[start + 64 :])


def cut(path: Path, random: np.random.Generator) -> None:
    os.truncate(path, int(random.integers(path.stat().st_size + 1)))


def grow(path: Path, random: np.random.Generator) -> None:
    path.write_bytes(path.read_bytes() + random.bytes(int(random.integers(1, 100))))


def garble(path: Path, random: np.random.Generator) -> None:
    path.write_bytes(random.bytes(path.stat().st_size))


def swap(path: Path, random: np.random.Generator) -> None:
    other = any_file(path.parent, random)
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


def remove(path: Path, _random: np.random.Generator) -> None:
    path.unlink()


def nest(path: Path, _random: np.random.Generator) -> None:
    path.write_text("[" * 100_000)


def become_a_folder(path: Path, _random: np.random.Generator) -> None:
    path.unlink()
    path.mkdir()


MUTATIONS: list[Callable[[Path, np.random.Generator], None]] = [
    flip, flip, flip, blank, cut, grow, garble, swap, remove, nest, become_a_folder,
]  # fmt: skip


def test_300_random_mutations_never_give_a_wrong_answer_nor_an_error(folder: Path, tmp_path: Path) -> None:
    write(folder, 1)
    write(folder, 2)
    outcomes = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        copy = tmp_path / str(seed)
        shutil.copytree(folder, copy)
        for _ in range(random.integers(1, 4)):
            generation = copy / f"gen-{random.integers(1, 3)}"
            MUTATIONS[random.integers(len(MUTATIONS))](any_file(generation, random), random)
        outcomes.append(newest(copy))
        shutil.rmtree(copy)
    assert min(outcomes.count(outcome) for outcome in (None, 1, 2)) > 10


def test_a_damaged_generation_is_set_aside_and_the_one_before_is_used(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, 1)
    write(folder, 2)
    damage(folder / "gen-2" / "owners.bin")
    assert newest(folder) == 1
    assert "gen-2 is set aside and has to be built again: owners is damaged" in caplog.text
    assert [name.split(".corrupt-")[0] for name in names(folder)] == ["gen-1", "gen-2", "lock"]
    write(folder, 3)
    assert newest(folder) == 3
    assert "gen-3" in names(folder)


def test_a_manifest_that_was_edited_is_not_believed(folder: Path) -> None:
    write(folder, 1)
    manifest = folder / "gen-1" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["said"]["files"]["owners"]["dtype"] = "<u4"
    manifest.write_text(json.dumps(content))
    assert newest(folder) is None


def test_at_most_two_damaged_generations_are_kept(folder: Path) -> None:
    for revision in range(1, 6):
        write(folder, revision)
        damage(folder / f"gen-{revision}" / "vectors.bin")
        assert newest(folder) is None
    assert [name.split(".")[0] for name in names(folder)] == ["gen-4", "gen-5", "lock"]


def test_a_large_array_is_checked_when_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 1)
    write(folder, 2)
    damage(folder / "gen-2" / "vectors.bin")
    monkeypatch.setattr(cache_files, "SMALL_BYTES", 100)
    generation = cache_files.newest(folder, META)
    assert generation is not None
    assert generation.meta["revision"] == 2
    assert not generation.verify()
    assert newest(folder) == 1
    assert revision_of(cache_files.newest(folder, META)) == 1


def test_a_large_array_of_the_wrong_size_is_never_mapped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 1)
    os.truncate(folder / "gen-1" / "vectors.bin", 17)
    monkeypatch.setattr(cache_files, "SMALL_BYTES", 0)
    assert newest(folder) is None


@pytest.mark.parametrize("mutate", [flip, cut, remove])
def test_a_damaged_opaque_file_is_never_handed_out(
    folder: Path, mutate: Callable[[Path, np.random.Generator], None]
) -> None:
    write(folder, 1)
    generation = cache_files.newest(folder, META)
    assert generation is not None
    mutate(folder / "gen-1" / "graph.bin", np.random.default_rng(0))
    assert generation.opaque("graph") is None
    assert newest(folder) is None


def test_what_cannot_be_set_aside_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, 1)
    damage(folder / "gen-1" / "owners.bin")

    def rename(_path: Path, _target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "rename", rename)
    with caplog.at_level(logging.WARNING):
        assert newest(folder) is None
    assert "could not be set aside: [Errno 30]" in caplog.text
    assert names(folder) == ["gen-1", "lock"]
