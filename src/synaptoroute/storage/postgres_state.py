"""Which states the PostgreSQL store has been in, and whose vectors it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synaptoroute.errors import EncoderMismatchError
from synaptoroute.storage.base import EncoderIdentity, StoreState

if TYPE_CHECKING:
    from synaptoroute.postgres.database import PatientConnection


def leads_from(connection: PatientConnection, state: StoreState, now: StoreState, *, most: int) -> bool:
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
        "SELECT 1 FROM lineages AS its WHERE token = %(token)s AND since <= %(revision)s + 1 AND NOT EXISTS "
        "(SELECT 1 FROM lineages WHERE since > its.since AND since <= %(revision)s)"
    )
    known = connection.execute(lineage, {"token": state.lineage, "revision": state.revision}).fetchone()
    if known is None:
        return False
    changed = (
        "SELECT count(*) FROM (SELECT 1 FROM routes WHERE revision > %(since)s "
        "UNION ALL SELECT 1 FROM dropped WHERE revision > %(since)s LIMIT %(most)s) AS changed"
    )
    row = connection.execute(changed, {"since": state.revision, "most": most + 1}).fetchone()
    return row is not None and int(row[0]) <= most


def refuse_other_encoders(connection: PatientConnection, where: str, encoder: EncoderIdentity) -> None:
    """Raises EncoderMismatchError if vectors of another are stored.

    No commit mixes encoders, so one row of each table tells whose vectors it holds.
    """
    query = (
        "SELECT name, fingerprint FROM encoders WHERE id IN (SELECT encoder_id FROM utterances LIMIT 1) "
        "OR id IN (SELECT encoder_id FROM labelled_queries LIMIT 1)"
    )
    for name, fingerprint in connection.execute(query).fetchall():
        if fingerprint != encoder.fingerprint:
            raise EncoderMismatchError(
                f"{where} holds vectors of {name} ({fingerprint}), this router encodes with {encoder.name} "
                f"({encoder.fingerprint}); their vectors cannot be compared. Open it with the encoder it was "
                "written with, and encode all it holds anew with router.migrate_encoder(...)"
            )
