"""A process that forks writers, each of which changes a store until it is killed and tells what it has done.

::

    python -m tests.faults.writer small|large [lossy] < orders > lines

An order is JSON: the store, a seed, and how many changes. With "lossy" the store is a ``LateStorage``. The lines are
JSON too. First ``{"pid": ...}``; before each change what the routes will be like, after it the revision; at last
``{"end": ...}``. Forked from a process that has everything imported, a writer changes the store some milliseconds after
it was ordered.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from synaptoroute import AdaptiveRouter, Route
from tests.faults import tables
from tests.faults.lossy import LateStorage
from tests.faults.tables import NAMES, opened, take_the_ways_of

Change = Callable[[AdaptiveRouter], int]


def say(**what: Any) -> None:
    # One write, so that a line is there whole or not at all.
    os.write(1, (json.dumps(what) + "\n").encode())


def next_change(router: AdaptiveRouter, chance: random.Random) -> tuple[dict[str, Any], Change]:
    """What shall become of which routes (None: dropped), and how."""
    name = chance.choice(NAMES)
    says = [f"{name} {number}" for number in chance.sample(range(20), chance.randint(1, 6))]
    if name not in router:
        route = Route(name=name, utterances=says, threshold=chance.choice([None, 0.25]), metadata={"at": len(says)})
        return {name: told(route)}, lambda router: router.add_route(route)
    had = router.get_route(name)
    match chance.randrange(5):
        case 0:
            return {name: None}, lambda router: router.delete_route(name)
        case 1:
            threshold = chance.random()
            return {name: told(had.replaced(threshold=threshold))}, lambda router: router.update_threshold(
                name, threshold
            )
        case 2:
            grown = had.replaced(utterances=tuple(dict.fromkeys((*had.utterances, *says))))
            return {name: told(grown)}, lambda router: router.add_utterances(name, says)
        case 3:
            several = [Route(name=other, utterances=[f"{other} {n}" for n in range(4)]) for other in NAMES[:3]]
            kept = {route.name: told(route.replaced(utterances=in_order(router, route))) for route in several}
            return kept, lambda router: router.put_routes(several)
        case _:
            route = had.replaced(utterances=in_order(router, had.replaced(utterances=says)))
            return {name: told(route)}, lambda router: router.update_route(name, utterances=says)


def in_order(router: AdaptiveRouter, route: Route) -> tuple[str, ...]:
    """As they will be stored: those that are kept come first."""
    had = router.get_route(route.name).utterances if route.name in router else ()
    kept = [text for text in had if text in route.utterances]
    return (*kept, *(text for text in route.utterances if text not in kept))


def told(route: Route) -> dict[str, Any]:
    """The route as JSON would give it back."""
    return {
        "utterances": list(route.utterances),
        "threshold": route.threshold,
        "description": route.description,
        "metadata": dict(route.metadata),
    }


def write(order: dict[str, Any]) -> None:
    chance = random.Random(order["seed"])  # noqa: S311 - no secrets
    router = opened(order["store"])
    for count in range(order["changes"]):
        shall, change = next_change(router, chance)
        say(shall=shall)
        say(revision=change(router))
        if count % 8 == 7:
            # Wakes what learns and compacts, so that these are cut off too.
            router.route("r1 wanted")
    router.close()


def main() -> None:
    with pytest.MonkeyPatch.context() as patch:
        take_the_ways_of(sys.argv[1], patch)
        if sys.argv[2:] == ["lossy"]:
            patch.setattr(tables, "SQLiteStorage", LateStorage)
        for line in sys.stdin:
            child = os.fork()
            if child == 0:
                try:
                    write(json.loads(line))
                    os._exit(0)
                except BaseException as exc:  # noqa: BLE001 - told to who ordered it
                    say(error=f"{type(exc).__name__}: {exc}")
                    os._exit(1)
            # Only the parent can say so without racing with the kill.
            say(pid=child)
            say(end=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
