"""LoopLag: how late an event loop is for its timers, which is how long everything in it has to wait."""

from __future__ import annotations

import asyncio
import time

from synaptoroute.observability.tally import Histogram

#: A timer is set this often; 100 times a second would cost more than it tells.
EVERY_S = 0.1
_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """Sets a timer in one event loop again and again, and counts by how much the loop missed it.

    Used in the thread of its loop; ``histogram`` may be read in any.

    Attributes:
        histogram: Seconds late.
    """

    def __init__(self) -> None:
        self.histogram = Histogram(_BOUNDS)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seen(self) -> bool:
        """Whether a loop is or was measured."""
        return self._timer is not None or self.histogram.count > 0

    def start(self) -> None:
        """Begin in the running loop; a loop that was measured before is measured no more.

        Raises:
            RuntimeError: No event loop runs in this thread.
        """
        loop = asyncio.get_running_loop()
        self.stop()
        self._set(loop)

    def stop(self) -> None:
        """End. What was counted stays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_at(loop.time() + EVERY_S, self._due, loop, time.monotonic() + EVERY_S)

    def _due(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        self.histogram.add(max(0.0, time.monotonic() - at))
        self._set(loop)
