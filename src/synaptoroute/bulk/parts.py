"""The folder in which a run keeps what it has done: parts that are complete or absent, and what they were made of."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from synaptoroute.durable import sync
from synaptoroute.errors import InvalidInputError

_MADE_OF = "made-of.json"
_LOCK = "lock"


class Parts:
    """Tables in files, in order. A file has its name only once all of it is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # A later part without those before it cannot be: they were renamed, and that was on the disk, before it.
        self._count = 0
        while self._path(self._count).exists():
            self._count += 1

    @classmethod
    @contextmanager
    def opened(cls, output: Path, made_of: Any, *, overwrite: bool) -> Iterator[Self]:
        """The parts for that output, held alone.

        Args:
            output: They are beside it.
            made_of: All that decides about their content, in JSON types.
            overwrite: Give up parts that were made of something else, and an output that is there already.

        Raises:
            InvalidInputError: Such parts or such an output are there, another process holds them, or the disk fails.
        """
        folder = output.with_name(f"{output.name}.parts")
        with writing(folder):
            cls._refuse_foreign(folder)
            if not (folder / _MADE_OF).exists() and output.exists() and not overwrite:
                raise InvalidInputError(f"{output} exists; replace it with --overwrite, or name another output")
            folder.mkdir(exist_ok=True)
            with (folder / _LOCK).open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise InvalidInputError(f"another process is writing to {output}; let it end") from None
                cls._prepare(folder, output, made_of, overwrite=overwrite)
                yield cls(folder)

    @staticmethod
    def _refuse_foreign(folder: Path) -> None:
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        if names - {_LOCK, f"{_MADE_OF}.tmp"} and _MADE_OF not in names:
            raise InvalidInputError(f"{folder} is not of a run that was cut off; name another output")

    @classmethod
    def _prepare(cls, folder: Path, output: Path, made_of: Any, *, overwrite: bool) -> None:
        path = folder / _MADE_OF
        if path.exists():
            was = _read(path)
            if was == made_of:
                return
            differing = sorted(key for key in {*was, *made_of} if was.get(key) != made_of.get(key))
            if not overwrite:
                raise InvalidInputError(
                    f"{folder} is of a run with another {' and another '.join(differing)}; "
                    f"begin {output} anew with --overwrite"
                )
            cls(folder).drop()
        with whole(path) as temporary:
            temporary.write_text(json.dumps(made_of, indent=1), encoding="utf-8")

    def drop(self) -> None:
        """Give up what has been done."""
        # The last one first: cut off between, those left are still the first ones of that run.
        for number in reversed(range(self._count)):
            self._path(number).unlink()
        (self._folder / _MADE_OF).unlink()

    def __len__(self) -> int:
        return self._count

    def add(self, table: pa.Table) -> None:
        """Put a part behind the others; it is on the disk when this returns."""
        with whole(self._path(self._count)) as temporary, pa.OSFile(str(temporary), "wb") as file:
            # A stream, because in it, unlike a file with an index, batches may have dictionaries of their own.
            options = pa.ipc.IpcWriteOptions(compression="zstd")
            with pa.ipc.new_stream(file, table.schema, options=options) as writer:
                writer.write_table(table)
        self._count += 1

    def __getitem__(self, number: int) -> pa.Table:
        path = self._path(range(self._count)[number])
        try:
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                return reader.read_all()
        except pa.ArrowException as exc:
            raise InvalidInputError(f"{path} is damaged: {exc}; begin anew with --overwrite") from exc

    def __iter__(self) -> Iterator[pa.Table]:
        return (self[number] for number in range(self._count))

    def remove(self) -> None:
        """Remove the folder."""
        # What they were made of goes last, so that a rest of it is still known as ours.
        self.drop()
        shutil.rmtree(self._folder)

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:06}.arrow"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path to write to; becomes ``path`` at the end, in one piece and on the disk."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the disk as InvalidInputError."""
    try:
        yield
    except OSError as exc:
        raise InvalidInputError(f"cannot write {exc.filename or path}: {exc.strerror or exc}") from exc


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {}
