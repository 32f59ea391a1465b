"""What the trainer learns from: texts that belong to routes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One text.

    Attributes:
        text: As someone would type it.
        routes: What it belongs to. Two texts of one source are alike if these are equal, different if they share
            none, and left out of account against each other in between.
        source: The set it comes from. Texts of two sources may mean the same under two names.
        denies: The route the speaker does not want, for a negated text; such a text is a hard negative of it.
    """

    text: str
    routes: frozenset[str]
    source: str
    denies: str | None = field(default=None)

    @property
    def route(self) -> str:
        """One name for all routes together."""
        return " + ".join(sorted(self.routes))


def example(text: str, route: str, source: str, denies: str | None = None) -> Example:
    """An example of one route."""
    return Example(text=text, routes=frozenset({route}), source=source, denies=denies)
