"""Run the fault runs with given numbers and write what came of them to ``benchmarks/results/reliability.json``.

::

    python scripts/measure_reliability.py                              # all parts
    python scripts/measure_reliability.py --part kill --cycles 200     # one; the others stay as they are

Exits with 1 if anything was lost or went wrong; the figures are written all the same.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.damaging import damage_again_and_again  # noqa: E402
from tests.faults.killing import kill_again_and_again  # noqa: E402

from synaptoroute.bench import machine  # noqa: E402
from synaptoroute.bench.manifest import (  # noqa: E402
    SCHEMA,
    Git,
    Machine,
    Part,
    now,
    read_content,
    validated,
    write_manifest,
)

OUTPUT = ROOT / "benchmarks" / "results" / "reliability.json"
_KINDS = ("small", "large")


class Run(Part):
    """One part, as it was last run: by what, where, when, and its figures.

    Attributes:
        figures: Counts of what was done and of what came of it. ``losses`` and ``faults`` should be 0 and empty.
    """

    command: str
    created_at: AwareDatetime
    git: Git | None
    machine: Machine
    software: dict[str, str]
    took_s: float
    figures: dict[str, Any]


class Reliability(Part):
    """All parts by name."""

    schema_version: Literal[1] = SCHEMA
    benchmark: Literal["reliability"] = "reliability"
    parts: dict[str, Run] = Field(default_factory=dict)


def kill(options: argparse.Namespace) -> dict[str, Any]:
    """Writers killed at random moments; half of the cycles with tables that take the ways of large ones."""
    figures: dict[str, Any] = {"cycles": 0, "changes": 0, "unacknowledged": 0, "losses": 0, "faults": []}
    for kind in _KINDS:
        with tempfile.TemporaryDirectory() as folder:
            report = kill_again_and_again(Path(folder) / "routes.db", options.cycles // 2, kind, options.seed)
        print(f"kill, {kind}: {report}", flush=True)
        for name in figures:
            figures[name] += getattr(report, name)
    return figures


def damage(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Damaged files of every kind, opened and asked by another process."""
    with tempfile.TemporaryDirectory() as folder:
        report = damage_again_and_again(Path(folder), options.mutations // 2, kind, options.seed)
    print(f"damage, {kind}: {report}", flush=True)
    figures = {name: getattr(report, name) for name in ("mutations", "deaths", "faults")}
    return {**figures, "outcomes": dict(sorted(report.outcomes.items()))}


def io(options: argparse.Namespace) -> dict[str, Any]:
    """System calls that fail, one after another, in a process of its own for each scenario."""
    figures: dict[str, Any] = {"failures": 0, "refusals": 0, "acknowledged": 0, "losses": 0, "faults": []}
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "failing.so"
        source = ROOT / "tests" / "faults" / "failing.c"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-w", "-o", library, source, "-ldl"], check=True)  # noqa: S607
        for scenario in ("commit", "saving", "opening", "making", "keeping", "compacting"):
            store = Path(folder) / scenario
            store.mkdir()
            done = subprocess.run(
                [sys.executable, "-m", "tests.faults.failing", str(store), scenario],
                env={**os.environ, "LD_PRELOAD": str(library), "OPENBLAS_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                cwd=ROOT,
                check=True,
                timeout=options.timeout_s,
            )
            report = json.loads(done.stdout)
            print(f"io, {scenario}: {report}", flush=True)
            for name in figures:
                figures[name] += report[name]
    return figures


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "kill": kill,
    "damage-small": functools.partial(damage, "small"),
    "damage-large": functools.partial(damage, "large"),
    "io": io,
}


def main() -> int:
    """Run the parts that are wanted, and put their figures in the place of their last ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", action="append", choices=PARTS, help="run this part; repeat it; all by default")
    parser.add_argument("--cycles", type=int, default=200, help="writers to kill")
    parser.add_argument("--mutations", type=int, default=1_000, help="stores to damage, half of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout-s", type=float, default=900, help="for each scenario of failing system calls")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    command = shlex.join(["python", "scripts/measure_reliability.py", *sys.argv[1:]])
    well = True
    for name in options.part or PARTS:
        started = time.monotonic()
        figures = PARTS[name](options)
        run = Run(
            command=command,
            created_at=now(),
            git=machine.git(),
            machine=machine.machine(),
            software={**machine.software(), "sqlite": sqlite3.sqlite_version},
            took_s=round(time.monotonic() - started, 1),
            figures=figures,
        )
        had = Reliability()
        if options.output.exists():
            had = validated(Reliability, read_content(options.output), options.output)
        write_manifest(had.model_copy(update={"parts": {**had.parts, name: run}}), options.output)
        well = well and not figures.get("losses") and not figures["faults"]
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
