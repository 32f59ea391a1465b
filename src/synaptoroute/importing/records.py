"""What an import gives: the routes, what could not be carried, and the thresholds that were in the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from synaptoroute.models import Route

#: What a threshold of another router is compared with: a cosine, a cosine distance, or a calibrated probability.
Scale = Literal["score", "distance", "confidence"]


class Severity(StrEnum):
    """How much it matters: after a warning the routes may decide otherwise than they did where they come from."""

    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One thing that could not be carried, or was changed on the way.

    Attributes:
        severity: How much it matters.
        kind: In one word what it is about, such as "encoder" or "threshold", for programs.
        place: Where it stood: a key, a route, a line, a file of an archive.
        message: What was there, what became of it and what to do, for people.
    """

    severity: Severity
    kind: str
    place: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        return asdict(self) | {"severity": self.severity.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignThreshold:
    """A limit that a route had in the file.

    It says nothing about this router's scores: it was chosen for another encoder and mostly for another rule, such as
    the mean of a route's hits among the best five.

    Attributes:
        value: The number.
        scale: What it was compared with.
        default: Whether it is only what the other router writes where nobody chose.
    """

    value: float
    scale: Scale
    default: bool = False

    @property
    def as_score(self) -> float | None:
        """The least cosine score in [-1, 1] it stands for; None for a probability, which stands for none."""
        if self.scale == "confidence":
            return None
        score = self.value if self.scale == "score" else 1 - self.value
        return score if -1 <= score <= 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was in a file of another router.

    Attributes:
        format: The file's format, one of ``FORMATS``.
        routes: In the order of the file, each with at least one utterance. None has a threshold, unless the file is one
            of this package's own.
        notes: What could not be carried, in the order it was found.
        thresholds: Name of a route -> the limit that it had; only routes that had one.
    """

    format: str
    routes: tuple[Route, ...]
    notes: tuple[Note, ...]
    thresholds: dict[str, ForeignThreshold]

    @property
    def warnings(self) -> tuple[Note, ...]:
        """The notes that matter most."""
        return tuple(note for note in self.notes if note.severity is Severity.WARNING)

    @property
    def utterances(self) -> int:
        """How many there are in all."""
        return sum(len(route.utterances) for route in self.routes)

    def with_thresholds(self) -> tuple[Route, ...]:
        """The routes with the thresholds of the file, as far as somebody chose them and they are scores.

        Only where the encoder stays the same and the other router compared single utterances do they mean the same.
        """
        return tuple(self._with_threshold(route) for route in self.routes)

    def _with_threshold(self, route: Route) -> Route:
        found = self.thresholds.get(route.name)
        if found is None or found.default or found.as_score is None:
            return route
        return route.replaced(threshold=found.as_score)


def grouped(notes: Iterable[Note]) -> list[tuple[Note, int]]:
    """Each note that says something new, with how many places it is about; warnings first."""
    groups: dict[tuple[Severity, str, str], list[Note]] = {}
    for note in notes:
        groups.setdefault((note.severity, note.kind, note.message), []).append(note)
    found = [(same[0], len(same)) for same in groups.values()]
    return sorted(found, key=lambda pair: pair[0].severity is not Severity.WARNING)
