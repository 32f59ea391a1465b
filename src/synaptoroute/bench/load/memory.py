"""How much memory this process holds, as exactly as the system tells."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from synaptoroute.bench.load.manifest import Memory

#: Exact since Linux 4.14; else approximate counters, which lag by some pages for each core.
_FILES = (("smaps_rollup", "Rss", "Anonymous"), ("status", "VmRSS", "RssAnon"))


def memory(process: Path = Path("/proc/self")) -> Memory:
    """Of this process, now; where there is no /proc, the most it has held so far."""
    for name, resident, anonymous in _FILES:
        try:
            lines = (process / name).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        kib = {key: value.split()[0] for key, _, value in (line.partition(":") for line in lines) if value.strip()}
        if resident in kib and anonymous in kib:
            total, without_file = int(kib[resident]) * 1024, int(kib[anonymous]) * 1024
            return Memory(resident_bytes=total, anonymous_bytes=without_file, file_bytes=total - without_file)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes everywhere but on macOS.
    most = peak if sys.platform == "darwin" else peak * 1024
    return Memory(resident_bytes=most, anonymous_bytes=None, file_bytes=None)
