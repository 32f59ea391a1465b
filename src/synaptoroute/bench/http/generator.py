"""The load generator: ``python -m synaptoroute.bench.http.generator HOST PORT``, orders on stdin, outcomes on stdout.

A process of its own, so that its work does not hold up what it measures; asyncio over sockets, without an HTTP library.
It keeps to times of its own (``Paced``), which tools that wait for answers, such as wrk, cannot, and holds every answer
against the expected one.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from synaptoroute.bench.http.orders import ORDER, Closed
from synaptoroute.bench.http.pacing import PacedRun
from synaptoroute.bench.http.run import ClosedRun, Requests


def main() -> None:
    """Carry out orders until stdin ends."""
    address = sys.argv[1], int(sys.argv[2])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    files: dict[Path, Requests] = {}
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        for line in sys.stdin:
            order = ORDER.validate_json(line)
            if order.requests not in files:
                files[order.requests] = Requests(order.requests, *address)
            requests = files[order.requests]
            if isinstance(order, Closed):
                outcome = runner.run(ClosedRun(requests, address).carry_out(order))
            else:
                outcome = runner.run(PacedRun(requests, address, order).carry_out())
            sys.stdout.write(outcome.model_dump_json() + "\n")
            sys.stdout.flush()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    main()
