"""Routes in PostgreSQL: one shared, revisioned truth that any number of routers follow."""

from __future__ import annotations

import os
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from synaptoroute.errors import (
    StorageCorruptError,
    StorageForeignError,
)
from synaptoroute.models import Route
from synaptoroute.postgres.connect import opened
from synaptoroute.storage.base import (
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
    Watching,
)
from synaptoroute.storage.history import Snapshot, StoredHistory, unpacked
from synaptoroute.storage.postgres_migrations import MIGRATIONS
from synaptoroute.storage.postgres_state import leads_from, refuse_other_encoders

if TYPE_CHECKING:
    from synaptoroute.postgres.database import Database, PatientConnection

#: How many revisions and changed routes ``changes_since`` goes back; as in SQLiteStorage.
HISTORY = 10_000
#: How long a reader waits for a notification before it looks by itself.
POLL_S = 1.0
#: Rows fetched at once by a stream: about 4 MB.
_FETCHED = 2_000
#: The driver's own tables, made by another program, would have these names too.
_CHANNEL = "synaptoroute_{}"


class PostgresStorage:
    """A durable store in one schema of a PostgreSQL database with pgvector, shared by any number of processes.

    Commits are serialised by a row lock and acknowledged when PostgreSQL has them on disk; one that was cut off on its
    way is looked for after reconnecting, so it is stored once or reported as failed. Queries never come here: every
    router answers from its own table, also while the database is away, and follows it by ``watch``.

    Needs the extra ``postgres``, PostgreSQL 14 and pgvector 0.8. May be used from any thread; a forked child connects
    anew.

    Args:
        dsn: A libpq connection string or URL. The password appears in no message and no ``repr``. With several hosts
            and ``target_session_attrs=read-write`` it follows a fail-over; a standby can be read.
        schema: Whose tables these are, so that several stores fit into one database; made if missing.
        cache_folder: Where this process may keep files that make opening a large table fast.
        timeout_s: Longest wait for a connection and for every answer. Where the server does not answer at all, a write
            fails within three times this.
        poll_s: How long ``watch`` trusts in being notified.
        connections: How many there may be at once, beside one for ``watch``.

    Raises:
        MissingExtraError: The driver is not installed.
        InvalidInputError: The connection string or the schema's name cannot be read.
        StorageForeignError: Another program's schema, one of a newer version, or a server that is too old or has no
            pgvector.
        StorageError: The database cannot be reached, or the tables cannot be made.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "synaptoroute",
        cache_folder: str | os.PathLike[str] | None = None,
        timeout_s: float = 5.0,
        poll_s: float = POLL_S,
        connections: int = 4,
    ) -> None:
        self._cache_folder = Path(cache_folder) if cache_folder is not None else None
        self._poll_s = poll_s
        self._database: Database = opened(
            "PostgresStorage", dsn, schema=schema, timeout_s=timeout_s, connections=connections
        )
        # A connection that is new may lead to a server that has lost something; see ``StoreState.lineage``.
        self._in_lineage: weakref.WeakSet[PatientConnection] = weakref.WeakSet()
        self._own_commit = _OwnCommit()
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    @property
    def cache_folder(self) -> Path | None:
        """See ``BaseStorage.cache_folder``: what the constructor was given."""
        return self._cache_folder

    @property
    def database(self) -> Database:
        """The connections, for ``PgVectorIndex``."""
        return self._database

    @property
    def _shown(self) -> str:
        return self._database.shown

    def __repr__(self) -> str:
        return f"PostgresStorage({self._shown!r})"

    # ------------------------------------------------------------------------------------------------- opening
    def _prepare(self) -> None:
        with self._database.connected("open") as connection:
            version = self._version(connection)
            if version == len(MIGRATIONS):
                return
            if version > len(MIGRATIONS):
                raise StorageForeignError(
                    f"{self._shown} has version {version}, this one knows up to {len(MIGRATIONS)}; upgrade synaptoroute"
                )
            with connection.transaction():
                # Whoever comes second waits, and finds it done.
                connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"synaptoroute {self._shown}",))
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._database.schema}")
                for number in range(self._version(connection) + 1, len(MIGRATIONS) + 1):
                    self._migrate(connection, number)

    def _migrate(self, connection: PatientConnection, number: int) -> None:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL)"
        )
        connection.execute(MIGRATIONS[number - 1])
        connection.execute("INSERT INTO migrations VALUES (%s, now())", (number,))

    def _version(self, connection: PatientConnection) -> int:
        """The last migration; 0 for none. Raises StorageForeignError for a schema of something else."""
        tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
        names = {name for (name,) in connection.execute(tables, (self._database.schema,))}
        if not names:
            return 0
        # The index keeps its tables here too.
        if not names >= {"migrations", "state", "lineages"}:
            raise StorageForeignError(f"{self._shown} holds tables of another program; name another schema")
        row = connection.execute("SELECT max(version) FROM migrations").fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    # ------------------------------------------------------------------------------------------------- reading
    def load(self, encoder: EncoderIdentity) -> StoredTable:
        """See ``BaseStorage.load``. Checks the length and checksum of every vector."""
        import numpy as np

        with self.read(encoder) as stream:
            batches = list(stream.batches)
        vectors = [vectors for _, vectors in batches] or [np.empty((0, encoder.dim), np.float32)]
        return StoredTable(
            revision=stream.state.revision,
            routes=tuple(route for routes, _ in batches for route in routes),
            vectors=np.concatenate(vectors),
            labelled=stream.labelled,
            point=stream.point,
        )

    @contextmanager
    def read(self, encoder: EncoderIdentity, *, rows: int = 10_000) -> Iterator[StoredStream]:
        """See ``BaseStorage.read``. Holds a connection and a snapshot of the database until it ends."""
        from synaptoroute.storage.postgres_rows import labelled_of, point_of

        with self._snapshot("read") as connection:
            refuse_other_encoders(connection, self._shown, encoder)
            state, labelled = self._state(connection), labelled_of(connection, encoder.dim, self._shown)
            batches = self._batches(connection, encoder.dim, rows)
            yield StoredStream(state=state, batches=batches, labelled=labelled, point=point_of(connection))

    @contextmanager
    def _snapshot(self, doing: str) -> Iterator[PatientConnection]:
        """A connection that sees one state of the database."""
        with self._database.connected(doing) as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    def _batches(
        self, connection: PatientConnection, dim: int, rows: int
    ) -> Iterator[tuple[tuple[Route, ...], Vectors]]:
        from synaptoroute.storage.postgres_rows import COLUMNS, IN_ORDER, in_batches, routes_of

        query = f"SELECT {COLUMNS} FROM routes LEFT JOIN utterances ON route_id = routes.id {IN_ORDER}"  # noqa: S608 - constants
        with self._database.translated("read"), connection.cursor("stored", binary=True) as cursor:
            cursor.itersize = _FETCHED
            cursor.execute(query)
            yield from in_batches(routes_of(cursor, dim, self._shown), dim, rows)

    def state(self) -> StoreState:
        """See ``BaseStorage.state``."""
        return self._database.persistently("read", self._state)

    def _state(self, connection: PatientConnection) -> StoreState:
        query = "SELECT store_id, token, revision FROM state, lineages ORDER BY since DESC LIMIT 1"
        row = connection.execute(query).fetchone()
        if row is None:
            raise StorageCorruptError(f"{self._shown} has lost its revision; restore a backup")
        return StoreState(store_id=row[0], lineage=row[1], revision=row[2])

    def changes_since(self, state: StoreState, encoder: EncoderIdentity) -> StoredChanges | None:
        """See ``BaseStorage.changes_since``. Goes back ``HISTORY`` revisions and as many changes at most."""
        from synaptoroute.postgres.vectors import from_wire
        from synaptoroute.storage.postgres_rows import COLUMNS, IN_ORDER, labelled_of, point_of, routes_of

        with self._snapshot("read") as connection:
            refuse_other_encoders(connection, self._shown, encoder)
            now = self._state(connection)
            if not leads_from(connection, state, now, most=HISTORY):
                return None
            dropped = connection.execute("SELECT DISTINCT name FROM dropped WHERE revision > %s", (state.revision,))
            drops = [DropRoute(name=name) for (name,) in dropped]
            query = (
                f"SELECT {COLUMNS} FROM routes LEFT JOIN utterances ON route_id = routes.id "  # noqa: S608 - constants
                f"WHERE routes.revision > %s {IN_ORDER}"
            )
            changed = connection.cursor(binary=True).execute(query, (state.revision,))
            puts = [
                PutRoute(route=route, added=route.utterances, vectors=from_wire(wires, encoder.dim))
                for route, wires in routes_of(changed, encoder.dim, self._shown)
            ]
            labelled, point = labelled_of(connection, encoder.dim, self._shown), point_of(connection)
        return StoredChanges(state=now, changes=(*drops, *puts), labelled=labelled, point=point)

    def routes(self) -> tuple[Route, ...]:
        """The routes without their vectors, whichever encoder they were stored with."""
        from synaptoroute.storage.postgres_rows import route

        query = (
            "SELECT name, threshold, description, metadata, array_agg(text ORDER BY utterances.id) FROM routes "
            "LEFT JOIN utterances ON route_id = routes.id GROUP BY routes.id ORDER BY routes.id"
        )
        with self._database.connected("read") as connection:
            return tuple(route(texts, fields, self._shown) for *fields, texts in connection.execute(query))

    def routes_by_number(self, numbers: Sequence[int]) -> tuple[Route | None, ...]:
        """The routes that own rows of ``PgVectorIndex.of_store``, in the order asked for; None for one that is gone."""
        from synaptoroute.storage.postgres_rows import route

        query = (
            "SELECT routes.id, name, threshold, description, metadata, array_agg(text ORDER BY utterances.id) "
            "FROM routes LEFT JOIN utterances ON route_id = routes.id WHERE routes.id = ANY(%s) GROUP BY routes.id"
        )
        with self._database.connected("read") as connection:
            rows = connection.execute(query, (list(numbers),)).fetchall()
        found = {number: route(texts, fields, self._shown) for number, *fields, texts in rows}
        return tuple(found.get(number) for number in numbers)

    def encoder(self) -> EncoderIdentity | None:
        """Whose vectors are stored; None if none are."""
        query = "SELECT name, dim, fingerprint FROM encoders WHERE id IN (SELECT encoder_id FROM utterances LIMIT 1)"
        with self._database.connected("read") as connection:
            row = connection.execute(query).fetchone()
        return None if row is None else EncoderIdentity(name=row[0], dim=row[1], fingerprint=row[2])

    # ------------------------------------------------------------------------------------------------- writing
    def commit(
        self,
        changes: Sequence[Change],
        *,
        encoder: EncoderIdentity,
        expected_revision: int,
        expected: Mapping[str, int] | None = None,
        actor: str | None = None,
        cause: str | None = None,
    ) -> int:
        """See ``BaseStorage.commit``. Returns after PostgreSQL has it on disk.

        A connection that breaks midway is replaced, and the commit repeated unless it is found to be stored.
        """
        from synaptoroute.storage.postgres_writing import Commit

        commit = Commit(
            changes=changes,
            encoder=encoder,
            expected_revision=expected_revision,
            token=uuid.uuid4(),
            where=self._shown,
            channel=_CHANNEL.format(self._database.schema),
            expected=expected or {},
            actor=actor,
            cause=cause,
            history=HISTORY,
            refuse=lambda connection: refuse_other_encoders(connection, self._shown, encoder),
        )

        def write(connection: PatientConnection) -> int:
            revision = commit.run(
                connection, new_lineage=connection not in self._in_lineage, about_to=self._own_commit.begin
            )
            self._in_lineage.add(connection)
            return revision

        with self._own_commit:
            return self._database.persistently("write", write)

    def last_commit(self) -> StoreState | None:
        """See ``WatchableStorage.last_commit``."""
        return self._own_commit.state

    def save_labelled(self, labelled: LabelledQueries | None, *, encoder: EncoderIdentity) -> None:
        """See ``BaseStorage.save_labelled``."""
        from synaptoroute.storage.postgres_writing import write_labelled

        channel = _CHANNEL.format(self._database.schema)
        self._database.persistently("write", lambda connection: write_labelled(connection, labelled, encoder, channel))

    def save_operating_point(self, point: ChosenPoint | None) -> None:
        """See ``BaseStorage.save_operating_point``."""
        from synaptoroute.storage.postgres_writing import write_point

        channel = _CHANNEL.format(self._database.schema)
        self._database.persistently("write", lambda connection: write_point(connection, point, channel))

    def save_learned(self, learned: bytes) -> None:
        """See ``BaseStorage.save_learned``."""
        upsert = "INSERT INTO learned VALUES (1, %s) ON CONFLICT (single) DO UPDATE SET model = excluded.model"
        self._database.persistently("write", lambda connection: connection.execute(upsert, (learned,)))

    def load_learned(self) -> bytes | None:
        """See ``BaseStorage.load_learned``."""
        with self._database.connected("read") as connection:
            row = connection.cursor(binary=True).execute("SELECT model FROM learned").fetchone()
        return None if row is None else bytes(row[0])

    # --------------------------------------------------------------------------------------- history, snapshots
    def route_revision(self, name: str) -> int:
        """See ``BaseStorage.route_revision``."""
        query = "SELECT revision FROM routes WHERE name = %s"
        row = self._database.persistently("read", lambda connection: connection.execute(query, (name,)).fetchone())
        return 0 if row is None else int(row[0])

    def history(self, *, since: int = 0, route: str | None = None, limit: int | None = None) -> StoredHistory:
        """See ``BaseStorage.history``."""
        from synaptoroute.storage import postgres_history

        with self._snapshot("read") as connection:
            return postgres_history.read(connection, since=since, name=route, limit=limit)

    def save_snapshot(self, name: str, routes: Iterable[Route], *, revision: int, actor: str | None = None) -> Snapshot:
        """See ``BaseStorage.save_snapshot``."""
        from synaptoroute.storage import postgres_history

        with self._database.connected("write") as connection, connection.transaction():
            return postgres_history.save_snapshot(connection, name, routes, revision=revision, actor=actor)

    def snapshots(self) -> tuple[Snapshot, ...]:
        """See ``BaseStorage.snapshots``."""
        from synaptoroute.storage import postgres_history

        return self._database.persistently("read", postgres_history.snapshots)

    def snapshot_routes(self, name: str) -> tuple[Route, ...]:
        """See ``BaseStorage.snapshot_routes``."""
        from synaptoroute.storage import postgres_history

        parts = self._database.persistently(
            "read", lambda connection: postgres_history.snapshot_parts(connection, name)
        )
        return tuple(unpacked(parts, name))

    def delete_snapshot(self, name: str) -> None:
        """See ``BaseStorage.delete_snapshot``."""
        from synaptoroute.storage import postgres_history

        with self._database.connected("write") as connection:
            postgres_history.delete_snapshot(connection, name)

    # ---------------------------------------------------------------------------------------- another encoder
    def unencoded(self, encoder: EncoderIdentity, *, after: int = 0, limit: int = 1_000) -> tuple[list[str], int]:
        """See ``BaseStorage.unencoded``."""
        from synaptoroute.storage import postgres_reencoding
        from synaptoroute.storage.postgres_writing import new_encoder

        with self._database.connected("read") as connection, connection.transaction():
            number = new_encoder(connection, encoder)
            return postgres_reencoding.unencoded(connection, number, encoder.dim, after=after, limit=limit)

    def save_reencoded(self, texts: Sequence[str], vectors: Vectors, *, encoder: EncoderIdentity) -> None:
        """See ``BaseStorage.save_reencoded``."""
        from synaptoroute.storage import postgres_reencoding
        from synaptoroute.storage.postgres_writing import new_encoder

        with self._database.connected("write") as connection, connection.transaction():
            postgres_reencoding.save(connection, new_encoder(connection, encoder), texts, vectors)

    def swap_encoder(self, encoder: EncoderIdentity, *, expected_revision: int, actor: str | None = None) -> int:
        """See ``BaseStorage.swap_encoder``. Those that follow go on as they are, and log why."""
        from synaptoroute.storage.postgres_writing import Swap

        swap = Swap(
            encoder=encoder,
            expected_revision=expected_revision,
            actor=actor,
            where=self._shown,
            channel=_CHANNEL.format(self._database.schema),
            history=HISTORY,
        )
        with self._own_commit, self._database.connected("write") as connection:
            return swap.run(connection, self._own_commit.begin)

    # ----------------------------------------------------------------------------------------------- following
    def watch(self, changed: Callable[[StoreState | None], bool]) -> Watching:
        """See ``WatchableStorage.watch``: by LISTEN, and by looking every ``poll_s`` and after every reconnection."""
        from synaptoroute.storage.postgres_watch import Watch

        return Watch(
            self._database,
            channel=_CHANNEL.format(self._database.schema),
            poll_s=self._poll_s,
            changed=changed,
        )

    def close(self) -> None:
        """See ``BaseStorage.close``."""
        self._database.close()


class _OwnCommit:
    """What the last commit of a store object led to, known before others can see it; None after one that failed."""

    def __init__(self) -> None:
        self.state: StoreState | None = None

    def begin(self, state: StoreState) -> None:
        self.state = state

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if exc is not None:
            self.state = None
