"""How well each tool goes with a query: what its vectors, its letters and its examples say, in one number.

    fused = (dense + LEXICAL * bm25 + LEARNED * kernel) / spread

``dense`` is a weighted mean of the cosines of the tool's name, its description, and both together, plus what a sentence
or the arguments alone have over that. ``kernel`` is a kernel ridge regression on all texts, learned where there are
examples. ``spread`` is how far apart everyday sentences lie for this encoder, so that the numbers below, which were
found with the bundled one, mean the same for others.

All weights were chosen on 3,530 queries of MetaTool's train split, with the rest of it as examples. Top-1 there in
percent, with 0 / 1 / 5 / 20 examples a tool: dense 57.4 whatever the examples, kernel 56.2 / 60.0 / 68.5 / 75.4,
nearest text 55.0 / 55.8 / 59.7 / 68.0, all three fused 59.3 / 62.8 / 70.1 / 76.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.kernel import TRIED, Kernel, train_kernel
from synaptoroute.encoder.base import Vectors
from synaptoroute.tools.lexical import Lexical
from synaptoroute.tools.wording import Wording

Floats = NDArray[np.float64]

#: Weights of the cosines of name and description together, of the description, and of the name.
WHOLE, DESCRIPTION, NAME = 1.0, 0.5, 0.2
#: Weight of what a detail has over them: 0.1 to 0.3 changed nothing in Top-1 and gained 0.1 in the best five.
DETAIL = 0.2
LEXICAL, LEARNED = 0.002, 1.0
#: The spread of ``BACKGROUND`` by the bundled encoder is 0.078; nothing is divided by much less.
_LEAST_SPREAD = 0.01


@dataclass(frozen=True, eq=False)
class Fused:
    """What n queries and all tools have to do with each other; arrays are (n, tools).

    Attributes:
        fused: See the module; higher is better.
        nearest: Cosine of the tool's nearest text, in [-1, 1].
    """

    fused: Floats
    nearest: Floats


@dataclass(frozen=True, eq=False)
class Fusion:
    """Everything the fused score is made of, for one set of tools.

    Attributes:
        vectors: Unit rows of all texts, tool after tool (texts, dim).
        starts: Where each tool begins (tools,).
        dense: Weight of each text in its tool's dense score (texts,).
        details: Where the details are among the texts.
        owners: The tool of each text (texts,).
        lexical: Over the tools' documents.
        kernel: Where there are examples.
        spread: Of everyday sentences.
    """

    vectors: Vectors
    starts: NDArray[np.int64]
    owners: NDArray[np.int64]
    dense: Floats
    details: NDArray[np.int64]
    lexical: Lexical
    kernel: Kernel | None
    spread: float

    @classmethod
    def of(
        cls,
        wordings: Sequence[Wording],
        vectors: Vectors,
        *,
        everyday: Sequence[str],
        everyday_vectors: Vectors,
    ) -> Fusion:
        """Learn what there is to learn, in closed form; the same for the same tools.

        Args:
            wordings: At least one.
            vectors: Unit rows of all their ``texts``, tool after tool.
            everyday: Sentences that belong to hardly any tool.
            everyday_vectors: Their rows.
        """
        counts = [len(wording.texts) for wording in wordings]
        starts = np.cumsum([0, *counts])[:-1]
        owners = np.repeat(np.arange(len(wordings)), counts)
        dense, details = np.zeros(len(vectors)), []
        for wording, start in zip(wordings, starts.tolist(), strict=True):
            place = {text: start + at for at, text in enumerate(wording.texts)}
            parts = ((wording.whole, WHOLE), (wording.description, DESCRIPTION), (wording.name, NAME))
            present = [(place[text], weight) for text, weight in parts if text]
            total = sum(weight for _, weight in present)
            for at, weight in present:
                dense[at] += weight / total
            details += sorted({place[text] for text in wording.details})
        learned = any(wording.examples for wording in wordings) and len(wordings) > 1
        return cls(
            vectors=vectors,
            starts=starts,
            owners=owners,
            dense=dense,
            details=np.array(details, np.int64),
            lexical=Lexical.of([wording.document for wording in wordings], everyday),
            kernel=train_kernel(vectors, owners.astype(np.int32), len(wordings), landmarks=TRIED) if learned else None,
            spread=spread_of(everyday_vectors),
        )

    def __call__(self, texts: Sequence[str], vectors: Vectors) -> Fused:
        """How well each tool goes with each query.

        Args:
            texts: Queries (n).
            vectors: Their unit rows (n, dim).
        """
        cosines = (vectors @ self.vectors.T).astype(np.float64)
        dense = np.add.reduceat(cosines * self.dense, self.starts, axis=1)
        if len(self.details):
            best = np.full_like(dense, -1.0)
            owners, first = np.unique(self.owners[self.details], return_index=True)
            best[:, owners] = np.maximum.reduceat(cosines[:, self.details], first, axis=1)
            dense += DETAIL * np.maximum(best - dense, 0)
        fused = dense + LEXICAL * self.lexical.scores(texts)
        if self.kernel is not None:
            fused += LEARNED * self.kernel.scores(vectors)
        return Fused(fused / self.spread, np.maximum.reduceat(cosines, self.starts, axis=1))


def spread_of(vectors: Vectors) -> float:
    """Standard deviation of the cosines between unrelated texts (n, dim), n at least 3."""
    above = np.triu_indices(len(vectors), 1)
    return max(float((vectors @ vectors.T)[above].std()), _LEAST_SPREAD)
