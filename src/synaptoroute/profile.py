"""How much of the machine one query may take."""

from __future__ import annotations

import math
import os
from enum import StrEnum
from pathlib import Path

#: Where a container sees its own limits.
_CGROUP = Path("/sys/fs/cgroup")


class OptimizationProfile(StrEnum):
    """What to optimise for. The bundled encoder takes its threads from it.

    LATENCY: all cores work on one text, and idle workers spin for the next (a single query is about a quarter faster
    on two cores; concurrent ones are slower and an idle process still uses some CPU).
    BALANCED: one core for each text, workers sleep when idle.
    THROUGHPUT: for servers that keep all cores busy: larger batches, which cost less a query and delay it more, and a
    static first stage that decides the clear queries (see docs/first-stage.md).
    """

    LATENCY = "latency"
    BALANCED = "balanced"
    THROUGHPUT = "throughput"


def usable_cores() -> int:
    """The CPU cores this process may run on, and no more than its container may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = container_cores()
    # A share of a core still runs one thread.
    return cores if allowed is None else max(1, min(cores, math.ceil(allowed)))


def container_cores(root: Path = _CGROUP) -> float | None:
    """How many cores' time the container may use (its CPU limit, cgroups version 2 or 1); None without a limit.

    Threads beyond it would be halted together, in the middle of queries, until their next share of time.
    """
    try:
        if (root / "cpu.max").exists():
            quota, _, period = (root / "cpu.max").read_text().partition(" ")
        else:
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        # "max" and -1 say that there is no limit.
        cores = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 and math.isfinite(cores) else None
