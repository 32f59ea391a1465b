"""One route as bytes for others: its content with its vectors, checked and authenticated when it comes back.

A record is ``SR1``, three lengths, a head and a content in JSON, the vectors as float32 little endian, and an
HMAC-SHA256 over all of it if a key is shared. What comes from a server may have been written by anybody: nothing is
trusted before its size, form, key and values have been checked, and nothing in it is ever executed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from synaptoroute.errors import InvalidInputError
from synaptoroute.models import Route
from synaptoroute.storage.base import EncoderIdentity, Vectors

#: Largest record, in bytes: 20,000 utterances of 384 dimensions. A server's own limit is 512 MB a value.
MAX_RECORD_BYTES = 32 << 20
#: How far from 1 the length of a vector may be: float32 rounding of a long one is below 1e-4.
_UNIT_TOLERANCE = 1e-3
_MAGIC = b"SR1"
_LENGTHS = struct.Struct("<III")
_MAC_BYTES = 32
Mask = NDArray[np.bool_]
_NO_VECTORS = np.empty((0, 0), np.float32)


class PoisonError(Exception):
    """A record that cannot be used. Stays inside the room: who reads it counts it and goes on."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """A route, or that there is none of that name.

    Attributes:
        name: Of the route.
        route: None if it was dropped.
        vectors: Of its utterances, float32 (n, dim); none for a dropped one.
        digest: Of name, content and vectors, 32 hexadecimal digits; "-" for a dropped one.
    """

    name: str
    route: Route | None
    vectors: Vectors
    digest: str

    @classmethod
    def dropped(cls, name: str) -> Record:
        """That there is no such route."""
        return cls(name=name, route=None, vectors=_NO_VECTORS, digest="-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A record as bytes, and what a server may know of it without looking inside."""

    name: str
    digest: str
    content: bytes


def content_of(route: Route) -> bytes:
    """Everything about it but its vectors, the same bytes for the same content."""
    utterances = ",".join(map(quoted, route.utterances))
    description = "null" if route.description is None else quoted(route.description)
    # Written piece by piece: the encoder costs more than all of this each time it is called.
    threshold = "null" if route.threshold is None else _CANONICAL.encode(route.threshold)
    metadata = _CANONICAL.encode(route.metadata) if route.metadata else "{}"
    return f"[{quoted(route.name)},[{utterances}],{threshold},{description},{metadata}]".encode()


_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


@lru_cache(16)
def _head(encoder: EncoderIdentity, *, drop: bool) -> bytes:
    return json.dumps({"encoder": encoder.fingerprint, "dim": encoder.dim, "drop": drop}).encode()


def digest_of(route: Route, vectors: Vectors) -> str:
    """32 hexadecimal digits that change with anything in the route or its vectors."""
    return _digest(content_of(route), _bytes(vectors))


def _digest(content: bytes, rows: bytes | memoryview) -> str:
    state = xxhash.xxh3_128(content)
    state.update(rows)
    return str(state.hexdigest())


def estimated_bytes(route: Route, dim: int) -> int:
    """About how large the record of this route is; never less."""
    # A character takes 4 bytes, or 6 where JSON escapes it; names and heads are short.
    texts = sum(6 * len(text) + 4 for text in (*route.utterances, route.description or ""))
    metadata = len(json.dumps(route.metadata)) if route.metadata else 0
    return 4 * dim * len(route.utterances) + texts + metadata + 2_048


def packed(name: str, held: tuple[Route, Vectors] | None, encoder: EncoderIdentity, key: bytes | None) -> Packed:
    """The record of a route as it is held; None for one that was dropped."""
    if held is None:
        content, rows, digest = json.dumps([name], ensure_ascii=False).encode(), b"", "-"
    else:
        content, rows = content_of(held[0]), _bytes(held[1])
        digest = _digest(content, rows)
    head = _head(encoder, drop=held is None)
    body = b"".join([_MAGIC, _LENGTHS.pack(len(head), len(content), len(rows)), head, content, rows])
    return Packed(name=name, digest=digest, content=body + _mac(body, key) if key else body)


def unpacked(content: bytes, encoder: EncoderIdentity, key: bytes | None) -> Record:
    """The record in these bytes.

    Raises:
        PoisonError: They are too many, damaged, of a newer version, not authentic, of another encoder, or not a route.
    """
    (found,) = unpacked_many([content], encoder, key)
    if isinstance(found, PoisonError):
        raise found
    return found


