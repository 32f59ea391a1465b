"""What a server knows beyond its router: traffic of late, the baseline it is compared with, and maps of the routes."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Literal

from synaptoroute.errors import SynaptoRouteError
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server.drift import Counts, fitted_baseline
from synaptoroute.server.projection import RouteMap, draw
from synaptoroute.server.recent import Traffic
from synaptoroute.table import RouteTable

logger = logging.getLogger(__name__)

#: Maps that are kept, 2 MB each.
_MAPS_KEPT = 4

BaselineState = Literal["unfitted", "learning", "ready"]
_Key = tuple[int, int, tuple[str, ...]]


class Insight:
    """What is found out about one router while it is served.

    Args:
        router: Reports its queries once this is begun.

    Attributes:
        traffic: What was asked lately.
        baseline: What its confidences are compared with.
        maps: The routes in a plane.
    """

    def __init__(self, router: AdaptiveRouter) -> None:
        self._router = router
        self.traffic = Traffic()
        self.baseline = Baseline()
        self.maps = Maps()

    def begin(self) -> None:
        """Hear of queries from now on; what warms the router up is no traffic."""
        self._router.add_hook(self.traffic)

    def close(self) -> None:
        """Let go of the router, which may be used further without the server."""
        self._router.remove_hook(self.traffic)


class Maps:
    """The maps that were drawn last. Each is drawn once, off the event loop, however many ask for it meanwhile."""

    def __init__(self) -> None:
        self._drawn: OrderedDict[_Key, RouteMap] = OrderedDict()
        self._drawing = asyncio.Lock()

    async def get(self, over: AdaptiveRouter, limit: int, names: tuple[str, ...]) -> RouteMap:
        """The map of the router's table as it is now. Raises RouteNotFoundError."""
        async with self._drawing:
            table = over.snapshot
            key = (table.revision, limit, names)
            if key not in self._drawn:
                self._drawn[key] = await asyncio.to_thread(draw, table, limit, names or None)
                while len(self._drawn) > _MAPS_KEPT:
                    self._drawn.popitem(last=False)
            self._drawn.move_to_end(key)
            return self._drawn[key]


class Baseline:
    """The confidences that live ones are compared with, worked out once for each fit, off the event loop."""

    def __init__(self) -> None:
        self._of: tuple[str, ...] | None = None
        self._counts: Counts | None = None
        self._task: asyncio.Task[None] | None = None

    def get(self, table: RouteTable) -> tuple[BaselineState, Counts | None]:
        """What is known of a table's fit; asking for it begins to work it out."""
        labelled = table.labelled
        if labelled is None or not labelled.texts:
            return "unfitted", None
        if self._of is not labelled.texts and self._task is None:
            self._task = asyncio.create_task(self._work_out(table, labelled.texts))
        if self._of is not labelled.texts:
            return "learning", None
        return ("unfitted", None) if self._counts is None else ("ready", self._counts)

    async def _work_out(self, table: RouteTable, texts: tuple[str, ...]) -> None:
        counts = None
        try:
            counts = await asyncio.to_thread(fitted_baseline, table)
        except SynaptoRouteError:
            logger.exception("the baseline of confidences could not be worked out")
        finally:
            self._of, self._counts, self._task = texts, counts, None
