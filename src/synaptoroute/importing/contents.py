"""What is imported, as bytes in memory: a file, or the files of a folder or an archive. Nothing is ever unpacked."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from synaptoroute.errors import InvalidInputError
from synaptoroute.route_files import MAX_FILE_BYTES, located, parsed, read_text

Source = str | os.PathLike[str] | IO[bytes]

#: Of a folder or an archive: how many files are looked at, and how much is read of them together. An agent of 2,000
#: intents, the most that Dialogflow allows, has 4,000 files.
MAX_FILES = 20_000
MAX_TOTAL_BYTES = 256 * 1024 * 1024
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class FileContent:
    """One file.

    Attributes:
        label: What messages call it.
        data: All of it.
    """

    label: str
    data: bytes = field(repr=False)

    @property
    def suffix(self) -> str:
        """The extension in lower case, with its dot; empty if there is none."""
        return PurePosixPath(self.label).suffix.lower()

    def text(self) -> str:
        """As UTF-8, without a byte order mark. Raises InvalidInputError that names the file and the line."""
        return read_text(io.BytesIO(self.data), self.label)

    def document(self) -> Any:
        """What the YAML or JSON in it says.

        JSON is tried first unless the extension says YAML: it has no surprises, and most JSON is YAML as well.

        Raises:
            InvalidInputError: It is neither; with the file and the line.
            MissingExtraError: YAML needs the extra ``yaml``.
        """
        text = self.text()
        is_json = self.suffix == ".json" or text.lstrip()[:1] in ("{", "[")
        with located(self.label):
            return parsed(text, "json" if is_json and self.suffix not in (".yaml", ".yml") else "yaml")


class FileTree:
    """The files of a folder or of a zip archive, read one by one. What was read counts against one limit for all.

    Attributes:
        label: What messages call it.
        names: Their paths with slashes, sorted.
    """

    def __init__(self, label: str, names: list[str]) -> None:
        self.label = label
        self.names = tuple(sorted(names))
        self._known = frozenset(names)
        self._left = MAX_TOTAL_BYTES

    def file(self, name: str) -> FileContent:
        """One of them, called by its name in messages.

        Raises:
            InvalidInputError: It is not there, cannot be read, or is too much.
        """
        with located(name):
            if name not in self._known:
                raise InvalidInputError("it is not there")
            data = self._read(name, min(MAX_FILE_BYTES, self._left) + 1)
            if len(data) > MAX_FILE_BYTES:
                raise InvalidInputError(
                    f"it is over {MAX_FILE_BYTES // 1024**2} MiB, which is the most a file may have"
                )
            self._left -= len(data)
            if self._left < 0:
                raise InvalidInputError(
                    f"with it, the files are over {MAX_TOTAL_BYTES // 1024**2} MiB, which is the most they may have"
                )
        return FileContent(name, data)

    def document(self, name: str) -> Any:
        """What the YAML or JSON in one of them says; raises as ``FileContent.document``."""
        return self.file(name).document()

    def _read(self, name: str, most: int) -> bytes:
        raise NotImplementedError


class Folder(FileTree):
    """A folder with those below it. Links are not followed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            names = list(self._found())
        except OSError as exc:
            raise InvalidInputError(f"cannot read the folder {path}: {exc.strerror}") from exc
        super().__init__(str(path), names)

    def _found(self) -> Iterator[str]:
        seen = 0
        for folder, folders, files in os.walk(self._path):
            # What hides is not part of an export: version control, editors, virtual environments.
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                seen += 1
                if seen > MAX_FILES:
                    raise InvalidInputError(
                        f"the folder {self._path} has over {MAX_FILES:,} files; name that of the export"
                    )
                path = Path(folder, name)
                if not path.is_symlink():
                    yield path.relative_to(self._path).as_posix()

    def _read(self, name: str, most: int) -> bytes:
        try:
            with (self._path / name).open("rb") as file:
                return file.read(most)
        except OSError as exc:
            raise InvalidInputError(f"cannot be read: {exc.strerror}") from exc


class Archive(FileTree):
    """A zip archive in memory. What its directory claims about sizes is not believed: bytes are counted."""

    def __init__(self, label: str, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as exc:
            raise InvalidInputError(f"{label}: not a zip archive: {exc}") from exc
        members = [member for member in self._zip.infolist() if not member.is_dir()]
        if len(members) > MAX_FILES:
            raise InvalidInputError(f"{label}: it has {len(members):,} files, at most {MAX_FILES:,} are accepted")
        names = [member.filename for member in members]
        for name in names:
            _require_inside(label, name)
        if len(set(names)) != len(names):
            raise InvalidInputError(f"{label}: it has two files of the same name; export it again")
        super().__init__(label, names)

    def _read(self, name: str, most: int) -> bytes:
        member = self._zip.getinfo(name)
        if member.flag_bits & _ENCRYPTED:
            raise InvalidInputError("it is encrypted; export it without a password")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InvalidInputError("it is compressed in a way that no export is; zip it anew")
        try:
            with self._zip.open(member) as file:
                return file.read(most)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as exc:
            raise InvalidInputError(f"it is damaged: {exc}") from exc


def _require_inside(label: str, name: str) -> None:
    """Raise InvalidInputError for a name that would lead out of the folder it is unpacked in."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in path.parts[0]:
        raise InvalidInputError(f"{label}: the file name {name[:80]!r} may lead out of the archive; no export has such")


def opened(source: Source) -> FileContent | FileTree:
    """What is to be imported, in memory; a folder is only listed.

    Raises:
        InvalidInputError: It cannot be read, or is over 64 MiB.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            return Folder(path)
        label = os.fspath(source)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as exc:
            raise InvalidInputError(f"cannot read {label}: {exc.strerror}") from exc
    else:
        label = str(getattr(source, "name", "the stream"))
        data = source.read(MAX_FILE_BYTES + 1)
        if isinstance(data, str):
            raise InvalidInputError(f"{label} is a stream of text; open it in binary mode")
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInputError(
            f"{label} is over {MAX_FILE_BYTES // 1024**2} MiB, which is the most a file may have; split it"
        )
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Archive(label, data)
    return FileContent(label, data)
