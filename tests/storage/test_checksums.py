"""Checksums of rows: the same whatever computes them, for stores outlive releases."""

from __future__ import annotations

import json
import zlib

from hypothesis import given
from hypothesis import strategies as st

from synaptoroute.storage.checksums import checksum, is_sound

FIELDS = st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()), max_size=5)


@given(FIELDS, st.binary(max_size=8))
def test_is_a_crc_over_the_vector_and_then_the_other_fields_as_json(fields: list[object], vector: bytes) -> None:
    said = [field + 0.0 if isinstance(field, float) else field for field in fields]
    expected = zlib.crc32(vector + json.dumps(said).encode())
    assert checksum(*fields, vector=vector) == expected  # type: ignore[arg-type]


def test_a_field_that_damage_has_made_bytes_is_not_sound() -> None:
    assert is_sound(checksum(1, "a"), 1, "a")
    assert not is_sound(checksum(1, "a"), 1, b"a")  # type: ignore[arg-type]
