"""RouteCatalog: the routes of a table by slot and by name, most of them as arrays that may lie in mapped files."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from synaptoroute.errors import RouteNotFoundError, StorageCorruptError
from synaptoroute.models import Route, frozen

Ints = NDArray[np.int64]

#: Decoded routes that are kept, about 2 KB each.
_KEPT = 1024
#: The arrays of a catalog and their types; n routes, m utterances.
_TYPES: Mapping[str, type[np.generic]] = {
    "names": np.uint8,  # UTF-8 of all names
    "name_starts": np.int64,  # (n + 1,)
    "name_hashes": np.uint64,  # (n,)
    "by_name_hash": np.int64,  # (n,) slots, ascending by hash
    "thresholds": np.float64,  # (n,) NaN for None
    "utterances": np.uint8,  # UTF-8 of all utterances
    "utterance_starts": np.int64,  # (m + 1,)
    "first_utterances": np.int64,  # (n + 1,)
    "extras": np.uint8,  # JSON of [description, metadata]; empty for a route that has neither
    "extra_starts": np.int64,  # (n + 1,)
}


@dataclass(frozen=True, slots=True)
class _Strings:
    """Strings as one run of UTF-8. Bytes that rotted on disk give a wrong string, never an error.

    Attributes:
        content: uint8 (bytes,).
        starts: String i is ``content[starts[i] : starts[i + 1]]``, int64 (n + 1,).
    """

    content: NDArray[np.uint8]
    starts: Ints

    def __getitem__(self, at: int) -> str:
        start, end = self.starts[at : at + 2].tolist()
        return self.content[start:end].tobytes().decode(errors="replace")

    def between(self, first: int, end: int) -> tuple[str, ...]:
        """Strings first to end - 1."""
        starts = self.starts[first : end + 1].tolist()
        content = self.content[starts[0] : starts[-1]].tobytes()
        return tuple(content[a - starts[0] : b - starts[0]].decode(errors="replace") for a, b in pairwise(starts))


class _StringsBuilder:
    def __init__(self) -> None:
        self._content = bytearray()
        self._starts = array("q", [0])

    def add(self, text: str) -> None:
        self._content += text.encode()
        self._starts.append(len(self._content))

    def copy(self, strings: _Strings, first: int, end: int) -> None:
        """Add strings first to end - 1."""
        starts = strings.starts[first : end + 1]
        moved = starts[1:] + (len(self._content) - starts[0])
        self._content += strings.content[starts[0] : starts[-1]].data
        self._starts.frombytes(moved.tobytes())

    def built(self) -> _Strings:
        return _Strings(np.frombuffer(self._content, np.uint8), np.frombuffer(self._starts, np.int64))


@dataclass(frozen=True, slots=True)
class _Sealed:
    """Routes as arrays, see ``_TYPES``; the slot of a route is its place."""

    names: _Strings
    hashes: NDArray[np.uint64]
    by_hash: Ints
    thresholds: NDArray[np.float64]
    utterances: _Strings
    firsts: Ints
    extras: _Strings

    def __len__(self) -> int:
        return len(self.hashes)

    def slot(self, name: str) -> int | None:
        if not len(self.hashes):
            return None
        wanted = _hash(name)
        at = int(self.hashes.searchsorted(np.uint64(wanted), sorter=self.by_hash))
        for slot in self.by_hash[at:]:
            if self.hashes[slot] != wanted:
                break
            if self.names[slot] == name:
                return int(slot)
        return None

    def threshold(self, slot: int) -> float | None:
        threshold = float(self.thresholds[slot])
        return None if math.isnan(threshold) else threshold

    def utterance(self, slot: int, position: int) -> str:
        first, end = self.firsts[slot : slot + 2].tolist()
        if not 0 <= position < end - first:
            raise IndexError(f"the route in slot {slot} has {end - first} utterances, no number {position}")
        return self.utterances[first + position]

    def route(self, slot: int) -> Route:
        extras = self.extras[slot]
        description, metadata = json.loads(extras) if extras else (None, {})
        # Validated when it was added; doing it again would take three times as long as all the rest.
        return Route.model_construct(
            name=self.names[slot],
            utterances=self.utterances.between(*self.firsts[slot : slot + 2].tolist()),
            threshold=self.threshold(slot),
            description=description,
            metadata=frozen(metadata),
        )


class _SealedBuilder:
    def __init__(self) -> None:
        self._names, self._utterances, self._extras = _StringsBuilder(), _StringsBuilder(), _StringsBuilder()
        self._hashes, self._thresholds, self._firsts = array("Q"), array("d"), array("q", [0])

    def add(self, route: Route) -> None:
        self._names.add(route.name)
        self._hashes.append(_hash(route.name))
        self._thresholds.append(math.nan if route.threshold is None else route.threshold)
        for utterance in route.utterances:
            self._utterances.add(utterance)
        self._firsts.append(self._firsts[-1] + len(route.utterances))
        has_extras = route.description is not None or route.metadata
        self._extras.add(json.dumps([route.description, route.metadata]) if has_extras else "")

    def copy(self, sealed: _Sealed, slots: range) -> None:
        """Add its routes of those slots, without decoding them."""
        part, firsts = slice(slots.start, slots.stop), sealed.firsts[slots.start : slots.stop + 1]
        self._names.copy(sealed.names, slots.start, slots.stop)
        self._hashes.frombytes(sealed.hashes[part].tobytes())
        self._thresholds.frombytes(sealed.thresholds[part].tobytes())
        self._utterances.copy(sealed.utterances, firsts[0], firsts[-1])
        self._firsts.frombytes((firsts[1:] + (self._firsts[-1] - firsts[0])).tobytes())
        self._extras.copy(sealed.extras, slots.start, slots.stop)

    def built(self) -> _Sealed:
        hashes = np.frombuffer(self._hashes, np.uint64)
        return _Sealed(
            names=self._names.built(),
            hashes=hashes,
            by_hash=np.argsort(hashes, kind="stable"),
            thresholds=np.frombuffer(self._thresholds, np.float64),
            utterances=self._utterances.built(),
            firsts=np.frombuffer(self._firsts, np.int64),
            extras=self._extras.built(),
        )


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Sealed routes, names and utterances by slot, with those asked for lately."""

    route: Callable[[int], Route]
    name: Callable[[int], str]
    utterance: Callable[[int, int], str]

    @classmethod
    def of(cls, sealed: _Sealed) -> Self:
        kept = lru_cache(_KEPT)
        return cls(kept(sealed.route), kept(sealed.names.__getitem__), lru_cache(8 * _KEPT)(sealed.utterance))


