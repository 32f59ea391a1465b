"""What a commit to the PostgreSQL store writes, in as few round trips as there is something to wait for."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from synaptoroute.errors import RevisionConflictError, StorageCorruptError
from synaptoroute.postgres.database import PatientConnection
from synaptoroute.postgres.vectors import to_wire
from synaptoroute.storage import postgres_history, postgres_reencoding
from synaptoroute.storage.base import (
    Change,
    ChosenPoint,
    DropRoute,
    EncoderIdentity,
    LabelledQueries,
    PutRoute,
    StoreState,
)
from synaptoroute.storage.postgres_rows import digest, kept

#: From so many utterances on, COPY is faster than a statement for each that need not be waited for.
COPIED_FROM = 64
#: How long a statement that puts all vectors in the place of others may take.
_SWAPPED_WITHIN_S = 3600.0

# The names and values of a statement are constants here; whatever callers bring is passed beside it.
_FACTS = (
    "SELECT store_id, (SELECT token FROM lineages ORDER BY since DESC LIMIT 1) AS lineage, "
    "EXISTS (SELECT 1 FROM commits WHERE revision = %(revision)s AND token = %(token)s) AS stored, "
    "(SELECT id FROM encoders WHERE fingerprint = %(fingerprint)s) AS encoder_id, "
    "ARRAY(SELECT encoder_id FROM (SELECT encoder_id FROM utterances LIMIT 1) AS one "
    "UNION SELECT encoder_id FROM (SELECT encoder_id FROM labelled_queries LIMIT 1) AS other) AS encoders FROM state"
)
_UPSERT = (
    "INSERT INTO routes (name, threshold, description, metadata, revision) VALUES (%s, %s, %s, %s, %s) "
    "ON CONFLICT (name) DO UPDATE SET threshold = excluded.threshold, description = excluded.description, "
    "metadata = excluded.metadata, revision = excluded.revision RETURNING id"
)
_OF_ROUTE = "(SELECT id FROM routes WHERE name = %s)"
_DELETE = f"DELETE FROM utterances WHERE route_id = {_OF_ROUTE} AND digest = %s"  # noqa: S608
_INSERT = "INSERT INTO utterances (route_id, text, digest, encoder_id, vector, crc32) VALUES "
_ROW = f"({_OF_ROUTE}, %s, %s, %s, %s, %s)"
_COPY = "COPY utterances (route_id, text, digest, encoder_id, vector, crc32) FROM STDIN (FORMAT BINARY)"
_FINISH = (
    "WITH counted AS (UPDATE state SET revision = %(revision)s), "
    "found AS (INSERT INTO commits VALUES (%(revision)s, %(token)s)) "
    "SELECT pg_notify(%(channel)s, %(revision)s::text)"
)
_BEGIN = "INSERT INTO lineages VALUES (%s, %s)"
_FORGET = (
    "WITH no_drops AS (DELETE FROM dropped WHERE revision <= %(forgotten)s), "
    "no_commits AS (DELETE FROM commits WHERE revision <= %(forgotten)s) DELETE FROM lineages "
    "WHERE since < (SELECT max(since) FROM lineages WHERE since <= %(forgotten)s)"
)
_ENCODER = "INSERT INTO encoders (fingerprint, name, dim) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING RETURNING id"


@dataclass(frozen=True, slots=True)
class Become:
    """What every change of the revision ends with.

    Attributes:
        revision: The new one.
        store_id: Of the store.
        lineage: The last one.
        token: Tells the commit from all others.
        channel: Where others are told of it.
        history: How many revisions back others may still follow.
    """

    revision: int
    store_id: str
    lineage: str
    token: UUID
    channel: str
    history: int

    def run(self, connection: PatientConnection, *, new_lineage: bool, about_to: Callable[[StoreState], None]) -> None:
        """See ``Commit.run``."""
        lineage = self.lineage
        if new_lineage:
            lineage = self.token.hex
            connection.execute(_BEGIN, (self.revision, lineage))
        if self.revision >= self.history:
            connection.execute(_FORGET, {"forgotten": self.revision - self.history})
        about_to(StoreState(store_id=self.store_id, lineage=lineage, revision=self.revision))
        connection.execute(_FINISH, {"revision": self.revision, "token": self.token, "channel": self.channel})


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
        expected: Route -> the revision at which it must have changed last.
        actor: Who commits, for the history.
        cause: What it is part of, for the history.
        history: How many revisions back others may still follow.
        refuse: Raises if the vectors that are stored are another encoder's; asks for them by the connection.
    """

    changes: Sequence[Change]
    encoder: EncoderIdentity
    expected_revision: int
    token: UUID
    where: str
    channel: str
    expected: Mapping[str, int]
    actor: str | None
    cause: str | None
    history: int
    refuse: Callable[[PatientConnection], None]

    def run(self, connection: PatientConnection, *, new_lineage: bool, about_to: Callable[[StoreState], None]) -> int:
        """Commit, or find that an earlier try has: the new revision. Others that commit wait meanwhile.

        Two round trips and that of the commit, unless there is much to copy.

        Args:
            connection: With no transaction begun.
            new_lineage: Whether this is the connection's first commit.
            about_to: Told what the store will be, just before it is.

        Raises:
            RevisionConflictError: The store is not at ``expected_revision``.
        """
        copied = sum(len(change.added) for change in self.changes if isinstance(change, PutRoute)) >= COPIED_FROM
        revision = self.expected_revision + 1
        given = {"revision": revision, "token": self.token, "fingerprint": self.encoder.fingerprint}
        with nullcontext() if copied else connection.pipeline(), connection.transaction():
            locked = connection.execute("SELECT revision FROM state FOR UPDATE")
            # Only a statement of its own sees what was committed while the lock was waited for.
            facts = connection.execute(_FACTS, given)
            before = postgres_history.Before(connection, self.changes, self.expected)
            store_id, lineage, stored, encoder_id, encoders = self._found(locked.fetchone(), facts.fetchone())
            if stored:
                return revision
            before.read()
            before.require(self.expected)
            if any(other != encoder_id for other in encoders):
                self.refuse(connection)
            if encoder_id is None:
                encoder_id = new_encoder(connection, self.encoder)
            for step in self._steps():
                if isinstance(step, str):
                    self._drop(connection, step, revision)
                elif copied:
                    self._copy(connection, step, encoder_id, revision)
                else:
                    self._put(connection, step, encoder_id, revision)
            postgres_history.write(
                connection,
                before.entries(self.changes, self.where),
                revision=revision,
                actor=self.actor,
                cause=self.cause,
                revisions=self.history,
            )
            become = Become(revision, store_id, lineage, self.token, self.channel, self.history)
            become.run(connection, new_lineage=new_lineage, about_to=about_to)
        return revision

    def _found(self, locked: tuple[Any, ...] | None, facts: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """The facts, if the commit can be made on them or is made already. Raises as ``run`` does."""
        if locked is None or facts is None or facts[1] is None:
            raise StorageCorruptError(f"{self.where} has lost its revision; restore a backup")
        if not facts[2] and locked[0] != self.expected_revision:
            raise RevisionConflictError(
                f"{self.where} is at revision {locked[0]}, the change was based on {self.expected_revision}: "
                "another process changed it; reload and try again"
            )
        return facts

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
            if put.added:
                rows: list[object] = []
                for text, wire in zip(put.added, to_wire(put.vectors), strict=True):
                    rows += [name, kept(text), digest(text), encoder_id, wire, zlib.crc32(wire)]
                statement = _INSERT + ", ".join([_ROW] * len(put.added))
                connection.execute(statement.encode(), rows)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """The vectors that were set aside take the place of all others; see ``Commit`` for the attributes."""

    encoder: EncoderIdentity
    expected_revision: int
    actor: str | None
    where: str
    channel: str
    history: int

    def run(self, connection: PatientConnection, about_to: Callable[[StoreState], None]) -> int:
        """The new revision. Begins a new lineage: whoever follows must read everything anew."""
        token, revision = uuid4(), self.expected_revision + 1
        with connection.transaction(), connection.waiting_for(_SWAPPED_WITHIN_S):
            row = connection.execute("SELECT revision, store_id FROM state FOR UPDATE").fetchone()
            if row is None or row[0] != self.expected_revision:
                raise RevisionConflictError(
                    f"{self.where} is at revision {row and row[0]}, the change was based on {self.expected_revision}: "
                    "another process changed it; reload and try again"
                )
            postgres_reencoding.swap(connection, new_encoder(connection, self.encoder))
            cause = f"to {self.encoder.name} ({self.encoder.fingerprint})"
            postgres_history.write(
                connection,
                [("migrate", None, None)],
                revision=revision,
                actor=self.actor,
                cause=cause,
                revisions=self.history,
            )
            become = Become(revision, row[1], token.hex, token, self.channel, self.history)
            become.run(connection, new_lineage=True, about_to=about_to)
        return revision


def write_labelled(
    connection: PatientConnection, labelled: LabelledQueries | None, encoder: EncoderIdentity, channel: str
) -> None:
    """Replace the labelled queries; doing it twice does no harm."""
    with connection.transaction():
        # The lock that commits take too: vectors of two encoders must not come to stand beside each other.
        connection.execute("UPDATE state SET labelling = labelling + 1")
        connection.execute("DELETE FROM labelled_queries")
        connection.execute("DELETE FROM operating_point")
        if labelled is None or labelled.min_confidence is not None:
            connection.execute("DELETE FROM chosen_point")
        if labelled is not None:
            encoder_id = new_encoder(connection, encoder)
            connection.execute("INSERT INTO operating_point VALUES (1, %s)", (labelled.min_confidence,))
            statement = (
                "COPY labelled_queries (text, digest, label, encoder_id, vector, crc32) FROM STDIN (FORMAT BINARY)"
            )
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.set_types(["text", "bytea", "text", "int4", "vector", "int8"])
                rows = zip(labelled.texts, labelled.labels, to_wire(labelled.vectors), strict=True)
                for text, label, wire in rows:
                    copy.write_row((kept(text), digest(text), label, encoder_id, wire, zlib.crc32(wire)))
        connection.execute("SELECT pg_notify(%s, '')", (channel,))


def write_point(connection: PatientConnection, point: ChosenPoint | None, channel: str) -> None:
    """Replace the operating point that somebody set; doing it twice does no harm."""
    with connection.transaction():
        connection.execute("UPDATE state SET labelling = labelling + 1")
        connection.execute("DELETE FROM chosen_point")
        if point is not None:
            actor = None if point.actor is None else kept(point.actor)
            connection.execute(
                "INSERT INTO chosen_point VALUES (1, %s, %s, %s)", (float(point.min_confidence), actor, point.at)
            )
        connection.execute("SELECT pg_notify(%s, '')", (channel,))


def new_encoder(connection: PatientConnection, encoder: EncoderIdentity) -> int:
    """The number of an encoder that had none, or that has got one since we looked."""
    row = connection.execute(_ENCODER, (encoder.fingerprint, encoder.name, encoder.dim)).fetchone()
    if row is None:
        query = "SELECT id FROM encoders WHERE fingerprint = %s"
        row = connection.execute(query, (encoder.fingerprint,)).fetchone()
    assert row is not None  # noqa: S101 - encoders are never deleted
    return int(row[0])


def _fields(put: PutRoute, revision: int) -> tuple[str, float | None, str | None, str, int]:
    route = put.route
    description = None if route.description is None else kept(route.description)
    return route.name, route.threshold, description, json.dumps(route.metadata), revision
