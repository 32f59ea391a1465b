"""Files of rows, read and written batch by batch: Parquet, and CSV and JSON Lines.

CSV has no types: its columns are strings, an empty cell is an empty string. JSON Lines takes its columns and their
types from the first 16 MiB; an object with another column later, or a value of another type, is an error.
"""

from __future__ import annotations

import base64
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from synaptoroute.errors import InvalidInputError

#: How much of a file is read at once.
_BLOCK_BYTES = 1 << 20
#: JSON Lines are looked at this far for their columns; no line may be longer.
_JSON_BLOCK_BYTES = 16 << 20


class Source(ABC):
    """A file of rows.

    Attributes:
        schema: Its columns.
        rows: How many there are, if the file says so without being read.
    """

    schema: pa.Schema
    rows: int | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading(path):
            self.stamp = self._stamp()
            self._open()

    def fingerprint(self) -> dict[str, Any]:
        """Differs, as good as always, if the file has other rows. In JSON types."""
        return {**self.stamp, "rows": self.rows, "schema": str(self.schema.remove_metadata())}

    def require_unchanged(self) -> None:
        """Raise InvalidInputError if the file has been written to since it was opened."""
        with reading(self._path):
            stamp = self._stamp()
        if stamp != self.stamp:
            raise InvalidInputError(f"{self._path} was changed while it was being read; start again with --overwrite")

    def batches(self, size: int, skip: int) -> Iterator[pa.RecordBatch]:
        """The rows in order, without the first ``skip``, in batches of ``size``; the last may be smaller."""
        with reading(self._path):
            yield from _resized(self._batches(size, skip), size)

    def _stamp(self) -> dict[str, int]:
        stat = self._path.stat()
        return {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}

    @abstractmethod
    def _open(self) -> None:
        """Set schema and, if known, rows."""

    @abstractmethod
    def _batches(self, size: int, skip: int) -> Iterator[pa.RecordBatch]:
        """In batches of any size."""


class _Parquet(Source):
    def _open(self) -> None:
        # Column chunks are read as they are needed, not a row group at once: one may be as large as the file.
        self._file = pq.ParquetFile(self._path, pre_buffer=False, buffer_size=_BLOCK_BYTES)
        self.schema = self._file.schema_arrow
        self.rows = self._file.metadata.num_rows

    def _batches(self, size: int, skip: int) -> Iterator[pa.RecordBatch]:
        groups: list[int] = []
        for number in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(number).num_rows
            if not groups and rows <= skip:
                skip -= rows
            else:
                groups.append(number)
        if groups:
            yield from _skipped(self._file.iter_batches(size, row_groups=groups), skip)


class _Csv(Source):
    def _open(self) -> None:
        with self._reader({}) as reader:
            names = reader.schema.names
        self.schema = pa.schema([pa.field(name, pa.string()) for name in names])

    def _reader(self, types: dict[str, pa.DataType]) -> Any:
        return pyarrow.csv.open_csv(
            self._path,
            read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False),
        )

    def _batches(self, size: int, skip: int) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - blocks are what they are
        with self._reader(dict.fromkeys(self.schema.names, pa.string())) as reader:
            yield from _skipped(reader, skip)


class _JsonLines(Source):
    def _open(self) -> None:
        with self._reader(None) as reader:
            inferred = reader.schema
        # A string that looks like a time is taken for one, and would come out written otherwise.
        self.schema = pa.schema(
            [field.with_type(pa.string()) if pa.types.is_timestamp(field.type) else field for field in inferred]
        )

    def _reader(self, schema: pa.Schema | None) -> Any:
        return pyarrow.json.open_json(
            self._path,
            read_options=pyarrow.json.ReadOptions(block_size=_JSON_BLOCK_BYTES, use_threads=False),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=schema,
                newlines_in_values=False,
                unexpected_field_behavior="infer" if schema is None else "error",
            ),
        )

    def _batches(self, size: int, skip: int) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - blocks are what they are
        with self._reader(self.schema) as reader:
            yield from _skipped(reader, skip)


class Sink(ABC):
    """A file that tables of one schema are appended to.

    Raises:
        InvalidInputError: The format cannot hold a column.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        for field in schema:
            if not self._holds(field.type):
                raise InvalidInputError(f"column {field.name!r} is of type {field.type}, which Parquet alone can hold")
        self._open(file, schema)

    @staticmethod
    def _holds(kind: pa.DataType) -> bool:  # noqa: ARG004 - Parquet holds all
        return True

    @abstractmethod
    def _open(self, file: BinaryIO, schema: pa.Schema) -> None:
        """Write what stands before the rows."""

    @abstractmethod
    def write(self, table: pa.Table) -> None:
        """Append the rows."""

    @abstractmethod
    def close(self) -> None:
        """Write what stands after the rows; the file stays open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class _ParquetSink(Sink):
    def _open(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class _CsvSink(Sink):
    @staticmethod
    def _holds(kind: pa.DataType) -> bool:
        return not (pa.types.is_nested(kind) or pa.types.is_dictionary(kind))

    def _open(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._writer = pyarrow.csv.CSVWriter(file, schema)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class _JsonLinesSink(Sink):
    def _open(self, file: BinaryIO, schema: pa.Schema) -> None:  # noqa: ARG002 - every line names its columns
        self._file = file

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            self._file.write(json.dumps(_plain(row), ensure_ascii=False, allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        """Nothing stands after the rows."""


_SOURCES: dict[str, type[Source]] = {".parquet": _Parquet, ".csv": _Csv, ".jsonl": _JsonLines, ".ndjson": _JsonLines}
_SINKS: dict[str, type[Sink]] = {
    ".parquet": _ParquetSink,
    ".csv": _CsvSink,
    ".jsonl": _JsonLinesSink,
    ".ndjson": _JsonLinesSink,
}


def source(path: Path) -> Source:
    """The file, to read from; its format by its extension.

    Raises:
        InvalidInputError: It cannot be read, or is not what its extension says.
    """
    _require_extension(path)
    return _SOURCES[path.suffix.lower()](path)


def sink_for(path: Path) -> type[Sink]:
    """How to write a file of that name. Raises InvalidInputError for an unknown extension."""
    _require_extension(path)
    return _SINKS[path.suffix.lower()]


def _require_extension(path: Path) -> None:
    if path.suffix.lower() not in _SINKS:
        raise InvalidInputError(f"{path}: the extension is {path.suffix!r}, wanted one of {', '.join(_SINKS)}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors of reading a file as InvalidInputError."""
    try:
        yield
    except (OSError, pa.ArrowException) as exc:
        raise InvalidInputError(f"cannot read {path}: {getattr(exc, 'strerror', None) or exc}") from exc


def _skipped(batches: Iterator[pa.RecordBatch], skip: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if skip < batch.num_rows:
            yield batch.slice(skip)
        skip = max(0, skip - batch.num_rows)


def _resized(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of ``size``: what is computed together must not depend on where reading began."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        start = 0
        while rows + batch.num_rows - start >= size:
            piece = batch.slice(start, size - rows)
            yield pa.concat_batches([*waiting, piece])
            waiting, rows, start = [], 0, start + piece.num_rows
        if start < batch.num_rows:
            waiting.append(batch.slice(start))
            rows += waiting[-1].num_rows
    if waiting:
        yield pa.concat_batches(waiting)


def _plain(value: Any) -> Any:
    """As JSON has it: not a number is null, bytes are base64, times are ISO 8601, other things are strings."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
