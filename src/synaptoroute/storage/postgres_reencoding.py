"""Vectors of another encoder beside those in use, in PostgreSQL: statements that run inside a transaction of the store.

See ``storage.reencoding``; texts are told apart by their digests here.
"""
# ruff: noqa: S608 - what varies in a statement is one of two tables; values are passed beside it

from __future__ import annotations

import zlib
from collections.abc import Sequence

from synaptoroute.errors import RevisionConflictError
from synaptoroute.postgres.database import PatientConnection
from synaptoroute.postgres.vectors import dim_of, to_wire
from synaptoroute.storage.base import Vectors
from synaptoroute.storage.postgres_rows import digest, given, kept

_COLUMNS = "its.id, its.text, its.encoder_id = %(encoder)s, new.vector, new.crc32"
_NEW = "LEFT JOIN reencoded AS new ON new.digest = its.digest AND new.encoder_id = %(encoder)s"
_PART = f"SELECT {_COLUMNS} FROM utterances AS its {_NEW} WHERE its.id > %(after)s ORDER BY its.id LIMIT %(limit)s"
_QUERIES = f"SELECT {_COLUMNS} FROM labelled_queries AS its {_NEW}"
_MISSING = (
    "SELECT count(*) FROM (SELECT digest, encoder_id FROM utterances UNION ALL SELECT digest, encoder_id "
    "FROM labelled_queries) AS its WHERE its.encoder_id <> %(encoder)s AND NOT EXISTS "
    "(SELECT 1 FROM reencoded AS new WHERE new.digest = its.digest AND new.encoder_id = %(encoder)s)"
)


def unencoded(
    connection: PatientConnection, encoder_id: int, dim: int, *, after: int, limit: int
) -> tuple[list[str], int]:
    """See ``BaseStorage.unencoded``. A vector that was set aside and is damaged counts as none."""
    given_to = {"encoder": encoder_id, "after": after, "limit": limit}
    rows = connection.cursor(binary=True).execute(_PART, given_to).fetchall()
    end = rows[-1][0] if len(rows) == limit else -1
    if end == -1:
        # Labelled queries come with the last part: there are few of them.
        rows += connection.cursor(binary=True).execute(_QUERIES.encode(), given_to).fetchall()
    missing = (
        given(text)
        for _, text, in_use, wire, crc32 in rows
        if not in_use and (wire is None or dim_of(wire) != dim or zlib.crc32(wire) != crc32)
    )
    return list(dict.fromkeys(missing)), end


def save(connection: PatientConnection, encoder_id: int, texts: Sequence[str], vectors: Vectors) -> None:
    """See ``BaseStorage.save_reencoded``."""
    connection.execute("DELETE FROM reencoded WHERE encoder_id <> %s", (encoder_id,))
    upsert = (
        "INSERT INTO reencoded (encoder_id, text, digest, vector, crc32) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT (encoder_id, digest) DO UPDATE SET vector = excluded.vector, crc32 = excluded.crc32"
    )
    rows = zip(texts, to_wire(vectors), strict=True)
    with connection.cursor() as cursor:
        cursor.executemany(
            upsert, [(encoder_id, kept(text), digest(text), wire, zlib.crc32(wire)) for text, wire in rows]
        )


def swap(connection: PatientConnection, encoder_id: int) -> None:
    """Put the vectors set aside in the place of all others. Raises RevisionConflictError if some are missing."""
    row = connection.execute(_MISSING, {"encoder": encoder_id}).fetchone()
    if row is not None and row[0]:
        raise RevisionConflictError(
            f"{row[0]:,} stored texts have no vector of the new encoder: the store has changed since they were looked "
            "for; look again"
        )
    # It holds vectors of the former length; whoever searches with it makes another.
    connection.execute("DROP INDEX IF EXISTS utterances_nearest")
    for table in ("utterances", "labelled_queries"):
        connection.execute(
            f"UPDATE {table} SET vector = new.vector, crc32 = new.crc32, encoder_id = %(encoder)s "
            f"FROM reencoded AS new WHERE new.digest = {table}.digest AND new.encoder_id = %(encoder)s "
            f"AND {table}.encoder_id <> %(encoder)s".encode(),
            {"encoder": encoder_id},
        )
    connection.execute("DELETE FROM reencoded")
    connection.execute("DELETE FROM learned")
    unused = "DELETE FROM encoders WHERE id <> %s AND id NOT IN (SELECT encoder_id FROM utterances)"
    connection.execute(unused, (encoder_id,))
