"""Routes as files people edit: JSON, JSON Lines, YAML and CSV, in and out, without loss.

JSON and YAML hold ``{"version": 1, "routes": [{"name": …, "utterances": […]}]}``, each route optionally with
``threshold``, ``description`` and ``metadata``; a bare list of routes is read too. JSON Lines has one such route a line
and may be of any size, for it is read and written route by route. CSV has one row an utterance, with the columns
``route,utterance`` and optionally ``threshold,description,metadata`` (metadata as JSON).
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, TextIO, get_args

from synaptoroute.durable import sync
from synaptoroute.errors import InvalidInputError, InvalidRouteError, MissingExtraError
from synaptoroute.models import Route, clean_name

FileFormat = Literal["json", "yaml", "csv", "jsonl"]
Source = str | os.PathLike[str] | IO[str] | IO[bytes]

VERSION = 1
#: Larger files, and lines of JSON Lines, are refused before they are parsed: that takes up to 20 times their size in
#: memory.
MAX_FILE_BYTES = 64 * 1024 * 1024
#: Route files are 5 levels deep plus the depth of their metadata. libyaml composes nested nodes on the C stack.
MAX_YAML_DEPTH = 100

_EXTENSIONS: dict[str, FileFormat] = {
    ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip
_KEYS = ("name", "utterances", "threshold", "description", "metadata")
_COLUMNS = ("route", "utterance", "threshold", "description", "metadata")
#: Spreadsheets run a cell that begins so as a formula (OWASP, "CSV Injection"), also in its full-width form.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def read_routes(source: Source, file_format: FileFormat | None = None) -> list[Route]:
    """The routes in a file, in its order, all or none. Takes and raises what ``iter_routes`` does."""
    return list(iter_routes(source, file_format))


def iter_routes(source: Source, file_format: FileFormat | None = None) -> Iterator[Route]:
    """The routes in a file one after another, in its order. Of JSON Lines, only one line is in memory at a time.

    Args:
        source: A path, or an open stream of text or of UTF-8.
        file_format: By the path's extension unless given; a stream needs it.

    Raises:
        InvalidInputError: The file cannot be read, it or a line of JSON Lines is over 64 MiB, it is not of its format,
            has unknown keys or columns, or a route cannot be accepted (InvalidRouteError); of JSON Lines, after the
            routes before it. The message names the file and the line or route.
        MissingExtraError: YAML needs the extra ``yaml``.
    """
    label = label_of(source)
    file_format = _format(source, file_format)
    if file_format == "jsonl":
        entries = _jsonl_entries(source)
    else:
        text = read_text(source, label)
        entries = _csv_entries(text) if file_format == "csv" else _entries(text, file_format)
    names = set[str]()
    with located(label):
        for where, entry in entries:
            with located(where):
                route = _route(entry)
                if route.name in names:
                    raise InvalidRouteError(f"the route {route.name!r} is in the file twice; join the two")
            names.add(route.name)
            yield route


def write_routes(
    routes: Iterable[Route], target: str | os.PathLike[str] | TextIO, file_format: FileFormat | None = None
) -> None:
    """Write routes so that ``read_routes`` gives the same ones again; as JSON Lines one by one as they come.

    A file is replaced in one step after its content is on disk: a crash leaves the old one or the new one.

    Args:
        routes: What to write.
        target: A path, or an open text stream (for CSV opened with ``newline=""``).
        file_format: By the path's extension unless given; a stream needs it.

    Raises:
        InvalidInputError: The format is unknown, or the file cannot be written there.
        MissingExtraError: YAML needs the extra ``yaml``.
    """
    file_format = _format(target, file_format)
    with located(label_of(target)):
        parts = _jsonl_lines(routes) if file_format == "jsonl" else [_DUMPERS[file_format](list(routes))]
        parts = map(_unicode, parts)
        if isinstance(target, str | os.PathLike):
            _replace(Path(target), parts)
        else:
            target.writelines(parts)


def route_entry(route: Route) -> dict[str, Any]:
    """The route as it stands in a JSON file; fields that are not set are left out."""
    entry: dict[str, Any] = {"name": route.name, "utterances": list(route.utterances)}
    if route.threshold is not None:
        entry["threshold"] = route.threshold
    if route.description is not None:
        entry["description"] = route.description
    if route.metadata:
        entry["metadata"] = json.loads(json.dumps(route.metadata))
    return entry


# ------------------------------------------------------------------------------------------------ files and names
def label_of(source: Source | TextIO) -> str:
    """What messages call the file."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return str(getattr(source, "name", "the stream"))


