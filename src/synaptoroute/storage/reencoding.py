"""Vectors of another encoder beside those in use, in SQLite: statements that run inside a transaction of the store.

A vector depends on its text alone, so they are kept by text: a route that changes meanwhile takes none of them along,
and a text that comes back, or stands in two routes, is encoded once.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence

from synaptoroute.errors import RevisionConflictError, StorageCorruptError
from synaptoroute.storage.checksums import checksum, is_sound

_PART = (
    "SELECT its.id, its.text, its.encoder_id = ?1, reencoded.vector, reencoded.crc32 FROM utterances AS its "
    "LEFT JOIN reencoded ON reencoded.text = its.text AND reencoded.encoder_id = ?1 "
    "WHERE its.id > ?2 ORDER BY its.id LIMIT ?3"
)
_QUERIES = (
    "SELECT its.id, its.text, its.encoder_id = ?1, reencoded.vector, reencoded.crc32 FROM labelled_queries AS its "
    "LEFT JOIN reencoded ON reencoded.text = its.text AND reencoded.encoder_id = ?1"
)
_MISSING = (
    "SELECT count(*) FROM (SELECT text, encoder_id FROM utterances UNION ALL SELECT text, encoder_id "
    "FROM labelled_queries) AS its WHERE its.encoder_id <> ?1 AND NOT EXISTS "
    "(SELECT 1 FROM reencoded WHERE reencoded.text = its.text AND reencoded.encoder_id = ?1)"
)
_BOTH = (
    "SELECT its.id, its.{1}, its.{2}, its.vector, its.crc32, reencoded.vector, reencoded.crc32 FROM {0} AS its "
    "JOIN reencoded ON reencoded.text = its.text AND reencoded.encoder_id = ?1 "
    "WHERE its.id > ?2 AND its.encoder_id <> ?1 ORDER BY its.id LIMIT ?3"
)
_SWAP = "UPDATE {} SET vector = ?, crc32 = ?, encoder_id = ? WHERE id = ?"
#: Rows in memory at once while vectors are swapped: 3 MB with two vectors of 384 dimensions each.
_ROWS = 1_000


def unencoded(
    connection: sqlite3.Connection, encoder_id: int, dim: int, *, after: int, limit: int
) -> tuple[list[str], int]:
    """See ``BaseStorage.unencoded``. A vector that was set aside and is damaged counts as none."""
    rows = connection.execute(_PART, (encoder_id, after, limit)).fetchall()
    end = rows[-1][0] if len(rows) == limit else -1
    if end == -1:
        # Labelled queries come with the last part: there are few of them.
        rows += connection.execute(_QUERIES, (encoder_id,)).fetchall()
    missing = (
        text
        for _, text, in_use, vector, crc32 in rows
        if not in_use and (vector is None or len(vector) != 4 * dim or zlib.crc32(vector) != crc32)
    )
    return list(dict.fromkeys(missing)), end


def save(connection: sqlite3.Connection, encoder_id: int, texts: Sequence[str], blobs: Iterable[bytes]) -> None:
    """See ``BaseStorage.save_reencoded``."""
    # Written so that the index finds them: "<>" would look at every row, part after part.
    connection.execute("DELETE FROM reencoded WHERE encoder_id < ?1 OR encoder_id > ?1", (encoder_id,))
    insert = "INSERT OR REPLACE INTO reencoded (encoder_id, text, vector, crc32) VALUES (?, ?, ?, ?)"
    rows = zip(texts, blobs, strict=True)
    connection.executemany(insert, ((encoder_id, text, blob, zlib.crc32(blob)) for text, blob in rows))


def swap(connection: sqlite3.Connection, encoder_id: int) -> None:
    """Put the vectors set aside in the place of all others, each with a checksum of its whole row.

    Raises:
        RevisionConflictError: Some are missing, or damaged.
        StorageCorruptError: A row is damaged already, which a new checksum would hide.
    """
    _refuse_missing(int(connection.execute(_MISSING, (encoder_id,)).fetchone()[0]))
    # By the columns their checksums are over, beside the vector.
    _swap_rows(connection, encoder_id, "utterances", "route_id", "text")
    _swap_rows(connection, encoder_id, "labelled_queries", "text", "label")
    for table in ("reencoded", "learned"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - one of the two above
    connection.execute(
        "DELETE FROM encoders WHERE id <> ? AND id NOT IN (SELECT encoder_id FROM utterances)", (encoder_id,)
    )


def _swap_rows(connection: sqlite3.Connection, encoder_id: int, table: str, *columns: str) -> None:
    query, update, after = _BOTH.format(table, *columns), _SWAP.format(table), 0
    while rows := connection.execute(query, (encoder_id, after, _ROWS)).fetchall():
        after = rows[-1][0]
        swapped = []
        for row_id, one, other, vector, crc32, new, new_crc32 in rows:
            if not is_sound(crc32, one, other, vector=vector):
                raise StorageCorruptError(
                    f"row {row_id} of {table} is damaged, its vector or its text; mend the store with "
                    "'synaptoroute repair' or restore a backup, then migrate again"
                )
            if zlib.crc32(new) != new_crc32:
                _refuse_missing(1)
            swapped.append((new, checksum(one, other, vector=new), encoder_id, row_id))
        connection.executemany(update, swapped)


def _refuse_missing(count: int) -> None:
    if count:
        raise RevisionConflictError(
            f"{count:,} stored texts have no vector of the new encoder: the store has changed since they were looked "
            "for; look again"
        )
