"""What a figure depends on besides the code under test: hardware, software, and the revision of the code."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import synaptoroute
from synaptoroute.bench.manifest import Git, Machine
from synaptoroute.profile import usable_cores

_CPUINFO = Path("/proc/cpuinfo")
#: What makes 8-bit products fast: on x86, and on ARM.
_FEATURES = ("avx2", "avx512_vnni", "avx_vnni", "asimddp", "i8mm")
_PACKAGES = (
    "numpy",
    "onnxruntime",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "fastembed",
    "fastapi",
    "uvicorn",
    "uvloop",
    "httptools",
    "bm25s",
)
_GIT_TIMEOUT_S = 10


def machine(cpuinfo: Path = _CPUINFO) -> Machine:
    """The hardware, as far as the system tells."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    has = {*fields.get("flags", "").split(), *fields.get("Features", "").split()}
    return Machine(
        cpu=fields.get("model name") or platform.processor() or platform.machine() or "unknown",
        cores=usable_cores(),
        features=tuple(feature for feature in _FEATURES if feature in has),
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.machine()}",
    )


def software() -> dict[str, str]:
    """Versions of what the figures depend on; a package that is not installed is left out."""
    found = {"synaptoroute": synaptoroute.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git(file: Path = Path(synaptoroute.__file__)) -> Git | None:
    """The revision of the working copy ``file`` belongs to; None if it is in none, or git is not there."""
    # An installed package may lie inside somebody else's working copy, whose revision would mean nothing.
    if _git(file, "ls-files", "--error-unmatch", file.name) is None:
        return None
    revision = _git(file, "rev-parse", "HEAD")
    changed = _git(file, "status", "--porcelain", "--untracked-files=no")
    return None if revision is None or changed is None else Git(revision=revision, dirty=bool(changed))


def _git(file: Path, *arguments: str) -> str | None:
    # Without optional locks: looking must not disturb someone who commits at the same time.
    command = ["git", "--no-optional-locks", "-C", str(file.parent), *arguments]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
