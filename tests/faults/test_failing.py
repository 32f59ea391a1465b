"""I/O that fails: errors are StorageError, reading goes on, nothing acknowledged is lost, and it works again after."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.killing import ROOT

SOURCE = Path(__file__).with_name("failing.c")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What makes system calls fail, built anew."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler to have system calls fail")
    built = tmp_path_factory.mktemp("failing") / "failing.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-w", "-o", built, SOURCE, "-ldl"], check=True)
    return built


def run(library: Path, module: str, *arguments: object) -> str:
    """What the module says in a process that has the library."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env={**os.environ, "LD_PRELOAD": str(library), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SLOW = ("saving", "opening", "making", "keeping", "compacting")


@pytest.mark.parametrize("scenario", ["commit", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_whichever_system_call_fails(tmp_path: Path, library: Path, scenario: str) -> None:
    report = json.loads(run(library, "tests.faults.failing", tmp_path, scenario))
    print(report)  # noqa: T201
    assert report["failures"] > 20, "nothing was made to fail"
    assert report["refusals"] > 10
    assert (report["losses"], report["faults"]) == (0, [])


def test_a_clock_that_jumps_by_an_hour_does_no_harm(tmp_path: Path, library: Path) -> None:
    said = json.loads(run(library, "tests.faults.jumping", tmp_path))
    assert said == {"jumps": 12, "saw": [0, 3600, -3600], "aside": 2, "faults": []}


def on_a_disk_of_its_own(folder: Path, command: str) -> list[str]:
    """Run it where ``folder`` is a file system of 3 MB, which nobody else sees."""
    return [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        f'mount -t tmpfs -o size=3m tmpfs "{folder}" && exec {command}',
    ]


def test_a_full_and_a_read_only_disk(tmp_path: Path) -> None:
    probe = subprocess.run(on_a_disk_of_its_own(tmp_path, "true"), capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"this system lets nobody mount a disk of their own: {probe.stderr.strip()}")
    command = f'"{sys.executable}" -m tests.faults.full "{tmp_path}"'
    done = subprocess.run(
        on_a_disk_of_its_own(tmp_path, command), capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    path, backup = tmp_path / "routes.db", tmp_path / "backup.db"
    assert said == [
        "the disk is full: No space left on device",
        f"refused: cannot write {path}: database or disk is full",
        f"refused: cannot copy {path}: database or disk is full",
        "answers while full: True",
        "revision 1, 6 routes",
        "done",
        "revision 2, 10 routes",
        "sound: True",
        "read-only: revision 3, 11 routes",
        "answers: r1",
        f"refused: cannot write {path}: its lock {path}-lock: Read-only file system",
        "sound: True",
        f"refused: cannot write {backup}: its lock {backup}-lock: Read-only file system",
        f"refused: cannot open {tmp_path / 'new.db'}: unable to open database file",
        "writable again: revision 4",
    ]
