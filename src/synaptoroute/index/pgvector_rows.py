"""Rows of a PostgreSQL table with pgvector, as PgVectorIndex asks for them."""
# ruff: noqa: S608 - what varies in a statement are numbers and names of ours; values are passed beside it

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from synaptoroute.caching import RecentCache
from synaptoroute.errors import InvalidInputError
from synaptoroute.index.base import Mask, Nearest, Owners, Rows, Vectors

if TYPE_CHECKING:
    from synaptoroute.postgres.database import Database, PatientConnection

#: Links of a row and rows looked at to find them; rows looked at to answer a query. So, the nearest of 250,000
#: synthetic rows was found for 99.7 % of queries, with 64 looked at in building for 93 %; looking at 200 to answer
#: found it for all and took 1.4 times as long. See docs/scaling.md.
LINKS, LOOKED_AT_BUILDING, LOOKED_AT_SEARCHING = 16, 128, 100
#: pgvector cannot index longer half-precision vectors.
MOST_NUMBERS = 4_000
#: Rows the index is asked for at least, and for each owner wanted, since an owner has several rows.
_LEAST_ASKED, _ASKED_PER_OWNER = 32, 4
#: How often twice as many are asked for before all rows are compared.
_DOUBLINGS = 4
#: Up to so many allowed owners, all their rows are compared: 1,000 rows take about a millisecond.
_COMPARED_OWNERS = 200
#: How long comparing with all rows may take, for one query; and how many queries are sent before answers are read.
_COMPARED_WITHIN_S, _SENT_AT_ONCE = 120.0, 32
#: How long making an index may take.
_BUILT_WITHIN_S = 24 * 3600.0
#: What the server may take for it. A graph that grows out of this is finished many times slower; 250,000 rows of 384
#: numbers need 400 MB.
_BUILT_IN = "2GB"
#: A row held in memory, beside its numbers.
_OVERHEAD_BYTES = 200