def _format(source: Source | TextIO, file_format: FileFormat | None) -> FileFormat:
    known = get_args(FileFormat)
    if file_format is not None:
        if file_format not in known:
            raise InvalidInputError(f"unknown format {file_format!r}, wanted one of {', '.join(known)}")
        return file_format
    extension = Path(label_of(source)).suffix.lower()
    if extension not in _EXTENSIONS:
        label = label_of(source)
        raise InvalidInputError(
            f"{label}: cannot tell its format from the extension {extension!r}; say one of {', '.join(known)}"
        )
    return _EXTENSIONS[extension]


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put the place in front of the message of an error."""
    try:
        yield
    except InvalidRouteError as exc:
        raise InvalidRouteError(f"{where}: {exc}") from None
    except InvalidInputError as exc:
        raise InvalidInputError(f"{where}: {exc}") from None


def read_text(source: Source, label: str) -> str:
    """The whole file as text, without a byte order mark.

    Raises:
        InvalidInputError: It cannot be read, is over 64 MiB or is not UTF-8.
    """
    try:
        if isinstance(source, str | os.PathLike):
            with Path(source).open("rb") as file:
                content: str | bytes = file.read(MAX_FILE_BYTES + 1)
        else:
            content = source.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise InvalidInputError(f"cannot read {label}: {exc.strerror}") from exc
    if len(content) > MAX_FILE_BYTES:
        raise InvalidInputError(
            f"{label} is over {MAX_FILE_BYTES // 1024**2} MiB, which is the most a file may have; split it"
        )
    try:
        text = content.decode() if isinstance(content, bytes) else content
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise InvalidInputError(f"{label}: line {line} is not UTF-8; save the file as UTF-8") from exc
    # Spreadsheets put a byte order mark in front of their UTF-8.
    return text.removeprefix("\ufeff")


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidInputError("a route's metadata has a lone surrogate, which no file can hold; remove it") from exc
    return text


def _replace(path: Path, parts: Iterable[str]) -> None:
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device such as /dev/stdout is written to; renaming onto it would destroy it.
            with path.open("w", encoding="utf-8", newline="") as file:
                file.writelines(parts)
            return
        path = path.resolve()
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("x", encoding="utf-8", newline="") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                temporary.chmod(path.stat().st_mode & 0o7777)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync(path.parent)
    except OSError as exc:
        raise InvalidInputError(f"cannot be written: {exc.strerror}") from exc


# ------------------------------------------------------------------------------------------------------ JSON Lines
def _jsonl_entries(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each route is, and its fields."""
    for number, line in enumerate(_lines(source), start=1):
        where = f"line {number}"
        with located(where):
            text = _line_text(line)
            if number == 1:
                text = text.removeprefix("\ufeff")
            if not text.strip():
                continue
            entry = parsed(text, "jsonl")
        yield where, entry


def _lines(source: Source) -> Iterator[str | bytes]:
    try:
        if isinstance(source, str | os.PathLike):
            with Path(source).open("rb") as file:
                yield from _lines(file)
        else:
            while line := source.readline(MAX_FILE_BYTES + 1):
                yield line
    except OSError as exc:
        raise InvalidInputError(f"cannot be read: {exc.strerror}") from exc


def _line_text(line: str | bytes) -> str:
    if len(line) > MAX_FILE_BYTES:
        raise InvalidInputError(f"it is over {MAX_FILE_BYTES // 1024**2} MiB, which is the most a line may have")
    try:
        return line.decode() if isinstance(line, bytes) else line
    except UnicodeDecodeError as exc:
        raise InvalidInputError("it is not UTF-8; save the file as UTF-8") from exc


def _jsonl_lines(routes: Iterable[Route]) -> Iterator[str]:
    for route in routes:
        yield json.dumps(route_entry(route), ensure_ascii=False) + "\n"


