"""A replica in a process of its own that writes until it is killed, and prints what was acknowledged."""

from __future__ import annotations

import sys

from synaptoroute import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from synaptoroute.sync import RedisSyncManager
from tests.seeded import SeededEncoder, route


def main(url: str, namespace: str, path: str, life: str) -> None:
    manager = RedisSyncManager(url, namespace=namespace)
    router = AdaptiveRouter(SeededEncoder(), SQLiteStorage(path), sync_manager=manager)
    print("ready", flush=True)  # noqa: T201 - for who started it
    number = 0
    while True:
        router.add_route(route(f"{life} {number}", 0))
        print(f"{life} {number}", flush=True)  # noqa: T201
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
