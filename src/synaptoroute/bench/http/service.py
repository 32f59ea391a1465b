"""A real server in a process of its own, on a free port of loopback."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from synaptoroute.bench.load.manifest import Memory
from synaptoroute.bench.load.memory import memory
from synaptoroute.bench.load.timing import MeasurementError

_LISTENING = re.compile(r"listening on http://([^\s:]+):(\d+)")
_START_S = 120.0
_STOP_S = 60.0
_LOOK_S = 0.02
_LOG_CHARS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The server.

    Attributes:
        process: Its process.
        host: Where it listens.
        port: Likewise.
        log: File with what it says.
    """

    process: subprocess.Popen[bytes]
    host: str
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self.host}:{self.port}"

    def memory(self) -> Memory:
        """What it holds now."""
        return memory(Path("/proc") / str(self.process.pid))

    def said(self) -> str:
        """The end of what it has said."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-_LOG_CHARS:]


@contextmanager
def serving(arguments: Sequence[str] = (), *, settings: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Start it, wait until it is ready, and end it.

    Args:
        arguments: Of ``synaptoroute serve``; the port is chosen by the system.
        settings: By the names of their environment variables; others of the caller's environment do not count.

    Raises:
        MeasurementError: It ended, or was not ready in two minutes.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNAPTOROUTE_")}
    command = [sys.executable, "-m", "synaptoroute", "serve", "--port", "0", *arguments]
    with TemporaryDirectory(prefix="synaptoroute-serve-") as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as said:
            process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env={**environment, **(settings or {})}
            )
        try:
            yield _ready(process, log)
        finally:
            _end(process)


def _ready(process: subprocess.Popen[bytes], log: Path) -> Service:
    service, ends_at_s = None, time.monotonic() + _START_S
    while time.monotonic() < ends_at_s:
        if process.poll() is not None:
            said = log.read_text(encoding="utf-8", errors="replace")[-_LOG_CHARS:]
            raise MeasurementError(f"the server ended with {process.returncode}: {said}")
        if service is None and (found := _LISTENING.search(log.read_text(encoding="utf-8", errors="replace"))):
            service = Service(process=process, host=found[1], port=int(found[2]), log=log)
        if service is not None and status(service, "/readyz") == 200:
            return service
        time.sleep(_LOOK_S)
    raise MeasurementError(f"the server was not ready within {_START_S:g} s: {service.said() if service else ''}")


def status(service: Service, path: str) -> int:
    """The status of a GET; 0 without an answer."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        # An interrupt does without the time in which load balancers take notice.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