@dataclass(frozen=True, slots=True, eq=False)
class RouteCatalog:
    """Every route has a slot, a small number. Immutable: a change makes another catalog, and any thread may read.

    Nearly all routes are sealed: kept as arrays, about 50 bytes a route and 8 an utterance beside the texts, and
    decoded when asked for. What has changed since lies over them in two small dicts, which every change copies.

    A changed route keeps its slot. A new route gets one that was never used, so the order of slots is the order in
    which routes were added, and slots of dropped routes stay empty until ``compacted`` numbers them anew. Make one with
    ``of`` or ``from_arrays``.
    """

    _sealed: _Sealed
    _decoded: _Decoded
    _slots: Mapping[str, int | None]
    _routes: Mapping[int, Route | None]
    _end: int
    _count: int

    @classmethod
    def of(cls, routes: Iterable[Route]) -> RouteCatalog:
        """The catalog of these routes, in slots 0, 1, 2, …; no two may have the same name.

        Takes about 8 µs a route of five utterances, and no more memory than the catalog itself.
        """
        builder = CatalogBuilder()
        builder.add(routes)
        return builder.built()

    @classmethod
    def _of(cls, sealed: _Sealed) -> Self:
        # The cache belongs to the sealed routes, not to one catalog: changes leave it warm.
        return cls(sealed, _Decoded.of(sealed), {}, {}, len(sealed), len(sealed))

    # ------------------------------------------------------------------------------------------------ by name
    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        """Names, in the order the routes were added."""
        for part in self._parts():
            if isinstance(part, Route):
                yield part.name
            else:
                yield from map(self._sealed.names.__getitem__, part)

    def slot(self, name: str) -> int:
        """The slot of the route of that name. Raises RouteNotFoundError."""
        slot = self._find(name)
        if slot is None:
            raise RouteNotFoundError(f"there is no route {name!r}")
        return slot

    def _find(self, name: str) -> int | None:
        return self._slots[name] if name in self._slots else self._sealed.slot(name)

    # ------------------------------------------------------------------------------------------------ by slot
    def get(self, slot: int) -> Route:
        """The route in that slot. Raises RouteNotFoundError if it is empty."""
        return self._changed(slot) or self._decoded.route(slot)

    def name(self, slot: int) -> str:
        """The name of the route in that slot. Raises RouteNotFoundError if it is empty."""
        route = self._changed(slot)
        return route.name if route else self._decoded.name(slot)

    def threshold(self, slot: int) -> float | None:
        """The threshold of the route in that slot. Raises RouteNotFoundError if it is empty."""
        route = self._changed(slot)
        return route.threshold if route else self._sealed.threshold(slot)

    def utterance(self, slot: int, position: int) -> str:
        """One utterance of the route in that slot. Raises RouteNotFoundError if it is empty, or IndexError."""
        route = self._changed(slot)
        return route.utterances[position] if route else self._decoded.utterance(slot, position)

    def _changed(self, slot: int) -> Route | None:
        """The route in that slot, or None if it is a sealed one."""
        route = self._routes.get(slot)
        if route is None and (slot in self._routes or not 0 <= slot < len(self._sealed)):
            raise RouteNotFoundError(f"no route has slot {slot}")
        return route

    # -------------------------------------------------------------------------------------------------- as a whole
    def routes(self) -> Iterator[Route]:
        """All routes in the order they were added."""
        for part in self._parts():
            if isinstance(part, Route):
                yield part
            else:
                yield from map(self._sealed.route, part)

    @property
    def slots(self) -> int:
        """How many slots there are, empty ones included."""
        return self._end

    @property
    def counts(self) -> Ints:
        """How many utterances the route in each slot has, 0 for an empty slot (slots,)."""
        counts = np.zeros(self._end, np.int64)
        counts[: len(self._sealed)] = np.diff(self._sealed.firsts)
        for slot, route in self._routes.items():
            counts[slot] = len(route.utterances) if route else 0
        return counts

    @property
    def used(self) -> Ints:
        """The slots that are not empty, ascending (len(self),)."""
        return np.flatnonzero(self.counts)

    def _parts(self) -> Iterator[Route | range]:
        """Changed routes and ranges of sealed slots, in the order of slots."""
        first, end = 0, len(self._sealed)
        for slot in sorted(self._routes):
            if first < min(slot, end):
                yield range(first, min(slot, end))
            first = slot + 1
            route = self._routes[slot]
            if route is not None:
                yield route
        if first < end:
            yield range(first, end)

    # ------------------------------------------------------------------------------------------------ changing
    def replaced(self, changes: Iterable[tuple[str, Route | None]]) -> Self:
        """The catalog after these changes, made one after another: a name and its route, or None to drop it.

        Dropping a name that is not there does nothing. Takes time for the changes made here and, to copy them, for
        all made since the last compaction (``changed``), but not for the routes.
        """
        slots, routes, end, count = dict(self._slots), dict(self._routes), self._end, self._count
        for name, route in changes:
            slot = slots[name] if name in slots else self._sealed.slot(name)
            if slot is None:
                if route is None:
                    continue
                slot, end, count = end, end + 1, count + 1
            elif route is None:
                count -= 1
            slots[name] = None if route is None else slot
            routes[slot] = route
        return type(self)(self._sealed, self._decoded, slots, routes, end, count)

    @property
    def changed(self) -> int:
        """How many slots have changed since the last compaction."""
        return len(self._routes)

    def compacted(self) -> tuple[Self, NDArray[np.int32]]:
        """The same routes all sealed, in slots 0 to len - 1; and for each slot of now its new one, -1 if it is empty.

        The order stays, so rows that are ordered by owner still are after ``owners = renumbered[owners]``. Routes
        that have not changed are copied without being decoded.
        """
        builder = _SealedBuilder()
        for part in self._parts():
            if isinstance(part, Route):
                builder.add(part)
            else:
                builder.copy(self._sealed, part)
        renumbered = np.full(self._end, -1, np.int32)
        renumbered[self.counts > 0] = np.arange(len(self), dtype=np.int32)
        return self._of(builder.built()), renumbered

    # ------------------------------------------------------------------------------------------------ as arrays
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that ``from_arrays`` takes. Raises ValueError if there are changes; compact them first."""
        if self._routes:
            raise ValueError(f"{self.changed} slots have changed; take the arrays of compacted()")
        sealed = self._sealed
        return {
            "names": sealed.names.content,
            "name_starts": sealed.names.starts,
            "name_hashes": sealed.hashes,
            "by_name_hash": sealed.by_hash,
            "thresholds": sealed.thresholds,
            "utterances": sealed.utterances.content,
            "utterance_starts": sealed.utterances.starts,
            "first_utterances": sealed.firsts,
            "extras": sealed.extras.content,
            "extra_starts": sealed.extras.starts,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The catalog of what ``arrays`` gave, without copying; they may be mapped from files, and others beside them.

        Raises:
            StorageCorruptError: They do not fit together. After this check no content, however wrong, can make a
                lookup leave its arrays; whether it is the right content is for checksums to tell.
        """
        if not _fit(arrays):
            raise StorageCorruptError("the arrays of a catalog do not fit together; build it from its routes again")
        return cls._of(
            _Sealed(
                names=_Strings(arrays["names"], arrays["name_starts"]),
                hashes=arrays["name_hashes"],
                by_hash=arrays["by_name_hash"],
                thresholds=arrays["thresholds"],
                utterances=_Strings(arrays["utterances"], arrays["utterance_starts"]),
                firsts=arrays["first_utterances"],
                extras=_Strings(arrays["extras"], arrays["extra_starts"]),
            )
        )