def unpacked_many(contents: Iterable[bytes], encoder: EncoderIdentity, key: bytes | None) -> list[Record | PoisonError]:
    """The same of many; what cannot be used is the error in its place. All vectors are looked at together."""
    found: list[Record | PoisonError] = []
    for content in contents:
        try:
            found.append(_unchecked(content, encoder, key))
        except PoisonError as exc:
            found.append(exc)
    routes = [place for place, one in enumerate(found) if isinstance(one, Record) and one.route is not None]
    vectors = [one.vectors for one in found if isinstance(one, Record) and one.route is not None]
    if routes:
        of = np.repeat(routes, [len(rows) for rows in vectors])
        for place in dict.fromkeys(of[~_are_unit(np.concatenate(vectors))].tolist()):
            found[place] = PoisonError("a vector is not finite or not of length 1")
    return found


def _unchecked(content: bytes, encoder: EncoderIdentity, key: bytes | None) -> Record:
    """The record, but for the values of its vectors."""
    head, written, rows = _parts(content, key)
    drop = head == _head(encoder, drop=True)
    if not drop and head != _head(encoder, drop=False):
        raise PoisonError(f"it has vectors of another encoder, or is of another version: {head[:100]!r}")
    fields = _json(written)
    if not isinstance(fields, list):
        raise PoisonError("its content is not a list")
    if drop:
        if len(fields) != 1 or len(rows):
            raise PoisonError("a dropped route has a name and nothing else")
        return Record.dropped(_name(fields[0]))
    route = _route(fields)
    # What a replica would have stored differently, for example with white space, would have another digest there.
    if content_of(route) != written:
        raise PoisonError("it is not written as a replica writes it")
    vectors = _vectors(rows, len(route.utterances), encoder.dim)
    return Record(name=route.name, route=route, vectors=vectors, digest=_digest(written, rows))


def _parts(content: bytes, key: bytes | None) -> tuple[bytes, bytes, memoryview]:
    """Head, content and vectors."""
    if len(content) > MAX_RECORD_BYTES:
        raise PoisonError(f"it has {len(content):,} bytes, at most {MAX_RECORD_BYTES:,} are accepted")
    if key is not None:
        content, mac = content[:-_MAC_BYTES], content[-_MAC_BYTES:]
        if not hmac.compare_digest(_mac(content, key), mac):
            raise PoisonError("it was not written with this key")
    start = len(_MAGIC) + _LENGTHS.size
    if content[: len(_MAGIC)] != _MAGIC or len(content) < start:
        raise PoisonError("it is not a record of a version that is known here")
    lengths = _LENGTHS.unpack_from(content, len(_MAGIC))
    if start + sum(lengths) != len(content):
        raise PoisonError("its lengths do not add up, or it was written with a key and none is known here")
    content_at, rows_at = start + lengths[0], start + lengths[0] + lengths[1]
    return content[start:content_at], content[content_at:rows_at], memoryview(content)[rows_at:]


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise PoisonError(f"it is not JSON: {exc}") from None


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise PoisonError("its name is not a text")
    try:
        return Route(name=value, utterances=["-"]).name
    except InvalidInputError as exc:
        raise PoisonError(str(exc)) from None


def _route(fields: list[Any]) -> Route:
    try:
        name, utterances, threshold, description, metadata = fields
        return Route(name=name, utterances=utterances, threshold=threshold, description=description, metadata=metadata)
    except (InvalidInputError, ValueError, TypeError) as exc:
        raise PoisonError(f"it is not a route: {str(exc)[:200]}") from None


def _vectors(rows: memoryview, count: int, dim: int) -> Vectors:
    if len(rows) != 4 * count * dim:
        raise PoisonError(f"{count} utterances of {dim} dimensions take {4 * count * dim} bytes, not {len(rows)}")
    return np.frombuffer(rows, "<f4").reshape(count, dim).astype(np.float32, copy=False)


def _are_unit(vectors: Vectors) -> Mask:
    """Which rows are finite and of length 1 (n,)."""
    squares = np.einsum("ij,ij->i", vectors, vectors)
    # NaN compares false.
    unit: Mask = np.logical_and(squares >= 1 - 2 * _UNIT_TOLERANCE, squares <= 1 + 2 * _UNIT_TOLERANCE)
    return unit


def _bytes(vectors: Vectors) -> bytes:
    return vectors.astype("<f4", copy=False).tobytes()


def _mac(content: bytes, key: bytes) -> bytes:
    return hmac.digest(key, content, hashlib.sha256)
