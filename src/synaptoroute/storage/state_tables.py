"""Which state a store in SQLite is in, how it came there, and whose vectors it holds.

Statements that run inside a transaction of the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from synaptoroute.errors import EncoderMismatchError, StorageCorruptError
from synaptoroute.storage.base import EncoderIdentity, StoreState
from synaptoroute.storage.checksums import is_sound


def read(connection: sqlite3.Connection, where: str) -> StoreState:
    """See ``BaseStorage.state``. Raises StorageCorruptError if it is lost."""
    query = "SELECT store_id, token, revision, routes, crc32 FROM state, lineages ORDER BY since DESC LIMIT 1"
    row = connection.execute(query).fetchone()
    if row is None or not is_sound(row[4], row[0], row[2], row[3]):
        raise StorageCorruptError(f"{where} has lost its revision; restore a backup")
    return StoreState(store_id=row[0], lineage=row[1], revision=row[2])


def route_count(connection: sqlite3.Connection) -> int | None:
    """How many routes there should be; None if an older version wrote the store last."""
    count = connection.execute("SELECT routes FROM state").fetchone()[0]
    return None if count is None else int(count)


def leads_from(connection: sqlite3.Connection, state: StoreState, now: StoreState, *, most: int) -> bool:
    """Whether that state is an earlier one of this store, with a history that is known and short enough.

    Args:
        connection: In a transaction.
        state: That someone else remembers.
        now: Of the store.
        most: Revisions, and changed routes, to go back.
    """
    if state.store_id != now.store_id or not now.revision - most <= state.revision <= now.revision:
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
    return int(connection.execute(changed, (state.revision, most + 1)).fetchone()[0]) <= most


def begin_lineage(connection: sqlite3.Connection, revision: int, *, most: int) -> None:
    """Another connection writes from this revision on; lineages that ended so many revisions ago are forgotten."""
    # A restored store may have begun one for the revision that is only made now.
    insert = "INSERT OR REPLACE INTO lineages (since, token) VALUES (?, lower(hex(randomblob(16))))"
    connection.execute(insert, (revision,))
    forgotten = "DELETE FROM lineages WHERE since < (SELECT max(since) FROM lineages WHERE since <= ?)"
    connection.execute(forgotten, (revision - most,))


def encoder(connection: sqlite3.Connection) -> EncoderIdentity | None:
    """Whose vectors are stored; None if none are."""
    query = "SELECT name, dim, fingerprint FROM encoders WHERE id IN (SELECT encoder_id FROM utterances LIMIT 1)"
    row = connection.execute(query).fetchone()
    return None if row is None else EncoderIdentity(name=row[0], dim=row[1], fingerprint=row[2])


def refuse_other_encoders(connection: sqlite3.Connection, where: str, encoder: EncoderIdentity) -> None:
    """Raises EncoderMismatchError if vectors of another are stored.

    No commit mixes encoders, so one row of each table tells whose vectors it holds.
    """
    query = (
        "SELECT name, fingerprint FROM encoders WHERE id IN (SELECT encoder_id FROM utterances LIMIT 1) "
        "OR id IN (SELECT encoder_id FROM labelled_queries LIMIT 1)"
    )
    for name, fingerprint in connection.execute(query):
        if fingerprint != encoder.fingerprint:
            raise EncoderMismatchError(
                f"{where} holds vectors of {name} ({fingerprint}), this router encodes with {encoder.name} "
                f"({encoder.fingerprint}); their vectors cannot be compared. Open it with the encoder it was "
                "written with; or encode all it holds anew, with 'synaptoroute routes migrate-encoder' while no "
                "router uses it, or with router.migrate_encoder(...) while one does"
            )


def keep_notes(connection: sqlite3.Connection, notes: Mapping[str, bytes | None]) -> None:
    """See ``NotingStorage.save_notes``."""
    gone = [(name,) for name, value in notes.items() if value is None]
    # In the order of the table: 50,000 of them, in any order, would read and write its pages again and again.
    kept = sorted((name, value) for name, value in notes.items() if value is not None)
    if gone:
        connection.executemany("DELETE FROM notes WHERE name = ?", gone)
    if kept:
        connection.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", kept)
