"""RouteTable: everything one query needs, in one immutable snapshot; and how the next one is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from synaptoroute.decision.calibration import Calibration, calibrate
from synaptoroute.decision.policy import Limits
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import RouteNotFoundError
from synaptoroute.index import ExactIndex, Nearest
from synaptoroute.index.base import Mask
from synaptoroute.models import Decision, Match, Reason, Route
from synaptoroute.storage.base import Change, PutRoute, StoredTable


@dataclass(frozen=True)
class RouteTable:
    """The routes of one revision, their rows in the index, and the calibration.

    A query takes a reference to one table and finds everything in it, so no change can tear its answer. Every route
    has a slot, the small number that owns its rows in the index; slots of dropped routes are used again.

    Attributes:
        revision: Number of the change that made it.
        slots: Route name -> slot, in the order the routes were added.
        by_slot: Slot -> route.
        index: One row an utterance, in the route's own order.
        background: Gives unit rows of texts that belong to no route, for the calibration.
    """

    revision: int
    slots: MappingProxyType[str, int]
    by_slot: MappingProxyType[int, Route]
    index: ExactIndex
    background: Callable[[], Vectors]

    @classmethod
    def from_stored(cls, stored: StoredTable, background: Callable[[], Vectors]) -> RouteTable:
        """The table of what a store holds."""
        counts = [len(route.utterances) for route in stored.routes]
        owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        return cls(
            revision=stored.revision,
            slots=MappingProxyType({route.name: slot for slot, route in enumerate(stored.routes)}),
            by_slot=MappingProxyType(dict(enumerate(stored.routes))),
            index=ExactIndex(stored.vectors, owners),
            background=background,
        )

    # -------------------------------------------------------------------------------------------------- routes
    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes in the order they were added."""
        return tuple(self.by_slot[slot] for slot in self.slots.values())

    def get(self, name: str) -> Route:
        """The route of that name. Raises RouteNotFoundError."""
        if name not in self.slots:
            raise RouteNotFoundError(f"there is no route {name!r}")
        return self.by_slot[self.slots[name]]

    def applied(self, changes: Sequence[Change], revision: int) -> RouteTable:
        """The table after the changes, which are those that were committed as ``revision``."""
        slots, by_slot = dict(self.slots), dict(self.by_slot)
        free = iter(sorted(set(range(len(slots) + len(changes))) - set(by_slot)))
        gone: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        owners: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []
        vectors: list[Vectors] = []
        for change in changes:
            if isinstance(change, PutRoute):
                name = change.route.name
                slot = slots[name] if name in slots else next(free)
                if change.removed:
                    stored = by_slot[slot].utterances
                    leaving = set(change.removed)
                    rows = self.index.rows_of(slot)
                    gone.append(rows[[text in leaving for text in stored]])
                slots[name], by_slot[slot] = slot, change.route
                owners.append(np.full(len(change.added), slot, np.int32))
                vectors.append(change.vectors)
            else:
                slot = slots.pop(change.name)
                del by_slot[slot]
                gone.append(self.index.rows_of(slot))
        index = self.index
        if gone:
            index = index.without(np.concatenate(gone))
        if vectors:
            index = index.extended(np.concatenate(vectors), np.concatenate(owners))
        return RouteTable(revision, MappingProxyType(slots), MappingProxyType(by_slot), index, self.background)

    # ------------------------------------------------------------------------------------------------ deciding
    @cached_property
    def calibration(self) -> Calibration:
        """Learned from the utterances when a query first needs it."""
        return calibrate(self.index.vectors, self.index.owners, self.background())

    def allowed(self, names: Iterable[str] | None) -> Mask | None:
        """A mask over slots for ``BaseIndex.search``. Raises RouteNotFoundError for a name that is not there."""
        if names is None:
            return None
        mask = np.zeros(max(self.by_slot, default=-1) + 1, bool)
        for name in names:
            self.get(name)
            mask[self.slots[name]] = True
        return mask

    def decide(
        self, queries: Vectors, *, top_k: int = 5, limits: Limits | None = None, allow: Iterable[str] | None = None
    ) -> list[Decision]:
        """Route encoded queries.

        Args:
            queries: Unit rows (n, dim).
            top_k: How many matches each Decision lists, at least 1.
            limits: What the best route must reach.
            allow: Names of the only routes to consider; None considers all.

        Raises:
            RouteNotFoundError: A name in ``allow`` is not a route.
        """
        nearest = self.index.search(queries, max(top_k, 1) + 1, self.allowed(allow))
        margins = _margins(nearest)
        confidences = self.calibration.confidence(nearest.scores, margins)
        limits = limits or Limits()
        return [self._decision(nearest, margins, confidences, query, top_k, limits) for query in range(len(queries))]

    def _decision(
        self, nearest: Nearest, margins: Vectors, confidences: np.ndarray, query: int, top_k: int, limits: Limits
    ) -> Decision:
        found = int((nearest.owners[query] >= 0).sum())
        if not found:
            return Decision(
                name=None, score=None, confidence=0.0, margin=None, matches=(), reason=Reason.NO_ROUTES,
                revision=self.revision,
            )  # fmt: skip
        matches = tuple(
            self._match(int(owner), int(row), float(score), float(confidence))
            for owner, row, score, confidence in zip(
                nearest.owners[query, : min(found, top_k)], nearest.rows[query], nearest.scores[query],
                confidences[query], strict=False,
            )
        )  # fmt: skip
        best = matches[0]
        reason = limits.for_route(self.get(best.name).threshold).judge(best.score, best.confidence)
        return Decision(
            name=best.name if reason is Reason.MATCHED else None,
            score=best.score,
            confidence=best.confidence,
            margin=float(margins[query, 0]) if found > 1 else None,
            matches=matches,
            reason=reason,
            revision=self.revision,
        )

    def _match(self, slot: int, row: int, score: float, confidence: float) -> Match:
        route = self.by_slot[slot]
        place = int(np.searchsorted(self.index.rows_of(slot), row))
        return Match(name=route.name, score=score, confidence=confidence, utterance=route.utterances[place])


def _margins(nearest: Nearest) -> Vectors:
    """Each route's score minus that of the best other route; a score below zero counts as no rival."""
    rivals = np.maximum(nearest.scores, 0)
    margins = np.maximum(nearest.scores, -1) - rivals[:, :1]
    margins[:, 0] = nearest.scores[:, 0] - rivals[:, 1]
    return margins
