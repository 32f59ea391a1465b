"""Route names as examples: "transfer_money" says what belongs there as well as an utterance does."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Owners = NDArray[np.int32]

#: Share of names that must lie nearest to their own route before any of a table's names is believed.
SPEAKING = 0.5
#: A capital begins a word after a small letter or digit, and before a small letter.
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN_WORDS = re.compile(r"[\W_]+")


def spoken(name: str) -> str:
    """A name as words: "transferMoney", "transfer_money" and "Transfer-Money" become "transfer money".

    A name of nothing but signs stays as it is.
    """
    return _BETWEEN_WORDS.sub(" ", _CAPITAL.sub(" ", name)).strip().lower() or name


def telling(names: Vectors, vectors: Vectors, columns: Owners) -> bool:
    """Whether names say what their routes are about, as "transfer money" does and "route 17" does not.

    Args:
        names: Unit rows of the spoken names, one for each column (routes, dim).
        vectors: Unit rows of the utterances (n, dim).
        columns: The column of each utterance (n,).
    """
    means = np.zeros_like(names)
    np.add.at(means, columns, vectors)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    own = (names @ means.T).argmax(axis=1) == np.arange(len(names))
    return bool(own.mean() >= SPEAKING)
