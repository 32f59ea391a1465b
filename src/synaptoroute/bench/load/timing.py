"""What all load benchmarks share: how many steps are done, and what fails."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from synaptoroute.errors import SynaptoRouteError

#: Told how many of how many steps are done.
Progress = Callable[[int, int], None]


class MeasurementError(SynaptoRouteError):
    """A benchmark could not be carried out: a process it started failed, or the router did not recover."""


class Steps:
    """Counts the steps of one command.

    Args:
        progress: Told after each step.
        total: How many there will be.
    """

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self) -> None:
        """One step is done."""
        self._done += 1
        self._progress(self._done, self._total)


def since_ms(started: float) -> float:
    """Milliseconds since a time of ``perf_counter``."""
    return (perf_counter() - started) * 1000
