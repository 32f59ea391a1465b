"""Neighbours found by PostgreSQL: an index for tables that do not fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from synaptoroute.decision.evidence import Neighbours, summed
from synaptoroute.errors import InvalidInputError
from synaptoroute.index.base import Mask, Nearest, Owners, Rows, Vectors
from synaptoroute.index.exact import ExactIndex
from synaptoroute.index.pgvector_rows import LOOKED_AT_SEARCHING, TableRows, with_graph
from synaptoroute.postgres.connect import opened

if TYPE_CHECKING:
    from synaptoroute.postgres.database import Database

#: Every session of an index: how many rows a search looks at, that it looks on where a filter drops what it found (the
#: order is restored by exact scores), and that a plan is kept.
SETTINGS = {"hnsw.ef_search": str(LOOKED_AT_SEARCHING), "hnsw.iterative_scan": "relaxed_order"}


class PgVectorIndex:
    """Rows in PostgreSQL, found by pgvector's HNSW index over half-precision copies and scored exactly there.

    A view shows the rows that the table had when the view was opened, without those removed from the view and with
    those added to it, which are kept in memory; ``open`` again after they have been stored. Rows that somebody else
    deletes from the table are found no more. Many queries at once are sent without waiting for each answer.

    Needs the extra ``postgres``, PostgreSQL 14 and pgvector 0.8. Make one with ``build``, ``open`` or ``of_store``.
    """

    def __init__(self, sealed: TableRows, gone: Rows, gone_owners: Owners, tail: ExactIndex) -> None:
        self._sealed = sealed
        # Ascending, and whose they were.
        self._gone, self._gone_owners = gone, gone_owners
        self._tail = tail

    @classmethod
    def build(
        cls,
        dsn: str,
        vectors: Vectors,
        owners: Owners,
        *,
        schema: str = "synaptoroute_index",
        timeout_s: float = 5.0,
        cache_bytes: int = 64 << 20,
    ) -> Self:
        """Store rows in a new table, in the place of what the schema's one held, and index them.

        Args:
            dsn: A libpq connection string or URL.
            vectors: Unit rows (n, dim).
            owners: The owner of each row (n,).
            schema: Where the table is; made if missing.
            timeout_s: Longest wait for a connection and for every answer, but for that the index is made.
            cache_bytes: Memory for rows read lately.

        Raises:
            MissingExtraError: The driver is not installed.
            StorageError: The database cannot be reached or written to; see ``PostgresStorage`` for more.
        """
        database = _opened(dsn, schema, timeout_s)
        try:
            _store(database, vectors, owners)
            return cls._over(database, "rows", "owner", vectors.shape[1], cache_bytes)
        except BaseException:
            database.close()
            raise

    @classmethod
    def open(
        cls,
        dsn: str,
        dim: int,
        *,
        schema: str = "synaptoroute_index",
        timeout_s: float = 5.0,
        cache_bytes: int = 64 << 20,
    ) -> Self:
        """The rows that ``build`` stored there, for vectors of that length."""
        return cls._over(_opened(dsn, schema, timeout_s), "rows", "owner", dim, cache_bytes)

    @classmethod
    def of_store(cls, database: Database, dim: int, *, cache_bytes: int = 64 << 20) -> Self:
        """The utterances of a ``PostgresStorage`` as they are now; their owners are the routes' numbers there.

        Makes the index in the store if it is not there, while others read and write.

        Args:
            database: The store's (``PostgresStorage.database``).
            dim: Length of the encoder's vectors.
            cache_bytes: Memory for rows read lately.
        """
        own = _opened(database.address.dsn, database.schema, database.timeout_s)
        try:
            with own.connected("index") as connection:
                with_graph(connection, "utterances", dim, concurrently=True)
                connection.execute("ANALYZE utterances")
            return cls._over(own, "utterances", "route_id", dim, cache_bytes)
        except BaseException:
            own.close()
            raise

    @classmethod
    def _over(cls, database: Database, table: str, owner: str, dim: int, cache_bytes: int) -> Self:
        sealed = TableRows(database, table, owner, dim, cache_bytes)
        return cls(sealed, np.empty(0, np.int64), np.empty(0, np.int32), ExactIndex.empty(dim))

    def _with(self, gone: Rows, gone_owners: Owners, tail: ExactIndex) -> Self:
        return type(self)(self._sealed, gone, gone_owners, tail)

    def close(self) -> None:
        """Close the connections of this view and of all that were made from it."""
        self._sealed.database.close()

    # -------------------------------------------------------------------------------------------------- content
    def __len__(self) -> int:
        return self._sealed.count - len(self._gone) + len(self._tail)

    @property
    def dim(self) -> int:
        """See ``BaseIndex.dim``."""
        return self._sealed.dim

    @property
    def _first_new(self) -> int:
        """The number of the first row that is not in the database."""
        return self._sealed.last + 1

    @property
    def present(self) -> Owners:
        """See ``BaseIndex.present``. Reads all owners the first time."""
        owners, counts = self._sealed.counts
        left = counts - np.bincount(np.searchsorted(owners, self._gone_owners), minlength=len(owners))
        return np.union1d(owners[left > 0], self._tail.present).astype(np.int32)

    def rows_of(self, owner: int) -> Rows:
        """See ``BaseIndex.rows_of``."""
        return self._rows_of(np.array([owner]))[int(owner)]

    def _rows_of(self, owners: Rows) -> dict[int, Rows]:
        """Owner -> its rows."""
        stored = self._sealed.rows_of(owners[owners >= 0].astype(np.int32))
        found = {}
        for owner in owners.tolist():
            rows = stored.get(owner, self._gone[:0])
            if len(self._gone):
                rows = rows[~np.isin(rows, self._gone)]
            found[owner] = np.concatenate([rows, self._tail.rows_of(owner) + self._first_new])
        return found

    def members(self, owners: Rows) -> tuple[Rows, Rows]:
        """See ``BaseIndex.members``. One round trip for all that were not asked for lately."""
        flat = owners.ravel()
        known = self._rows_of(np.unique(flat[flat >= 0]))
        nothing = np.empty(0, np.int64)
        rows = [known[owner] if owner >= 0 else nothing for owner in flat.tolist()]
        return np.concatenate([nothing, *rows]), np.repeat(np.arange(len(rows)), [len(part) for part in rows])

    def positions(self, owners: Rows, rows: Rows) -> Rows:
        """See ``BaseIndex.positions``."""
        known = self._rows_of(np.unique(owners[owners >= 0]))
        positions = np.zeros(rows.shape, np.int64)
        for place, owner in np.ndenumerate(owners):
            if owner >= 0:
                positions[place] = known[int(owner)].searchsorted(rows[place])
        return positions

    def vectors_of(self, rows: Rows) -> Vectors:
        """See ``BaseIndex.vectors_of``."""
        added = rows >= self._first_new
        vectors = np.empty((len(rows), self.dim), np.float32)
        vectors[~added] = self._sealed.vectors_of(rows[~added])
        vectors[added] = self._tail.vectors_of(rows[added] - self._first_new)
        return vectors

    # ------------------------------------------------------------------------------------------------- changing
    def extended(self, vectors: Vectors, owners: Owners) -> Self:
        """See ``BaseIndex.extended``. New rows are kept in memory, those that are stored are not touched."""
        return self._with(self._gone, self._gone_owners, self._tail.extended(vectors, owners))

    def without(self, rows: Rows) -> Self:
        """See ``BaseIndex.without``. Rows that are stored stay there and are passed over."""
        added, stored = rows[rows >= self._first_new] - self._first_new, rows[rows < self._first_new]
        gone, whose = self._gone, self._gone_owners
        if len(stored):
            gone = np.concatenate([gone, stored])
            whose = np.concatenate([whose, self._sealed.owners_of(stored)])
        return self._with(gone, whose, self._tail.without(added))

    # --------------------------------------------------------------------------------------------------- search
    def search(self, queries: Vectors, k: int, allow: Mask | None = None, *, exact: bool = False) -> Nearest:
        """See ``BaseIndex.search``. Scores are exact cosines; a nearer row may be missed.

        Raises:
            StorageError: The database does not answer.
        """
        stored = self._sealed.nearest(queries, k, allow, self._gone, exact=exact)
        if not len(self._tail):
            return stored
        added = self._tail.search(queries, k, allow)
        rows = np.where(added.rows >= 0, added.rows + self._first_new, -1)
        return Nearest.merged([stored, Nearest(added.owners, added.scores, rows)], k)

    def neighbours(self, queries: Vectors, owners: Rows) -> Neighbours:
        """See ``BaseIndex.neighbours``."""
        rows, places = self.members(owners)
        scores = np.einsum("ij,ij->i", self.vectors_of(rows), queries[places // owners.shape[1]])
        return summed(scores, rows, places, owners.shape)


def _opened(dsn: str, schema: str, timeout_s: float) -> Database:
    return opened("PgVectorIndex", dsn, schema=schema, timeout_s=timeout_s, connections=8, settings=SETTINGS)


def _store(database: Database, vectors: Vectors, owners: Owners) -> None:
    from synaptoroute.postgres.vectors import to_wire

    if len(vectors) != len(owners):
        raise InvalidInputError(f"{len(vectors)} vectors and {len(owners)} owners; every row needs one")
    with database.connected("write") as connection:
        with connection.transaction():
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {database.schema}".encode())
            connection.execute("DROP TABLE IF EXISTS rows")
            connection.execute(
                "CREATE TABLE rows (id bigint PRIMARY KEY, owner integer NOT NULL, vector vector NOT NULL)"
            )
            with connection.cursor() as cursor, cursor.copy("COPY rows FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int8", "int4", "vector"])
                for start in range(0, len(vectors), 10_000):
                    part = slice(start, start + 10_000)
                    wires = to_wire(vectors[part])
                    for number, (owner, wire) in enumerate(zip(owners[part].tolist(), wires, strict=True), start + 1):
                        copy.write_row((number, owner, wire))
            connection.execute("CREATE INDEX rows_of_owner ON rows (owner, id)")
            with_graph(connection, "rows", vectors.shape[1], concurrently=False)
        connection.execute("ANALYZE rows")