class TableRows:
    """The rows of a table as of when this was made; those that are added later are not seen.

    Rows never change and have ascending numbers, so what has been read once need not be read again.

    Args:
        database: Where the table is.
        table: Its name.
        owner: Its column that tells the owner; the others are ``id`` and ``vector``.
        dim: Length of every vector.
        cache_bytes: Memory for rows read lately.
    """

    def __init__(self, database: Database, table: str, owner: str, dim: int, cache_bytes: int) -> None:
        self.database = database
        self.dim = dim
        self._from = f"SELECT id, {owner} AS owner, vector FROM {table}"
        self._table, self._owner = table, owner
        with database.connected("read") as connection:
            row = connection.execute(f"SELECT coalesce(max(id), 0), count(*) FROM {table}".encode()).fetchone()
        assert row is not None  # noqa: S101 - an aggregate has a row
        self.last, self.count = int(row[0]), int(row[1])
        self._rows: RecentCache[int, Rows] = RecentCache(
            cache_bytes // 8, lambda _, rows: rows.nbytes + _OVERHEAD_BYTES
        )
        self._vectors: RecentCache[int, Vectors] = RecentCache(
            cache_bytes - cache_bytes // 8, lambda _, vector: vector.nbytes + _OVERHEAD_BYTES
        )

    # -------------------------------------------------------------------------------------------------- content
    @cached_property
    def counts(self) -> tuple[Owners, Rows]:
        """The owners that have rows, ascending, and how many."""
        query = f"SELECT {self._owner}, count(*) FROM {self._table} WHERE id <= {self.last} GROUP BY 1 ORDER BY 1"
        with self.database.connected("read") as connection:
            found = connection.cursor(binary=True).execute(query.encode()).fetchall()
        return np.array([row[0] for row in found], np.int32), np.array([row[1] for row in found], np.int64)

    def rows_of(self, owners: Owners) -> dict[int, Rows]:
        """Owner -> its rows, ascending, for those that have some; their vectors are at hand afterwards."""
        held = {int(owner): self._rows.get(int(owner)) for owner in owners}
        missing = [owner for owner, rows in held.items() if rows is None]
        if missing:
            held |= self._read(missing)
        return {owner: rows for owner, rows in held.items() if rows is not None and len(rows)}

    def _read(self, owners: list[int]) -> dict[int, Rows]:
        query = f"{self._from} WHERE {self._owner} = ANY(%s) AND id <= {self.last} ORDER BY owner, id"
        numbers, whose, vectors = self._fetched(query, owners)
        for number, vector in zip(numbers.tolist(), vectors, strict=True):
            self._vectors.put(number, vector.copy())
        found = dict.fromkeys(owners, numbers[:0])
        starts = np.flatnonzero(np.diff(whose, prepend=-1))
        found |= dict(zip(whose[starts].tolist(), np.split(numbers, starts[1:]), strict=False)) if len(whose) else {}
        for owner, rows in found.items():
            self._rows.put(owner, rows)
        return found

    def vectors_of(self, rows: Rows) -> Vectors:
        """The vectors of those rows (len(rows), dim)."""
        held = {row: self._vectors.get(row) for row in set(rows.tolist())}
        missing = [row for row, vector in held.items() if vector is None]
        if missing:
            numbers, _, vectors = self._fetched(f"{self._from} WHERE id = ANY(%s)", missing)
            held |= dict(zip(numbers.tolist(), vectors, strict=True))
        if not len(rows):
            return np.empty((0, self.dim), np.float32)
        return np.stack([cast(Vectors, held[row]) for row in rows.tolist()])

    def owners_of(self, rows: Rows) -> Owners:
        """The owner of each row."""
        numbers, whose, _ = self._fetched(f"{self._from} WHERE id = ANY(%s)", rows.tolist())
        order = np.argsort(numbers)
        return whose[order][np.searchsorted(numbers[order], rows)]

    def _fetched(self, query: str, wanted: list[int]) -> tuple[Rows, Owners, Vectors]:
        from synaptoroute.postgres.vectors import from_wire

        found = self.database.persistently(
            "read", lambda connection: connection.cursor(binary=True).execute(query.encode(), (wanted,)).fetchall()
        )
        return (
            np.array([row[0] for row in found], np.int64),
            np.array([row[1] for row in found], np.int32),
            from_wire([row[2] for row in found], self.dim),
        )

    # --------------------------------------------------------------------------------------------------- search
    def nearest(self, queries: Vectors, k: int, allow: Mask | None, gone: Rows, *, exact: bool) -> Nearest:
        """The nearest owners; see ``BaseIndex.search``.

        Args:
            queries: Unit rows (queries, dim).
            k: How many owners.
            allow: Which may be returned.
            gone: Rows that are passed over.
            exact: Compare with all rows.
        """
        found = Nearest.nothing(len(queries), k)
        allowed = None if allow is None else np.flatnonzero(allow)
        if not len(queries) or not self.count or (allowed is not None and not len(allowed)):
            return found
        left = np.arange(len(queries))
        if not exact and (allowed is None or len(allowed) > _COMPARED_OWNERS):
            for doubling in range(_DOUBLINGS):
                count = max(_LEAST_ASKED, _ASKED_PER_OWNER * k) << doubling
                part, exhausted = self._ask(queries[left], k, count, allow, gone)
                found.put(left, part)
                full = np.count_nonzero(part.owners >= 0, axis=1) == k
                if exhausted:
                    # The index has no more to give, whether or not there is more.
                    left = left[~full]
                    break
                left = left[~full]
                if not len(left):
                    return found
        if len(left):
            found.put(left, self._compare(queries[left], k, allowed, gone))
        return found

    def _ask(self, queries: Vectors, k: int, count: int, allow: Mask | None, gone: Rows) -> tuple[Nearest, bool]:
        """The nearest owners among the rows that the index finds, and whether it found fewer than it was asked for."""
        half = f"halfvec({self.dim})"
        # Literals, not parameters, wherever the plan depends on them: it is made once for all queries.
        query = (
            f"SELECT id, owner, -(vector <#> %(query)s) AS score FROM ({self._from} WHERE id <= {self.last} "
            f"{self._conditions(allow, gone)} ORDER BY vector::{half} <#> %(query)s::{half} LIMIT {count}) AS near"
        )
        given = {
            "mask": None if allow is None else np.packbits(allow, bitorder="little").tobytes(),
            "gone": gone.tolist(),
        }
        columns = self._each(query, queries, given, count)
        return Nearest.among(*columns, k), bool((columns[2] < 0).any())

    def _conditions(self, allow: Mask | None, gone: Rows) -> str:
        conditions = ""
        if allow is not None:
            # A bit for each owner: one mask of a million owners is 125 kB. Beyond its end there is no bit to ask for.
            bit = f"get_bit(%(mask)s, {self._owner})"
            conditions += f"AND CASE WHEN {self._owner} < {len(allow)} THEN {bit} = 1 ELSE false END "
        if len(gone):
            conditions += "AND id <> ALL(%(gone)s) "
        return conditions

    def _compare(self, queries: Vectors, k: int, allowed: Rows | None, gone: Rows) -> Nearest:
        """The nearest owners among all rows, or among all rows of those that are allowed."""
        conditions = ("" if allowed is None else f"AND {self._owner} = ANY(%(allowed)s) ") + self._conditions(
            None, gone
        )
        query = (
            "SELECT id, owner, score FROM (SELECT DISTINCT ON (owner) id, owner, -(vector <#> %(query)s) AS score FROM "
            f"({self._from} WHERE id <= {self.last} {conditions}) AS seen ORDER BY owner, score DESC, id) AS best "
            f"ORDER BY score DESC, owner LIMIT {k}"
        )
        given = {"allowed": None if allowed is None else allowed.tolist(), "gone": gone.tolist()}
        owners, scores, rows = self._each(query, queries, given, k, _COMPARED_WITHIN_S)
        return Nearest.padded(owners, scores, rows, k)

    def _each(
        self, query: str, queries: Vectors, given: dict[str, object], width: int, patience_s: float | None = None
    ) -> tuple[Owners, Vectors, Rows]:
        """Owners, scores and rows that a statement finds for each query (queries, width); -1 and -inf for none."""
        from synaptoroute.postgres.vectors import to_wire

        rows, owners = np.full((len(queries), width), -1, np.int64), np.full((len(queries), width), -1, np.int32)
        scores = np.full((len(queries), width), -np.inf, np.float32)

        def ask(connection: PatientConnection) -> None:
            with connection.waiting_for(patience_s):
                for start in range(0, len(queries), _SENT_AT_ONCE):
                    self._ask_some(
                        connection, query, given, to_wire(queries[start : start + _SENT_AT_ONCE]), put(start)
                    )

        def put(start: int) -> Callable[[int, list[tuple[int, int, float]]], None]:
            def one(number: int, found: list[tuple[int, int, float]]) -> None:
                if found:
                    at, width = start + number, len(found)
                    rows[at, :width], owners[at, :width], scores[at, :width] = zip(*found, strict=True)

            return one

        # Reading is repeated without harm on another connection.
        self.database.persistently("search", ask)
        return owners, scores, rows

    def _ask_some(
        self,
        connection: PatientConnection,
        query: str,
        given: dict[str, object],
        wires: Sequence[bytes],
        put: Callable[[int, list[tuple[int, int, float]]], None],
    ) -> None:
        """Send all before the first answer is waited for."""
        with connection.pipeline() if len(wires) > 1 else nullcontext():
            cursors = [
                connection.cursor(binary=True).execute(query.encode(), {**given, "query": wire}) for wire in wires
            ]
            for number, cursor in enumerate(cursors):
                put(number, cursor.fetchall())


def with_graph(connection: PatientConnection, table: str, dim: int, *, concurrently: bool) -> None:
    """Make the index that finds near rows, if it is not there yet; takes minutes for millions of rows.

    Args:
        connection: One that may wait so long.
        table: The table.
        dim: Length of its vectors.
        concurrently: Let others write meanwhile.

    Raises:
        InvalidInputError: The vectors are too long.
    """
    if dim > MOST_NUMBERS:
        raise InvalidInputError(f"vectors have {dim} numbers, pgvector can index {MOST_NUMBERS}; use a smaller encoder")
    how = "CONCURRENTLY" if concurrently else ""
    statement = (
        f"CREATE INDEX {how} IF NOT EXISTS {table}_nearest ON {table} USING hnsw "
        f"((vector::halfvec({dim})) halfvec_ip_ops) WITH (m = {LINKS}, ef_construction = {LOOKED_AT_BUILDING})"
    )
    with connection.waiting_for(_BUILT_WITHIN_S):
        connection.execute("SELECT set_config('maintenance_work_mem', %s, false)", (_BUILT_IN,))
        connection.execute(statement.encode())
        connection.execute("RESET maintenance_work_mem")
