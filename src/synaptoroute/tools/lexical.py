"""BM25 over the words of tools, and over the letters within them: what a vector of the meaning passes over.

Words count whole and by their 4-grams, so that "invoices" finds "invoice" without knowing a language; in scripts that
put no spaces between words, pairs of characters stand for them. On 3,530 queries of MetaTool's train split words alone
ranked 34.1 % of the tools right, with 4-grams 37.9 %.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: The usual constants: how soon a repeated word stops counting, and how much a long text is held back.
K1, B = 1.2, 0.75
_GRAM = 4
#: Characters of a query that are read, as the encoder reads about so many.
_READ = 2_048
_WORD = re.compile(r"\w+")
#: Thai, Lao, Burmese and Khmer; and Chinese, Japanese and Korean with what goes with them.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]+")


def terms(text: str) -> list[str]:
    """What of a text is counted, with repeats."""
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text[:_READ]).casefold()):
        found.append(word)
        if word.isascii() or not _UNSPACED.search(word):
            bounded = f"<{word}>"
            found += (bounded[at : at + _GRAM] for at in range(len(bounded) - _GRAM + 1))
        else:
            found += (word[at : at + 2] for at in range(len(word) - 1))
    return found


@dataclass(frozen=True, eq=False)
class Lexical:
    """An inverted file of the tools' documents.

    Attributes:
        documents: How many.
        rows: The number of each term.
        starts: Where the entries of each term begin, and the end (terms + 1).
        owners: The document of each entry.
        weights: What the term adds to that document's score.
    """

    documents: int
    rows: dict[str, int]
    starts: NDArray[np.int64]
    owners: NDArray[np.int64]
    weights: Floats

    @classmethod
    def of(cls, documents: Sequence[str], others: Sequence[str] = ()) -> Lexical:
        """The file of these documents.

        Args:
            documents: One a tool.
            others: Everyday texts that are counted along where it matters how common a term is: among three tools,
                "the" would be as rare as "invoice".
        """
        counts = [Counter(terms(text)) for text in documents]
        known: Counter[str] = Counter(chain.from_iterable(counts))
        known.update(term for text in others for term in set(terms(text)))
        number = {term: place for place, term in enumerate(dict.fromkeys(chain.from_iterable(counts)))}
        frequency = np.array([known[term] for term in number], np.float64)
        total = len(documents) + len(others)
        idf = np.log(1 + (total - frequency + 0.5) / (frequency + 0.5))
        lengths = np.array([sum(count.values()) for count in counts], np.float64)
        owners = np.repeat(np.arange(len(documents)), [len(count) for count in counts])
        rows = np.array([number[term] for count in counts for term in count], np.int64)
        often = np.array([times for count in counts for times in count.values()], np.float64)
        held_back = K1 * (1 - B + B * lengths / max(lengths.mean(), 1e-9)) if len(lengths) else lengths
        weights = idf[rows] * often * (K1 + 1) / (often + held_back[owners])
        order = np.argsort(rows, kind="stable")
        starts = np.searchsorted(rows[order], np.arange(len(number) + 1))
        return cls(len(documents), number, starts, owners[order], weights[order])

    def scores(self, texts: Sequence[str]) -> Floats:
        """BM25 of each text and document (texts, documents); a term counts once, however often the text has it."""
        return np.array([self._score(text) for text in texts]).reshape(-1, self.documents)

    def _score(self, text: str) -> Floats:
        rows = [row for term in set(terms(text)) if (row := self.rows.get(term)) is not None]
        entries = [np.arange(self.starts[row], self.starts[row + 1]) for row in sorted(rows)]
        at = np.concatenate(entries) if entries else np.empty(0, np.int64)
        return np.bincount(self.owners[at], self.weights[at], self.documents).astype(np.float64)
