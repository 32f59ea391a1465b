"""A program: open a store in a fresh process, step by step, and say on stdout what each step took.

It is run by its path (see ``spawn``), and imports nothing of the package before the clock runs.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, perf_counter
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Carry out an ``Order`` that was given ``spawned`` seconds of the monotonic clock ago; print an ``Opened``."""
    steps = {"interpreter": monotonic() - order["spawned"]}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        started = perf_counter()
        yield
        steps[name] = perf_counter() - started

    with step("import"):
        from synaptoroute.router import AdaptiveRouter
        from synaptoroute.storage.sqlite import SQLiteStorage
    with step("encoder"):
        from synaptoroute.encoder.bundled import BundledEncoder

        encoder = BundledEncoder()
        encoder.encode([order["text"]])

    from synaptoroute.bench.load.memory import memory
    from synaptoroute.bench.load.search import asked, compared
    from synaptoroute.bench.load.spawn import Opened
    from synaptoroute.bench.load.synthetic import Synthetic

    # Drawn before the baseline, so that they do not count as the router's.
    queries = Synthetic(order["routes"], dim=encoder.dim).queries(order["queries"])
    baseline = memory()
    with step("open"):
        router = AdaptiveRouter(encoder, SQLiteStorage(order["store"]))
    with step("decision"):
        if len(queries):
            # Not ``route``: that would have a small table learned meanwhile, which is not what is measured.
            router.snapshot.decide([order["text"]], encoder.encode([order["text"]]))
        else:
            router.route(order["text"])
    decide_ms, best = asked(router.snapshot, queries)
    # Before the exact search, which reads every vector.
    held = memory()
    recall, agreement = compared(router.snapshot, queries, best) if order["exact"] else (None, None)
    opened = Opened(
        steps_s=steps, baseline=baseline, memory=held, decide_ms=tuple(decide_ms), recall=recall, agreement=agreement
    )
    sys.stdout.write(opened.model_dump_json())
    router.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
