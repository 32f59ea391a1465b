"""What was computed lately: caches without locks on the way of a hit, and the one that keeps texts' vectors."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from synaptoroute.forking import PerProcess

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Vector = NDArray[np.float32]

#: The array object and the two dict slots of one vector, in bytes (CPython 3.11, rounded up).
_OVERHEAD_BYTES = 320


def _one(_key: Hashable, _value: object) -> int:
    return 1


class Memo(dict[K, V]):
    """``memo[key]`` is what a function makes of the key, which is kept. May be used from any thread.

    When it is full, all is forgotten. So a hit is one lookup that writes nothing: ``functools.lru_cache`` moves the
    entry to the front, which takes as long again where memory is busy.

    Args:
        make: A value for a key.
        most: Entries that are kept.
        keeps: Whether a key is to be kept.
    """

    def __init__(self, make: Callable[[K], V], most: int, keeps: Callable[[K], bool] = lambda _: True) -> None:
        super().__init__()
        self._make, self._most, self._keeps = make, most, keeps

    def __missing__(self, key: K) -> V:
        value = self._make(key)
        if self._keeps(key):
            if len(self) >= self._most:
                self.clear()
            self[key] = value
        return value


class RecentCache(Generic[K, V]):
    """Key -> value, keeping those used lately, bounded by weight. May be used from any thread.

    There are two generations. What is stored or found goes into the young one; when that is full it becomes the old
    one, and what was old is forgotten. So what was used while the last half of ``limit`` came in is still there, and a
    hit among the young is one dict lookup, without a lock.

    Args:
        limit: Most weight held. What weighs more than half of it is not kept; with 0, nothing is.
        weigh: The weight of an entry; 1 by default, so that ``limit`` is a number of entries.

    Attributes:
        hits: How many lookups found their key; colliding threads may lose a count, in this and the next.
        misses: How many did not.
    """

    def __init__(self, limit: int, weigh: Callable[[K, V], int] = _one) -> None:
        self._half = limit // 2
        self._weigh = weigh
        self._writing: PerProcess[threading.Lock] = PerProcess()
        self.hits = self.misses = 0
        self._forget()

    def get(self, key: K) -> V | None:
        """The value; None if it is not there."""
        value = self._young.get(key)
        if value is None:
            with self._writing.get(threading.Lock):
                value = self._old.get(key)
                if value is not None:
                    self._add(key, value)
                else:
                    # Another thread may have brought it over since.
                    value = self._young.get(key)
        if value is None:
            self.misses += 1
        else:
            self.hits += 1
        return value

    def __contains__(self, key: object) -> bool:
        """Whether the key is there now; counts as no lookup and keeps nothing longer."""
        return key in self._young or key in self._old

    def put(self, key: K, value: V) -> None:
        """Keep a value, which is not None, in place of the key's last one."""
        with self._writing.get(threading.Lock):
            self._add(key, value)

    def clear(self) -> None:
        """Forget all entries; the counts stay."""
        with self._writing.get(threading.Lock):
            self._forget()

    @property
    def hit_rate(self) -> float:
        """Share of lookups that found their key, in [0, 1]; 0 before the first."""
        hits, lookups = self.hits, self.hits + self.misses
        return hits / lookups if lookups else 0.0

    @property
    def weight(self) -> int:
        """What the entries held weigh together, at most ``limit``."""
        return self._young_weight + self._old_weight

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _forget(self) -> None:
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._young_weight = self._old_weight = 0

    def _add(self, key: K, value: V) -> None:
        weight = self._weigh(key, value)
        if (replaced := self._young.pop(key, None)) is not None:
            self._young_weight -= self._weigh(key, replaced)
        if (replaced := self._old.pop(key, None)) is not None:
            self._old_weight -= self._weigh(key, replaced)
        if weight > self._half:
            return
        if self._young_weight + weight > self._half:
            self._old, self._old_weight = self._young, self._young_weight
            self._young, self._young_weight = {}, 0
        self._young[key] = value
        self._young_weight += weight


class EmbeddingCache:
    """Text -> its vector, for one encoder; exact texts only. May be used from any thread.

    Args:
        fingerprint: Of the encoder whose vectors these are.
        max_bytes: Most memory taken by vectors, texts and their bookkeeping; 0 switches the cache off. A vector of 384
            dimensions takes about 2 KB with its text.

    Attributes:
        fingerprint: Of the encoder; vectors of another must not come in.
        max_bytes: Most memory taken.
    """

    def __init__(self, fingerprint: str, max_bytes: int) -> None:
        self.fingerprint = fingerprint
        self.max_bytes = max_bytes
        self._recent: RecentCache[str, Vector] = RecentCache(max_bytes, _bytes_of)

    def get_many(self, texts: Sequence[str]) -> list[Vector | None]:
        """The vector of each text, float32 (dim,), read-only; None where it is not known."""
        return [self._recent.get(text) for text in texts]

    def __contains__(self, text: object) -> bool:
        """Whether the text's vector is known now; counts as no lookup."""
        return text in self._recent

    def put_many(self, texts: Sequence[str], vectors: Sequence[Vector] | NDArray[np.float32]) -> None:
        """Keep copies of the texts' vectors, rows of float32 (len(texts), dim).

        Each is a copy of its own: a row of the caller's array would keep all of it in memory.
        """
        for text, vector in zip(texts, vectors, strict=True):
            kept = np.array(vector, np.float32)
            kept.flags.writeable = False
            self._recent.put(text, kept)

    def clear(self) -> None:
        """Forget all vectors; the counts stay."""
        self._recent.clear()

    @property
    def hits(self) -> int:
        """How many texts were found."""
        return self._recent.hits

    @property
    def misses(self) -> int:
        """How many texts were not found."""
        return self._recent.misses

    @property
    def hit_rate(self) -> float:
        """Share of texts that were found, in [0, 1]; 0 before the first."""
        return self._recent.hit_rate

    @property
    def used_bytes(self) -> int:
        """Memory taken, at most ``max_bytes``."""
        return self._recent.weight

    def __len__(self) -> int:
        return len(self._recent)


def _bytes_of(text: str, vector: Vector) -> int:
    return vector.nbytes + sys.getsizeof(text) + _OVERHEAD_BYTES
