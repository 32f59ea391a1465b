"""Salvaging a damaged SQLite store: every row that can still be read, into a new file. The damaged one is kept."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from synaptoroute.errors import StorageCorruptError, StorageError
from synaptoroute.storage.checksums import checksum, is_sound
from synaptoroute.storage.opening import connect, connect_to_read, transaction, translated
from synaptoroute.storage.safekeeping import alone, put_in_place
from synaptoroute.storage.verifying import (
    names_of_columns,
    problem_of_route,
    problem_of_utterance,
    stored_rows,
    tables,
    verify,
)
from synaptoroute.storage.writer_lock import WriterLock

#: Rows looked for one by one behind damage, in all; a look takes about 10 us.
_MOST_LOOKS = 2_000_000
#: How far behind the last row found, where the store cannot tell its last row.
_FAR = 20_000
#: How many lost utterances are counted exactly; a route that lost more counts as damaged.
_MOST_LOST = 1_000
#: Made anew: who has followed the damaged store, or keeps a cache of it, must not go on from there.
_MADE_ANEW = frozenset({"migrations", "state", "lineages", "dropped", "learned", "history", "history_begins"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What could not be salvaged, and why."""

    what: str
    why: str


@dataclass(slots=True)
class Repair:
    """What became of a damaged store.

    Attributes:
        losses: What is not in the new file.
        routes: Salvaged ones.
        utterances: Theirs.
        revision: Of the new file, later than any that was seen in the damaged one.
        aside: What the damaged file is called now; None if the store was sound and was left alone.
    """

    losses: list[Loss] = field(default_factory=list)
    routes: int = 0
    utterances: int = 0
    revision: int = 0
    aside: Path | None = None

    def lost(self, what: str, why: object) -> None:
        """Add a loss."""
        self.losses.append(Loss(what=what, why=str(why)))


def repair(path: str | os.PathLike[str]) -> Repair:
    """Put all that can be read of a damaged store into a new file of the same name; a sound one is left alone.

    A route whose own fields are damaged is left out whole: with another threshold or name it would do harm. One that
    lost utterances keeps the others. What is not kept is listed, and the damaged file stays as
    ``<file>.damaged-<time>``.

    Args:
        path: The SQLite file. Nobody may write to it.

    Raises:
        StorageInUseError: Another process writes to it.
        StorageCorruptError: Nothing of it can be read. It is left as it is.
        StorageError: There is no such file, or the new one cannot be written.
    """
    path = Path(path)
    if not path.is_file():
        raise StorageError(f"there is no store {path}")
    seen, result = verify(path), Repair()
    if seen.sound:
        result.routes, result.utterances, result.revision = seen.routes, seen.utterances, seen.revision or 0
        return result
    with alone(path) as part:
        lock = WriterLock(part)
        lock.acquire()
        try:
            with translated(str(part), "write"), closing(connect(str(part), lock)) as new:
                new.execute("PRAGMA foreign_keys = OFF")
                with transaction(new):
                    _salvage(path, new, result)
        finally:
            lock.release()
        again = verify(part, still=True)
        if not again.sound:
            raise StorageError(f"the repaired {path} does not verify ({again.findings[0].what}); it was left as it is")
        result.routes, result.utterances = again.routes, again.utterances
        result.aside = put_in_place(part, path, "damaged")
    return result


def _salvage(path: Path, new: sqlite3.Connection, result: Repair) -> None:
    try:
        with closing(connect_to_read(str(path))) as old:
            # Text that is no longer Unicode fails its row only, not the scan.
            had = tables(old)
            if not {"routes", "utterances", "encoders"} <= set(had):
                raise StorageCorruptError(f"{path} has lost its tables; nothing of it can be read, restore a backup")
            for table in tables(new):
                if table not in _MADE_ANEW and table in had:
                    _copy_table(old, new, table, result)
            known = _known_revision(old)
    except sqlite3.Error as exc:
        raise StorageCorruptError(f"{path}: nothing of it can be read ({exc}); restore a backup") from exc
    _keep_what_is_sound(new, result)
    newest = new.execute("SELECT max(revision) FROM routes").fetchone()[0] or 0
    result.revision = max(known, newest) + 1
    count = new.execute("SELECT count(*) FROM routes").fetchone()[0]
    store_id = new.execute("SELECT store_id FROM state").fetchone()[0]
    new.execute(
        "UPDATE state SET revision = ?, routes = ?, crc32 = ?",
        (result.revision, count, checksum(store_id, result.revision, count)),
    )
    new.execute("UPDATE lineages SET since = ?", (result.revision,))
    # Its entries undo changes from the routes that were there on; snapshots stand for themselves and stay.
    new.execute("UPDATE history_begins SET revision = ?", (result.revision,))
    if "history" in had:
        result.lost("the history", "it leads back from what the store held before")


