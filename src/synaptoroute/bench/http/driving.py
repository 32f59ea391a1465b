"""The load generator's process, from the side of the benchmark."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import to_json

from synaptoroute.bench.http.orders import Asked, Closed, Outcome, Paced
from synaptoroute.bench.http.service import Service
from synaptoroute.bench.load.timing import MeasurementError
from synaptoroute.models import Decision
from synaptoroute.router import AdaptiveRouter

#: Queries that are decided at once for what is expected.
_PART = 500


class Generator:
    """Carries out one order after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, order: Closed | Paced) -> Outcome:
        """The outcome of an order. Raises MeasurementError if the process fails."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        if pipe_in is None or pipe_out is None:
            raise MeasurementError("the load generator has no pipes")
        try:
            pipe_in.write(order.model_dump_json() + "\n")
            pipe_in.flush()
            return Outcome.model_validate_json(pipe_out.readline())
        except (OSError, ValidationError) as exc:
            raise MeasurementError("the load generator failed; what it said stands above") from exc


@contextmanager
def generating(service: Service) -> Iterator[Generator]:
    """A load generator for that server."""
    command = [sys.executable, "-m", "synaptoroute.bench.http.generator", service.host, str(service.port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        yield Generator(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def write_requests(path: Path, router: AdaptiveRouter, texts: Sequence[str], size: int) -> Path:
    """A file of requests of so many texts each, with what the router decides for them. Returns the path.

    Args:
        path: To write.
        router: Over the same routes as the server's.
        texts: To be asked; those that do not fill a request are left out, but for a size of 1.
        size: Texts of a request.
    """
    with path.open("w", encoding="utf-8") as lines:
        for part in _parts(texts, max(_PART // size, 1) * size):
            decisions = router.route_many(part)
            for start in range(0, len(part) - size + 1, size):
                asked = _asked(part[start : start + size], decisions[start : start + size])
                lines.write(asked.model_dump_json() + "\n")
    return path


def _asked(texts: Sequence[str], decisions: list[Decision]) -> Asked:
    body = {"text": texts[0]} if len(texts) == 1 else {"texts": list(texts)}
    return Asked(body=to_json(body).decode(), expected=to_json(decisions).decode())


def _parts(texts: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))