# -------------------------------------------------------------------------------------------------- JSON and YAML
def parsed(text: str, file_format: FileFormat) -> Any:
    """What JSON, one line of JSON Lines or YAML says; a key that is there twice in one mapping is an error.

    Raises:
        InvalidInputError: It is not of that format, or nested too deeply; with the line, where there is one.
        MissingExtraError: YAML needs the extra ``yaml``.
    """
    try:
        return parsed_yaml(text) if file_format == "yaml" else json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as exc:
        place = "" if file_format == "jsonl" else f"line {exc.lineno}: "
        raise InvalidInputError(f"{place}not JSON: {exc.msg}") from exc
    except RecursionError:
        raise InvalidInputError("it is nested too deeply") from None
    except InvalidInputError:
        raise
    except ValueError as exc:
        raise InvalidInputError(f"not {file_format.upper()}: {exc}") from exc


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping in which a repeated key is an error instead of the last one winning."""
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidInputError(f"the key {twice!r} is there twice in one mapping")
    return mapping


def parsed_yaml(text: str) -> Any:
    """What safe YAML holds; aliases, repeated keys and deep nesting are refused.

    Raises:
        InvalidInputError: With the line, where there is one.
        MissingExtraError: It needs the extra ``yaml``.
    """
    yaml = _yaml()
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc, valid-type]  # the C one where PyYAML was built with libyaml
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
            mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            _unique([(self.construct_object(key, deep=True), None) for key, _ in node.value])
            return mapping

    try:
        depth = 0
        for event in yaml.parse(text, Loader=base):
            # Checked before anything is built: nine lines of nested aliases can stand for billions of nodes.
            if isinstance(event, yaml.AliasEvent):
                raise InvalidInputError(f"line {event.start_mark.line + 1}: aliases (*name) are refused; write it out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_YAML_DEPTH:
                raise InvalidInputError(f"line {event.start_mark.line + 1}: it is nested too deeply")
        return yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        problem = exc.problem or exc.context
        # The parser has a limit of its own, in some versions below ours.
        what = "it is nested too deeply" if "nesting depth" in str(problem) else f"not YAML: {problem}"
        raise InvalidInputError(f"{where}{what}") from exc
    except yaml.YAMLError as exc:
        raise InvalidInputError(f"not YAML: {' '.join(str(exc).split())}") from exc


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as exc:
        raise MissingExtraError("reading and writing YAML", "yaml") from exc
    return yaml


def _entries(text: str, file_format: FileFormat) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each route is, and its fields."""
    document = parsed(text, file_format)
    if isinstance(document, dict):
        _refuse_unknown(document, ("version", "routes"))
        version = document.get("version", VERSION)
        if version != VERSION or isinstance(version, bool):
            raise InvalidInputError(f"version {version!r} of the format, this release reads {VERSION}")
        document = document.get("routes")
    if not isinstance(document, list):
        raise InvalidInputError('wanted {"version": 1, "routes": […]} or a list of routes')
    for number, entry in enumerate(document, start=1):
        yield f"route {number}", entry


def _refuse_unknown(mapping: dict[Any, Any], known: tuple[str, ...]) -> None:
    unknown = [key for key in mapping if key not in known]
    if unknown:
        raise InvalidInputError(
            f"unknown key{'s' * (len(unknown) > 1)} {', '.join(map(repr, unknown))}, known are {', '.join(known)}"
        )


def _route(entry: Any) -> Route:
    """The route of one entry. Stricter than Route: a file that says "yes" where a text is wanted is corrected there."""
    if not isinstance(entry, dict):
        raise InvalidRouteError(f"wanted a mapping with name and utterances, got {type(entry).__name__}")
    _refuse_unknown(entry, _KEYS)
    if missing := [key for key in ("name", "utterances") if key not in entry]:
        raise InvalidRouteError(f"it has no {' and no '.join(missing)}")
    name = clean_name(entry["name"])
    with located(repr(name)):
        utterances = entry["utterances"]
        if not isinstance(utterances, list):
            raise InvalidRouteError(f"utterances must be a list of texts, got {type(utterances).__name__}")
        for number, text in enumerate(utterances, start=1):
            if not isinstance(text, str):
                raise InvalidRouteError(f"utterance {number} is {text!r}, wanted a text; put it in quotes")
        threshold = entry.get("threshold")
        if isinstance(threshold, bool | str):
            raise InvalidRouteError(f"threshold is {threshold!r}, wanted a number")
        metadata = entry.get("metadata")
        if not isinstance(metadata, dict | None):
            raise InvalidRouteError(f"metadata must be a mapping, got {type(metadata).__name__}")
    return Route(**entry)


