"""What a head is taught: utterances, texts from elsewhere and names, and how much effort that is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.evidence import Grouped
from synaptoroute.decision.head import STEPS

Vectors = NDArray[np.float32]
Owners = NDArray[np.int32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Effort:
    """How a table of a certain size is learned.

    Attributes:
        cells: Utterances times routes at most.
        reads_ngrams: Whether the head reads n-grams, and the kernel may be tried.
        steps: Of the head's training.
        folds: Parts the table is cut into for cross-fitting.
        used: How many of these are held out in turn.
    """

    cells: int
    reads_ngrams: bool
    steps: int
    folds: int
    used: int


#: Smallest tables first. The last row is the limit: about 50 s on two cores; what is beyond is decided in two stages.
EFFORTS = (
    Effort(cells=150_000, reads_ngrams=True, steps=STEPS, folds=6, used=6),
    Effort(cells=5_000_000, reads_ngrams=True, steps=STEPS, folds=4, used=4),
    Effort(cells=60_000_000, reads_ngrams=False, steps=20, folds=4, used=1),
)


def effort_for(utterances: int, routes: int) -> Effort | None:
    """How to learn a table of that size; None if there is nothing to learn from, or too much for a head."""
    cells = utterances * (routes + 1)
    return next((effort for effort in EFFORTS if 0 < cells <= effort.cells), None)


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts with their vectors and columns, ordered by column.

    Attributes:
        texts: n texts.
        vectors: Unit rows (n, dim).
        columns: 0 to routes - 1, ascending (n,).
        routes: How many columns there are.
    """

    texts: Sequence[str]
    vectors: Vectors
    columns: Owners
    routes: int

    def __len__(self) -> int:
        return len(self.texts)

    def chosen(self, mask: NDArray[np.bool_]) -> tuple[Examples, Rows]:
        """The examples under the mask with columns renumbered, and the new number of each column; -1 if gone."""
        at = np.flatnonzero(mask)
        present, columns = np.unique(self.columns[at], return_inverse=True)
        number = np.full(self.routes, -1, np.int64)
        number[present] = np.arange(len(present))
        kept = Examples(
            [self.texts[row] for row in at.tolist()], self.vectors[at], columns.astype(np.int32), len(present)
        )
        return kept, number

    @property
    def grouped(self) -> Grouped:
        """The vectors by column."""
        starts = np.searchsorted(self.columns, np.arange(self.routes))
        return Grouped(self.vectors, starts, np.append(starts[1:], len(self)))


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts with their unit rows (m, dim)."""

    texts: Sequence[str]
    vectors: Vectors

    def part(self, mask: NDArray[np.bool_]) -> Texts:
        """Those under the mask."""
        at = np.flatnonzero(mask)
        return Texts([self.texts[row] for row in at.tolist()], self.vectors[at])


@dataclass(frozen=True, slots=True)
class Lessons:
    """All there is to learn from without labelled queries.

    Attributes:
        examples: The utterances.
        outside: Texts that belong to no route.
        names: The routes' names as words, one for each column, where they tell what the routes are about.
    """

    examples: Examples
    outside: Texts
    names: Texts | None = None

    @property
    def routes(self) -> int:
        """How many columns there are."""
        return self.examples.routes

    def seen_by(self, encode: Callable[[Sequence[str]], Vectors]) -> Lessons:
        """The same texts with the vectors that another encoder gives them."""
        examples, names = self.examples, self.names
        return Lessons(
            replace(examples, vectors=encode(examples.texts)),
            replace(self.outside, vectors=encode(self.outside.texts)),
            None if names is None else replace(names, vectors=encode(names.texts)),
        )

    def all(self, *more: tuple[Texts, Owners]) -> tuple[list[str], Vectors, Owners]:
        """Texts, vectors and columns of everything, with more if given; ``routes`` is the column of "none"."""
        parts: list[tuple[Texts, Owners]] = [
            (Texts(self.examples.texts, self.examples.vectors), self.examples.columns),
            (self.outside, np.full(len(self.outside.texts), self.routes, np.int32)),
            *more,
        ]
        if self.names is not None:
            parts.append((self.names, np.arange(self.routes, dtype=np.int32)))
        texts = [text for part, _ in parts for text in part.texts]
        vectors = np.concatenate([part.vectors for part, _ in parts])
        return texts, vectors, np.concatenate([columns for _, columns in parts])
