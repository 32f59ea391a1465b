"""Encoding a batch so that a text the encoder fails on fails alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from synaptoroute.caching import Vector
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderUnavailableError

Encode: TypeAlias = Callable[[Sequence[str]], Vectors]


def encoded_apart(encode: Encode, texts: Sequence[str]) -> list[Vector | Exception]:
    """The row of each text, or the error it has instead.

    If a batch fails, its halves are tried: among 32 texts, this finds the one that is to blame in 10 more calls. An
    encoder that fails on everything is not asked for each text. After as many failures as finding two such texts can
    take, a part that fails does so as a whole; likewise if the encoder says that it is unavailable.
    """
    rows: list[Vector | Exception] = []
    halvings = 2 * len(texts).bit_length()
    parts = [texts]
    while parts:
        part = parts.pop()
        try:
            rows.extend(encode(part))
        except Exception as exc:  # noqa: BLE001 - it is handed to whoever waits for these texts
            if len(part) == 1 or not halvings or isinstance(exc, EncoderUnavailableError):
                rows += [exc] * len(part)
            else:
                halvings -= 1
                half = len(part) // 2
                parts += [part[half:], part[:half]]
    return rows