def _known_revision(old: sqlite3.Connection) -> int:
    found = 0
    for query in (
        "SELECT max(revision) FROM state",
        "SELECT max(since) FROM lineages",
        "SELECT max(revision) FROM dropped",
    ):
        with suppress(sqlite3.Error):
            revision = old.execute(query).fetchone()[0]
            # A damaged number must not use up all numbers there are.
            if isinstance(revision, int) and revision < 1 << 48:
                found = max(found, revision)
    return found


# ------------------------------------------------------------------------------------------------------------ copying
def _copy_table(old: sqlite3.Connection, new: sqlite3.Connection, table: str, result: Repair) -> None:
    columns = [name for name in names_of_columns(new, table) if name in names_of_columns(old, table)]
    if not columns:
        return
    listed = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    insert = f"INSERT INTO {table} ({listed}) VALUES ({marks})"  # noqa: S608 - names of our own schema
    unreadable = 0
    for row in _rows(old, table, listed):
        if row is None:
            unreadable += 1
            continue
        try:
            new.execute(insert, row)
        except (sqlite3.IntegrityError, sqlite3.OperationalError, OverflowError, UnicodeError) as exc:
            if isinstance(exc, sqlite3.OperationalError) and not new.in_transaction:
                # The disk is full, and SQLite has rolled everything back.
                raise
            result.lost(f"a row of {table}", exc)
    if unreadable:
        result.lost(f"{unreadable:,} or fewer rows of {table}", "they lie on damaged pages")


def _rows(old: sqlite3.Connection, table: str, columns: str) -> Iterator[Sequence[Any] | None]:
    """Every row that can be read, in order; None where one cannot, though there may have been none."""
    try:
        old.execute(f"SELECT rowid FROM {table} LIMIT 0")  # noqa: S608 - here and below: names of our own schema
    except sqlite3.Error:
        yield from _rows_without_ids(old, table, columns)
        return
    at, looks = -1, 0
    while True:
        try:
            query = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid"  # noqa: S608
            for found_at, *row in old.execute(query, (at,)):
                at = found_at
                yield row
        except (sqlite3.Error, OverflowError):
            pass
        else:
            return
        last = _last_id(old, table, at)
        found: Sequence[Any] | None = None
        while found is None:
            at += 1
            looks += 1
            if at > last or looks > _MOST_LOOKS:
                return
            try:
                query = f"SELECT {columns} FROM {table} WHERE rowid = ?"  # noqa: S608
                found = old.execute(query, (at,)).fetchone()
            except (sqlite3.Error, OverflowError):
                yield None
        yield found


def _last_id(old: sqlite3.Connection, table: str, at: int) -> int:
    try:
        last = old.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]  # noqa: S608
    except sqlite3.Error:
        return at + _FAR
    return at + _FAR if last is None else int(last)


def _rows_without_ids(old: sqlite3.Connection, table: str, columns: str) -> Iterator[Sequence[Any] | None]:
    try:
        yield from old.execute(f"SELECT {columns} FROM {table}")  # noqa: S608
    except sqlite3.Error:
        yield None


