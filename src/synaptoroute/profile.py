"""How much of the machine one query may take."""

from __future__ import annotations

from enum import StrEnum


class OptimizationProfile(StrEnum):
    """What to optimise for. The bundled encoder takes its threads from it.

    LATENCY: all cores work on one text, and idle workers spin for the next (a single query is about a quarter faster
    on two cores; concurrent ones are slower and an idle process still uses some CPU).
    BALANCED: one core for each text, workers sleep when idle.
    THROUGHPUT: for servers that keep all cores busy; with the bundled encoder at present the same as BALANCED.
    """

    LATENCY = "latency"
    BALANCED = "balanced"
    THROUGHPUT = "throughput"