def _dumped_json(routes: list[Route]) -> str:
    document = {"version": VERSION, "routes": [route_entry(route) for route in routes]}
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _dumped_yaml(routes: list[Route]) -> str:
    yaml = _yaml()
    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc, valid-type]
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    def text(dumper: Any, value: str) -> Any:
        # PyYAML without libyaml loses the Unicode line breaks in any other style.
        style = '"' if re.search("[\x85\u2028\u2029]", value) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    document = {"version": VERSION, "routes": [route_entry(route) for route in routes]}
    dumped: str = yaml.dump(document, Dumper=Dumper, allow_unicode=True, sort_keys=False, width=120)
    return dumped


# ------------------------------------------------------------------------------------------------------------ CSV
def _csv_entries(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each route's first row is, and its fields; rows of one route need not be together."""
    entries: dict[str, tuple[str, dict[str, Any]]] = {}
    for where, row in _csv_rows(text):
        with located(where):
            name = clean_name(row["route"].strip())
            entry = entries.setdefault(name, (where, {"name": name, "utterances": []}))[1]
            if not row["utterance"].strip():
                raise InvalidRouteError(f"{name!r}: the utterance is empty")
            entry["utterances"].append(row["utterance"])
            for field, value in _csv_fields(row).items():
                if entry.setdefault(field, value) != value:
                    raise InvalidRouteError(f"{name!r}: {field} is {value!r} here and {entry[field]!r} above")
    yield from entries.values()


def _csv_rows(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        unknown = [column for column in header if column not in _COLUMNS]
        if unknown or len(set(header)) != len(header) or not {"route", "utterance"} <= set(header):
            raise InvalidInputError(
                f"line 1: the columns are {','.join(header)!r}, wanted route,utterance[,threshold,description,metadata]"
            )
        first = reader.line_num + 1
        for cells in reader:
            where, first = f"line {first}", reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                raise InvalidInputError(f"{where}: {len(cells)} cells, wanted {len(header)}; quote cells with commas")
            yield where, {column: _unguarded(cell) for column, cell in zip(header, cells, strict=True)}
    except csv.Error as exc:
        raise InvalidInputError(f"line {reader.line_num}: not CSV: {exc}") from exc


def _csv_fields(row: dict[str, str]) -> dict[str, Any]:
    """The optional fields that the row gives."""
    fields: dict[str, Any] = {}
    if threshold := row.get("threshold", "").strip():
        try:
            fields["threshold"] = float(threshold)
        except ValueError:
            raise InvalidRouteError(f"threshold is {threshold!r}, wanted a number") from None
    if description := row.get("description", "").strip():
        fields["description"] = description
    if metadata := row.get("metadata", "").strip():
        fields["metadata"] = parsed(metadata, "json")
    return fields


def _dumped_csv(routes: list[Route]) -> str:
    """Only the columns that are used; a route's own fields stand in its first row."""
    used = {key for route in routes for key in route_entry(route)}
    optional = [column for column in _COLUMNS[2:] if column in used]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*_COLUMNS[:2], *optional])
    for route in routes:
        entry = route_entry(route)
        if "metadata" in entry:
            entry["metadata"] = json.dumps(entry["metadata"], ensure_ascii=False)
        if "description" in entry:
            entry["description"] = _guarded(entry["description"])
        fields = [entry.get(column, "") for column in optional]
        for utterance in route.utterances:
            writer.writerow([route.name, _guarded(utterance), *fields])
            fields = [""] * len(optional)
    return text.getvalue()


def _guarded(cell: str) -> str:
    """The cell with an apostrophe in front if a spreadsheet would run it; one that has some already gets one more."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


_DUMPERS = {"json": _dumped_json, "yaml": _dumped_yaml, "csv": _dumped_csv}
