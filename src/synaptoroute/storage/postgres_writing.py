"""What a commit to the PostgreSQL store writes, in as few round trips as there is something to wait for."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from uuid import UUID

from synaptoroute.errors import RevisionConflictError, StorageCorruptError
from synaptoroute.postgres.database import PatientConnection
from synaptoroute.postgres.vectors import to_wire
from synaptoroute.storage.base import Change, DropRoute, EncoderIdentity, LabelledQueries, PutRoute
from synaptoroute.storage.postgres_rows import digest, kept

#: From so many utterances on, COPY is faster than a statement for each that need not be waited for.
COPIED_FROM = 64

_UPSERT = (
    "INSERT INTO routes (name, threshold, description, metadata, revision) VALUES (%s, %s, %s, %s, %s) "
    "ON CONFLICT (name) DO UPDATE SET threshold = excluded.threshold, description = excluded.description, "
    "metadata = excluded.metadata, revision = excluded.revision RETURNING id"
)
_OF_ROUTE = "(SELECT id FROM routes WHERE name = %s)"
_DELETE = f"DELETE FROM utterances WHERE route_id = {_OF_ROUTE} AND digest = %s"  # noqa: S608 - constants
_INSERT = (
    "INSERT INTO utterances (route_id, text, digest, encoder_id, vector, crc32) "  # noqa: S608 - constants
    f"VALUES ({_OF_ROUTE}, %s, %s, %s, %s, %s)"
)
_KNOWN = "SELECT 1 FROM commits WHERE revision = %s AND token = %s"
_COPY = "COPY utterances (route_id, text, digest, encoder_id, vector, crc32) FROM STDIN (FORMAT BINARY)"
_ENCODER = (
    "INSERT INTO encoders (fingerprint, name, dim) SELECT %(fingerprint)s, %(name)s, %(dim)s "
    "WHERE NOT EXISTS (SELECT 1 FROM encoders WHERE fingerprint = %(fingerprint)s)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit, which may be tried on one connection after another.

    Attributes:
        changes: What shall change.
        encoder: Whose vectors they bring.
        expected_revision: What they are based on.
        token: Tells this commit from all others, should it have to be found again.
        where: The store, for messages.
        channel: Where others are told of it.
        history: How many revisions back others may still follow.
        refuse: Raises if the vectors that are stored are another encoder's.
    """

    changes: Sequence[Change]
    encoder: EncoderIdentity
    expected_revision: int
    token: UUID
    where: str
    channel: str
    history: int
    refuse: Callable[[Sequence[tuple[str, str]]], None]

    def run(self, connection: PatientConnection, *, new_lineage: bool) -> int:
        """Commit, or find that an earlier try has: the new revision. Others that commit wait meanwhile.

        Args:
            connection: With no transaction begun.
            new_lineage: Whether this is the connection's first commit.

        Raises:
            RevisionConflictError: The store is not at ``expected_revision``.
        """
        copied = sum(len(change.added) for change in self.changes if isinstance(change, PutRoute)) >= COPIED_FROM
        revision = self.expected_revision + 1
        with nullcontext() if copied else connection.pipeline(), connection.transaction():
            locked = connection.execute("SELECT revision FROM state FOR UPDATE")
            known = connection.execute(_KNOWN, (revision, self.token))
            stored = connection.execute(
                "SELECT name, fingerprint FROM encoders WHERE id IN (SELECT encoder_id FROM utterances LIMIT 1) "
                "OR id IN (SELECT encoder_id FROM labelled_queries LIMIT 1)"
            )
            encoder_id = _encoder_id(connection, self.encoder)
            row = locked.fetchone()
            if row is None:
                raise StorageCorruptError(f"{self.where} has lost its revision; restore a backup")
            if known.fetchone() is not None:
                return revision
            if row[0] != self.expected_revision:
                raise RevisionConflictError(
                    f"{self.where} is at revision {row[0]}, the change was based on {self.expected_revision}: "
                    "another process changed it; reload and try again"
                )
            self.refuse(stored.fetchall())
            for step in self._steps():
                if isinstance(step, str):
                    self._drop(connection, step, revision)
                elif copied:
                    self._copy(connection, step, encoder_id(), revision)
                else:
                    self._put(connection, step, encoder_id(), revision)
            self._finish(connection, revision, new_lineage=new_lineage)
        return revision

    def _steps(self) -> Iterator[list[PutRoute] | str]:
        """Names to drop, and puts of different routes that may be done together, in the order of the changes."""
        puts: dict[str, PutRoute] = {}
        for change in self.changes:
            if isinstance(change, DropRoute) or change.route.name in puts:
                if puts:
                    yield list(puts.values())
                puts = {}
            if isinstance(change, DropRoute):
                yield change.name
            else:
                puts[change.route.name] = change
        if puts:
            yield list(puts.values())

    def _put(self, connection: PatientConnection, puts: list[PutRoute], encoder_id: int, revision: int) -> None:
        """Statement after statement, of which none is waited for."""
        for put in puts:
            name = put.route.name
            connection.execute(_UPSERT, _fields(put, revision))
            for text in put.removed:
                connection.execute(_DELETE, (name, digest(text)))
            for text, wire in zip(put.added, to_wire(put.vectors), strict=True):
                row = (name, kept(text), digest(text), encoder_id, wire, zlib.crc32(wire))
                connection.execute(_INSERT, row)

    def _copy(self, connection: PatientConnection, puts: list[PutRoute], encoder_id: int, revision: int) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(_UPSERT, [_fields(put, revision) for put in puts], returning=True)
            ids = [cursor.fetchone()[0] for _ in cursor.results()]  # type: ignore[index] # each returns its row
        removed = [(put.route.name, digest(text)) for put in puts for text in put.removed]
        if removed:
            with connection.cursor() as cursor:
                cursor.executemany(_DELETE, removed)
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types(["int4", "text", "bytea", "int4", "vector", "int8"])
            for route_id, put in zip(ids, puts, strict=True):
                for text, wire in zip(put.added, to_wire(put.vectors), strict=True):
                    copy.write_row((route_id, kept(text), digest(text), encoder_id, wire, zlib.crc32(wire)))

    def _drop(self, connection: PatientConnection, name: str, revision: int) -> None:
        connection.execute("DELETE FROM routes WHERE name = %s", (name,))
        connection.execute("INSERT INTO dropped VALUES (%s, %s) ON CONFLICT DO NOTHING", (revision, name))

    def _finish(self, connection: PatientConnection, revision: int, *, new_lineage: bool) -> None:
        connection.execute("UPDATE state SET revision = %s", (revision,))
        connection.execute("INSERT INTO commits VALUES (%s, %s)", (revision, self.token))
        if new_lineage:
            begin = "INSERT INTO lineages VALUES (%s, replace(gen_random_uuid()::text, '-', ''))"
            connection.execute(begin, (revision,))
        forgotten = revision - self.history
        if forgotten >= 0:
            connection.execute("DELETE FROM dropped WHERE revision <= %s", (forgotten,))
            connection.execute("DELETE FROM commits WHERE revision <= %s", (forgotten,))
            older = "DELETE FROM lineages WHERE since < (SELECT max(since) FROM lineages WHERE since <= %s)"
            connection.execute(older, (forgotten,))
        connection.execute("SELECT pg_notify(%s, %s)", (self.channel, str(revision)))


