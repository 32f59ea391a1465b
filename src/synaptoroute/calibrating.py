"""The calibration of neighbours alone: learned when a query first needs it, and shared by successive tables."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from synaptoroute.decision.background import BACKGROUND
from synaptoroute.decision.calibration import Calibration, calibrate
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderError
from synaptoroute.forking import PerProcess
from synaptoroute.index import ExactIndex, SegmentedIndex

Encode = Callable[[tuple[str, ...]], Vectors]

#: A calibration is kept until the number of utterances has changed by this share.
CALIBRATED_WITHIN = 0.2
#: Of how many utterances it is learned, about, where there are more.
ENOUGH = 20_000

logger = logging.getLogger(__name__)


class Calibrating:
    """The calibration of neighbours alone, learned when a query first needs it; successive tables share it.

    It holds no index: a table that is never asked for it shall not keep the vectors of former ones in memory.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._found: PerProcess[Calibration] = PerProcess()

    def get(self, index: ExactIndex | SegmentedIndex, encode: Encode) -> Calibration:
        """The calibration; learned from this index if there is none yet."""
        return self._found.get(lambda: _calibrated(index, encode))

    def suits(self, rows: int) -> bool:
        """Whether a table of so many rows may go on with it."""
        return abs(rows - self.rows) <= CALIBRATED_WITHIN * self.rows


def _calibrated(index: ExactIndex | SegmentedIndex, encode: Encode) -> Calibration:
    try:
        background = encode(BACKGROUND)
    except EncoderError:
        # A query that could be encoded shall not fail because other sentences, just now, could not.
        logger.warning("the background sentences could not be encoded; calibrating without them")
        background = np.empty((0, index.dim), np.float32)
    if isinstance(index, ExactIndex):
        return calibrate(index.vectors, index.owners, background)
    # Some of the routes say as much as all of them.
    some = index.present[:: max(1, -(-len(index) // ENOUGH))].astype(np.int64)
    rows, places = index.members(some[:, None])
    return calibrate(index.vectors_of(rows), places.astype(np.int32), background)
