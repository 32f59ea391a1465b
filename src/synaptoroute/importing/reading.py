"""``read_foreign``: a file of another router, or of labelled examples, as routes of ours."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from synaptoroute.errors import InvalidInputError
from synaptoroute.importing import (
    dialogflow_cx,
    dialogflow_es,
    rasa,
    redisvl,
    rows,
    semantic_router_0,
    semantic_router_1,
)
from synaptoroute.importing.contents import FileContent, FileTree, Source, opened
from synaptoroute.importing.detecting import format_of_document, format_of_file, format_of_tree, root_of
from synaptoroute.importing.records import Imported
from synaptoroute.importing.rows import Columns
from synaptoroute.route_files import FileFormat, located, read_routes

#: The formats, as ``file_format`` takes them; beside them "auto", which looks into the file.
FORMATS = (
    "synaptoroute", "semantic-router-0", "semantic-router-1", "litellm", "redisvl", "rasa", "dialogflow-es",
    "dialogflow-cx", "csv", "json", "jsonl", "parquet",
)  # fmt: skip

_ROWS: dict[str, Callable[[FileContent, Columns], Imported]] = {
    "csv": rows.read_csv, "jsonl": rows.read_jsonl, "parquet": rows.read_parquet,
}  # fmt: skip
_DOCUMENTS: dict[str, Callable[[Any], Imported]] = {
    "semantic-router-0": semantic_router_0.read,
    "semantic-router-1": semantic_router_1.read,
    "litellm": lambda document: semantic_router_0.read(document, file_format="litellm"),
    "redisvl": redisvl.read,
    "rasa": rasa.read,
}
_TREES = ("dialogflow-es", "dialogflow-cx", "rasa")
#: Columns of our own CSV, and keys of our own JSON Lines: such files are read as the routes they are.
_OWN_CSV = {"route", "utterance", "threshold", "description", "metadata"}


def read_foreign(
    source: Source,
    file_format: str = "auto",
    *,
    language: str | None = None,
    text_column: str | None = None,
    route_column: str | None = None,
) -> Imported:
    """The routes in a file that was not written for this router, and what of it could not be carried.

    No code that a file names is loaded, nothing is unpacked to disk, links are not followed, and sizes are limited:
    64 MiB a file, 256 MiB and 20,000 files for an archive or a folder. Thresholds are not copied, see ``Imported``.

    Args:
        source: A path of a file, a zip archive or a folder; or an open binary stream.
        file_format: One of ``FORMATS``; "auto" looks into it.
        language: Of Dialogflow agents, whose phrases are read; the agent's own unless given.
        text_column: Of rows, which column holds the text; found by its name unless given.
        route_column: Of rows, which column holds the route; found by its name unless given.

    Raises:
        InvalidInputError: It cannot be read, is too large, is damaged, is not of its format, or holds no route. The
            message names the file and the line, the key or the file inside.
        MissingExtraError: YAML needs the extra ``yaml``, Parquet the extra ``parquet``.
    """
    if file_format != "auto" and file_format not in FORMATS:
        raise InvalidInputError(f"unknown format {file_format!r}, wanted auto or one of {', '.join(FORMATS)}")
    content = opened(source)
    if isinstance(content, FileTree):
        with located(content.label):
            return _of_tree(content, file_format, language)
    return _of_file(content, file_format, Columns(text=text_column, route=route_column))


def _of_tree(files: FileTree, file_format: str, language: str | None) -> Imported:
    if file_format == "auto":
        file_format = format_of_tree(files)
    if file_format not in _TREES:
        raise InvalidInputError(f"a folder or an archive is no {file_format} file; name the file")
    if file_format == "rasa":
        return rasa.read_folder(files)
    root = root_of(files)
    if root is None:
        raise InvalidInputError("there is no agent.json in it, which every Dialogflow agent has")
    read = dialogflow_es.read if file_format == "dialogflow-es" else dialogflow_cx.read
    return read(files, root, language)


def _of_file(content: FileContent, file_format: str, columns: Columns) -> Imported:
    known: str | None = file_format
    if file_format == "auto":
        known = format_of_file(content)
        if known in ("csv", "jsonl") and columns == Columns() and _is_own(content, known):
            known = "synaptoroute"
    if known == "synaptoroute":
        return _own(content)
    if known in _ROWS:
        return _ROWS[known](content, columns)
    if known in ("dialogflow-es", "dialogflow-cx"):
        raise InvalidInputError(f"{content.label}: wanted the whole agent, as a zip archive or a folder")
    document = content.document()
    with located(content.label):
        known = known or format_of_document(document)
        if known == "json":
            return rows.read_json(document, columns)
        if known != "synaptoroute":
            if isinstance(document, list):
                document = {"routes": document}
            return _DOCUMENTS[known](document)
    return _own(content)


def _is_own(content: FileContent, kind: str) -> bool:
    first = content.data.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
    if kind == "jsonl":
        return b'"utterances"' in first
    header = {cell.strip(b' "\r').decode("utf-8", "replace").lower() for cell in first.split(b",")}
    return {"route", "utterance"} <= header <= _OWN_CSV


def _own(content: FileContent) -> Imported:
    """Routes as this package writes them, with all they have."""
    kinds: dict[str, FileFormat] = {
        ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".yaml": "yaml", ".yml": "yaml", ".json": "json",
    }  # fmt: skip
    kind = kinds.get(content.suffix)
    if kind is None:
        kind = "json" if content.data.lstrip()[:1] in (b"{", b"[") else "yaml"
    stream = io.BytesIO(content.data)
    stream.name = content.label
    return Imported(format="synaptoroute", routes=tuple(read_routes(stream, kind)), notes=(), thresholds={})
