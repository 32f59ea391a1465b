"""Graded sentence pairs written for the project: is the encoder still of use for plain similarity?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PAIRS = Path(__file__).resolve().parent / "texts" / "similarity.tsv"


def read_pairs() -> list[tuple[float, str, str]]:
    """Grade from 0 (nothing in common) to 5 (the same), and the two sentences."""
    rows = [line.split("\t") for line in PAIRS.read_text(encoding="utf-8").splitlines() if line[:1].isdigit()]
    return [(float(grade), one, other) for grade, one, other in rows]


def spearman(encode: Callable[[Sequence[str]], NDArray[np.float32]], pairs: Sequence[tuple[float, str, str]]) -> float:
    """Rank correlation of cosine and grade, in [-1, 1]."""
    from scipy.stats import spearmanr

    left, right = encode([one for _, one, _ in pairs]), encode([other for _, _, other in pairs])
    return float(spearmanr((left * right).sum(axis=1), [grade for grade, _, _ in pairs]).statistic)
