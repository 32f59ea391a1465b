"""What was learned from a table, and how much of it holds for the table that there is now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from synaptoroute.catalog import RouteCatalog
from synaptoroute.decision.model import DecisionModel
from synaptoroute.decision.tie import TieWeights
from synaptoroute.decision.two_stage import TwoStage
from synaptoroute.first_answers import FirstAnswers
from synaptoroute.index.base import Mask
from synaptoroute.models import Route
from synaptoroute.storage.base import LabelledQueries

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedTable:
    """What a head learned from a table.

    Attributes:
        model: Its columns are the routes of ``utterances``, in order.
        utterances: Route name -> the utterances it had then. A route that has others now is new to the model.
        labelled: The labelled queries it was trained on.
        tie: What a reranker's scores are worth here; None if there was no reranker.
        first: What the first stage answers with, if there is to be one and the table is not too large for it.
    """

    model: DecisionModel
    utterances: Mapping[str, tuple[str, ...]]
    labelled: LabelledQueries | None = None
    tie: TieWeights | None = None
    first: FirstAnswers | None = None


Learned = LearnedTable | TwoStage


@dataclass(frozen=True, eq=False)
class HeadNow:
    """A learned head, seen from a table that may have changed since.

    Attributes:
        owners: The slot of each column of the head; -1 where its route is gone or has other utterances now.
        newcomers: Slots of routes the head does not know, ascending.
    """

    learned: LearnedTable
    owners: Ints
    newcomers: Ints

    @classmethod
    def over(cls, learned: LearnedTable, catalog: RouteCatalog) -> HeadNow:
        """Compares every route with what was learned."""
        owners = np.full(len(learned.utterances), -1, np.int64)
        newcomers = []
        column = {name: number for number, name in enumerate(learned.utterances)}
        for slot in catalog.used.tolist():
            route = catalog.get(slot)
            if learned.utterances.get(route.name) == route.utterances:
                owners[column[route.name]] = slot
            else:
                newcomers.append(slot)
        return cls(learned, owners, np.array(newcomers, np.int64))

    @cached_property
    def usable(self) -> Mask:
        """Which columns may be chosen."""
        return self.owners >= 0

    def after(self, gone: Iterable[int], changed: Mapping[int, Route]) -> HeadNow:
        """The same head when routes in these slots are gone, and others have other utterances."""
        owners = np.where(np.isin(self.owners, [*gone, *changed]), -1, self.owners)
        newcomers = set(self.newcomers.tolist()).difference(gone, changed)
        for slot, route in changed.items():
            if self.learned.utterances.get(route.name) == route.utterances:
                owners[list(self.learned.utterances).index(route.name)] = slot
            else:
                newcomers.add(slot)
        return HeadNow(self.learned, owners, np.array(sorted(newcomers), np.int64))
