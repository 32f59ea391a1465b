"""Words and character n-grams of texts, hashed into buckets: what the letters say beside what the vector means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Floats32 = NDArray[np.float32]

#: Buckets of n-grams: 2**13 were as good as 2**15 on HWU64 and Banking77, and train four times faster.
NGRAM_BITS = 13
#: Buckets of single words, large enough that two words of a table hardly ever share one.
WORD_BITS = 17
_CHARACTERS = (3, 4)

_BETWEEN_WORDS = re.compile(r"[^\w\n]+")
# Odd 64-bit constants of multiplicative hashing (Fibonacci hashing, and the finaliser of MurmurHash3's family).
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_NEWLINE, _SPACE = 10, 32


@dataclass(frozen=True, slots=True)
class Bags:
    """A bag of buckets for each of n texts, one after the other.

    Attributes:
        buckets: Bucket numbers of all texts (m,), with repeats.
        starts: Where each text begins, and the end (n + 1,).
    """

    buckets: Ints
    starts: Ints

    @property
    def rows(self) -> Ints:
        """The text each bucket belongs to (m,)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def ngrams(texts: Sequence[str]) -> Bags:
    """Character 3- and 4-grams, which may cross one space, and words alone and in pairs."""
    text = _Codes.of(texts)
    hashes, rows = text.words()
    pairs = rows[:-1] == rows[1:]
    found = [(hashes, rows), (_mixed(hashes[:-1] * _STEP + hashes[1:])[pairs], rows[:-1][pairs])]
    found += [text.characters(length) for length in _CHARACTERS]
    return _bags(found, len(texts), NGRAM_BITS)


def words(texts: Sequence[str]) -> Bags:
    """Single words."""
    return _bags([_Codes.of(texts).words()], len(texts), WORD_BITS)


@dataclass(frozen=True, slots=True)
class Weighted:
    """Sparse rows: text ``rows[i]`` has ``values[i]`` in ``buckets[i]``; ordered by row, each of length 1 or empty."""

    rows: Ints
    buckets: Ints
    values: Floats32
    count: int

    @classmethod
    def of(cls, bags: Bags, idf: Floats32) -> Weighted:
        """Each text's tf-idf with (1 + ln tf), scaled to length 1; buckets without idf are left out."""
        bits = np.int64(NGRAM_BITS)
        keys, counts = np.unique((bags.rows << bits) | bags.buckets, return_counts=True)
        rows, buckets = keys >> bits, keys & ((1 << NGRAM_BITS) - 1)
        values = ((1 + np.log(counts)) * idf[buckets]).astype(np.float32)
        known = values > 0
        rows, buckets, values = rows[known], buckets[known], values[known]
        count = len(bags.starts) - 1
        lengths = np.sqrt(np.bincount(rows, values * values, count))
        return cls(rows, buckets, (values / lengths[rows]).astype(np.float32), count)

    def times(self, table: Floats32) -> Floats32:
        """The product of these rows with a dense table (buckets, columns), as (texts, columns)."""
        product = np.zeros((self.count, table.shape[1]), np.float32)
        bounds = np.searchsorted(self.rows, np.arange(self.count + 1))
        for row, (start, end) in enumerate(pairwise(bounds)):
            if end > start:
                product[row] = self.values[start:end] @ table[self.buckets[start:end]]
        return product


def inverse_document_frequency(bags: Bags) -> Floats32:
    """ln((1 + texts) / (1 + texts with it)) + 1 for each bucket, 0 for those never seen."""
    count = len(bags.starts) - 1
    distinct = np.unique((bags.rows << np.int64(NGRAM_BITS)) | bags.buckets) & ((1 << NGRAM_BITS) - 1)
    frequency = np.bincount(distinct, minlength=1 << NGRAM_BITS)
    return np.where(frequency > 0, np.log((1 + count) / (1 + frequency)) + 1, 0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Codes:
    """All texts as one array of code points, lower case, one space between words, one newline between texts."""

    codes: Hashes
    rows: Ints

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Codes:
        joined = " \n ".join(text.replace("\n", " ") for text in texts).lower()
        spaced = _BETWEEN_WORDS.sub(" ", f" {joined} ")
        codes = np.frombuffer(spaced.encode("utf-32-le"), np.uint32).astype(np.uint64)
        return cls(codes, np.cumsum(codes == _NEWLINE))

    def characters(self, length: int) -> tuple[Hashes, Ints]:
        count = max(len(self.codes) - length + 1, 0)
        hashes = self.codes[:count].copy()
        for place in range(1, length):
            hashes = hashes * _STEP + self.codes[place : place + count]
        within = (self.rows[:count] == self.rows[length - 1 :][:count]) & (self.codes[:count] != _NEWLINE)
        # n-grams of different lengths are told apart.
        salt = np.uint64(length * int(_MIX) % (1 << 64))
        return _mixed(hashes[within] + salt), self.rows[:count][within]

    def words(self) -> tuple[Hashes, Ints]:
        inside = (self.codes != _SPACE) & (self.codes != _NEWLINE)
        begins = inside & ~np.concatenate([[False], inside[:-1]])
        at = np.flatnonzero(inside)
        if not len(at):
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        first = np.flatnonzero(begins)
        place = at - first[np.cumsum(begins)[at] - 1]
        letters = (self.codes[at] + np.uint64(7)) * _mixed(place.astype(np.uint64) * _STEP + _MIX)
        return _mixed(np.add.reduceat(letters, np.searchsorted(at, first))), self.rows[first]


def _mixed(hashes: Hashes) -> Hashes:
    hashes = (hashes ^ (hashes >> _HALF)) * _MIX
    return hashes ^ (hashes >> _HALF)


def _bags(found: list[tuple[Hashes, Ints]], count: int, bits: int) -> Bags:
    hashes, rows = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(rows, kind="stable")
    buckets = (hashes[order] >> np.uint64(64 - bits)).astype(np.int64)
    return Bags(buckets, np.searchsorted(rows[order], np.arange(count + 1)))
