"""A process whose clock jumps by an hour, forth and back, between whatever it does with a store.

::

    LD_PRELOAD=failing.so python -m tests.faults.jumping FOLDER
"""

from __future__ import annotations

import ctypes
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from synaptoroute.storage.safekeeping import backup, restore
from synaptoroute.storage.verifying import verify
from tests.faults.tables import agree, answers, fresh_build, opened, take_the_ways_of
from tests.seeded import route

_LIBRARY = ctypes.CDLL(None)
_HOUR_S = 3_600
_DEADLINE_S = 120


class Run:
    """What was done, and what was wrong with it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "routes.db"
        self.jumps = 0
        self.saw: list[int] = []
        self.faults: list[str] = []
        self.started = time.time() - time.monotonic()

    def jump(self, by_s: int) -> None:
        """Before whatever comes next."""
        _LIBRARY.clock_jump(ctypes.c_long(by_s))
        self.jumps += 1
        seen = round((time.time() - time.monotonic() - self.started) / 60) * 60
        if seen not in self.saw:
            self.saw.append(seen)

    def hold(self, after: str, names: list[str]) -> None:
        with opened(self.path) as router, fresh_build(router.routes) as fresh:
            if [each.name for each in router.routes] != names:
                self.faults.append(f"{after}: routes {[each.name for each in router.routes]}")
            if not agree(answers(router, learned=False), answers(fresh, learned=False)):
                self.faults.append(f"{after}: other answers than a fresh build")
        if not verify(self.path).sound:
            self.faults.append(f"{after}: not sound")


def main() -> None:
    logging.getLogger("synaptoroute").setLevel(logging.CRITICAL)
    folder = Path(sys.argv[1])
    run = Run(folder)
    names: list[str] = []

    def change() -> None:
        with opened(run.path) as router:
            for number in range(2):
                names.append(f"r{len(names)}")
                router.add_route(route(names[-1], *range(6)))
                # A deadline that went by the clock on the wall would have passed, or never pass.
                assert router.route(f"r{number} wanted", threshold=-1, deadline_s=_DEADLINE_S).matches
            assert router.wait_until_fitted(_DEADLINE_S)

    def damage_the_cache() -> None:
        for file in run.path.with_name("routes.db-index").glob("gen-*/vectors.bin"):
            if ".corrupt" not in str(file):
                content = bytearray(file.read_bytes())
                content[5] ^= 1
                file.write_bytes(content)

    def keep() -> None:
        backup(run.path, folder / "backup.db", force=True)
        restore(folder / "backup.db", run.path, force=True)

    steps: list[Callable[[], None]] = [change, damage_the_cache, keep, change]
    with pytest.MonkeyPatch.context() as patch:
        take_the_ways_of("large", patch)
        for step in steps:
            for by_s in (0, _HOUR_S, -_HOUR_S):
                run.jump(by_s)
                step()
                run.hold(f"{step.__name__} at {by_s:+} s", names)
    aside = len(list(run.path.with_name("routes.db-index").glob("*.corrupt-*")))
    said = {"jumps": run.jumps, "saw": run.saw, "aside": aside, "faults": run.faults}
    print(json.dumps(said))  # noqa: T201


if __name__ == "__main__":
    main()
