"""How much of the machine one query may take."""

from __future__ import annotations

import os
from enum import StrEnum


class OptimizationProfile(StrEnum):
    """What to optimise for. The bundled encoder takes its threads from it.

    LATENCY: all cores work on one text, and idle workers spin for the next (a single query is about a quarter faster
    on two cores; concurrent ones are slower and an idle process still uses some CPU).
    BALANCED: one core for each text, workers sleep when idle.
    THROUGHPUT: for servers that keep all cores busy: larger batches, which cost less a query and delay it more.
    """

    LATENCY = "latency"
    BALANCED = "balanced"
    THROUGHPUT = "throughput"


def usable_cores() -> int:
    """The CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