def write_labelled(
    connection: PatientConnection, labelled: LabelledQueries | None, encoder: EncoderIdentity, channel: str
) -> None:
    """Replace the labelled queries; doing it twice does no harm."""
    with connection.transaction():
        # The lock that commits take too: vectors of two encoders must not come to stand beside each other.
        connection.execute("UPDATE state SET labelling = labelling + 1")
        connection.execute("DELETE FROM labelled_queries")
        connection.execute("DELETE FROM operating_point")
        if labelled is not None:
            encoder_id = _encoder_id(connection, encoder)()
            connection.execute("INSERT INTO operating_point VALUES (1, %s)", (labelled.min_confidence,))
            statement = "COPY labelled_queries (text, label, encoder_id, vector, crc32) FROM STDIN (FORMAT BINARY)"
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.set_types(["text", "text", "int4", "vector", "int8"])
                rows = zip(labelled.texts, labelled.labels, to_wire(labelled.vectors), strict=True)
                for text, label, wire in rows:
                    copy.write_row((kept(text), label, encoder_id, wire, zlib.crc32(wire)))
        connection.execute("SELECT pg_notify(%s, '')", (channel,))


def _encoder_id(connection: PatientConnection, encoder: EncoderIdentity) -> Callable[[], int]:
    """Asks for the encoder's number, and gives it when called: until then, nobody waits."""
    fields = {"fingerprint": encoder.fingerprint, "name": encoder.name, "dim": encoder.dim}
    connection.execute(_ENCODER, fields)
    asked = connection.execute("SELECT id FROM encoders WHERE fingerprint = %s", (encoder.fingerprint,))
    found: list[int] = []

    def number() -> int:
        if not found:
            found.extend(int(row[0]) for row in asked.fetchall())
        return found[0]

    return number


def _fields(put: PutRoute, revision: int) -> tuple[str, float | None, str | None, str, int]:
    route = put.route
    description = None if route.description is None else kept(route.description)
    return route.name, route.threshold, description, json.dumps(route.metadata), revision
