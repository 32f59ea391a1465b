"""A process on a disk of its own, of 3 MB, that fills up and becomes read-only.

::

    unshare --map-root-user --mount sh -c 'mount -t tmpfs -o size=3m tmpfs FOLDER && python -m tests.faults.full FOLDER'

prints what it saw, a line each.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from synaptoroute.errors import StorageError
from synaptoroute.storage.safekeeping import backup
from synaptoroute.storage.verifying import verify
from tests.faults.tables import agree, answers, fresh_build, opened
from tests.seeded import route


def say(what: str) -> None:
    print(what, flush=True)  # noqa: T201


def refused(call: Callable[[], object]) -> str:
    try:
        call()
    except StorageError as exc:
        return f"refused: {exc}"
    return "done"


def remounted(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def main() -> None:
    logging.getLogger("synaptoroute").setLevel(logging.CRITICAL)
    folder = Path(sys.argv[1])
    path, filler = folder / "routes.db", folder / "filler"
    with opened(path) as router:
        router.add_routes([route(f"r{n}") for n in range(6)])
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4_096))
            except OSError as exc:
                say(f"the disk is full: {exc.strerror}")
        say(refused(lambda: router.add_routes([route(f"full{n}", *range(40)) for n in range(40)])))
        say(refused(lambda: backup(path, folder / "backup.db")))
        with fresh_build(router.routes) as fresh:
            say(f"answers while full: {agree(answers(router, learned=False), answers(fresh, learned=False))}")
        say(f"revision {router.revision}, {len(router)} routes")
        filler.unlink()
        say(refused(lambda: router.add_routes([route(f"full{n}", *range(40)) for n in range(4)])))
        say(f"revision {router.revision}, {len(router)} routes")
    say(f"sound: {verify(path).sound}")

    with opened(path) as router:
        router.add_route(route("last"))
        # What is open for writing keeps a disk from becoming read-only, as a real one would on an error: open it then.
    remounted(folder, "ro")
    with opened(path) as router:
        say(f"read-only: revision {router.revision}, {len(router)} routes")
        say(f"answers: {router.route('r1 wanted', threshold=-1).matches[0].name}")
        say(refused(lambda: router.add_route(route("more"))))
    say(f"sound: {verify(path).sound}")
    say(refused(lambda: backup(path, folder / "backup.db")))
    say(refused(lambda: opened(folder / "new.db")))
    remounted(folder, "rw")
    with opened(path) as router:
        say(f"writable again: revision {router.add_route(route('more'))}")


if __name__ == "__main__":
    main()
