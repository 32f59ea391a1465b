"""A server as a process of its own, on a free port of loopback."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """A process that listens there, and what it has said until then."""

    url: str
    process: subprocess.Popen[bytes]
    said: str


def environment(**more: str) -> dict[str, str]:
    """That of the tests, without settings of anybody else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SYNAPTOROUTE_")}
    return {**kept, "PYTHONPATH": str(SOURCE), "SYNAPTOROUTE_SHUTDOWN_GRACE_S": "0", **more}


@contextmanager
def served(*arguments: object, folder: Path, **variables: str) -> Iterator[Running]:
    """``synaptoroute serve`` with these arguments, ended at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "synaptoroute", "serve", "--port", "0", *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        env=environment(**variables),
    )
    try:
        said = until(process, r"listening on (\S+)")
        found = re.search(r"listening on (\S+)", said)
        assert found, said
        yield Running(found[1], process, said)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def until(process: subprocess.Popen[bytes], pattern: str, *, within_s: float = START_S) -> str:
    """What the process writes to stderr until something like this is in it."""
    assert process.stderr is not None
    said, ends_at = "", time.monotonic() + within_s
    while not re.search(pattern, said):
        left = ends_at - time.monotonic()
        ready, _, _ = select.select([process.stderr], [], [], max(0.0, left))
        chunk = os.read(process.stderr.fileno(), 65_536) if ready else b""
        if not chunk:
            raise AssertionError(f"waited for {pattern!r}, but it said only: {said}")
        said += chunk.decode()
    return said
