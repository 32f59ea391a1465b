"""Looking into a document that somebody else wrote: every wrong type is an error that names the key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from synaptoroute.errors import InvalidInputError


def mapping(value: Any, place: str) -> dict[Any, Any]:
    """The value, which has to be a mapping. Raises InvalidInputError."""
    if not isinstance(value, dict):
        raise InvalidInputError(f"{place}: wanted a mapping, got {kind_of(value)}")
    return value


def items(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Where each item of the list stands, and the item. Raises InvalidInputError if it is no list."""
    if not isinstance(value, list):
        raise InvalidInputError(f"{place}: wanted a list, got {kind_of(value)}")
    for number, item in enumerate(value, start=1):
        yield f"{place}[{number}]", item


def mappings(value: Any, place: str) -> Iterator[tuple[str, dict[Any, Any]]]:
    """``items``, each of which has to be a mapping."""
    for where, item in items(value, place):
        yield where, mapping(item, where)


def shown(value: Any) -> str:
    """A short value of the file for a message. Longer ones, and lists and mappings, are only named by their kind."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 80 else f"a text of {len(value):,} characters"
    return repr(value) if isinstance(value, int | float | None) else kind_of(value)


def kind_of(value: Any) -> str:
    """What people call the type."""
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "yes or no", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)
