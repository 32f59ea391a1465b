"""Attack a running server, and write what came of it to ``benchmarks/results/abuse.json``.

::

    python scripts/measure_abuse.py                                # all parts
    python scripts/measure_abuse.py --part attacks --rounds 3      # one; the others stay as they are

``attacks`` sends everything hostile that the tests know, again and again. ``schema`` has schemathesis make up requests
from the server's own description, without and with API keys. Exits with 1 if anything should not have been; the
figures are written all the same.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.server.abuse.running import SETTINGS, attack_all  # noqa: E402
from tests.server.abuse.schema import KEYED, OPEN, Outcome, explore  # noqa: E402

from synaptoroute.bench import machine  # noqa: E402
from synaptoroute.bench.http.service import serving  # noqa: E402
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

OUTPUT = ROOT / "benchmarks" / "results" / "abuse.json"
#: What a server's memory may grow by.
MOST_BYTES = 20_000_000


class Run(Part):
    """One part, as it was last run: by what, where, when, and its figures.

    Attributes:
        figures: Counts of what was sent and of what came back. ``faults`` should be empty.
    """

    command: str
    created_at: AwareDatetime
    git: Git | None
    machine: Machine
    software: dict[str, str]
    took_s: float
    figures: dict[str, Any]


class Abuse(Part):
    """All parts by name."""

    schema_version: Literal[1] = SCHEMA
    benchmark: Literal["abuse"] = "abuse"
    parts: dict[str, Run] = Field(default_factory=dict)


def attacks(options: argparse.Namespace) -> dict[str, Any]:
    """Everything hostile that the tests know, on one server; its memory after each round."""
    statuses, faults, growth = Counter[int](), list[str](), list[int]()
    requests = 0
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "routes.db"
        with serving(["--demo", "--db", str(store)], settings=SETTINGS) as service:
            before = service.memory().resident_bytes
            for number in range(options.rounds):
                report = attack_all(service)
                requests += report.requests
                statuses += report.statuses
                faults += [f"{group}: {fault}" for group, found in report.faults.items() for fault in found]
                faults += ["routes were changed"] if report.changed else []
                faults += ["a mistake of the server was logged"] if "Traceback" in report.log else []
                growth.append(report.growth_bytes)
                print(f"attacks, round {number + 1}: {report.requests} requests, {growth[-1]:,} bytes", flush=True)
            after = service.memory().resident_bytes
    faults += [f"memory grew by {most:,} bytes in one round" for most in growth if most >= MOST_BYTES]
    return {
        "rounds": options.rounds,
        "requests": requests,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "memory_at_start_bytes": before,
        "memory_growth_by_round_bytes": growth,
        "memory_growth_bytes": after - before,
        "faults": faults,
    }


def schema(options: argparse.Namespace) -> dict[str, Any]:
    """Requests made up by schemathesis, all of its checks, on a server without keys and on one with."""
    figures: dict[str, Any] = {"examples": options.examples, "seed": options.seed, "faults": []}
    for name, kind in (("open", OPEN), ("keyed", KEYED)):
        outcome: Outcome = explore(kind, examples=options.examples, seed=options.seed, most_s=options.most_s)
        print(f"schema, {name}: {outcome.summary}", flush=True)
        figures[name] = {
            "operations": outcome.operations,
            "requests": outcome.requests,
            "failures": outcome.failures,
            "memory_growth_bytes": outcome.growth_bytes,
        }
        figures["faults"] += [f"{name}: {fault}" for fault in outcome.faults]
        if outcome.growth_bytes >= MOST_BYTES:
            figures["faults"].append(f"{name}: memory grew by {outcome.growth_bytes:,} bytes")
    return figures


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {"attacks": attacks, "schema": schema}


def main() -> int:
    """Run the parts that are wanted, and put their figures in the place of their last ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", action="append", choices=PARTS, help="run this part; repeat it; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="of all attacks")
    parser.add_argument("--examples", type=int, default=50, help="of schemathesis, for each operation")
    parser.add_argument("--most-s", type=float, default=900, help="for each server of schemathesis")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    command = shlex.join(["python", "scripts/measure_abuse.py", *sys.argv[1:]])
    well = True
    for name in options.part or PARTS:
        started = time.monotonic()
        figures = PARTS[name](options)
        well = well and not figures["faults"]
        run = Run(
            command=command,
            created_at=now(),
            git=machine.git(),
            machine=machine.machine(),
            software=machine.software(),
            took_s=round(time.monotonic() - started, 1),
            figures=figures,
        )
        found = validated(Abuse, read_content(options.output), options.output) if options.output.exists() else Abuse()
        write_manifest(found.model_copy(update={"parts": {**found.parts, name: run}}), options.output)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
