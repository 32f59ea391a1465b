"""Putting files and folders on disk, so that a crash of the machine does not undo what was written."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Put a file, or the names in a folder, on disk. Folders need it on POSIX systems only. Raises OSError."""
    if os.name != "posix" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
