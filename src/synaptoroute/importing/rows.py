"""Labelled examples as people have them: CSV, JSON Lines, JSON and Parquet, a row for each text with its route.

The columns are found by their names, or said. A row without a route is a query out of scope, which no route can hold:
it belongs into ``fit``, and is counted.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synaptoroute.errors import InvalidInputError, MissingExtraError
from synaptoroute.importing.collecting import Collector
from synaptoroute.importing.contents import FileContent
from synaptoroute.importing.records import Imported
from synaptoroute.importing.shapes import kind_of, mappings
from synaptoroute.route_files import MAX_FILE_BYTES, located, parsed

#: What columns are called, the surest first.
TEXT_COLUMNS = ("utterance", "text", "query", "example", "sentence", "phrase", "question", "input", "message")
ROUTE_COLUMNS = ("route", "intent", "label", "category", "class", "tool", "target", "domain")
_DELIMITERS = ",;\t|"
#: Rows of Parquet read at once.
_BATCH_ROWS = 4_096

Row = tuple[str, object, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns hold what; None finds one by its name."""

    text: str | None = None
    route: str | None = None

    def among(self, header: Sequence[str]) -> tuple[str, str]:
        """The names of the two columns as they stand in the header.

        Raises:
            InvalidInputError: One is not there, or it cannot be told which it is.
        """
        return _column("text", self.text, TEXT_COLUMNS, header), _column("route", self.route, ROUTE_COLUMNS, header)


def _column(what: str, given: str | None, usual: Sequence[str], header: Sequence[str]) -> str:
    shown = ", ".join(repr(column[:40]) for column in header[:20]) or "none"
    if given is not None:
        if given not in header:
            raise InvalidInputError(f"there is no column {given!r}; the columns are {shown}")
        return given
    by_name = {column.strip().casefold(): column for column in reversed(header)}
    found = next((by_name[name] for name in usual if name in by_name), None)
    if found is None:
        raise InvalidInputError(
            f"cannot tell which column holds the {what}: the columns are {shown}; say --{what}-column, or call it "
            f"{usual[0]!r}"
        )
    return found


def read_csv(content: FileContent, columns: Columns) -> Imported:
    """Rows of CSV, separated by commas, semicolons, tabs or bars, whichever makes the columns.

    Raises:
        InvalidInputError: It is no CSV, or the columns are not there; with the line.
    """
    text = content.text()
    with located(content.label):
        delimiter = max(_DELIMITERS, key=text[: text.find("\n") + 1 or None].count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            with located("line 1"):
                text_column, route_column = columns.among(header)
            return _collected(
                "csv", _csv_rows(reader, header.index(text_column), header.index(route_column), len(header))
            )
        except csv.Error as exc:
            raise InvalidInputError(f"line {reader.line_num}: not CSV: {exc}") from exc


def _csv_rows(reader: Any, text: int, route: int, width: int) -> Iterator[Row]:
    first = reader.line_num + 1
    for cells in reader:
        place, first = f"line {first}", reader.line_num + 1
        if not cells:
            continue
        if len(cells) != width:
            raise InvalidInputError(f"{place}: {len(cells)} cells, wanted {width}; quote cells with separators in them")
        yield place, cells[text], cells[route]


def read_jsonl(content: FileContent, columns: Columns) -> Imported:
    """A JSON object a line. Raises InvalidInputError with the line."""
    text = content.text()
    with located(content.label):
        return _collected("jsonl", _objects(_json_lines(text), columns))


def read_json(document: Any, columns: Columns) -> Imported:
    """A JSON or YAML list of objects. Raises InvalidInputError with the item."""
    return _collected("json", _objects(mappings(document, "item"), columns))


def _json_lines(text: str) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    # Not splitlines, which also splits at line breaks that JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        with located(f"line {number}"):
            entry = parsed(line, "jsonl")
            if not isinstance(entry, dict):
                raise InvalidInputError(f"wanted an object, got {kind_of(entry)}")
        yield f"line {number}", entry


def _objects(entries: Iterable[tuple[str, Mapping[Any, Any]]], columns: Columns) -> Iterator[Row]:
    """The first object says which keys it is; the others must have the text, and may have no route."""
    names: tuple[str, str] | None = None
    for place, entry in entries:
        with located(place):
            names = names or columns.among([str(key) for key in entry])
            if names[0] not in entry:
                raise InvalidInputError(f"it has no {names[0]!r}, which the first one has")
        yield place, entry[names[0]], entry.get(names[1])


def read_parquet(content: FileContent, columns: Columns) -> Imported:
    """Two columns of Parquet. Numbers of classes get the names that Hugging Face datasets keeps in the schema.

    Raises:
        InvalidInputError: It is no Parquet, the columns are not there, or their texts are over 64 MiB.
        MissingExtraError: It needs the extra ``parquet``.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingExtraError("reading Parquet", "parquet") from exc
    with located(content.label):
        try:
            file = pq.ParquetFile(io.BytesIO(content.data))
            schema = file.schema_arrow
            text, route = columns.among(schema.names)
            return _collected("parquet", _parquet_rows(file, text, route, _class_names(schema, route)))
        except pa.ArrowException as exc:
            raise InvalidInputError(f"not Parquet, or damaged: {' '.join(str(exc).split())[:200]}") from exc
        except OSError as exc:
            raise InvalidInputError(f"not Parquet, or damaged: {' '.join(str(exc).split())[:200]}") from exc


def _parquet_rows(file: Any, text: str, route: str, names: Sequence[str]) -> Iterator[Row]:
    row, size = 0, 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(dict.fromkeys((text, route)))):
        size += batch.nbytes
        if size > MAX_FILE_BYTES:
            raise InvalidInputError(f"its texts are over {MAX_FILE_BYTES // 1024**2} MiB, which is the most; split it")
        for said, label in zip(batch.column(text).to_pylist(), batch.column(route).to_pylist(), strict=True):
            row += 1
            if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(names):
                yield f"row {row}", said, names[label]
            else:
                yield f"row {row}", said, label


def _class_names(schema: Any, column: str) -> Sequence[str]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
        return [str(name) for name in names] if isinstance(names, list) else []
    except (KeyError, TypeError, ValueError, RecursionError):
        return []


def _collected(file_format: str, rows: Iterable[Row]) -> Imported:
    """The routes of rows that may come in any order."""
    found = Collector(file_format)
    utterances: dict[str, list[object]] = {}
    places: dict[str, str] = {}
    without = numbered = 0
    for place, text, route in rows:
        if route is None or (isinstance(route, str) and not route.strip()):
            without += 1
            continue
        if isinstance(route, int) and not isinstance(route, bool):
            numbered += 1
            route = str(route)
        if not isinstance(route, str):
            raise InvalidInputError(f"{place}: the route is {kind_of(route)}, wanted a text")
        if not isinstance(text, str) or not text.strip():
            found.warn(
                "utterances", place, f"the text is {'empty' if isinstance(text, str) else kind_of(text)}; left out"
            )
            continue
        route = route.strip()
        utterances.setdefault(route, []).append(text)
        places.setdefault(route, place)
    if without:
        found.inform(
            "out_of_scope",
            "the rows",
            f"{without:,} without a route were left out: as queries out of scope they belong into fit",
        )
    if numbered:
        found.warn("name", "the rows", f"{numbered:,} name their route by a number, which became its name")
    for route, texts in utterances.items():
        found.route(places[route], route, texts)
    return found.finish()
