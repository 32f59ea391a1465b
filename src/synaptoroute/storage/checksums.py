"""Checksums of rows. SQLite has none for its pages: a flipped bit in a text would change answers, unnoticed.

Each is a CRC-32 over the row's vector, if it has one, and then over its other fields as JSON. Rows written before there
were such have one of their vector alone, or none.
"""

from __future__ import annotations

import json
import zlib
from json.encoder import encode_basestring_ascii as quoted

Field = str | float | int | None


def checksum(*fields: Field, vector: bytes | memoryview = b"") -> int:
    """Of a row: its vector and then its other fields."""
    said = f"[{', '.join(map(_said, fields))}]"
    return zlib.crc32(said.encode(), zlib.crc32(vector))


def _said(field: Field) -> str:
    """The field as ``json.dumps`` writes it, at a quarter of the cost for a text or a whole number."""
    if isinstance(field, str):
        return quoted(field)
    # Not of True, which is one too.
    if type(field) is int:
        return repr(field)
    # SQLite gives -0.0 back as 0.0.
    return json.dumps(field + 0.0 if isinstance(field, float) else field)


def is_sound(stored: object, *fields: Field, vector: bytes | memoryview = b"") -> bool:
    """Whether a row is as it was written. Damage may have given a field any type."""
    try:
        if stored == checksum(*fields, vector=vector):
            return True
    except (TypeError, ValueError):
        return False
    return stored == zlib.crc32(vector) if vector else stored is None
