"""Whether an answer is what the router in the other process decided for the same texts."""

from __future__ import annotations

import json
from typing import Any

#: Decisions of texts that were encoded together with others may differ by this much, see docs/design.md.
TOLERANCE = 1e-5
_BEGIN = b'{"decisions":'


class Checker:
    """Holds answers against what is expected, quickly where they are the same to the bit.

    Args:
        expected: The decisions for each request, as the JSON of their list.
    """

    def __init__(self, expected: list[bytes]) -> None:
        self._expected = expected
        self.inexact = 0
        self.wrong = 0

    def check(self, number: int, body: bytes) -> None:
        """Count the answer to that request."""
        expected = self._expected[number]
        if body.startswith(expected, len(_BEGIN)) and body.startswith(_BEGIN):
            return
        try:
            same = alike(json.loads(body)["decisions"], json.loads(expected))
        except (ValueError, KeyError, TypeError):
            same = False
        self.inexact += same
        self.wrong += not same


def alike(value: Any, other: Any) -> bool:
    """The same JSON, with numbers that differ by no more than the tolerance."""
    if isinstance(value, float) or isinstance(other, float):
        return isinstance(value, int | float) and isinstance(other, int | float) and abs(value - other) <= TOLERANCE
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(alike, value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(alike(item, other[key]) for key, item in value.items())
    return bool(value == other)
