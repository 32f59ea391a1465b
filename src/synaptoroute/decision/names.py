"""Route names as examples: "transfer_money" says what belongs there as well as an utterance does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synaptoroute.describing import words_of

Vectors = NDArray[np.float32]
Owners = NDArray[np.int32]

#: Share of names that must lie nearest to their own route before any of a table's names is believed.
SPEAKING = 0.5
#: Names are read here as everywhere.
spoken = words_of


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
