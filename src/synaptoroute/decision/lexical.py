"""Words and character n-grams of texts, hashed into buckets: what the letters say beside what the vector means."""

from __future__ import annotations

import math
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from synaptoroute.caching import Memo
from synaptoroute.models import is_picture

Ints = NDArray[np.int64]
Floats32 = NDArray[np.float32]

#: Buckets of n-grams: 2**13 were as good as 2**15 on HWU64 and Banking77, and train four times faster.
NGRAM_BITS = 13
#: Buckets of single words, large enough that two words of a table hardly ever share one.
WORD_BITS = 17
#: Characters of a text that are read. Encoders cut texts, too: the bundled one after 256 tokens, about 1,200 of these.
READ_CHARACTERS = 2_048
_CHARACTERS = (3, 4)

_WORD = re.compile(r"\w+")
#: What one of so many occurrences weighs: (1 + ln tf) / tf. In texts as long as those read, none is near the last.
_SHARES = np.zeros(READ_CHARACTERS + 1, np.float32)
_SHARES[1:] = (1 + np.log(np.arange(1, len(_SHARES)))) / np.arange(1, len(_SHARES))

# Odd 64-bit constants of multiplicative hashing (Fibonacci hashing, and the finaliser of MurmurHash3's family).
_STEP = 0x9E3779B97F4A7C15
_MIX = 0xD6E8FEB86659FD93
_64_BITS = (1 << 64) - 1

#: Words, and pairs of words, whose buckets are kept: queries repeat them, and hashing takes ten times as long as
#: looking up. About 300 bytes each; longer words, which may be made up, are not kept.
_KEPT, _KEPT_CHARACTERS = 32_768, 24
#: Texts whose words are kept: those that are being decided, of which words and n-grams are asked.
_TEXTS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Bags:
    """A bag of buckets for each of n texts, one after the other.

    Attributes:
        buckets: Bucket numbers of all texts (m,), with repeats.
        starts: Where each text begins, and the end (n + 1).
    """

    buckets: Ints
    starts: Sequence[int]

    def __len__(self) -> int:
        """How many texts."""
        return len(self.starts) - 1

    @property
    def rows(self) -> Ints:
        """The text each bucket belongs to (m,)."""
        return np.arange(len(self)).repeat(np.diff(self.starts))

    @property
    def slices(self) -> Iterator[slice]:
        """Where the buckets of each text are."""
        return map(slice, self.starts, self.starts[1:])


