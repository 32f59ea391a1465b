"""In which language a text is: by py3langid where it is installed (extra ``languages``), else by its script."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

#: Shortest of the texts whose language counts at all; the rest is names, numbers and greetings that many share.
_LETTERS = 2
_SHARE = 0.05


def spoken_in(texts: Sequence[str], among: tuple[str, ...] | None = None) -> list[str]:
    """The language of each text, as an ISO 639-1 code, or its script in small letters; "" for one without letters.

    Args:
        texts: Queries.
        among: The only answers there may be, of an earlier call without it. Few languages are told apart more surely
            than all of them.
    """
    identifier = _identifier(among)
    if identifier is None:
        return [_script(text) for text in texts]
    return [identifier.classify(text)[0] if _has_letters(text) else "" for text in texts]


def often_spoken_in(texts: Sequence[str]) -> list[str] | None:
    """The same where one of the languages of at least every twentieth text is chosen; None if there is only one.

    Of short texts some are always taken for another language: these are few in each.
    """
    counts = Counter(spoken_in(texts))
    names = tuple(sorted(name for name, count in counts.items() if name and count >= _SHARE * len(texts)))
    return spoken_in(texts, among=names) if len(names) > 1 else None


def available() -> bool:
    """Whether languages can be told, and not only scripts."""
    return find_spec("py3langid") is not None


@functools.lru_cache(maxsize=8)
def _identifier(among: tuple[str, ...] | None) -> Any:
    """None without the package, or where the answers are scripts."""
    if not available() or (among is not None and not all(len(name) <= 3 for name in among)):
        return None
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    if among is not None:
        identifier.set_languages(list(among))
    return identifier


def _has_letters(text: str) -> bool:
    return sum(map(str.isalpha, text)) >= _LETTERS


def _script(text: str) -> str:
    """The script of most of its letters, as Unicode calls it: "latin", "cyrillic", "cjk"."""
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha())
    return scripts.most_common(1)[0][0].lower() if scripts else ""
