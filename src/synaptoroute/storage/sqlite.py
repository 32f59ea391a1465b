"""Routes in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from synaptoroute.errors import (
    EncoderMismatchError,
    RevisionConflictError,
    StorageCorruptError,
    StorageError,
)
from synaptoroute.forking import PerProcess
from synaptoroute.models import Route
from synaptoroute.storage import history_tables, reencoding, sqlite_rows
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
from synaptoroute.storage.checksums import Field, checksum, is_sound
from synaptoroute.storage.history import Snapshot, StoredHistory, unpacked
from synaptoroute.storage.history_tables import Recorder
from synaptoroute.storage.opening import (
    CHECKPOINT_PAGES,
    connect,
    connect_to_read,
    transaction,
    translated,
)
from synaptoroute.storage.writer_lock import WriterLock

#: How many revisions and changed routes ``changes_since`` goes back: 10,000 routes of 5 utterances take 80 MB. So many
#: revisions can also be gone back to.
HISTORY = 10_000


class SQLiteStorage:
    """A durable store in one SQLite file (and its -wal and -shm companions while open).

    Write-ahead log with a full sync at each commit: what a call acknowledged survives a crash of the process and of
    the machine. One connection writes, under a lock; queries use the in-memory table instead, and ``read`` a read-only
    connection of its own. Any number of processes may open one file and read it. With its first change a process
    becomes the writer until it closes the store or dies, and changes by others raise StorageInUseError; only the writer
    checkpoints and memory mapping is off, because of the WAL-reset bug of SQLite before 3.51.3. A forked child is
    another process.

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
        self._writer = WriterLock(self._path)
        with translated(self._path, "open"):
            connection = self._connect()
        self._file = None if self._path == ":memory:" else _identity(self._path)
        return connection

    def _connect(self) -> sqlite3.Connection:
        return connect(self._path, self._writer)

    @contextmanager
    def _connected(self, doing: str) -> Iterator[sqlite3.Connection]:
        """The connection, held alone, with the driver's errors translated."""
        with self._lock.get(threading.RLock), translated(self._path, doing):
            if self._pid != os.getpid():
                # A SQLite connection must not be used, nor even closed, in a forked child: leave it and open anew.
                if self._path == ":memory:":
                    raise StorageError("an in-memory store cannot be used in a forked process; open a file instead")
                self._pid, self._connection, self._has_lineage = os.getpid(), self._open(), False
            if self._connection is None:
                raise StorageError(f"{self._path} is closed")
            yield self._connection

    @contextmanager
    def _writing(self, *, keep: bool = True) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction of the one process that may write, which this one becomes if nobody is.

        Args:
            keep: Stay the writer until the store is closed.
        """
        with self._connected("write") as connection:
            if self._path == ":memory:":
                with transaction(connection):
                    yield connection
                return
            had = self._writer.held
            self._become_writer(connection)
            try:
                with self._writer.serialised(), transaction(connection):
                    yield connection
            finally:
                if not had and not keep:
                    connection.execute("PRAGMA wal_autocheckpoint = 0")
                    self._writer.release()

    def _become_writer(self, connection: sqlite3.Connection) -> None:
        if self._writer.held:
            return
        self._writer.acquire()
        if _identity(self._path) != self._file:
            # What is written into the file that was there before would be lost.
            self._writer.release()
            raise StorageError(f"{self._path} was replaced since it was opened; open it again to change it")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")

    # ------------------------------------------------------------------------------------------------ reading
    def load(self, encoder: EncoderIdentity) -> StoredTable:
        """See ``BaseStorage.load``. Checks the length and checksum of every vector."""
        with self._connected("read") as connection, transaction(connection, "DEFERRED"):
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
        with (
            translated(self._path, "read"),
            closing(connect_to_read(self._path)) as connection,
            transaction(connection, "DEFERRED"),
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
        query = "SELECT store_id, token, revision, routes, crc32 FROM state, lineages ORDER BY since DESC LIMIT 1"
        row = connection.execute(query).fetchone()
        if row is None or not is_sound(row[4], row[0], row[2], row[3]):
            raise StorageCorruptError(f"{self._path} has lost its revision; restore a backup")
        return StoreState(store_id=row[0], lineage=row[1], revision=row[2])

    def _route_count(self, connection: sqlite3.Connection) -> int | None:
        """How many routes there should be; None if an older version wrote the store last."""
        count = connection.execute("SELECT routes FROM state").fetchone()[0]
        return None if count is None else int(count)

    def changes_since(self, state: StoreState, encoder: EncoderIdentity) -> StoredChanges | None:
        """See ``BaseStorage.changes_since``. Goes back ``HISTORY`` revisions and as many changes at most."""
        with self._connected("read") as connection, transaction(connection, "DEFERRED"):
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
            labelled, count = self._labelled(connection, encoder.dim), self._route_count(connection)
        return StoredChanges(state=now, changes=(*drops, *puts), labelled=labelled, routes=count)

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
            "SELECT routes.id, name, threshold, description, metadata, routes.revision, routes.crc32, "
            "text, vector, utterances.crc32 FROM routes "
            "LEFT JOIN utterances ON route_id = routes.id {} ORDER BY routes.id, utterances.id"
        )
        if since is None:
            rows = connection.execute(query.format(""))
        else:
            changed = "WHERE routes.id IN (SELECT id FROM routes WHERE revision > ?)"
            rows = connection.execute(query.format(changed), (since,))
        count = 0
        for (route_id, *fields, revision, crc32), group in groupby(rows, itemgetter(*range(7))):
            utterances = [row[7:] for row in group]
            self._require_sound(crc32, route_id, *fields, revision, len(utterances))
            vectors = b"".join(self._sound(vector, crc32, dim, route_id, text) for text, vector, crc32 in utterances)
            yield sqlite_rows.route_of(self._path, [text for text, _, _ in utterances], *fields), vectors
            count += 1
        if since is None and count != (self._route_count(connection) or count):
            raise StorageCorruptError(f"{self._path} has lost routes; restore a backup")

    def _sound(self, vector: bytes | None, crc32: int, dim: int, *fields: Field) -> bytes:
        if vector is None or len(vector) != 4 * dim:
            raise StorageCorruptError(f"{self._path}: a stored vector is damaged; restore a backup")
        self._require_sound(crc32, *fields, vector=vector)
        return vector

    def _require_sound(self, crc32: int | None, *fields: Field, vector: bytes = b"") -> None:
        if not is_sound(crc32, *fields, vector=vector):
            what = "vector" if vector else "value"
            raise StorageCorruptError(f"{self._path}: a stored {what} is damaged; restore a backup")

    def _labelled(self, connection: sqlite3.Connection, dim: int) -> LabelledQueries | None:
        rows = connection.execute("SELECT text, label, vector, crc32 FROM labelled_queries ORDER BY id").fetchall()
        if not rows:
            return None
        chosen = connection.execute("SELECT min_confidence, crc32 FROM operating_point").fetchone()
        if chosen:
            self._require_sound(chosen[1], chosen[0], len(rows))
        return LabelledQueries(
            texts=tuple(row[0] for row in rows),
            labels=tuple(row[1] for row in rows),
            vectors=_rows(b"".join(self._sound(vector, crc32, dim, *said) for *said, vector, crc32 in rows), dim),
            min_confidence=chosen[0] if chosen else None,
        )

    def routes(self) -> tuple[Route, ...]:
        """The routes without their vectors, whichever encoder they were stored with."""
        texts: dict[int, list[str]] = {}
        with self._connected("read") as connection, transaction(connection, "DEFERRED"):
            for route_id, text in connection.execute("SELECT route_id, text FROM utterances ORDER BY route_id, id"):
                texts.setdefault(route_id, []).append(text)
            query = "SELECT id, name, threshold, description, metadata FROM routes ORDER BY id"
            return tuple(
                sqlite_rows.route_of(self._path, texts.get(row[0], []), *row[1:]) for row in connection.execute(query)
            )

    def encoder(self) -> EncoderIdentity | None:
        """Whose vectors are stored; None if none are."""
        query = "SELECT name, dim, fingerprint FROM encoders WHERE id IN (SELECT encoder_id FROM utterances LIMIT 1)"
        with self._connected("read") as connection:
            row = connection.execute(query).fetchone()
        return None if row is None else EncoderIdentity(name=row[0], dim=row[1], fingerprint=row[2])

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
        with self._writing() as connection:
            revision = self._next_revision(connection, expected_revision)
            self._refuse_other_encoders(connection, encoder)
            self._require_expected(connection, expected or {})
            encoder_id = self._encoder_id(connection, encoder)
            recorder = Recorder(revision, actor, cause)
            more = sqlite_rows.write(
                connection,
                self._path,
                changes,
                encoder_id=encoder_id,
                revision=revision,
                history=HISTORY,
                recorder=recorder,
            )
            sqlite_rows.keep_notes(connection, notes)
            self._become(connection, revision, recorder, more)
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

    def _become(self, connection: sqlite3.Connection, revision: int, recorder: Recorder, more: int = 0) -> None:
        """What every change ends with, with so many routes more; ``_has_lineage`` may be set once it is committed."""
        store_id, count = connection.execute("SELECT store_id, routes FROM state").fetchone()
        if count is None:
            count = int(connection.execute("SELECT count(*) FROM routes").fetchone()[0])
        else:
            count += more
        crc32 = checksum(store_id, revision, count)
        connection.execute("UPDATE state SET revision = ?, routes = ?, crc32 = ?", (revision, count, crc32))
        recorder.write(connection, revisions=HISTORY)
        if not self._has_lineage:
            self._begin_lineage(connection, revision)

    def _require_expected(self, connection: sqlite3.Connection, expected: Mapping[str, int]) -> None:
        for name, revision in expected.items():
            require_revision(name, seen=_route_revision(connection, name), expected=revision)

    def _encoder_id(self, connection: sqlite3.Connection, encoder: EncoderIdentity) -> int:
        row = connection.execute("SELECT id FROM encoders WHERE fingerprint = ?", (encoder.fingerprint,)).fetchone()
        if row is None:
            insert = "INSERT INTO encoders (fingerprint, name, dim) VALUES (?, ?, ?) RETURNING id"
            row = connection.execute(insert, (encoder.fingerprint, encoder.name, encoder.dim)).fetchone()
        return int(row[0])

    def _begin_lineage(self, connection: sqlite3.Connection, revision: int) -> None:
        # A restored store may have begun one for the revision that is only made now.
        insert = "INSERT OR REPLACE INTO lineages (since, token) VALUES (?, lower(hex(randomblob(16))))"
        connection.execute(insert, (revision,))
        forgotten = "DELETE FROM lineages WHERE since < (SELECT max(since) FROM lineages WHERE since <= ?)"
        connection.execute(forgotten, (revision - HISTORY,))

    def save_labelled(self, labelled: LabelledQueries | None, *, encoder: EncoderIdentity) -> None:
        """See ``BaseStorage.save_labelled``."""
        with self._writing() as connection:
            connection.execute("DELETE FROM labelled_queries")
            connection.execute("DELETE FROM operating_point")
            if labelled is None:
                return
            encoder_id = self._encoder_id(connection, encoder)
            insert = "INSERT INTO labelled_queries (text, label, encoder_id, vector, crc32) VALUES (?, ?, ?, ?, ?)"
            blobs = (sqlite_rows.blob(vector) for vector in labelled.vectors)
            rows = zip(labelled.texts, labelled.labels, blobs, strict=True)
            connection.executemany(
                insert,
                ((text, label, encoder_id, blob, checksum(text, label, vector=blob)) for text, label, blob in rows),
            )
            point = None if labelled.min_confidence is None else float(labelled.min_confidence)
            connection.execute(
                "INSERT INTO operating_point (only, min_confidence, crc32) VALUES (1, ?, ?)",
                (point, checksum(point, len(labelled.texts))),
            )

    def save_notes(self, notes: Mapping[str, bytes | None]) -> None:
        """See ``NotingStorage.save_notes``."""
        with self._writing() as connection:
            sqlite_rows.keep_notes(connection, notes)

    def notes(self, prefix: str = "") -> dict[str, bytes]:
        """See ``NotingStorage.notes``."""
        query = "SELECT name, value FROM notes WHERE name >= ?1 AND substr(name, 1, length(?1)) = ?1 ORDER BY name"
        with self._connected("read") as connection:
            return {name: bytes(value) for name, value in connection.execute(query, (prefix,))}

    def save_learned(self, learned: bytes) -> None:
        """See ``BaseStorage.save_learned``. Who only keeps this does not stay the writer."""
        with self._writing(keep=False) as connection:
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
        with self._connected("read") as connection, transaction(connection, "DEFERRED"):
            return history_tables.read(connection, since=since, route=route, limit=limit)

    def save_snapshot(self, name: str, routes: Iterable[Route], *, revision: int, actor: str | None = None) -> Snapshot:
        """See ``BaseStorage.save_snapshot``."""
        with self._writing() as connection:
            return history_tables.save_snapshot(connection, name, routes, revision=revision, actor=actor)

    def snapshots(self) -> tuple[Snapshot, ...]:
        """See ``BaseStorage.snapshots``."""
        with self._connected("read") as connection:
            return history_tables.snapshots(connection)

    def snapshot_routes(self, name: str) -> tuple[Route, ...]:
        """See ``BaseStorage.snapshot_routes``."""
        with self._connected("read") as connection, transaction(connection, "DEFERRED"):
            parts = history_tables.snapshot_parts(connection, name)
        return tuple(unpacked(parts, name))

    def delete_snapshot(self, name: str) -> None:
        """See ``BaseStorage.delete_snapshot``."""
        with self._writing() as connection:
            history_tables.delete_snapshot(connection, name)

    # ---------------------------------------------------------------------------------------- another encoder
    def unencoded(self, encoder: EncoderIdentity, *, after: int = 0, limit: int = 1_000) -> tuple[list[str], int]:
        """See ``BaseStorage.unencoded``."""
        with self._writing() as connection:
            encoder_id = self._encoder_id(connection, encoder)
            return reencoding.unencoded(connection, encoder_id, encoder.dim, after=after, limit=limit)

    def save_reencoded(self, texts: Sequence[str], vectors: Vectors, *, encoder: EncoderIdentity) -> None:
        """See ``BaseStorage.save_reencoded``."""
        with self._writing() as connection:
            encoder_id = self._encoder_id(connection, encoder)
            reencoding.save(connection, encoder_id, texts, (sqlite_rows.blob(vector) for vector in vectors))

    def swap_encoder(self, encoder: EncoderIdentity, *, expected_revision: int, actor: str | None = None) -> int:
        """See ``BaseStorage.swap_encoder``."""
        with self._writing() as connection:
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
                self._writer.release()
            self._connection = None


def _identity(path: str) -> tuple[int, int] | None:
    """Which file has that name; None if none has."""
    try:
        found = os.stat(path)  # noqa: PTH116 - beside the other calls of os
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _route_revision(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT revision FROM routes WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _rows(content: bytes | bytearray, dim: int) -> Vectors:
    return np.frombuffer(content, "<f4").reshape(-1, dim).astype(np.float32, copy=False)
