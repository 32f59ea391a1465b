"""How good is it? Asked of the splits that may be looked at while training: never a test split.

CLINC150: utterances from train, queries from val. Banking77 has no val: utterances and queries are both from train,
the queries being those that no draw of utterances took. Refusals: CLINC150's dev queries rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from synaptoroute.bench.datasets import Labelled, few_shot, load
from training.similarity import read_pairs, spearman

T = TypeVar("T")
Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]
SHOTS = (5, 10)
SEEDS = (101, 102)
#: Queries of each set; a look costs a training run some seconds.
QUERIES = 1_000
#: Share of queries in scope that may be lost by rejecting.
LOST = 0.02


@dataclass(frozen=True, kw_only=True)
class Development:
    """The queries, read once.

    Attributes:
        train, queries: By data set.
        outside: Queries out of CLINC150's scope.
        refusals: CLINC150's queries, refused.
    """

    train: Mapping[str, Sequence[Labelled]]
    queries: Mapping[str, Sequence[Labelled]]
    outside: Sequence[str]
    refusals: Sequence[str]

    @classmethod
    def read(cls, data: Path, *, queries: int = QUERIES) -> Development:
        """Read from the data folder."""
        clinc, banking = load("clinc150", data=data), load("banking77", data=data)
        draws = [few_shot(banking.train, max(SHOTS), seed) for seed in SEEDS]
        taken = {text for draw in draws for texts in draw.values() for text in texts}
        left = [item for item in banking.train if item.text not in taken]
        asked = [item for item in clinc.validation if item.label is not None]
        refusals = (data / "clinc150-negation" / "dev.in").read_text(encoding="utf-8").splitlines()
        return cls(
            train={"clinc150": clinc.train, "banking77": banking.train},
            queries={"clinc150": _sample(asked, queries), "banking77": _sample(left, queries)},
            outside=[item.text for item in clinc.validation if item.label is None],
            refusals=_sample(refusals, queries),
        )

    def figures(self, encode: Encode) -> dict[str, float]:
        """Shares, AUROCs and a rank correlation, all in [-1, 1], higher is better."""
        from sklearn.linear_model import LogisticRegression

        found: dict[str, float] = {}
        for name, queries in self.queries.items():
            asked = encode([item.text for item in queries])
            labels = [item.label for item in queries]
            draws = [(shots, few_shot(self.train[name], shots, seed)) for shots in SHOTS for seed in SEEDS]
            texts = list(dict.fromkeys(text for _, draw in draws for some in draw.values() for text in some))
            rows = dict(zip(texts, encode(texts), strict=True))
            right: dict[int, list[float]] = {shots: [] for shots in SHOTS}
            for shots, draw in draws:
                stored = np.stack([rows[text] for some in draw.values() for text in some])
                routes = [route for route, some in draw.items() for _ in some]
                head = LogisticRegression(C=10, max_iter=300).fit(stored, routes)
                right[shots].append(float(head.score(asked, labels)))
            found |= {f"{name}_{shots}": float(np.mean(values)) for shots, values in right.items()}
            # `stored` is now the last draw, of ten utterances a route.
            if name == "clinc150":
                inside = (asked @ stored.T).max(axis=1)
                others_by_name = {"outside": self.outside, "refused": self.refusals}
                for what, others in others_by_name.items():
                    found |= separation(what, inside, (encode(others) @ stored.T).max(axis=1))
        return found | {"similarity": spearman(encode, read_pairs())}


def separation(what: str, inside: Vectors, others: Vectors) -> dict[str, float]:
    """AUROC of telling the two apart by score, and the share of others rejected where 2 % of inside are lost."""
    from sklearn.metrics import roc_auc_score

    truth = np.r_[np.ones(len(inside)), np.zeros(len(others))]
    threshold = np.quantile(inside, LOST)
    return {
        f"{what}_auroc": float(roc_auc_score(truth, np.r_[inside, others])),
        f"{what}_rejected": float(np.mean(others < threshold)),
    }


def _sample(items: Sequence[T], count: int) -> list[T]:
    """The same ones in every run."""
    order = np.random.default_rng(0).permutation(len(items))
    return [items[place] for place in sorted(order[:count])]