class CatalogBuilder:
    """Makes a catalog of routes that come in parts."""

    def __init__(self) -> None:
        self._builder = _SealedBuilder()

    def add(self, routes: Iterable[Route]) -> None:
        """Give these routes the next slots; no two may have the same name."""
        for route in routes:
            self._builder.add(route)

    def built(self) -> RouteCatalog:
        """The catalog of all that were added."""
        return RouteCatalog._of(self._builder.built())  # noqa: SLF001 - made for it


def _fit(arrays: Mapping[str, NDArray[Any]]) -> bool:
    if any(name not in arrays or arrays[name].dtype != kind or arrays[name].ndim != 1 for name, kind in _TYPES.items()):
        return False
    count, utterances = len(arrays["name_hashes"]), len(arrays["utterance_starts"]) - 1
    if len(arrays["by_name_hash"]) != count or len(arrays["thresholds"]) != count:
        return False
    return (
        _divide(arrays["name_starts"], count, len(arrays["names"]))
        and _divide(arrays["utterance_starts"], utterances, len(arrays["utterances"]))
        and _divide(arrays["first_utterances"], count, utterances, least=1)
        and _divide(arrays["extra_starts"], count, len(arrays["extras"]))
        and _in_order(arrays["name_hashes"], arrays["by_name_hash"])
    )


def _divide(starts: Ints, parts: int, total: int, least: int = 0) -> bool:
    """Whether they divide so much in so many parts, none smaller than the least."""
    return bool(
        0 < len(starts) == parts + 1 and starts[0] == 0 and starts[-1] == total and (np.diff(starts) >= least).all()
    )


def _in_order(values: NDArray[np.uint64], order: Ints) -> bool:
    """Whether the order is that of ascending values, each once."""
    if ((order < 0) | (order >= len(values))).any() or (np.bincount(order, minlength=len(values)) != 1).any():
        return False
    ordered = values[order]
    return bool((ordered[1:] >= ordered[:-1]).all())


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode())
