"""Names of code as words."""

from __future__ import annotations

import re

#: A capital begins a word after a small letter or digit, and before a small letter.
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN_WORDS = re.compile(r"[\W_]+")


def words_of(name: str) -> str:
    """A name as words: "transferMoney", "transfer_money" and "Transfer-Money" become "transfer money".

    "getWeather_v2" becomes "get weather v2". A name of nothing but signs stays as it is.
    """
    return _BETWEEN_WORDS.sub(" ", _CAPITAL.sub(" ", name)).strip().lower() or name
