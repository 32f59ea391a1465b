"""What the tools benchmark compares: ours, plain cosine, and BM25; each a way to rank tools and to abstain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from synaptoroute.bench.datasets import Labelled
from synaptoroute.bench.measures import TOP
from synaptoroute.bench.nearest import by_nearest_utterance
from synaptoroute.encoder.base import BaseEncoder, Vectors
from synaptoroute.errors import MissingExtraError
from synaptoroute.tools import Tool, ToolRouter

#: Queries asked in one call: so many are never turned away.
_BLOCK = 256


class System(Protocol):
    """Answers queries over tools."""

    def __call__(self, tools: Sequence[Tool], queries: Sequence[str]) -> list[tuple[tuple[str, ...], bool]]:
        """For each query the five best tools, best first, and whether it would return any of them."""
        ...


class Remembering:
    """An encoder that encodes a text once: every system and mode asks for the same ones."""

    def __init__(self, encoder: BaseEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, Vectors] = {}

    @property
    def name(self) -> str:
        """That of the encoder."""
        return self._encoder.name

    @property
    def dim(self) -> int:
        """That of the encoder."""
        return self._encoder.dim

    @property
    def fingerprint(self) -> str:
        """That of the encoder."""
        return self._encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See ``BaseEncoder``."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known |= zip(new, self._encoder.encode(new), strict=True)
        return np.stack([self._known[text] for text in texts])


class Ours:
    """``ToolRouter`` as it comes."""

    def __init__(self, encoder: BaseEncoder) -> None:
        self._encoder = encoder

    def __call__(self, tools: Sequence[Tool], queries: Sequence[str]) -> list[tuple[tuple[str, ...], bool]]:
        """See ``System``."""
        found: list[tuple[tuple[str, ...], bool]] = []
        with ToolRouter(tools, encoder=self._encoder) as router:
            for at in range(0, len(queries), _BLOCK):
                block = queries[at : at + _BLOCK]
                ranked = router.select_many(block, TOP, min_confidence=0)
                answers = router.select_many(block, 1)
                found += [
                    (tuple(match.name for match in best), bool(answer))
                    for best, answer in zip(ranked, answers, strict=True)
                ]
        return found


class Cosine:
    """The tool whose description, or one of whose examples, is nearest; it always answers."""

    def __init__(self, encoder: BaseEncoder) -> None:
        self._encoder = encoder

    def __call__(self, tools: Sequence[Tool], queries: Sequence[str]) -> list[tuple[tuple[str, ...], bool]]:
        """See ``System``."""
        texts = {tool.name: (tool.description or tool.name, *tool.examples) for tool in tools}
        answers = by_nearest_utterance(self._encoder, texts, [Labelled(query, None) for query in queries])
        return [(ranked, True) for ranked in answers.ranked]


class BM25:
    """``bm25s`` as it comes, with its English stop words; a document is all that is said of a tool.

    It answers unless no word of the query is in any document.

    Raises:
        MissingExtraError: It is not installed.
    """

    def __init__(self) -> None:
        try:
            import bm25s
        except ImportError as exc:
            raise MissingExtraError("comparing with BM25", "bench") from exc
        self._bm25s = bm25s

    def __call__(self, tools: Sequence[Tool], queries: Sequence[str]) -> list[tuple[tuple[str, ...], bool]]:
        """See ``System``."""
        documents = [" ".join(filter(None, (tool.name, tool.description, *tool.examples))) for tool in tools]
        ranker = self._bm25s.BM25()
        ranker.index(self._bm25s.tokenize(documents, stopwords="en", show_progress=False), show_progress=False)
        asked = self._bm25s.tokenize(list(queries), stopwords="en", return_ids=False, show_progress=False)
        found = []
        for words in asked:
            scores = np.asarray(ranker.get_scores(words)) if words else np.zeros(len(tools))
            best = np.argsort(-scores, kind="stable")[:TOP]
            found.append((tuple(tools[at].name for at in best.tolist()), bool(scores.max() > 0)))
        return found