def ngrams(texts: Sequence[str]) -> Bags:
    """Character 3- and 4-grams, which may cross one space, and words alone and in pairs."""
    content: list[bytes] = []
    starts = [0]
    for text in texts:
        its_words = _words(text)
        parts = [_HASHED[word].ngrams for word in its_words]
        parts += [_BETWEEN_WORDS[pair] for pair in pairwise(its_words)]
        content += parts
        starts.append(starts[-1] + sum(map(len, parts)) // 2)
    return Bags(np.frombuffer(b"".join(content), np.uint16).astype(np.int64), starts)


def words(texts: Sequence[str]) -> Bags:
    """Single words."""
    buckets: list[int] = []
    starts = [0]
    for text in texts:
        buckets += [_HASHED[word].bucket for word in _words(text)]
        starts.append(len(buckets))
    return Bags(np.array(buckets, np.int64), starts)


@dataclass(frozen=True, slots=True)
class Weighted:
    """The buckets of bags with what each occurrence of one weighs.

    A text's weights, added up by bucket, are its tf-idf with (1 + ln tf), scaled to length 1; all are 0 where no bucket
    has an idf.

    Attributes:
        bags: n texts, m buckets.
        values: Weight of each bucket (m,).
    """

    bags: Bags
    values: Floats32

    @classmethod
    def of(cls, bags: Bags, idf: Floats32) -> Weighted:
        """The bags weighed by the idf of each bucket (2**13,)."""
        values = idf.take(bags.buckets)
        # Text by text: a query is one, and counting in many at once would have to sort.
        for of_text in bags.slices:
            buckets, its_values = bags.buckets[of_text], values[of_text]
            counts = np.bincount(buckets, minlength=1 << NGRAM_BITS).take(buckets)
            its_values *= _SHARES.take(counts, mode="clip")
            length = math.sqrt((its_values * its_values).dot(counts))
            its_values /= length or 1
        return cls(bags, values)

    def times(self, table: Floats32) -> Floats32:
        """The product of each text's weights with a dense table (buckets, columns), as (texts, columns)."""
        product = np.empty((len(self.bags), table.shape[1]), np.float32)
        for row, of_text in enumerate(self.bags.slices):
            product[row] = self.values[of_text] @ table.take(self.bags.buckets[of_text], axis=0)
        return product


def inverse_document_frequency(bags: Bags) -> Floats32:
    """ln((1 + texts) / (1 + texts with it)) + 1 for each bucket, 0 for those never seen."""
    frequency = np.zeros(1 << NGRAM_BITS)
    for of_text in bags.slices:
        # Once, however often a bucket is named.
        frequency[bags.buckets[of_text]] += 1
    return np.where(frequency > 0, np.log((1 + len(bags)) / (1 + frequency)) + 1, 0).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------- hashing
def _words(text: str) -> tuple[str, ...]:
    return _kept_words(text) if len(text) <= READ_CHARACTERS else _words_of(text)


def _words_of(text: str) -> tuple[str, ...]:
    if is_picture(text):
        return ()
    text = text[:READ_CHARACTERS]
    return tuple(_WORD.findall(text.lower()) if text.isascii() else _words_of_any_language(text))


_kept_words = lru_cache(_TEXTS_KEPT)(_words_of)


def _words_of_any_language(text: str) -> list[str]:
    """Runs of letters, marks and digits; of what is written without spaces, every two characters that stand together.

    Equal whether a text is composed or not (NFKC), in any case, and with or without what people leave out: the accents
    of Latin, Greek and Cyrillic letters, the points of Hebrew and Arabic. Other marks are vowels, part of the word.
    """
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    folded = unicodedata.normalize("NFC", _UNWRITTEN.sub("", decomposed))
    found: list[str] = []
    for kind, run in groupby(folded, key=_kind):
        letters = "".join(run)
        if kind == _SPACELESS:
            found += map(str.__add__, letters, letters[1:]) if len(letters) > 1 else [letters]
        elif kind == _SPACED:
            found.append(letters)
    return found


_SPACED, _SPACELESS, _BETWEEN = range(3)
#: Accents (combining diacritical marks), the points of Hebrew and Arabic, and what has no width: joiners, directions,
#: soft hyphens, variations.
_UNWRITTEN = re.compile(
    "[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u065f\u0670"
    "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]"
)
#: Scripts that put no spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, kana, Han.
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


@lru_cache(4_096)
def _kind(character: str) -> int:
    # Python's \w knows no marks, and would cut an Indian word at each of its vowels.
    if character != "_" and unicodedata.category(character)[0] not in "LNM":
        return _BETWEEN
    return _SPACELESS if _WITHOUT_SPACES.match(character) else _SPACED


@dataclass(frozen=True, slots=True)
class _Hashed:
    """A word's hash, its bucket among words, and those among n-grams, uint16: its own and of what is within it."""

    hash: int
    bucket: int
    ngrams: bytes


def _hashed(word: str) -> _Hashed:
    # A sum over letters by their places: two words differ even where they have the same letters.
    letters = sum((ord(letter) + 7) * _place(at) for at, letter in enumerate(word))
    hashed = _mixed(letters & _64_BITS)
    spaced = f" {word} "
    grams = (spaced[at : at + length] for length in _CHARACTERS for at in range(len(spaced) - length + 1))
    return _Hashed(hashed, hashed >> (64 - WORD_BITS), _buckets([hashed, *map(_gram, grams)]))


def _pair(words: tuple[str, str]) -> bytes:
    """Buckets of two words as a pair, and of the n-grams that cross the space between them."""
    left, right = words
    pair = _mixed((_HASHED[left].hash * _STEP + _HASHED[right].hash) & _64_BITS)
    crossing = f" {left}"[-2:] + " " + f"{right} "[:2]
    return _buckets([pair, *map(_gram, (crossing[1:4], crossing[:4], crossing[1:]))])


def _short(word: str) -> bool:
    return len(word) <= _KEPT_CHARACTERS


_HASHED = Memo(_hashed, _KEPT, _short)
# Only the ends of words matter for the n-grams between them, but words come in pairs again and again.
_BETWEEN_WORDS = Memo(_pair, _KEPT, lambda words: all(map(_short, words)))


def _gram(characters: str) -> int:
    found = 0
    for character in characters:
        found = (found * _STEP + ord(character)) & _64_BITS
    # n-grams of different lengths are told apart.
    return _mixed((found + len(characters) * _MIX) & _64_BITS)


@cache
def _place(at: int) -> int:
    return _mixed((at * _STEP + _MIX) & _64_BITS)


def _mixed(found: int) -> int:
    found = ((found ^ (found >> 32)) * _MIX) & _64_BITS
    return found ^ (found >> 32)


def _buckets(hashes: Iterable[int]) -> bytes:
    return array("H", [found >> (64 - NGRAM_BITS) for found in hashes]).tobytes()
