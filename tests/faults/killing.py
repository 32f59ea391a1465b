"""Kill -9 at random moments, again and again: what was acknowledged must be there, and nothing by halves."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from synaptoroute.storage.verifying import verify
from tests.faults.tables import agree, answers, fresh_build, opened, take_the_ways_of
from tests.faults.writer import told

ROOT = Path(__file__).parents[2]
#: A writer is killed after it has said up to so many lines, two for each change, and then up to so long after.
MOST_LINES, LONGEST_WAIT_S = 40, 0.02
#: What is learned is compared after every so many cycles, because it takes half a second.
LEARNED_EVERY = 10

Routes = dict[str, Any]


@dataclass(slots=True)
class KillReport:
    """What came of it.

    Attributes:
        cycles: Writers that were killed.
        changes: Acknowledged ones.
        unacknowledged: Changes that were made, but whose acknowledgement the kill cut off.
        losses: Acknowledged changes that were not there afterwards; what else went wrong is in ``faults``.
        faults: In words.
    """

    cycles: int = 0
    changes: int = 0
    unacknowledged: int = 0
    losses: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.cycles} cycles, {self.changes} changes acknowledged, {self.losses} lost, faults: {self.faults}"


class Writers:
    """Gives orders to a ``tests.faults.writer``."""

    def __init__(self, kind: str, *, lossy: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.writer", kind, *(["lossy"] if lossy else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            # A learner's BLAS threads would outnumber the cores while everything else waits.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )

    def killed(self, store: Path, seed: int, lines: int, wait_s: float) -> list[dict[str, Any]]:
        """Have the store written to, and the writer killed so long after so many lines; what it said.

        Raises:
            RuntimeError: It ended by itself, with an error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"store": str(store), "seed": seed, "changes": 1_000_000}
        self._process.stdin.write((json.dumps(order) + "\n").encode())
        self._process.stdin.flush()
        said: list[dict[str, Any]] = []
        killer: threading.Timer | None = None
        for line in self._process.stdout:
            said.append(json.loads(line))
            if "end" in said[-1]:
                break
            pid = next((each["pid"] for each in said if "pid" in each), None)
            if killer is None and pid is not None and len(said) > lines:
                killer = threading.Timer(wait_s, os.kill, (pid, signal.SIGKILL))
                killer.start()
        assert killer is not None, said[-3:]
        killer.join()
        if said[-1]["end"] != -signal.SIGKILL:
            raise RuntimeError(f"the writer was not killed but ended: {said[-3:]}")
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)


def kill_again_and_again(store: Path, cycles: int, kind: str, seed: int = 0, *, lossy: bool = False) -> KillReport:
    """So many times: start a writer, kill it, open the store and hold it against what was acknowledged.

    Args:
        store: Where it is made.
        cycles: How many times.
        kind: Whose ways its table takes; see ``take_the_ways_of``.
        seed: Of the changes and the moments.
        lossy: Have the writers acknowledge what they have not committed, so that this must report losses.
    """
    chance = random.Random(seed)  # noqa: S311 - no secrets
    report = KillReport()
    routes: Routes = {}
    revision = 0
    with pytest.MonkeyPatch.context() as patch, Writers(kind, lossy=lossy) as writers:
        take_the_ways_of(kind, patch)
        for cycle in range(cycles):
            said = writers.killed(
                store, chance.randrange(1 << 30), chance.randint(0, MOST_LINES), chance.uniform(0, LONGEST_WAIT_S)
            )
            report.cycles += 1
            routes, possible, revision, acknowledged = _after(said, routes, revision)
            report.changes += acknowledged
            routes, revision = _hold(
                store, report, routes, possible, revision, learned=cycle % LEARNED_EVERY == LEARNED_EVERY - 1
            )
    return report


def _after(said: list[dict[str, Any]], routes: Routes, revision: int) -> tuple[Routes, Routes, int, int]:
    """The routes as acknowledged, as they are if the last change was made, the revision, and how many changes."""
    possible, count = routes, 0
    for line in said:
        if "error" in line:
            raise RuntimeError(line["error"])
        if "shall" in line:
            possible = {name: route for name, route in (routes | line["shall"]).items() if route is not None}
        if "revision" in line:
            # A change that changes nothing keeps the revision.
            count += line["revision"] > revision
            routes, revision = possible, line["revision"]
    return routes, possible, revision, count


def _hold(
    store: Path, report: KillReport, routes: Routes, possible: Routes, revision: int, *, learned: bool
) -> tuple[Routes, int]:
    if not store.exists():
        if revision:
            report.faults.append("the file is gone")
        return routes, revision
    with opened(store) as router:
        found = {route.name: told(route) for route in router.routes}
        if router.revision not in (revision, revision + 1):
            report.faults.append(f"revision {router.revision} after {revision}")
        if found == possible and found != routes:
            report.unacknowledged += 1
        elif found != routes:
            wrong = [name for name in found.keys() | routes.keys() if found.get(name) != routes.get(name)]
            report.losses += len(wrong)
            report.faults.append(f"of another content: {wrong}")
        with fresh_build(router.routes) as fresh:
            if not agree(answers(router, learned=False), answers(fresh, learned=False)):
                report.faults.append(f"other answers than a fresh build at revision {router.revision}")
            if (
                learned
                and router.snapshot.can_learn
                and not agree(answers(router, learned=True), answers(fresh, learned=True))
            ):
                report.faults.append(f"other learned answers than a fresh build at revision {router.revision}")
        now = router.revision
    if not (seen := verify(store)).sound:
        report.faults.append(f"does not verify: {seen.findings[0]}")
    return found, now
