"""A process that opens damaged stores, one after another, and tells what came of each.

::

    python -m tests.faults.asker small|large < stores > lines

A store may be followed by a tab and the word "refit", to have it learn anew first. For each store it says in JSON
either ``routes``, ``revision`` and ``answers``, or ``error`` with its kind and message; ``ours`` tells whether it is
one of the errors a caller has to expect. A process that dies has said nothing.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from synaptoroute import SynaptoRouteError
from tests.faults.tables import answers, opened, take_the_ways_of
from tests.faults.writer import told


def ask(line: str) -> dict[str, Any]:
    """What came of opening the store, and asking."""
    store, _, first = line.partition("\t")
    try:
        with opened(store) as router:
            if first == "refit":
                router.refit()
            said = answers(router, learned=True)
            routes = {route.name: told(route) for route in router.routes}
            return {"routes": routes, "revision": router.revision, "answers": said}
    except SynaptoRouteError as exc:
        return {"error": type(exc).__name__, "message": str(exc), "ours": True}
    except Exception as exc:  # noqa: BLE001 - the other kind, which fails the run
        return {"error": type(exc).__name__, "message": str(exc), "ours": False}


def main() -> None:
    logging.getLogger("synaptoroute").setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        take_the_ways_of(sys.argv[1], patch)
        for line in sys.stdin:
            print(json.dumps(ask(line.rstrip("\n"))), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
