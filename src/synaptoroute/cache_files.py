"""Verified generations of memory-mapped files: a cache beside the store, whose loss costs nothing but time.

::

    routes.db-index/
        gen-8/                        the newest: one raw file an array, and manifest.json
        gen-7/                        the one before it
        gen-9.tmp/                    being written, or left by a crash; the next write removes it
        gen-6.corrupt-1763784000/     set aside because it was damaged, for inspection; at most two
        lock                          held by the process that writes
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import mmap
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from synaptoroute.durable import sync
from synaptoroute.errors import StorageError

#: Changes whenever an older version could not read what this one writes.
FORMAT = 1
#: Files up to this size are checked when opened, which takes about 5 ms; larger ones later.
SMALL_BYTES = 64 << 20
_KEPT_GENERATIONS = 2
_KEPT_CORRUPT = 2
_CHUNK_BYTES = 4 << 20
_MANIFEST = "manifest.json"
_GENERATION = re.compile(r"gen-(\d+)")

Array = NDArray[Any]
#: An array; or its parts, to be joined along the first axis; or what writes an opaque file to the path it is given.
Content = Array | Iterable[Array] | Callable[[Path], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _File:
    """What the manifest says of a file; an opaque one has neither dtype nor shape."""

    size: int
    checksum: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None


# ------------------------------------------------------------------------------------------------------- writing
def write(folder: Path, contents: Iterable[tuple[str, Content]], meta: Mapping[str, Any]) -> None:
    """Add a generation and drop those before its predecessor. Whoever has mapped one that is dropped keeps it.

    A crash at any moment leaves the generations there were, or the new one as well.

    Args:
        folder: Created if missing; its parent must exist.
        contents: Names, which become names of files, and their content, each asked for after the one before it was
            written; so a generator can build what does not fit in memory.
        meta: What the content was made of and by, as JSON; ``newest`` compares it and gives it back.

    Raises:
        StorageError: It cannot be written, or another process is writing one. What there was is still there.
    """
    try:
        folder.mkdir(exist_ok=True)
        with _alone(folder):
            for leftover in folder.glob("gen-*.tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
            path = folder / f"gen-{_next_number(folder)}"
            temporary = path.with_name(f"{path.name}.tmp")
            temporary.mkdir()
            try:
                _write_generation(temporary, contents, meta)
                temporary.rename(path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync(folder)
            for old in _generations(folder)[_KEPT_GENERATIONS:]:
                shutil.rmtree(old, ignore_errors=True)
    except OSError as exc:
        raise StorageError(f"cannot write the cache {folder}: {exc}; queries work without it") from exc


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock, which the kernel takes back from a process that dies."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(f"the cache {folder} is being written by another process or thread") from None
        yield


def _write_generation(path: Path, contents: Iterable[tuple[str, Content]], meta: Mapping[str, Any]) -> None:
    files = {}
    for name, content in contents:
        file = _path(path, name)
        files[name] = asdict(_write_opaque(file, content) if callable(content) else _write_array(file, content))
        sync(file)
    said = {"format": FORMAT, "meta": dict(meta), "files": files}
    manifest = path / _MANIFEST
    manifest.write_text(json.dumps({"said": said, "checksum": _checksum_of_json(said)}), encoding="utf-8")
    sync(manifest)
    sync(path)


def _write_array(path: Path, content: Array | Iterable[Array]) -> _File:
    digest = xxhash.xxh3_128()
    length, rest, dtype = 0, (), np.dtype(np.uint8)
    with path.open("wb") as file:
        for part in [content] if isinstance(content, np.ndarray) else content:
            length, rest, dtype = length + len(part), part.shape[1:], part.dtype
            for chunk in _chunks(part):
                digest.update(chunk)
                file.write(chunk)
        return _File(file.tell(), digest.hexdigest(), dtype.str, (length, *rest))


def _write_opaque(path: Path, write_to: Callable[[Path], None]) -> _File:
    write_to(path)
    return _File(path.stat().st_size, _checksum_of_file(path))


# ------------------------------------------------------------------------------------------------------- reading
@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """One generation, opened.

    Attributes:
        path: Its folder.
        meta: What was said of it when it was written.
        arrays: Mapped read-only. Every one has the size it was written with; those of at most ``SMALL_BYTES`` are
            checked, larger ones are not until ``verify``.
    """

    path: Path
    meta: Mapping[str, Any]
    arrays: Mapping[str, Array]
    _files: Mapping[str, _File]

    def opaque(self, name: str) -> Path | None:
        """Where that opaque file is, after checking it; None if it is damaged, and then the generation is set aside.

        A native loader must see no file that was not checked: some crash on a damaged one. Takes 0.1 s a GB.
        """
        return _path(self.path, name) if self._is_sound(name) else None

    @property
    def verified(self) -> bool:
        """Whether all arrays were checked when it was opened, so that there is nothing to ``verify``."""
        return not self._large

    def verify(self) -> bool:
        """Check the large arrays, at about 10 GB/s from memory. False if one is damaged; the generation is set aside.

        What was decided with a damaged array may have been wrong, but cannot have crashed. One whose file is no longer
        there counts as damaged, for nobody can tell.
        """
        return all(map(self._is_sound, self._large))

    @property
    def _large(self) -> list[str]:
        return [name for name, array in self.arrays.items() if array.nbytes > SMALL_BYTES]

    def _is_sound(self, name: str) -> bool:
        """Whether the file has the bytes that were written; if not, the generation is set aside."""
        path, file = _path(self.path, name), self._files[name]
        try:
            # Read, not mapped: mapped pages would count as memory of this process from then on.
            if path.stat().st_size == file.size and _checksum_of_file(path) == file.checksum:
                return True
        except OSError as exc:
            logger.warning("cannot read the cache %s: %s", path, exc)
        _set_aside(self.path, f"{name} is damaged")
        return False


def newest(folder: Path, expect: Mapping[str, Any]) -> Generation | None:
    """The newest generation that is sound and whose meta has all that is expected; None if there is none.

    Damaged ones are set aside, with a warning. Nothing on disk makes this raise.
    """
    try:
        paths = _generations(folder)
    except FileNotFoundError:
        return None
    except OSError as exc:
        logger.warning("cannot look into the cache %s: %s", folder, exc)
        return None
    for path in paths:
        try:
            generation = _opened(path)
        except PermissionError as exc:
            logger.warning("cannot read the cache %s: %s", path, exc)
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as exc:
            _set_aside(path, exc)
        else:
            if generation is not None and expect.items() <= generation.meta.items():
                return generation
            logger.info("the cache %s is of something else, wanted %s", path, dict(expect))
    return None


def damaged(folder: Path) -> list[tuple[Path, str]]:
    """Which generations are damaged, and why. Checks every file in full; nothing is set aside or changed."""
    try:
        paths = _generations(folder)
    except OSError:
        return []
    found = []
    for path in paths:
        try:
            generation = _opened(path)
            for name, file in generation._files.items() if generation else ():  # noqa: SLF001 - of this module
                if _checksum_of_file(_path(path, name)) != file.checksum:
                    raise ValueError(f"{name} is damaged")  # noqa: TRY301 - like those that _opened raises
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as exc:
            found.append((path, str(exc)))
    return found


def _opened(path: Path) -> Generation | None:
    """The generation in that folder; None if it is of another format. Raises many things if it is damaged."""
    manifest = json.loads((path / _MANIFEST).read_bytes())
    said = manifest["said"]
    if manifest["checksum"] != _checksum_of_json(said):
        raise ValueError(f"{_MANIFEST} is damaged")
    if said["format"] != FORMAT:
        return None
    files = {name: _File(**fields) for name, fields in said["files"].items()}
    arrays: dict[str, Array] = {}
    for name, file in files.items():
        with _path(path, name).open("rb") as content:
            size = os.fstat(content.fileno()).st_size
            if size != file.size:
                # Mapping it regardless would kill the process by SIGBUS when the missing part is touched.
                raise ValueError(f"{name} has {size:,} bytes, wanted {file.size:,}")
            if file.dtype is not None and file.shape is not None:
                # An empty file cannot be mapped.
                buffer = mmap.mmap(content.fileno(), size, access=mmap.ACCESS_READ) if size else b""
                arrays[name] = np.frombuffer(buffer, file.dtype).reshape(file.shape)
                if size <= SMALL_BYTES and _checksum(arrays[name]) != file.checksum:
                    raise ValueError(f"{name} is damaged")
    return Generation(path, dict(said["meta"]), arrays, files)


def _set_aside(path: Path, why: object) -> None:
    logger.warning("the cache %s is set aside and has to be built again: %s", path, why)
    try:
        path.rename(path.with_name(f"{path.name}.corrupt-{int(time.time())}"))
    except OSError as exc:
        logger.warning("the cache %s could not be set aside: %s", path, exc)
    aside = sorted(path.parent.glob("gen-*.corrupt-*"), key=lambda kept: (kept.suffix, kept.name))
    for old in aside[:-_KEPT_CORRUPT]:
        shutil.rmtree(old, ignore_errors=True)


# -------------------------------------------------------------------------------------------------------- folders
def _generations(folder: Path) -> list[Path]:
    """Complete generations, newest first."""
    numbers = (int(found[1]) for entry in folder.iterdir() if (found := _GENERATION.fullmatch(entry.name)))
    return [folder / f"gen-{number}" for number in sorted(numbers, reverse=True)]


def _next_number(folder: Path) -> int:
    """One that no generation has, nor one that was set aside."""
    return 1 + max((int(found[1]) for entry in folder.iterdir() if (found := _GENERATION.match(entry.name))), default=0)


def _path(folder: Path, name: str) -> Path:
    if not name.isidentifier():
        raise ValueError(f"{name!r} cannot name a file of the cache")
    return folder / f"{name}.bin"


# ------------------------------------------------------------------------------------------------------ checksums
def _chunks(array: Array) -> Iterator[memoryview]:
    """The array's bytes."""
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]


def _checksum(array: Array) -> str:
    digest = xxhash.xxh3_128()
    for chunk in _chunks(array):
        digest.update(chunk)
    return digest.hexdigest()


def _checksum_of_file(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def _checksum_of_json(value: object) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(value, sort_keys=True).encode())
