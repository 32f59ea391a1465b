"""Where peers are measured: an environment of its own for each, and a process that answers requests with a deadline."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from synaptoroute.errors import SynaptoRouteError

#: Creating an environment and downloading what belongs in it.
INSTALL_TIMEOUT_S = 1_200.0
#: A process that was told to end gets so long before it is killed.
_END_TIMEOUT_S = 10.0
#: What every system shares, in the version that is installed here.
_SHARED = ("numpy", "onnxruntime", "tokenizers")
_READY = "requirements.txt"
_ERROR_CHARS = 2_000


class PeersError(SynaptoRouteError):
    """A peer's environment cannot be made, or the peers do not use the same encoder."""


class WorkerError(PeersError):
    """A worker answered with an error, ended, or took longer than it may."""


def environment(folder: Path, requirements: Sequence[str]) -> Path:
    """The Python of a virtual environment with just these packages and, in our versions, what all systems share.

    An environment that was completed with the same requirements is used again; any other content is replaced.

    Args:
        folder: Of this environment alone.
        requirements: As pip takes them, with exact versions.

    Raises:
        PeersError: It cannot be created, or a package cannot be installed.
    """
    shared = [f"{package}=={metadata.version(package)}" for package in _SHARED]
    wanted = "\n".join([*requirements, *shared]) + "\n"
    python = folder / "bin" / "python"
    ready = folder / _READY
    if python.exists() and ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
        return python
    _install([sys.executable, "-m", "venv", "--clear", str(folder)])
    _install([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted.split()])
    ready.write_text(wanted, encoding="utf-8")
    return python


def _install(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603
            command, check=False, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, env=_clean(os.environ)
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise PeersError(f"cannot make the environment of a peer: {exc}") from exc
    if done.returncode:
        raise PeersError(f"cannot make the environment of a peer: {done.stderr.strip()[-_ERROR_CHARS:]}")


def _clean(variables: Mapping[str, str]) -> dict[str, str]:
    """Without what would lead one environment's Python to the packages of another."""
    return {name: value for name, value in variables.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


class Worker:
    """A process that answers each line of JSON with a line of JSON.

    Args:
        command: What to run; its errors and prints go to ``log``.
        log: A file, written anew.
        isolated: Run it without the variables that add packages to a Python.
    """

    def __init__(self, command: Sequence[str], log: Path, *, isolated: bool = True) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_clean(os.environ) if isolated else None,
            )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101
        self._requests = self._process.stdin
        self._reader = threading.Thread(target=self._read, args=[self._process.stdout], daemon=True)
        self._reader.start()

    def ask(self, request: str, *, time_limit_s: float, **arguments: Any) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            WorkerError: The worker answered with an error, or ended, or was killed because the time was up.
        """
        with suppress(BrokenPipeError):
            self._requests.write(json.dumps({"do": request, **arguments}).encode() + b"\n")
            self._requests.flush()
        try:
            line = self._answers.get(timeout=time_limit_s)
        except queue.Empty:
            self._process.kill()
            raise WorkerError(f"{request}: no answer within {time_limit_s:g} s") from None
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise WorkerError(f"{request}: the process ended; its last words: {self._last_words()}") from None
        if not answer.pop("ok"):
            raise WorkerError(f"{request}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process: by the end of its input, else by force."""
        with suppress(BrokenPipeError):
            self._requests.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, lines: IO[bytes]) -> None:
        """Reading with a deadline takes a thread: a pipe has none."""
        with lines:
            for line in lines:
                self._answers.put(line)
        # Whoever waits for an answer learns that there will be none.
        self._answers.put(b"")

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "none"
