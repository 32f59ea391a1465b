"""Whether a SQLite store is sound, row by row. Nothing is changed, and nothing on disk makes this raise."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from synaptoroute import cache_files
from synaptoroute.errors import StorageError
from synaptoroute.models import Route
from synaptoroute.storage.checksums import is_sound
from synaptoroute.storage.opening import connect_to_read, require_ours, transaction

#: Most findings of one kind that are listed; a lost page may damage thousands of rows.
_MOST_FINDINGS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, and where."""

    where: str
    what: str


@dataclass(slots=True)
class Verification:
    """What was found in a store.

    Attributes:
        findings: What is damaged; empty for a sound store.
        routes: Sound ones.
        utterances: Theirs.
        revision: Number of the last change; None if it cannot be told.
        caches: Damaged files of the cache beside the store. They are not the store's: a router builds them again.
    """

    findings: list[Finding] = field(default_factory=list)
    routes: int = 0
    utterances: int = 0
    revision: int | None = None
    caches: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged but perhaps the cache."""
        return not self.findings

    def found(self, where: str, what: object) -> None:
        """Add a finding."""
        self.findings.append(Finding(where=where, what=str(what)))


def verify(path: str | os.PathLike[str], *, still: bool = False) -> Verification:
    """Look at everything a store holds: SQLite's own integrity check, then each row.

    Others may go on writing meanwhile; what is seen is one revision. About 1 s for 100,000 utterances.

    Args:
        path: The SQLite file.
        still: Nobody else has it open, so it is read without making a log beside it.
    """
    seen = Verification()
    if not Path(path).is_file():
        seen.found("file", f"there is no file {os.fspath(path)}")
        return seen
    try:
        with closing(connect_to_read(os.fspath(path), still=still)) as connection:
            require_ours(connection, os.fspath(path))
            with transaction(connection, "DEFERRED"):
                for check in (_pages, _state, _routes, _orphans, _labelled, _point):
                    _guarded(seen, check.__name__.strip("_"), connection, check)
    except (StorageError, sqlite3.Error) as exc:
        seen.found("file", exc)
    folder = Path(f"{os.fspath(path)}-index")
    seen.caches += [Finding(where=str(file), what=why) for file, why in cache_files.damaged(folder)]
    return seen


def _guarded(seen: Verification, where: str, connection: sqlite3.Connection, check: object) -> None:
    assert callable(check)  # noqa: S101 - those above are
    try:
        check(seen, connection)
    except (sqlite3.Error, ValueError, TypeError, OverflowError) as exc:
        seen.found(where, f"cannot be read further: {exc}")


def _pages(seen: Verification, connection: sqlite3.Connection) -> None:
    for (said,) in connection.execute(f"PRAGMA integrity_check({_MOST_FINDINGS})"):
        if said != "ok":
            seen.found("pages", said)


def _state(seen: Verification, connection: sqlite3.Connection) -> None:
    columns = names_of_columns(connection, "state")
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM state").fetchall()  # noqa: S608 - our own names
    if len(rows) != 1:
        seen.found("state", f"{len(rows)} rows, wanted 1")
        return
    row = dict(zip(columns, rows[0], strict=True))
    if not is_sound(row.get("crc32"), row["store_id"], row["revision"], row.get("routes")):
        seen.found("state", "the revision is damaged")
        return
    seen.revision = row["revision"]
    newest = connection.execute("SELECT max(revision) FROM routes").fetchone()[0] or 0
    if newest > row["revision"]:
        seen.found("state", f"a route of revision {newest} in a store of revision {row['revision']}")
    count = connection.execute("SELECT count(*) FROM routes").fetchone()[0]
    if row.get("routes") not in (None, count):
        seen.found("state", f"{count:,} routes, wanted {row['routes']:,}")
    if "lineages" in tables(connection) and connection.execute("SELECT 1 FROM lineages").fetchone() is None:
        seen.found("state", "the lineage is lost")


def _routes(seen: Verification, connection: sqlite3.Connection) -> None:
    dims = dict(connection.execute("SELECT id, dim FROM encoders"))
    for _, group in groupby(stored_rows(connection), itemgetter(0)):
        rows = list(group)
        name, why = rows[0][1], problem_of_route(rows, dims)
        if why is None:
            seen.routes += 1
            seen.utterances += len(rows)
        elif len(seen.findings) < _MOST_FINDINGS:
            seen.found(f"route {name!r}", why)


def _orphans(seen: Verification, connection: sqlite3.Connection) -> None:
    query = "SELECT count(*) FROM utterances WHERE route_id NOT IN (SELECT id FROM routes)"
    count = connection.execute(query).fetchone()[0]
    if count:
        seen.found("utterances", f"{count:,} belong to no route")


def _labelled(seen: Verification, connection: sqlite3.Connection) -> None:
    if "labelled_queries" not in tables(connection):
        return
    dims = dict(connection.execute("SELECT id, dim FROM encoders"))
    count = 0
    query = "SELECT id, text, label, encoder_id, vector, crc32 FROM labelled_queries ORDER BY id"
    for number, text, label, encoder_id, vector, crc32 in connection.execute(query):
        count += 1
        if len(vector) != 4 * dims.get(encoder_id, 0) or not is_sound(crc32, text, label, vector=vector):
            seen.found("labelled queries", f"number {number} is damaged")
    columns = names_of_columns(connection, "operating_point")
    for row in connection.execute(f"SELECT {', '.join(columns)} FROM operating_point"):  # noqa: S608 - our own names
        point = dict(zip(columns, row, strict=True))
        if not is_sound(point.get("crc32"), point["min_confidence"], count):
            seen.found("labelled queries", "the operating point is damaged, or queries are lost")


def _point(seen: Verification, connection: sqlite3.Connection) -> None:
    if "chosen_point" in tables(connection):
        for *said, crc32 in connection.execute("SELECT min_confidence, actor, at, crc32 FROM chosen_point"):
            if not is_sound(crc32, *said):
                seen.found("operating point", "the operating point that somebody set is damaged")


# --------------------------------------------------------------------------------------------------------- for repair
StoredRow = tuple[object, ...]


def stored_rows(connection: sqlite3.Connection) -> Iterator[StoredRow]:
    """Every route with each of its utterances, route by route: id, name, threshold, description, metadata, revision,
    checksum; text, encoder id, vector, checksum. The latter are None for a route that has none.
    """
    crc32 = "routes.crc32" if "crc32" in names_of_columns(connection, "routes") else "NULL"
    query = (
        f"SELECT routes.id, name, threshold, description, metadata, routes.revision, {crc32}, "  # noqa: S608
        "text, encoder_id, vector, utterances.crc32 FROM routes "
        "LEFT JOIN utterances ON route_id = routes.id ORDER BY routes.id, utterances.id"
    )
    yield from connection.execute(query)


def problem_of_route(rows: list[StoredRow], dims: dict[int, int]) -> str | None:
    """What is wrong with a route, given its rows of ``stored_rows`` and the dimensions of encoders; None if nothing."""
    route_id, name, threshold, description, metadata, revision, crc32 = rows[0][:7]
    if rows[0][7] is None:
        return "it has no utterance"
    damaged = sum(problem_of_utterance(row, dims) is not None for row in rows)
    if damaged:
        return f"{damaged:,} of its {len(rows):,} utterances are damaged"
    fields = (route_id, name, threshold, description, metadata, revision)
    if not is_sound(crc32, *fields, len(rows)):  # type: ignore[arg-type]
        return "its fields are damaged, or some of its utterances are lost"
    try:
        Route(
            name=str(name),
            utterances=[str(row[7]) for row in rows],
            threshold=threshold,  # type: ignore[arg-type]
            description=description,  # type: ignore[arg-type]
            metadata=json.loads(str(metadata)),
        )
    except (ValueError, TypeError, RecursionError) as exc:
        return str(exc)
    return None


def problem_of_utterance(row: StoredRow, dims: dict[int, int]) -> str | None:
    """What is wrong with the utterance in a row of ``stored_rows``; None if nothing."""
    route_id, text, encoder_id, vector, crc32 = row[0], *row[7:]
    if not isinstance(vector, bytes) or len(vector) != 4 * dims.get(encoder_id, 0):  # type: ignore[call-overload]
        return "its vector has another length, or its encoder is not known"
    return None if is_sound(crc32, route_id, text, vector=vector) else "its text or its vector is damaged"  # type: ignore[arg-type]


def names_of_columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """Of a table; empty if there is none of that name."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def tables(connection: sqlite3.Connection) -> list[str]:
    """The names of all tables."""
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return [row[0] for row in connection.execute(query)]
