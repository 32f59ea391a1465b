"""Run ``fresh.py`` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from time import monotonic

from pydantic import ValidationError

from synaptoroute.bench.load.manifest import Memory, Positive
from synaptoroute.bench.load.search import TEXT
from synaptoroute.bench.load.timing import MeasurementError
from synaptoroute.bench.manifest import Count, Part, Seconds, Share

_PROGRAM = Path(__file__).with_name("fresh.py")


class Order(Part):
    """What the process shall do.

    Attributes:
        store: The SQLite file to open.
        text: The first query.
        routes: Of the synthetic table in it, if it is one.
        queries: To ask of that one further, vectors given; with 0 the first query goes through ``route``.
        exact: Compare them with exact search.
    """

    store: Path
    text: str = TEXT
    routes: Positive = 1
    queries: Count = 0
    exact: bool = False


class Opened(Part):
    """What it took.

    Attributes:
        steps_s: interpreter, import, encoder, open, decision.
        baseline: Memory once the encoder was loaded.
        memory: After the last query.
        decide_ms: Of each query whose vector was given.
        recall: See ``ScaleRow``; null unless compared.
        agreement: See ``ScaleRow``; null unless compared.
    """

    steps_s: dict[str, Seconds]
    baseline: Memory
    memory: Memory
    decide_ms: tuple[float, ...]
    recall: Share | None
    agreement: Share | None


def opened(order: Order) -> Opened:
    """Open a store in a fresh process. Raises MeasurementError if the process fails."""
    # The monotonic clock is one for all processes. -P: the program's folder has modules of common names.
    given = json.dumps(order.model_dump(mode="json") | {"spawned": monotonic()})
    command = [sys.executable, "-P", str(_PROGRAM), given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        return Opened.model_validate_json(done.stdout)
    except ValidationError as exc:
        raise MeasurementError(f"the process that opens the store failed ({done.returncode}): {done.stderr}") from exc
