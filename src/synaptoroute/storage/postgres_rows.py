"""Rows of the PostgreSQL store as routes and vectors, and back."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from synaptoroute.errors import InvalidInputError, StorageCorruptError
from synaptoroute.models import Route
from synaptoroute.postgres.vectors import dim_of, from_wire
from synaptoroute.storage.base import ChosenPoint, LabelledQueries, Vectors

if TYPE_CHECKING:
    from synaptoroute.postgres.database import PatientConnection

#: In the order that ``routes_of`` reads them.
COLUMNS = "routes.id, name, threshold, description, metadata, text, vector, crc32"
IN_ORDER = "ORDER BY routes.id, utterances.id"


def kept(text: str) -> str:
    """A text as it is stored: PostgreSQL takes every character but NUL, which is written as backslash and 0."""
    return text.replace("\\", "\\\\").replace("\0", "\\0") if "\\" in text or "\0" in text else text


def given(stored: str) -> str:
    """The text that ``kept`` stored."""
    if "\\" not in stored:
        return stored
    return "\\".join(part.replace("\\0", "\0") for part in stored.split("\\\\"))


def digest(text: str) -> bytes:
    """Tells texts apart in an index: texts themselves may be longer than an index takes."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def routes_of(rows: Iterable[tuple[Any, ...]], dim: int, where: str) -> Iterator[tuple[Route, list[bytes]]]:
    """Routes and the vectors of their utterances, from rows of ``COLUMNS`` in their order.

    Args:
        rows: One an utterance.
        dim: Length of every vector.
        where: The store, for messages.

    Raises:
        StorageCorruptError: A route or a vector is damaged.
    """
    for (_, *fields), group in groupby(rows, itemgetter(0, 1, 2, 3, 4)):
        utterances = [row[5:] for row in group]
        wires = [sound(wire, crc32, dim, where) for _, wire, crc32 in utterances]
        yield route([text for text, _, _ in utterances], fields, where), wires


def in_batches(
    routes: Iterable[tuple[Route, list[bytes]]], dim: int, rows: int
) -> Iterator[tuple[tuple[Route, ...], Vectors]]:
    """Batches of at least so many utterances, but the last."""
    batch: list[Route] = []
    wires: list[bytes] = []
    for its_route, its_wires in routes:
        batch.append(its_route)
        wires += its_wires
        if len(wires) >= rows:
            yield tuple(batch), from_wire(wires, dim)
            batch, wires = [], []
    if batch:
        yield tuple(batch), from_wire(wires, dim)


def labelled_of(connection: PatientConnection, dim: int, where: str) -> LabelledQueries | None:
    """The labelled queries that are stored; None if none are. Raises StorageCorruptError."""
    query = "SELECT text, label, vector, crc32 FROM labelled_queries ORDER BY id"
    rows = connection.cursor(binary=True).execute(query).fetchall()
    if not rows:
        return None
    chosen = connection.execute("SELECT min_confidence FROM operating_point").fetchone()
    return LabelledQueries(
        texts=tuple(given(row[0]) for row in rows),
        labels=tuple(row[1] for row in rows),
        vectors=from_wire([sound(wire, crc32, dim, where) for *_, wire, crc32 in rows], dim),
        min_confidence=chosen[0] if chosen else None,
    )


def point_of(connection: PatientConnection) -> ChosenPoint | None:
    """The operating point that somebody set; None if nobody has."""
    row = connection.execute("SELECT min_confidence, actor, at FROM chosen_point").fetchone()
    if row is None:
        return None
    actor = None if row[1] is None else given(row[1])
    return ChosenPoint(min_confidence=row[0], actor=actor, at=row[2].astimezone(UTC))


def sound(wire: bytes | None, crc32: int, dim: int, where: str) -> bytes:
    """The vector, if it is the one that was stored. Raises StorageCorruptError."""
    if wire is None or dim_of(wire) != dim or zlib.crc32(wire) != crc32:
        raise StorageCorruptError(f"{where}: a stored vector is damaged; restore a backup")
    return wire


def route(utterances: Sequence[str | None], fields: Sequence[Any], where: str, *, plain: bool = False) -> Route:
    """A route from its name, threshold, description and metadata. Raises StorageCorruptError.

    Args:
        utterances: Their texts.
        fields: Those four.
        where: The store, for messages.
        plain: Whether texts are no longer in the form of ``kept``.
    """
    name, threshold, description, metadata = fields
    read = str if plain else given
    try:
        return Route(
            name=name,
            utterances=[read(text) for text in utterances if text is not None],
            threshold=threshold,
            description=None if description is None else read(description),
            metadata=json.loads(metadata),
        )
    except (ValueError, InvalidInputError) as exc:
        raise StorageCorruptError(f"{where}: route {name!r} is damaged ({exc}); restore a backup") from exc