# ------------------------------------------------------------------------------------------------------------ judging
def _keep_what_is_sound(new: sqlite3.Connection, result: Repair) -> None:
    dims = dict(new.execute("SELECT id, dim FROM encoders"))
    for each in [each for each in _judged(new, dims) if each.why is not None]:
        if each.had is None or not each.sound:
            result.lost(each.name, each.why if each.sound else "none of its utterances can be read")
            new.execute("DELETE FROM routes WHERE id = ?", (each.route_id,))
            new.execute("DELETE FROM utterances WHERE route_id = ?", (each.route_id,))
            continue
        texts = new.execute("SELECT text FROM utterances WHERE route_id = ?", (each.route_id,)).fetchall()
        damaged = [(each.route_id, text) for (text,) in texts if text not in each.sound]
        new.executemany("DELETE FROM utterances WHERE route_id = ? AND text = ?", damaged)
        count = len(each.sound)
        result.lost(f"{each.had - count:,} of the {each.had:,} utterances of {each.name}", "they are damaged")
        new.execute("UPDATE routes SET crc32 = ? WHERE id = ?", (checksum(*each.fields, count), each.route_id))
    _drop_orphans(new, result)
    _keep_labelled(new, dims, result)
    _keep_point(new, result)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A route: its fields, which of its utterances are sound, how many it had, and what is wrong with it."""

    name: str
    route_id: int
    fields: tuple[Any, ...]
    sound: frozenset[str]
    had: int | None
    why: str | None


def _judged(new: sqlite3.Connection, dims: dict[int, int]) -> Iterator[_Judged]:
    for route_id, group in groupby(stored_rows(new), itemgetter(0)):
        rows = list(group)
        sound = frozenset(str(row[7]) for row in rows if row[7] is not None and problem_of_utterance(row, dims) is None)
        why, had = problem_of_route(rows, dims), _count_there_was(rows[0], len(sound))
        if why is not None and had is not None and sound:
            # Without what is lost, are the rest of it a route?
            rest = [(*row[:6], None, *row[7:]) for row in rows if row[7] in sound]
            if (still := problem_of_route(rest, dims)) is not None:
                why, had = still, None
        yield _Judged(
            name=f"route {rows[0][1]!r}", route_id=int(str(route_id)), fields=rows[0][:6], sound=sound, had=had, why=why
        )


def _count_there_was(row: Sequence[Any], found: int) -> int | None:
    """How many utterances the route had, going by its checksum; None if its own fields are damaged."""
    fields, crc32 = row[:6], row[6]
    if crc32 is None:
        return found
    return next((count for count in range(found, found + _MOST_LOST) if is_sound(crc32, *fields, count)), None)


def _drop_orphans(new: sqlite3.Connection, result: Repair) -> None:
    query = "SELECT count(*) FROM utterances WHERE route_id NOT IN (SELECT id FROM routes)"
    count = new.execute(query).fetchone()[0]
    if count:
        result.lost(f"{count:,} utterances", "their route cannot be read")
        new.execute("DELETE FROM utterances WHERE route_id NOT IN (SELECT id FROM routes)")
    # Whatever else refers to a row that is lost.
    while broken := {(row[0], row[1]) for row in new.execute("PRAGMA foreign_key_check") if row[1] is not None}:
        for table, rowid in broken:
            result.lost(f"a row of {table}", "what it belongs to cannot be read")
            new.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))  # noqa: S608


def _keep_labelled(new: sqlite3.Connection, dims: dict[int, int], result: Repair) -> None:
    """All or nothing: an operating point holds for the queries it was chosen on."""
    query = "SELECT text, label, encoder_id, vector, crc32 FROM labelled_queries ORDER BY id"
    rows = new.execute(query).fetchall()
    point = new.execute("SELECT min_confidence, crc32 FROM operating_point").fetchone()
    sound = all(
        len(vector) == 4 * dims.get(encoder_id, 0) and is_sound(crc32, text, label, vector=vector)
        for text, label, encoder_id, vector, crc32 in rows
    )
    if sound and (bool(rows) == bool(point)) and (point is None or is_sound(point[1], point[0], len(rows))):
        return
    result.lost(f"the fit, with its {len(rows):,} labelled queries", "some of it is damaged; fit again")
    new.execute("DELETE FROM labelled_queries")
    new.execute("DELETE FROM operating_point")


def _keep_point(new: sqlite3.Connection, result: Repair) -> None:
    for *said, crc32 in new.execute("SELECT min_confidence, actor, at, crc32 FROM chosen_point").fetchall():
        if not is_sound(crc32, *said):
            result.lost("the operating point that somebody set", "it is damaged; set it again")
            new.execute("DELETE FROM chosen_point")
