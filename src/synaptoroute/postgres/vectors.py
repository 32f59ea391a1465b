"""Vectors between NumPy and pgvector's type, in its binary form: bit for bit, and without a Python float each."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

Vectors = NDArray[np.float32]

#: Before the numbers: how many there are, and an unused 16-bit zero.
_HEADER_BYTES = 4


class Wire(bytes):
    """One vector as the server sends and takes it."""

    __slots__ = ()


def to_wire(vectors: Vectors) -> list[Wire]:
    """Each row (n, dim) in the server's form."""
    header = struct.pack(">HH", vectors.shape[1], 0)
    return [Wire(header + row.tobytes()) for row in vectors.astype(">f4")]


def from_wire(wires: Sequence[bytes], dim: int) -> Vectors:
    """The rows (n, dim) of vectors that all have this dim; see ``dim_of``."""
    form = np.dtype([("header", ">u2", 2), ("numbers", ">f4", (dim,))])
    return np.frombuffer(b"".join(wires), form)["numbers"].astype(np.float32)


def dim_of(wire: bytes) -> int:
    """How many numbers a vector has."""
    return (len(wire) - _HEADER_BYTES) // 4


def register(connection: psycopg.Connection[Any], oid: int) -> None:
    """Let a connection take ``Wire`` and give it, for the type of that number.

    The number is another one in every database.
    """

    class WireDumper(Dumper):
        format = Format.BINARY

        def dump(self, obj: bytes) -> bytes:
            return obj

    WireDumper.oid = oid
    # By its name for COPY; the number of the array type is needed by nobody.
    TypeInfo("vector", oid, 0).register(connection)
    connection.adapters.register_dumper(Wire, WireDumper)
    connection.adapters.register_loader(oid, _WireLoader)


class _WireLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)
