"""Give memory back to the system: what parsing a large body took would else stay with the process for ever."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import sys
from collections.abc import Callable

#: Bodies below this leave nothing behind that would be missed.
LARGE_BYTES = 64 << 10
#: After a large one, this long; more of them meanwhile share one trim, which takes some milliseconds.
_SOON_S = 0.5


#: Parameters of glibc's mallopt. Fixed, they do not grow with what was once freed, to 32 MiB kept by every thread.
_MALLOPT = {"M_ARENA_MAX": (-8, 2), "M_MMAP_THRESHOLD": (-3, 1 << 20), "M_TRIM_THRESHOLD": (-1, 1 << 20)}


def keep_little() -> None:
    """Have the C library give memory back by itself, as far as it can (glibc's does); before there are threads.

    For a process that is a server and nothing else.
    """
    set_option = _of_libc("mallopt")
    for option, value in _MALLOPT.values():
        if set_option is not None:
            set_option(option, value)


class Trimmer:
    """Trims now and then, in a thread."""

    def __init__(self) -> None:
        self._due = False

    def soon(self) -> None:
        """Trim in a moment, unless that is due already."""
        if self._due:
            return
        self._due = True
        loop = asyncio.get_running_loop()
        loop.call_later(_SOON_S, lambda: loop.run_in_executor(None, self._trim))

    def _trim(self) -> None:
        self._due = False
        trim()


def settle() -> None:
    """Once all that stays for long is there: look for garbage among what comes later only, so that it is soon done."""
    trim()
    gc.freeze()


def trim() -> None:
    """Give back what is free, as far as the C library can (glibc's does)."""
    # A refused body hangs on the traceback of its error, in a circle that nobody else will look for in a long time.
    gc.collect()
    if (release := _of_libc("malloc_trim")) is not None:
        release(0)


@functools.cache
def _of_libc(name: str) -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    return function
