"""The texts in an answer of a language model, which was asked for JSON and may send anything."""

from __future__ import annotations

import json
import re
from typing import Any

#: Texts that are taken from one answer at most; more were not asked for by anybody.
MOST = 200
_MARKED = re.compile(r"\s*(?:[-*\u2022]|\d{1,3}[.)])\s+(?P<text>\S.*?)\s*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def texts_of(answer: str) -> list[str]:
    """The texts in it: of a JSON list, wherever it stands; else of lines that are marked as a list.

    A list that was cut off gives those of its texts that are complete. An answer without any list gives none.
    """
    found = _from_json(answer)
    if found is None:
        found = [match["text"].strip("\"'") for line in answer.splitlines() if (match := _MARKED.fullmatch(line))]
    return [text for text in found if text.strip()][:MOST]


def _from_json(answer: str) -> list[str] | None:
    decoder = json.JSONDecoder()
    for start in (match.start() for match in re.finditer(r"[\[{]", answer)):
        try:
            value, _ = decoder.raw_decode(answer, start)
        except RecursionError:
            return None
        except ValueError:
            continue
        found = _listed(value)
        if found is not None:
            return found
    cut_off = re.search(r'\[\s*"', answer)
    if cut_off is None:
        return None
    return [json.loads(text) for text in _STRING.findall(answer[cut_off.start() :]) if _is_json(text)]


def _listed(value: Any) -> list[str] | None:
    """The texts of a list, or of the only list in an object; None if there is none."""
    if isinstance(value, dict):
        lists = [each for each in value.values() if isinstance(each, list)]
        value = lists[0] if len(lists) == 1 else None
    if not isinstance(value, list):
        return None
    return [text for text in map(_text, value) if text is not None]


def _text(item: Any) -> str | None:
    if isinstance(item, dict):
        texts = [each for each in item.values() if isinstance(each, str)]
        item = texts[0] if len(texts) == 1 else None
    return item if isinstance(item, str) else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
