"""Described: a name, what it is for, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument.

    Attributes:
        name: As the code has it; what lies within an object is reached by dots, as in "address.city".
        description: What it means, on one line; None if nobody said.
        type: For people, such as "integer" or "array of string"; None if unknown.
        required: Whether it has to be given.
        choices: The values it is limited to, as texts; empty if it is not.
    """

    name: str
    description: str | None = None
    type: str | None = None
    required: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a piece of code says about itself.

    Attributes:
        name: As the code has it; see ``words_of``.
        description: What it does, a line a paragraph; None if nobody said.
        parameters: In their own order.
        examples: Texts that ask for it, where it names any.
    """

    name: str
    description: str | None
    parameters: tuple[Parameter, ...]
    examples: tuple[str, ...] = ()


def one_line(text: object) -> str | None:
    """The text with single spaces between its words; None if it is no text or has no words."""
    return " ".join(text.split()) or None if isinstance(text, str) else None
