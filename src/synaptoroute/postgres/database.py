"""Connections to one PostgreSQL database: pooled, made anew when lost, and never waited for without end."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.abc import PQGen

from synaptoroute.errors import InvalidInputError, StorageCorruptError, StorageError, StorageForeignError
from synaptoroute.forking import PerProcess, close_at_exit
from synaptoroute.postgres.address import Address
from synaptoroute.postgres.pool import Pool
from synaptoroute.postgres.vectors import register

T = TypeVar("T")

#: Oldest server that is accepted. 14 is the oldest that its makers still kept up in 2026.
LEAST_SERVER = 14
#: Oldest pgvector: 0.8 looks on when a filter has dropped what an index found.
LEAST_PGVECTOR = (0, 8)
#: Names that need no quoting, and leave room for what is put before them.
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,40}")
#: How long the server waits for a lock at most, as a share of how long we wait for the server: so that it says why.
_LOCK_SHARE = 0.8
#: Longest pause between two attempts to connect.
_LONGEST_PAUSE_S = 0.5


class PatientConnection(psycopg.Connection[Any]):
    """A connection that takes a server which does not answer in time for lost.

    A frozen server or a network that swallows packets gives no error by itself, for as long as 15 minutes.

    Attributes:
        patience_s: Longest wait for one answer.
    """

    patience_s = 5.0

    @contextmanager
    def waiting_for(self, patience_s: float | None) -> Iterator[None]:
        """Be so patient for now; None leaves it as it is."""
        usual = self.patience_s
        if patience_s is not None:
            self.patience_s = max(patience_s, usual)
        try:
            yield
        finally:
            self.patience_s = usual

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """See ``psycopg.Connection.wait``; all waiting of a connection is done here."""
        try:
            return super().wait(gen, interval, self.patience_s if timeout is None else timeout)
        except errors._WaitTimeout as exc:  # noqa: SLF001 - the driver gives it no other name
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server has not answered for {self.patience_s:g} s") from exc


class Database:
    """A PostgreSQL database with pgvector, and a schema in it.

    Opening it connects once, so that what is wrong is said at once and by its name.

    Args:
        dsn: A libpq connection string or URL. Several hosts with ``target_session_attrs=read-write`` follow a
            fail-over.
        schema: Where our tables are; made by whoever needs it.
        timeout_s: Longest wait for a connection, and for each answer.
        connections: How many there may be at once.
        settings: Of every session.

    Raises:
        InvalidInputError: The connection string or the schema's name cannot be read.
        StorageForeignError: The server is too old, has no pgvector, or the database is not in UTF-8.
        StorageError: It cannot be reached, or it turned us away.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str,
        timeout_s: float,
        connections: int,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        if not _SCHEMA.fullmatch(schema):
            raise InvalidInputError(f"the schema {schema!r} is not accepted: a to z, digits and _, at most 41 of them")
        self.address = Address.parsed(dsn)
        self.schema = schema
        self.timeout_s = timeout_s
        self._connections = connections
        self._settings = dict(settings or {})
        self._closed = False
        self._pool: PerProcess[Pool[PatientConnection]] = PerProcess()
        with self.translated("open"), self.connect() as connection:
            self._require(connection)

    @property
    def shown(self) -> str:
        """Where it is, for messages."""
        return f"{self.address.shown} schema {self.schema}"

    def _make_pool(self) -> Pool[PatientConnection]:
        pool = Pool(self.connect, self._connections)
        close_at_exit(pool, Pool.close)
        return pool

    # ---------------------------------------------------------------------------------------------- connecting
    @property
    def _options(self) -> dict[str, Any]:
        return {
            "autocommit": True,
            "connect_timeout": max(1, round(self.timeout_s)),
            "application_name": "synaptoroute",
            "client_encoding": "UTF8",
        }

    def connect(self) -> PatientConnection:
        """A connection of its own, beside the pool. Raises what the driver raises."""
        connection = PatientConnection.connect(self.address.dsn, **self._options)
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: PatientConnection) -> None:
        connection.patience_s = self.timeout_s
        found = self._pgvector(connection)
        home = sql.Identifier(found[0]) if found else sql.Identifier("public")
        # An acknowledged change must be on disk, whatever the server's default; stricter settings stay.
        settings = sql.SQL(
            "SET search_path = {schema}, {home}; SET lock_timeout = {lock}; "
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        ).format(schema=sql.Identifier(self.schema), home=home, lock=round(1000 * _LOCK_SHARE * self.timeout_s))
        connection.execute(settings)
        for name, value in self._settings.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        if found:
            register(connection, found[1])

    def _pgvector(self, connection: PatientConnection) -> tuple[str, int, str] | None:
        """The schema pgvector was installed into, the number of its type, and its version."""
        return connection.execute(
            "SELECT nspname, t.oid, extversion FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace "
            "JOIN pg_type t ON typnamespace = extnamespace AND typname = 'vector' WHERE extname = 'vector'"
        ).fetchone()

    def _require(self, connection: PatientConnection) -> None:
        version = connection.info.server_version // 10_000
        if version < LEAST_SERVER:
            raise StorageForeignError(
                f"{self.address.shown} is PostgreSQL {version}, {LEAST_SERVER} or newer is needed; upgrade the server"
            )
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StorageForeignError(
                f"the database {self.address.shown} is in {encoding}, UTF8 is needed: "
                "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
            )
        found = self._pgvector(connection) or self._with_pgvector(connection)
        if tuple(map(int, found[2].split(".")[:2])) < LEAST_PGVECTOR:
            raise StorageForeignError(
                f"{self.address.shown} has pgvector {found[2]}, {'.'.join(map(str, LEAST_PGVECTOR))} or newer is "
                "needed; install it on the server, then ALTER EXTENSION vector UPDATE"
            )

    def _with_pgvector(self, connection: PatientConnection) -> tuple[str, int, str]:
        available = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone()
        if available is None:
            version = connection.info.server_version // 10_000
            raise StorageForeignError(
                f"the server {self.address.shown} has no pgvector. Install it there: the package "
                f"postgresql-{version}-pgvector of Debian, Ubuntu and apt.postgresql.org, the image pgvector/pgvector, "
                "or https://github.com/pgvector/pgvector; managed services have it to switch on"
            )
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction, errors.UniqueViolation) as exc:
            # The last one is another process that made it at the same moment.
            if not isinstance(exc, errors.UniqueViolation):
                raise StorageForeignError(
                    f"pgvector is installed on {self.address.shown} but not switched on in this database, and this "
                    "user may not; ask for CREATE EXTENSION vector"
                ) from exc
        found = self._pgvector(connection)
        if found is None:
            raise StorageForeignError(f"CREATE EXTENSION vector had no effect on {self.address.shown}; run it by hand")
        return found

    # -------------------------------------------------------------------------------------------------- pooled
    @contextmanager
    def connected(self, doing: str) -> Iterator[PatientConnection]:
        """A connection that has just been seen to work, with the driver's errors translated.

        Args:
            doing: For messages: "cannot ``doing`` host:5432/database: ...".
        """
        with self.translated(doing), ExitStack() as held:
            yield self._tried_again(lambda fresh: held.enter_context(self._working(fresh=fresh)))

    @contextmanager
    def _working(self, *, fresh: bool) -> Iterator[PatientConnection]:
        with self._taken(fresh=fresh) as connection:
            connection.execute("")
            yield connection

    def persistently(self, doing: str, work: Callable[[PatientConnection], T]) -> T:
        """Do something, again on another connection if one was lost: it must do no harm when it had been done already.

        Args:
            doing: See ``connected``.
            work: Does it. Called again, until ``timeout_s`` has passed, when its connection ``is_lost``.
        """

        def attempt(fresh: bool) -> T:  # noqa: FBT001 - of ours
            with self._taken(fresh=fresh) as connection:
                return work(connection)

        with self.translated(doing):
            return self._tried_again(attempt)

    def _tried_again(self, attempt: Callable[[bool], T]) -> T:
        """What the attempt returns, which is told whether it needs a new connection."""
        until, fresh, pause_s = time.monotonic() + self.timeout_s, False, 0.0
        while True:
            try:
                return attempt(fresh)
            except psycopg.Error as exc:
                # A server that only reads says the same again, unless another one is the primary now.
                known = fresh and isinstance(exc, errors.ReadOnlySqlTransaction)
                if known or not is_lost(exc) or time.monotonic() > until:
                    raise
            # At once where a connection of earlier had broken; then slower and slower, and not all in step.
            time.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - spreads load, hides nothing
            fresh, pause_s = True, min(2 * pause_s + 0.02, _LONGEST_PAUSE_S)

    @contextmanager
    def _taken(self, *, fresh: bool) -> Iterator[PatientConnection]:
        if self._closed:
            raise StorageError(f"{self.shown} is closed")
        with self._pool.get(self._make_pool).taken(self.timeout_s, fresh=fresh) as connection:
            try:
                yield connection
            except psycopg.Error as exc:
                if is_lost(exc):
                    connection.close()
                raise

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except psycopg.Error as exc:
            raise self._translation(exc, doing) from exc

    def _translation(self, exc: psycopg.Error, doing: str) -> StorageError:
        where, message = f"cannot {doing} {self.shown}", self.address.without_secrets(exc)
        match exc:
            case errors.ReadOnlySqlTransaction():
                return StorageError(
                    f"{where}: the server is read-only (a standby, or default_transaction_read_only); connect to the "
                    "primary, or give all hosts and target_session_attrs=read-write"
                )
            case errors.DataCorrupted() | errors.IndexCorrupted():
                return StorageCorruptError(f"{where}: {message}; the database is damaged, restore it from a backup")
            case errors.LockNotAvailable():
                return StorageError(f"{where}: another session has held the lock for too long ({message})")
            case _:
                return StorageError(f"{where}: {message}")

    def close(self) -> None:
        """Close all connections. Closing twice does nothing."""
        if not self._closed:
            # One that was never used need not be made just to be closed.
            pool = self._pool.get(self._make_pool)
            self._closed = True
            pool.close()


def is_lost(exc: psycopg.Error) -> bool:
    """Whether another connection may do what this one could not: it broke, or leads to a server that only reads now."""
    return isinstance(exc, psycopg.OperationalError | errors.ReadOnlySqlTransaction) and not isinstance(
        exc, errors.LockNotAvailable | errors.DiskFull | errors.QueryCanceled
    )
