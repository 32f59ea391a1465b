"""Labelled queries as files people edit: CSV and JSON lines, each query with the route it belongs to, or none.

CSV has the columns ``query,route`` and JSON lines the keys ``query`` and ``route``; other columns and keys are ignored,
for labelled data comes with much that is of no use here. An empty route, in JSON also ``null``, is out of scope.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from synaptoroute.errors import InvalidInputError
from synaptoroute.models import clean_name, clean_query
from synaptoroute.route_files import Source, label_of, located, read_text

QueryFormat = Literal["csv", "jsonl"]

_EXTENSIONS: dict[str, QueryFormat] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def read_queries(source: Source, file_format: QueryFormat | None = None) -> tuple[list[str], list[str | None]]:
    """The queries in a file, in its order, and for each the route it belongs to; None for out of scope.

    Args:
        source: A path, or an open stream of text or of UTF-8.
        file_format: By the path's extension unless given; a stream needs it.

    Raises:
        InvalidInputError: The file cannot be read, is over 64 MiB, is not of its format, has no query, or has one
            that cannot be routed. The message names the file and the line.
    """
    label = label_of(source)
    file_format = _format(label, file_format)
    text = read_text(source, label)
    queries: list[str] = []
    labels: list[str | None] = []
    with located(label):
        for where, query, route in _csv(text) if file_format == "csv" else _json_lines(text):
            with located(where):
                queries.append(clean_query(query))
                labels.append(clean_name(route.strip()) if route.strip() else None)
        if not queries:
            raise InvalidInputError("there is no query in it")
    return queries, labels


def _format(label: str, file_format: QueryFormat | None) -> QueryFormat:
    known = get_args(QueryFormat)
    if file_format is not None:
        if file_format not in known:
            raise InvalidInputError(f"unknown format {file_format!r}, wanted one of {', '.join(known)}")
        return file_format
    extension = Path(label).suffix.lower()
    if extension not in _EXTENSIONS:
        raise InvalidInputError(
            f"{label}: cannot tell its format from the extension {extension!r}; say one of {', '.join(known)}"
        )
    return _EXTENSIONS[extension]


def _csv(text: str) -> Iterator[tuple[str, str, str]]:
    """Where each row is, its query and its route."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip().lower() for cell in next(reader, [])]
        if header.count("query") != 1 or header.count("route") != 1:
            raise InvalidInputError(f"line 1: the columns are {','.join(header)!r}, wanted query and route among them")
        query, route = header.index("query"), header.index("route")
        first = reader.line_num + 1
        for cells in reader:
            where, first = f"line {first}", reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                raise InvalidInputError(f"{where}: {len(cells)} cells, wanted {len(header)}; quote cells with commas")
            yield where, cells[query], cells[route]
    except csv.Error as exc:
        raise InvalidInputError(f"line {reader.line_num}: not CSV: {exc}") from exc


def _json_lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Where each object is, its query and its route."""
    # Not splitlines, which also splits at line breaks that JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        with located(f"line {number}"):
            entry = _parsed(line)
            if not isinstance(entry, dict):
                raise InvalidInputError(f"wanted an object with query and route, got {type(entry).__name__}")
            if missing := [key for key in ("query", "route") if key not in entry]:
                raise InvalidInputError(f"it has no {' and no '.join(missing)}; a query of no route says null")
            if not isinstance(entry["query"], str) or not isinstance(entry["route"], str | None):
                raise InvalidInputError("query must be a text and route a text or null")
        yield f"line {number}", entry["query"], entry["route"] or ""


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except RecursionError:
        raise InvalidInputError("it is nested too deeply") from None
    except ValueError as exc:
        raise InvalidInputError(f"not JSON: {exc}") from exc
