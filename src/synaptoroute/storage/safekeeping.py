"""Backups of a SQLite store, made while it is in use, and their way back."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from synaptoroute.durable import sync
from synaptoroute.errors import StorageCorruptError, StorageError
from synaptoroute.storage.opening import connect, connect_to_read, require_ours, transaction, translated
from synaptoroute.storage.verifying import Verification, verify
from synaptoroute.storage.writer_lock import WriterLock


def backup(source: str | os.PathLike[str], target: str | os.PathLike[str], *, force: bool = False) -> Verification:
    """Copy a store as of one revision into a file of its own, while others read and write it.

    The copy is verified before it gets its name, and is on disk when this returns; a crash leaves no half of one.

    Args:
        source: The store's SQLite file.
        target: The backup's. One that is there is kept under another name, and only replaced at all with ``force``.
        force: Replace the target.

    Raises:
        StorageCorruptError: The store is damaged.
        StorageInUseError: The target is a store that another process writes to.
        StorageError: The target is there, or cannot be written.
    """
    source, target = Path(source), Path(target)
    if not source.is_file():
        raise StorageError(f"there is no store {source}")
    with _replacing(target, force=force) as part:
        _copy(source, part)
        return _verified(part, source)


def restore(source: str | os.PathLike[str], target: str | os.PathLike[str], *, force: bool = False) -> Verification:
    """Make a store of a backup. It begins a new lineage, so that no cache of what the store was later is believed.

    Processes that have the replaced store open go on reading it, and are told to open it again when they want to write.

    Args:
        source: The backup.
        target: The store's SQLite file. One that is there is kept as ``<file>.replaced-<time>``.
        force: Replace the target.

    Raises:
        StorageCorruptError: The backup is damaged.
        StorageInUseError: Another process writes to the target.
        StorageError: The target is there, or cannot be written.
    """
    source, target = Path(source), Path(target)
    _verified(source, source, still=False)
    with _replacing(target, force=force) as part:
        _copy(source, part)
        lock = WriterLock(part)
        with translated(str(part), "write"):
            lock.acquire()
            with closing(connect(str(part), lock)) as connection, transaction(connection):
                connection.execute(
                    "INSERT OR REPLACE INTO lineages (since, token) "
                    "SELECT revision + 1, lower(hex(randomblob(16))) FROM state"
                )
        lock.release()
        return _verified(part, source)


def _copy(source: Path, part: Path) -> None:
    with (
        translated(str(source), "copy"),
        closing(connect_to_read(str(source))) as connection,
        closing(sqlite3.connect(part, isolation_level=None)) as copy,
    ):
        require_ours(connection, str(source))
        # It has no name yet: synced once at the end.
        copy.execute("PRAGMA synchronous = OFF")
        connection.backup(copy)


def _verified(path: Path, source: Path, *, still: bool = True) -> Verification:
    seen = verify(path, still=still)
    if not seen.sound:
        first = seen.findings[0]
        raise StorageCorruptError(
            f"{source} is damaged: {first.where}: {first.what}; 'synaptoroute verify' tells all, 'synaptoroute repair' "
            "salvages what can be read"
        )
    return seen


@contextmanager
def _replacing(target: Path, *, force: bool) -> Iterator[Path]:
    """Gives the path of a file to be written, which then takes the target's name, with nobody writing to the target."""
    if target.is_dir():
        raise StorageError(f"{target} is a folder, wanted a file")
    if not target.parent.is_dir():
        raise StorageError(f"the folder {target.parent} does not exist; create it first")
    if target.exists() and not force:
        raise StorageError(f"there is already a file {target}; name another, or replace it with --force (force=True)")
    with alone(target) as part:
        yield part
        put_in_place(part, target, "replaced")


@contextmanager
def alone(target: Path) -> Iterator[Path]:
    """Hold the right to write to the target. Gives a path beside it, where nothing is before and nothing after."""
    lock = WriterLock(target)
    lock.acquire()
    part = target.with_name(f".{target.name}.part")
    try:
        _remove(part)
        yield part
    except OSError as exc:
        raise StorageError(f"cannot write {target}: {exc}") from exc
    finally:
        # What cannot be removed is removed before the next one is made.
        with suppress(OSError):
            _remove(part)
        lock.release()


def put_in_place(part: Path, target: Path, word: str) -> Path | None:
    """Give a complete file the target's name, durably. Needs the right to write to the target.

    Returns:
        What the file that was there is called now; None if none was.
    """
    sync(part)
    aside = None
    if target.exists() or _log(target).exists():
        aside = _free_name(target, word)
        # A second name first: were the file renamed, a crash would leave none of the old one.
        with suppress(FileNotFoundError):
            try:
                os.link(target, aside)
            except OSError:
                target.rename(aside)
        # A log that stayed would be taken for that of the new file.
        with suppress(FileNotFoundError):
            _log(target).rename(_log(aside))
        Path(f"{target}-shm").unlink(missing_ok=True)
    part.rename(target)
    sync(target.parent)
    return aside


def _log(path: Path) -> Path:
    return Path(f"{path}-wal")


def _free_name(target: Path, word: str) -> Path:
    """A name with the time in it. It tells people when, nothing depends on the clock."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = target.with_name(f"{target.name}.{word}-{now}")
    number = 1
    while aside.exists():
        number += 1
        aside = target.with_name(f"{target.name}.{word}-{now}-{number}")
    return aside


def _remove(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal", "-lock"):
        Path(f"{part}{suffix}").unlink(missing_ok=True)
