"""The baseline of the tables: the route of the nearest utterance, by exact cosine, without head, gate or abstention.

Nothing of the router takes part, so that no change of it can move what it is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from synaptoroute.bench.datasets import Labelled
from synaptoroute.bench.measures import TOP, Answers
from synaptoroute.encoder.base import BaseEncoder, encode_checked

#: Queries compared at once: 15 MB of cosines with 15,000 utterances.
_BLOCK = 256


def by_nearest_utterance(
    encoder: BaseEncoder, utterances: Mapping[str, Sequence[str]], queries: Sequence[Labelled]
) -> Answers:
    """What the nearest utterance alone answers: always its route, with the cosine in the place of a confidence.

    Args:
        encoder: Of utterances and queries.
        utterances: By route, at least one of each; of equally near routes the first comes first.
        queries: What is asked.
    """
    names = list(utterances)
    starts = np.cumsum([0, *map(len, utterances.values())])[:-1]
    rows = encode_checked(encoder, [text for texts in utterances.values() for text in texts])
    asked = encode_checked(encoder, [query.text for query in queries], queries=True)
    ranked: list[tuple[str, ...]] = []
    scores: list[float] = []
    for at in range(0, len(queries), _BLOCK):
        best = np.maximum.reduceat(asked[at : at + _BLOCK] @ rows.T, starts, axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :TOP]
        ranked += [tuple(names[route] for route in row) for row in order.tolist()]
        scores += best.max(axis=1).tolist()
    return Answers(
        labels=tuple(query.label for query in queries),
        ranked=tuple(ranked),
        chosen=tuple(routes[0] for routes in ranked),
        confidence=np.clip(np.array(scores, np.float64), 0, 1),
    )
