"""Routes in one SQLite file: its connection and its transactions.

The statements that run inside these are in ``route_tables`` (reading), ``route_writing``, ``state_tables``,
``labelled_tables``, ``point_tables``, ``history_tables`` and ``reencoding``.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from synaptoroute.errors import RevisionConflictError, StorageError
from synaptoroute.forking import PerProcess
from synaptoroute.models import Route
from synaptoroute.storage import (
    history_tables,
    labelled_tables,
    point_tables,
    reencoding,
    route_tables,
    route_writing,
    state_tables,
)
from synaptoroute.storage.base import (
    NO_NOTES,
    Change,
    ChosenPoint,
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
from synaptoroute.storage.checksums import checksum
from synaptoroute.storage.history import Snapshot, StoredHistory, unpacked
from synaptoroute.storage.history_tables import Recorder
from synaptoroute.storage.opening import (
    CHECKPOINT_PAGES,
    connect,
    connect_to_read,
    transaction,
    translated,
)
from synaptoroute.storage.route_tables import vectors_of
from synaptoroute.storage.route_writing import blob
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
            state_tables.refuse_other_encoders(connection, self._path, encoder)
            revision = state_tables.read(connection, self._path).revision
            routes: list[Route] = []
            content = bytearray()
            for route, its_vectors in route_tables.read(connection, self._path, encoder.dim):
                routes.append(route)
                content += its_vectors
            labelled = labelled_tables.read(connection, self._path, encoder.dim)
            point = point_tables.read(connection, self._path)
        vectors = vectors_of(content, encoder.dim)
        return StoredTable(revision=revision, routes=tuple(routes), vectors=vectors, labelled=labelled, point=point)

    @contextmanager
    def read(self, encoder: EncoderIdentity, *, rows: int = 10_000) -> Iterator[StoredStream]:
        """See ``BaseStorage.read``. The write-ahead log cannot shrink until it ends; one thread must do all of it."""
        if self._path == ":memory:":
            with self._connected("read"):
                state, stored = self.state(), self.load(encoder)
            batch = stored.routes, stored.vectors
            yield StoredStream(state=state, batches=iter([batch]), labelled=stored.labelled, point=stored.point)
            return
        with (
            translated(self._path, "read"),
            closing(connect_to_read(self._path)) as connection,
            transaction(connection, "DEFERRED"),
        ):
            state_tables.refuse_other_encoders(connection, self._path, encoder)
            state = state_tables.read(connection, self._path)
            labelled = labelled_tables.read(connection, self._path, encoder.dim)
            batches = route_tables.batches(connection, self._path, encoder.dim, rows)
            point = point_tables.read(connection, self._path)
            yield StoredStream(state=state, batches=batches, labelled=labelled, point=point)

    def state(self) -> StoreState:
        """See ``BaseStorage.state``."""
        with self._connected("read") as connection:
            return state_tables.read(connection, self._path)

    def changes_since(self, state: StoreState, encoder: EncoderIdentity) -> StoredChanges | None:
        """See ``BaseStorage.changes_since``. Goes back ``HISTORY`` revisions and as many changes at most."""
        with self._connected("read") as connection, transaction(connection, "DEFERRED"):
            state_tables.refuse_other_encoders(connection, self._path, encoder)
            now = state_tables.read(connection, self._path)
            if not state_tables.leads_from(connection, state, now, most=HISTORY):
                return None
            dropped = connection.execute("SELECT name FROM dropped WHERE revision > ?", (state.revision,))
            drops = [DropRoute(name=name) for (name,) in dropped]
            puts = [
                PutRoute(route=route, added=route.utterances, vectors=vectors_of(content, encoder.dim))
                for route, content in route_tables.read(connection, self._path, encoder.dim, since=state.revision)
            ]
            labelled = labelled_tables.read(connection, self._path, encoder.dim)
            point = point_tables.read(connection, self._path)
            count = state_tables.route_count(connection)
        return StoredChanges(state=now, changes=(*drops, *puts), labelled=labelled, routes=count, point=point)

    def routes(self) -> tuple[Route, ...]:
        """The routes without their vectors, whichever encoder they were stored with."""
        with self._connected("read") as connection, transaction(connection, "DEFERRED"):
            return route_tables.without_vectors(connection, self._path)

    def encoder(self) -> EncoderIdentity | None:
        """Whose vectors are stored; None if none are."""
        with self._connected("read") as connection:
            return state_tables.encoder(connection)

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
            state_tables.refuse_other_encoders(connection, self._path, encoder)
            self._require_expected(connection, expected or {})
            encoder_id = self._encoder_id(connection, encoder)
            recorder = Recorder(revision, actor, cause)
            more = route_writing.write(
                connection,
                self._path,
                changes,
                encoder_id=encoder_id,
                revision=revision,
                history=HISTORY,
                recorder=recorder,
            )
            state_tables.keep_notes(connection, notes)
            self._become(connection, revision, recorder, more)
        self._has_lineage = True
        return revision

    def _next_revision(self, connection: sqlite3.Connection, expected_revision: int) -> int:
        revision = state_tables.read(connection, self._path).revision
        if revision != expected_revision:
            raise RevisionConflictError(
                f"{self._path} is at revision {revision}, the change was based on {expected_revision}: "
                "another process changed it; reload and try again"
            )
        return revision + 1

    def _become(self, connection: sqlite3.Connection, revision: int, recorder: Recorder, more: int = 0) -> None:
        """What every change ends with, with so many routes more; ``_has_lineage`` may be set once it is committed."""
        count = state_tables.route_count(connection)
        if count is None:
            count = int(connection.execute("SELECT count(*) FROM routes").fetchone()[0])
        else:
            count += more
        crc32 = checksum(state_tables.read(connection, self._path).store_id, revision, count)
        connection.execute("UPDATE state SET revision = ?, routes = ?, crc32 = ?", (revision, count, crc32))
        recorder.write(connection, revisions=HISTORY)
        if not self._has_lineage:
            state_tables.begin_lineage(connection, revision, most=HISTORY)

    def _require_expected(self, connection: sqlite3.Connection, expected: Mapping[str, int]) -> None:
        for name, revision in expected.items():
            require_revision(name, seen=route_tables.revision_of(connection, name), expected=revision)

    def _encoder_id(self, connection: sqlite3.Connection, encoder: EncoderIdentity) -> int:
        row = connection.execute("SELECT id FROM encoders WHERE fingerprint = ?", (encoder.fingerprint,)).fetchone()
        if row is None:
            insert = "INSERT INTO encoders (fingerprint, name, dim) VALUES (?, ?, ?) RETURNING id"
            row = connection.execute(insert, (encoder.fingerprint, encoder.name, encoder.dim)).fetchone()
        return int(row[0])

    def save_labelled(self, labelled: LabelledQueries | None, *, encoder: EncoderIdentity) -> None:
        """See ``BaseStorage.save_labelled``."""
        with self._writing() as connection:
            labelled_tables.delete(connection)
            if labelled is None or labelled.min_confidence is not None:
                point_tables.save(connection, None)
            if labelled is not None:
                blobs = map(blob, labelled.vectors)
                labelled_tables.save(connection, self._encoder_id(connection, encoder), labelled, blobs)

    def save_operating_point(self, point: ChosenPoint | None) -> None:
        """See ``BaseStorage.save_operating_point``."""
        with self._writing() as connection:
            point_tables.save(connection, point)

    def save_notes(self, notes: Mapping[str, bytes | None]) -> None:
        """See ``NotingStorage.save_notes``."""
        with self._writing() as connection:
            state_tables.keep_notes(connection, notes)

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
            return route_tables.revision_of(connection, name)

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
            reencoding.save(connection, encoder_id, texts, map(blob, vectors))

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
