"""Routes in one SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from synaptoroute.errors import (
    EncoderMismatchError,
    InvalidInputError,
    RevisionConflictError,
    StorageCorruptError,
    StorageError,
    StorageForeignError,
)
from synaptoroute.forking import PerProcess
from synaptoroute.models import Route
from synaptoroute.storage import history_tables, reencoding
from synaptoroute.storage.base import (
    NO_NOTES,
    Change,
    DropRoute,
    EncoderIdentity,
    LabelledQueries,
    PutRoute,
    StoredChanges,
    StoredStream,
    StoredTable,
    StoreState,
    Vectors,
    require_revision,
)
from synaptoroute.storage.history import Snapshot, StoredHistory, undo_of_delete, undo_of_update, unpacked
from synaptoroute.storage.history_tables import Recorder
from synaptoroute.storage.migrations import MIGRATIONS

#: "SynR" in the file's header says that the database is ours.
APPLICATION_ID = 0x53796E52
#: Versions before this may corrupt a WAL database when two connections checkpoint at once (sqlite.org/wal.html).
WAL_RESET_FIXED_IN = (3, 51, 3)
BUSY_TIMEOUT_S = 5.0
#: How many revisions and changed routes ``changes_since`` goes back: 10,000 routes of 5 utterances take 80 MB. So many
#: revisions can also be gone back to.
HISTORY = 10_000
_HEADER = b"SQLite format 3\x00"


class SQLiteStorage:
    """A durable store in one SQLite file (and its -wal and -shm companions while open).

    Write-ahead log with a full sync at each commit: what a call acknowledged survives a crash of the process and of
    the machine. One connection writes, under a lock; queries use the in-memory table instead, and ``read`` a read-only
    connection of its own. The writer is the only one that checkpoints and memory mapping is off, so the WAL-reset bug
    of SQLite before 3.51.3 needs a second writing process to show.

    Args:
        path: The file, created if missing; its folder must exist. ":memory:" keeps everything in this process.

    Raises:
        StorageForeignError: The file is not a SynaptoRoute database, or a newer version wrote it.
        StorageCorruptError: The file is damaged.
        StorageError: It cannot be opened or written there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._lock: PerProcess[threading.RLock] = PerProcess()
        self._pid = os.getpid()
        self._has_lineage = False
        self._connection: sqlite3.Connection | None = self._open()

    @property
    def path(self) -> str:
        """Where the file is; ":memory:" for none."""
        return self._path

    @property
    def cache_folder(self) -> Path | None:
        """See ``BaseStorage.cache_folder``: beside the file."""
        return None if self._path == ":memory:" else Path(f"{self._path}-index")

    def __repr__(self) -> str:
        return f"SQLiteStorage({self._path!r})"

    # ------------------------------------------------------------------------------------------------ opening
    def _open(self) -> sqlite3.Connection:
        in_memory = self._path == ":memory:"
        if not in_memory:
            self._refuse_foreign_file()
        with self._translated("open"):
            connection = sqlite3.connect(
                self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _refuse_foreign_file(self) -> None:
        """SQLite would treat an empty file as a new database, and call a foreign one merely 'not a database'."""
        path = Path(self._path)
        if path.is_dir():
            raise StorageForeignError(f"{path} is a folder, wanted a file")
        if not path.parent.is_dir():
            raise StorageError(f"the folder {path.parent} does not exist; create it first")
        try:
            with path.open("rb") as file:
                header = file.read(len(_HEADER))
        except FileNotFoundError:
            return
        except OSError as exc:
            raise StorageError(f"cannot read {path}: {exc.strerror}") from exc
        if header and header != _HEADER:
            raise StorageForeignError(
                f"{path} is not a SynaptoRoute database (its first bytes are not SQLite's); name another file"
            )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        _careful(connection)
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        has_tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] > 0
        if has_tables and application_id != APPLICATION_ID:
            raise StorageForeignError(f"{self._path} is a database of another program; name another file")
        if version > len(MIGRATIONS):
            raise StorageForeignError(
                f"{self._path} has schema {version}, this version knows up to {len(MIGRATIONS)}; upgrade synaptoroute"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            self._migrate(connection, number, script)

    def _migrate(self, connection: sqlite3.Connection, number: int, script: str) -> None:
        with _transaction(connection):
            # Another process may have migrated between our look and our lock.
            if connection.execute("PRAGMA user_version").fetchone()[0] >= number:
                return
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            connection.execute("INSERT INTO migrations (version, applied_at) VALUES (?, ?)", (number, now))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")

    @contextmanager
    def _connected(self, doing: str) -> Iterator[sqlite3.Connection]:
        """The connection, held alone, with the driver's errors translated."""
        with self._lock.get(threading.RLock), self._translated(doing):
            if self._pid != os.getpid():
                # A SQLite connection must not be used, nor even closed, in a forked child: leave it and open anew.
                if self._path == ":memory:":
                    raise StorageError("an in-memory store cannot be used in a forked process; open a file instead")
                self._pid, self._connection, self._has_lineage = os.getpid(), self._open(), False
            if self._connection is None:
                raise StorageError(f"{self._path} is closed")
            yield self._connection

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as exc:
            raise StorageError(f"cannot {doing} {self._path}: {exc}") from exc
        except sqlite3.DatabaseError as exc:
            raise StorageCorruptError(
                f"cannot {doing} {self._path}: {exc}; the file is damaged, restore it from a backup"
            ) from exc

    # ------------------------------------------------------------------------------------------------ reading
    def load(self, encoder: EncoderIdentity) -> StoredTable:
        """See ``BaseStorage.load``. Checks the length and checksum of every vector."""
        with self._connected("read") as connection, _transaction(connection, "DEFERRED"):
            self._refuse_other_encoders(connection, encoder)
            revision = self._state(connection).revision
            routes: list[Route] = []
            content = bytearray()
            for route, its_vectors in self._stored(connection, encoder.dim):
                routes.append(route)
                content += its_vectors
            labelled = self._labelled(connection, encoder.dim)
        vectors = _rows(content, encoder.dim)
        return StoredTable(revision=revision, routes=tuple(routes), vectors=vectors, labelled=labelled)

    @contextmanager
    def read(self, encoder: EncoderIdentity, *, rows: int = 10_000) -> Iterator[StoredStream]:
        """See ``BaseStorage.read``. The write-ahead log cannot shrink until it ends; one thread must do all of it."""
        if self._path == ":memory:":
            with self._connected("read"):
                state, stored = self.state(), self.load(encoder)
            yield StoredStream(state=state, batches=iter([(stored.routes, stored.vectors)]), labelled=stored.labelled)
            return
        uri = f"{Path(self._path).absolute().as_uri()}?mode=ro"
        with (
            self._translated("read"),
            closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection,
            _transaction(_careful(connection), "DEFERRED"),
        ):
            self._refuse_other_encoders(connection, encoder)
            state, labelled = self._state(connection), self._labelled(connection, encoder.dim)
            yield StoredStream(state=state, batches=self._batches(connection, encoder.dim, rows), labelled=labelled)

    def _batches(
        self, connection: sqlite3.Connection, dim: int, rows: int
    ) -> Iterator[tuple[tuple[Route, ...], Vectors]]:
        routes: list[Route] = []
        content = bytearray()
        for route, vectors in self._stored(connection, dim):
            routes.append(route)
            content += vectors
            if len(content) >= 4 * dim * rows:
                yield tuple(routes), _rows(content, dim)
                routes, content = [], bytearray()
        if routes:
            yield tuple(routes), _rows(content, dim)

    def state(self) -> StoreState:
        """See ``BaseStorage.state``."""
        with self._connected("read") as connection:
            return self._state(connection)

    def _state(self, connection: sqlite3.Connection) -> StoreState:
        query = "SELECT store_id, token, revision FROM state, lineages ORDER BY since DESC LIMIT 1"
        row = connection.execute(query).fetchone()
        if row is None:
            raise StorageCorruptError(f"{self._path} has lost its revision; restore a backup")
        return StoreState(store_id=row[0], lineage=row[1], revision=row[2])

    def changes_since(self, state: StoreState, encoder: EncoderIdentity) -> StoredChanges | None:
        """See ``BaseStorage.changes_since``. Goes back ``HISTORY`` revisions and as many changes at most."""
        with self._connected("read") as connection, _transaction(connection, "DEFERRED"):
            self._refuse_other_encoders(connection, encoder)
            now = self._state(connection)
            if not self._leads_from(connection, state, now):
                return None
            dropped = connection.execute("SELECT name FROM dropped WHERE revision > ?", (state.revision,))
            drops = [DropRoute(name=name) for (name,) in dropped]
            puts = [
                PutRoute(route=route, added=route.utterances, vectors=_rows(vectors, encoder.dim))
                for route, vectors in self._stored(connection, encoder.dim, since=state.revision)
            ]
            labelled = self._labelled(connection, encoder.dim)
        return StoredChanges(state=now, changes=(*drops, *puts), labelled=labelled)

    def _leads_from(self, connection: sqlite3.Connection, state: StoreState, now: StoreState) -> bool:
        """Whether that state is an earlier one of this store, with a history that is known and short enough."""
        if state.store_id != now.store_id or not now.revision - HISTORY <= state.revision <= now.revision:
            return False
        lineage = (
            "SELECT 1 FROM lineages AS its WHERE token = ?1 AND since <= ?2 + 1 "
            "AND NOT EXISTS (SELECT 1 FROM lineages WHERE since > its.since AND since <= ?2)"
        )
        changed = (
            "SELECT count(*) FROM (SELECT 1 FROM routes WHERE revision > ?1 "
            "UNION ALL SELECT 1 FROM dropped WHERE revision > ?1 LIMIT ?2)"
        )
        if connection.execute(lineage, (state.lineage, state.revision)).fetchone() is None:
            return False
        return int(connection.execute(changed, (state.revision, HISTORY + 1)).fetchone()[0]) <= HISTORY

    def _stored(
        self, connection: sqlite3.Connection, dim: int, since: int | None = None
    ) -> Iterator[tuple[Route, bytes]]:
        """Routes, in the order they were added, with the vectors of their utterances; only those changed since."""
        query = (
            "SELECT routes.id, name, threshold, description, metadata, text, vector, crc32 FROM routes "
            "LEFT JOIN utterances ON route_id = routes.id {} ORDER BY routes.id, utterances.id"
        )
        if since is None:
            rows = connection.execute(query.format(""))
        else:
            changed = "WHERE routes.id IN (SELECT id FROM routes WHERE revision > ?)"
            rows = connection.execute(query.format(changed), (since,))
        for (_, *fields), group in groupby(rows, itemgetter(0, 1, 2, 3, 4)):
            utterances = [row[5:] for row in group]
            vectors = b"".join(self._sound(vector, crc32, dim) for _, vector, crc32 in utterances)
            yield self._route([text for text, _, _ in utterances], *fields), vectors

    def _sound(self, vector: bytes | None, crc32: int, dim: int) -> bytes:
        if vector is None or len(vector) != 4 * dim or zlib.crc32(vector) != crc32:
            raise StorageCorruptError(f"{self._path}: a stored vector is damaged; restore a backup")
        return vector

    def _labelled(self, connection: sqlite3.Connection, dim: int) -> LabelledQueries | None:
        rows = connection.execute("SELECT text, label, vector, crc32 FROM labelled_queries ORDER BY id").fetchall()
        if not rows:
            return None
        chosen = connection.execute("SELECT min_confidence FROM operating_point").fetchone()
        return LabelledQueries(
            texts=tuple(row[0] for row in rows),
            labels=tuple(row[1] for row in rows),
            vectors=_rows(b"".join(self._sound(vector, crc32, dim) for *_, vector, crc32 in rows), dim),
            min_confidence=chosen[0] if chosen else None,
        )

    def routes(self) -> tuple[Route, ...]:
        """The routes without their vectors, whichever encoder they were stored with."""
        texts: dict[int, list[str]] = {}
        with self._connected("read") as connection, _transaction(connection, "DEFERRED"):
            for route_id, text in connection.execute("SELECT route_id, text FROM utterances ORDER BY route_id, id"):
                texts.setdefault(route_id, []).append(text)
            query = "SELECT id, name, threshold, description, metadata FROM routes ORDER BY id"
            return tuple(self._route(texts.get(row[0], []), *row[1:]) for row in connection.execute(query))

    def encoder(self) -> EncoderIdentity | None:
        """Whose vectors are stored; None if none are."""
        query = "SELECT name, dim, fingerprint FROM encoders WHERE id IN (SELECT encoder_id FROM utterances LIMIT 1)"
        with self._connected("read") as connection:
            row = connection.execute(query).fetchone()
        return None if row is None else EncoderIdentity(name=row[0], dim=row[1], fingerprint=row[2])

    def _route(
        self,
        utterances: list[str],
        name: str,
        threshold: float | None,
        description: str | None,
        metadata: str,
    ) -> Route:
        try:
            return Route(
                name=name,
                utterances=utterances,
                threshold=threshold,
                description=description,
                metadata=json.loads(metadata),
            )
        except (ValueError, InvalidInputError) as exc:
            raise StorageCorruptError(f"{self._path}: route {name!r} is damaged ({exc}); restore a backup") from exc

    def _refuse_other_encoders(self, connection: sqlite3.Connection, encoder: EncoderIdentity) -> None:
        """No commit mixes encoders, so one row of each table tells whose vectors it holds."""
        query = (
            "SELECT name, fingerprint FROM encoders WHERE id IN (SELECT encoder_id FROM utterances LIMIT 1) "
            "OR id IN (SELECT encoder_id FROM labelled_queries LIMIT 1)"
        )
        for name, fingerprint in connection.execute(query):
            if fingerprint != encoder.fingerprint:
                raise EncoderMismatchError(
                    f"{self._path} holds vectors of {name} ({fingerprint}), this router encodes with {encoder.name} "
                    f"({encoder.fingerprint}); their vectors cannot be compared. Open it with the encoder it was "
                    "written with; or encode all it holds anew, with 'synaptoroute routes migrate-encoder' while no "
                    "router uses it, or with router.migrate_encoder(...) while one does"
                )

    # ------------------------------------------------------------------------------------------------ writing
    def commit(
        self,
        changes: Sequence[Change],
        *,
        encoder: EncoderIdentity,
        expected_revision: int,
        expected: Mapping[str, int] | None = None,
        actor: str | None = None,
        cause: str | None = None,
        notes: Mapping[str, bytes | None] = NO_NOTES,
    ) -> int:
        """See ``BaseStorage.commit``. Returns after the write-ahead log is on disk."""
        with self._connected("write") as connection, _transaction(connection):
            revision = self._next_revision(connection, expected_revision)
            self._refuse_other_encoders(connection, encoder)
            self._require_expected(connection, expected or {})
            encoder_id = self._encoder_id(connection, encoder)
            recorder = Recorder(revision, actor, cause)
            for change in changes:
                match change:
                    case PutRoute():
                        self._put(connection, change, encoder_id, revision, recorder)
                    case DropRoute():
                        self._drop(connection, change.name, revision, recorder)
            _keep(connection, notes)
            self._become(connection, revision, recorder)
        self._has_lineage = True
        return revision

    def _next_revision(self, connection: sqlite3.Connection, expected_revision: int) -> int:
        revision = self._state(connection).revision
        if revision != expected_revision:
            raise RevisionConflictError(
                f"{self._path} is at revision {revision}, the change was based on {expected_revision}: "
                "another process changed it; reload and try again"
            )
        return revision + 1

    def _become(self, connection: sqlite3.Connection, revision: int, recorder: Recorder) -> None:
        """What every change ends with; ``_has_lineage`` may be set once it is committed."""
        connection.execute("UPDATE state SET revision = ?", (revision,))
        recorder.write(connection, revisions=HISTORY)
        if not self._has_lineage:
            self._begin_lineage(connection, revision)

    def _require_expected(self, connection: sqlite3.Connection, expected: Mapping[str, int]) -> None:
        for name, revision in expected.items():
            require_revision(name, seen=_route_revision(connection, name), expected=revision)

    def _encoder_id(self, connection: sqlite3.Connection, encoder: EncoderIdentity) -> int:
        row = (encoder.fingerprint, encoder.name, encoder.dim)
        connection.execute("INSERT OR IGNORE INTO encoders (fingerprint, name, dim) VALUES (?, ?, ?)", row)
        query = "SELECT id FROM encoders WHERE fingerprint = ?"
        return int(connection.execute(query, (encoder.fingerprint,)).fetchone()[0])

    def _put(
        self, connection: sqlite3.Connection, change: PutRoute, encoder_id: int, revision: int, recorder: Recorder
    ) -> None:
        route = change.route
        fields = (route.threshold, route.description, json.dumps(route.metadata), revision)
        insert = (
            "INSERT INTO routes (threshold, description, metadata, revision, name) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (name) DO NOTHING RETURNING id"
        )
        row = connection.execute(insert, (*fields, route.name)).fetchone()
        if row is not None:
            route_id = row[0]
            recorder.add("add", route.name)
        else:
            query = "SELECT id, threshold, description, metadata FROM routes WHERE name = ?"
            route_id, *before = connection.execute(query, (route.name,)).fetchone()
            undo = undo_of_update(
                history_tables.fields_of(*before),
                route,
                added=len(change.added),
                removed=change.removed,
                utterances=history_tables.utterances_of(connection, route_id) if change.removed else (),
            )
            recorder.add("update", route.name, undo)
            update = "UPDATE routes SET threshold = ?, description = ?, metadata = ?, revision = ? WHERE id = ?"
            connection.execute(update, (*fields, route_id))
        if change.removed:
            delete = "DELETE FROM utterances WHERE route_id = ? AND text = ?"
            connection.executemany(delete, ((route_id, text) for text in change.removed))
        insert = "INSERT INTO utterances (route_id, text, encoder_id, vector, crc32) VALUES (?, ?, ?, ?, ?)"
        content = memoryview(_blob(change.vectors))
        size = max(1, 4 * change.vectors.shape[1])
        blobs = [content[start : start + size] for start in range(0, len(content), size)]
        rows = zip(change.added, blobs, strict=True)
        connection.executemany(insert, ((route_id, text, encoder_id, blob, zlib.crc32(blob)) for text, blob in rows))

    def _drop(self, connection: sqlite3.Connection, name: str, revision: int, recorder: Recorder) -> None:
        query = "SELECT id, threshold, description, metadata FROM routes WHERE name = ?"
        row = connection.execute(query, (name,)).fetchone()
        if row is not None:
            before = self._route(history_tables.utterances_of(connection, row[0]), name, *row[1:])
            recorder.add("delete", name, undo_of_delete(before))
        connection.execute("DELETE FROM routes WHERE name = ?", (name,))
        connection.execute("INSERT OR IGNORE INTO dropped (revision, name) VALUES (?, ?)", (revision, name))
        connection.execute("DELETE FROM dropped WHERE revision <= ?", (revision - HISTORY,))

    def _begin_lineage(self, connection: sqlite3.Connection, revision: int) -> None:
        insert = "INSERT INTO lineages (since, token) VALUES (?, lower(hex(randomblob(16))))"
        connection.execute(insert, (revision,))
        forgotten = "DELETE FROM lineages WHERE since < (SELECT max(since) FROM lineages WHERE since <= ?)"
        connection.execute(forgotten, (revision - HISTORY,))

    def save_labelled(self, labelled: LabelledQueries | None, *, encoder: EncoderIdentity) -> None:
        """See ``BaseStorage.save_labelled``."""
        with self._connected("write") as connection, _transaction(connection):
            connection.execute("DELETE FROM labelled_queries")
            connection.execute("DELETE FROM operating_point")
            if labelled is None:
                return
            encoder_id = self._encoder_id(connection, encoder)
            insert = "INSERT INTO labelled_queries (text, label, encoder_id, vector, crc32) VALUES (?, ?, ?, ?, ?)"
            blobs = (_blob(vector) for vector in labelled.vectors)
            rows = zip(labelled.texts, labelled.labels, blobs, strict=True)
            connection.executemany(insert, ((*row[:2], encoder_id, row[2], zlib.crc32(row[2])) for row in rows))
            connection.execute("INSERT INTO operating_point VALUES (1, ?)", (labelled.min_confidence,))

    def save_notes(self, notes: Mapping[str, bytes | None]) -> None:
        """See ``NotingStorage.save_notes``."""
        with self._connected("write") as connection, _transaction(connection):
            _keep(connection, notes)

    def notes(self, prefix: str = "") -> dict[str, bytes]:
        """See ``NotingStorage.notes``."""
        query = "SELECT name, value FROM notes WHERE name >= ?1 AND substr(name, 1, length(?1)) = ?1 ORDER BY name"
        with self._connected("read") as connection:
            return {name: bytes(value) for name, value in connection.execute(query, (prefix,))}

    def save_learned(self, learned: bytes) -> None:
        """See ``BaseStorage.save_learned``."""
        with self._connected("write") as connection, _transaction(connection):
            connection.execute("INSERT OR REPLACE INTO learned VALUES (1, ?)", (learned,))

    def load_learned(self) -> bytes | None:
        """See ``BaseStorage.load_learned``."""
        with self._connected("read") as connection:
            row = connection.execute("SELECT model FROM learned").fetchone()
        return None if row is None else bytes(row[0])

    # --------------------------------------------------------------------------------------- history, snapshots
    def route_revision(self, name: str) -> int:
        """See ``BaseStorage.route_revision``."""
        with self._connected("read") as connection:
            return _route_revision(connection, name)

    def history(self, *, since: int = 0, route: str | None = None, limit: int | None = None) -> StoredHistory:
        """See ``BaseStorage.history``."""
        with self._connected("read") as connection, _transaction(connection, "DEFERRED"):
            return history_tables.read(connection, since=since, route=route, limit=limit)

    def save_snapshot(self, name: str, routes: Iterable[Route], *, revision: int, actor: str | None = None) -> Snapshot:
        """See ``BaseStorage.save_snapshot``."""
        with self._connected("write") as connection, _transaction(connection):
            return history_tables.save_snapshot(connection, name, routes, revision=revision, actor=actor)

    def snapshots(self) -> tuple[Snapshot, ...]:
        """See ``BaseStorage.snapshots``."""
        with self._connected("read") as connection:
            return history_tables.snapshots(connection)

    def snapshot_routes(self, name: str) -> tuple[Route, ...]:
        """See ``BaseStorage.snapshot_routes``."""
        with self._connected("read") as connection, _transaction(connection, "DEFERRED"):
            parts = history_tables.snapshot_parts(connection, name)
        return tuple(unpacked(parts, name))

    def delete_snapshot(self, name: str) -> None:
        """See ``BaseStorage.delete_snapshot``."""
        with self._connected("write") as connection, _transaction(connection):
            history_tables.delete_snapshot(connection, name)

    # ---------------------------------------------------------------------------------------- another encoder
    def unencoded(self, encoder: EncoderIdentity, *, after: int = 0, limit: int = 1_000) -> tuple[list[str], int]:
        """See ``BaseStorage.unencoded``."""
        with self._connected("write") as connection, _transaction(connection):
            encoder_id = self._encoder_id(connection, encoder)
            return reencoding.unencoded(connection, encoder_id, encoder.dim, after=after, limit=limit)

    def save_reencoded(self, texts: Sequence[str], vectors: Vectors, *, encoder: EncoderIdentity) -> None:
        """See ``BaseStorage.save_reencoded``."""
        with self._connected("write") as connection, _transaction(connection):
            encoder_id = self._encoder_id(connection, encoder)
            reencoding.save(connection, encoder_id, texts, (_blob(vector) for vector in vectors))

    def swap_encoder(self, encoder: EncoderIdentity, *, expected_revision: int, actor: str | None = None) -> int:
        """See ``BaseStorage.swap_encoder``."""
        with self._connected("write") as connection, _transaction(connection):
            revision = self._next_revision(connection, expected_revision)
            reencoding.swap(connection, self._encoder_id(connection, encoder))
            recorder = Recorder(revision, actor, f"to {encoder.name} ({encoder.fingerprint})")
            recorder.add("migrate", None)
            self._become(connection, revision, recorder)
        self._has_lineage = True
        return revision

    # ------------------------------------------------------------------------------------------------- upkeep
    def check(self) -> list[str]:
        """What SQLite's own integrity check finds wrong with the file; an empty list if nothing."""
        with self._connected("check") as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """See ``BaseStorage.close``."""
        with self._lock.get(threading.RLock):
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None


def _careful(connection: sqlite3.Connection) -> sqlite3.Connection:
    for pragma in ("foreign_keys = ON", "trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection, mode: str = "IMMEDIATE") -> Iterator[None]:
    """Commit at the end, roll back on any error. IMMEDIATE takes the write lock first: no upgrade can fail midway."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has already rolled back after some errors, such as a full disk.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _route_revision(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT revision FROM routes WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _keep(connection: sqlite3.Connection, notes: Mapping[str, bytes | None]) -> None:
    gone = ((name,) for name, value in notes.items() if value is None)
    connection.executemany("DELETE FROM notes WHERE name = ?", gone)
    kept = ((name, value) for name, value in notes.items() if value is not None)
    connection.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", kept)


def _blob(vector: Vectors) -> bytes:
    return vector.astype("<f4").tobytes()


def _rows(content: bytes | bytearray, dim: int) -> Vectors:
    return np.frombuffer(content, "<f4").reshape(-1, dim).astype(np.float32, copy=False)
