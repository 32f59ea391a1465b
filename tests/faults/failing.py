"""A process in which the n-th system call on a store fails, for growing n, until none fails any more.

::

    LD_PRELOAD=failing.so python -m tests.faults.failing FOLDER SCENARIO...

prints JSON: how many calls were made to fail, how often the store said so, and what was wrong afterwards.
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import IntFlag
from pathlib import Path

import pytest

from synaptoroute.errors import StorageError
from synaptoroute.storage import SQLiteStorage
from synaptoroute.storage.base import DropRoute, LabelledQueries
from synaptoroute.storage.safekeeping import backup, restore
from synaptoroute.storage.verifying import verify
from tests.faults.tables import agree, answers, fresh_build, opened, take_the_ways_of
from tests.seeded import route
from tests.storage.test_sqlite import ENCODER, held, put, vectors

_LIBRARY = ctypes.CDLL(None)
#: No scenario makes more calls than this; one that goes on failing is broken.
_MOST_CALLS = 400


def _counts() -> Iterator[int]:
    """1, 2, ... each call of the first, then every few: what writes a page does it over and over."""
    nth = 1
    while nth < _MOST_CALLS:
        yield nth
        nth += 1 + max(0, nth - 8) // 3


class Calls(IntFlag):
    """What fails; see ``failing.c``."""

    WRITE = 1
    SYNC = 2
    RESIZE = 4
    OPEN = 8
    RENAME = 16
    READ = 32


#: What goes wrong: a disk that is full, for good or for once; one that cannot write, sync or read.
TROUBLES = (
    (Calls.WRITE | Calls.RESIZE, errno.ENOSPC, True),
    (Calls.WRITE | Calls.RESIZE, errno.ENOSPC, False),
    (Calls.WRITE | Calls.RESIZE, errno.EIO, False),
    (Calls.SYNC, errno.EIO, False),
    (Calls.SYNC, errno.EIO, True),
    (Calls.READ, errno.EIO, False),
    (Calls.OPEN, errno.EMFILE, False),
    (Calls.RENAME, errno.EIO, False),
)


@dataclass(slots=True)
class FailingReport:
    """What came of it.

    Attributes:
        failures: System calls that were made to fail.
        refusals: Calls of ours that raised StorageError because of them.
        acknowledged: Changes that were acknowledged, before, meanwhile and after.
        losses: Of these, those that were not there at the end.
        faults: Everything that must not happen, in words.
    """

    failures: int = 0
    refusals: int = 0
    acknowledged: int = 0
    losses: int = 0
    faults: list[str] = field(default_factory=list)


class Run:
    """All scenarios, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report = FailingReport()

    @contextmanager
    def failing(self, trouble: tuple[Calls, int, bool], nth: int) -> Iterator[None]:
        calls, number, lasting = trouble
        _LIBRARY.fault_arm(str(self.folder).encode(), int(calls), ctypes.c_long(nth), number, int(lasting))
        try:
            yield
        finally:
            self.failed = _LIBRARY.fault_disarm()
            self.report.failures += self.failed

    def refused(self, what: str, call: Callable[[], object]) -> bool:
        """Whether the call raised StorageError; any other error is a fault."""
        try:
            call()
        except StorageError:
            self.report.refusals += 1
            return True
        except Exception as exc:  # noqa: BLE001 - that is what is looked for
            self.report.faults.append(f"{what}: {type(exc).__name__}: {exc}")
            return True
        return False

    def each(self, name: str, scenario: Callable[[str, tuple[Calls, int, bool], int], None]) -> None:
        """The scenario with every trouble, failing at every call in turn."""
        for trouble in TROUBLES:
            for nth in _counts():
                what = f"{name}, {trouble[0]!r}, {errno.errorcode[trouble[1]]}, lasting {trouble[2]}, call {nth}"
                try:
                    scenario(what, trouble, nth)
                except Exception as exc:  # noqa: BLE001 - after the trouble nothing may fail
                    self.report.faults.append(f"{what}: afterwards {type(exc).__name__}: {exc}")
                    break
                if not self.failed:
                    break
            else:
                self.report.faults.append(f"{name}: {trouble} never ends")

    def hold(self, what: str, path: Path, names: set[str], extra: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """The store is sound and has these routes, and perhaps those whose change failed at the very end."""
        seen = verify(path)
        if not seen.sound:
            self.report.faults.append(f"{what}: does not verify: {seen.findings[0]}")
        store = SQLiteStorage(path)
        found = set(held(store.load(ENCODER)))
        store.close()
        self.report.losses += len(names - found)
        if not names <= found <= names | extra:
            self.report.faults.append(f"{what}: routes {sorted(found)}, wanted {sorted(names)}")

    # ------------------------------------------------------------------------------------------------- scenarios
    def commit(self, what: str, trouble: tuple[Calls, int, bool], nth: int) -> None:
        """Changes while something fails; reading goes on, and the next change works."""
        path = self.folder / "commit.db"
        store = SQLiteStorage(path)
        before = held(store.load(ENCODER))
        names = set(before)
        revision = store.state().revision
        with self.failing(trouble, nth):
            change = [put(f"big{revision}", *(f"{n} " * 300 for n in range(30)))]
            refused = self.refused(what, lambda: store.commit(change, encoder=ENCODER, expected_revision=revision))
            if refused and trouble[0] != Calls.READ and held(store.load(ENCODER)) != before:
                self.report.faults.append(f"{what}: a change that failed is there")
        names |= set() if refused else {f"big{revision}"}
        now = store.state().revision
        if now != revision + (not refused):
            self.report.faults.append(f"{what}: revision {now} after {revision}")
        drops = [DropRoute(name=name) for name in before if name.startswith("big")]
        store.commit([put(f"after{now}", "x"), *drops], encoder=ENCODER, expected_revision=now)
        names = names - {drop.name for drop in drops} | {f"after{now}"}
        self.report.acknowledged += 1 + (not refused)
        store.close()
        self.hold(what, path, names)

    def opening(self, what: str, trouble: tuple[Calls, int, bool], nth: int) -> None:
        """Opening, a first change and closing; all that was acknowledged is there."""
        path = self.folder / "opening.db"
        if not path.exists():
            made = SQLiteStorage(path)
            made.commit([put("first", "x")], encoder=ENCODER, expected_revision=0)
            made.close()
        names = {"first"}
        again = SQLiteStorage(path)
        names |= set(held(again.load(ENCODER)))
        again.close()

        def work() -> None:
            store = SQLiteStorage(path)
            try:
                revision = store.state().revision
                store.commit([put(f"r{revision}", "x")], encoder=ENCODER, expected_revision=revision)
                names.add(f"r{revision}")
                self.report.acknowledged += 1
            finally:
                with suppress(StorageError):
                    store.close()

        with self.failing(trouble, nth):
            self.refused(what, work)
        self.hold(what, path, names)

    def making(self, what: str, trouble: tuple[Calls, int, bool], nth: int) -> None:
        """A store is made where there is none; the next attempt succeeds."""
        path = self.folder / f"made{trouble[0]}-{trouble[1]}-{trouble[2]}-{nth}.db"
        with self.failing(trouble, nth):
            self.refused(what, lambda: SQLiteStorage(path).close())
        store = SQLiteStorage(path)
        store.commit([put("first", "x")], encoder=ENCODER, expected_revision=0)
        store.close()
        self.report.acknowledged += 1
        self.hold(what, path, {"first"})

    def saving(self, what: str, trouble: tuple[Calls, int, bool], nth: int) -> None:
        """Labelled queries and what was learned: the former ones stay, or the new ones are there."""
        store = SQLiteStorage(self.folder / "saving.db")
        before = store.load_learned()
        labelled = LabelledQueries(texts=tuple(f"q{n}" for n in range(50)), labels=(None,) * 50, vectors=vectors(50))
        with self.failing(trouble, nth):
            self.refused(what, lambda: store.save_labelled(labelled, encoder=ENCODER))
            refused = self.refused(what, lambda: store.save_learned(bytes([nth % 256]) * 50_000))
        if refused and store.load_learned() != before:
            self.report.faults.append(f"{what}: what was learned is another though it failed")
        store.save_labelled(None, encoder=ENCODER)
        store.close()

    def keeping(self, what: str, trouble: tuple[Calls, int, bool], nth: int) -> None:
        """Backups and their way back: a whole file or none."""
        source, target, again = (self.folder / name for name in ("source.db", "backup.db", "again.db"))
        if not source.exists():
            store = SQLiteStorage(source)
            store.commit([put(f"r{n}", f"x{n}") for n in range(50)], encoder=ENCODER, expected_revision=0)
            store.close()
        for file in (target, again):
            file.unlink(missing_ok=True)
        with self.failing(trouble, nth):
            refused = self.refused(what, lambda: backup(source, target)) or self.refused(
                what, lambda: restore(target, again)
            )
        for file in (target, again):
            if file.exists() and not verify(file).sound:
                self.report.faults.append(f"{what}: half of {file.name}")
        if not refused and not again.exists():
            self.report.faults.append(f"{what}: nothing was kept")

    def compacting(self, what: str, trouble: tuple[Calls, int, bool], nth: int) -> None:
        """A router compacts a large table while something fails: it answers as ever, and works again afterwards."""
        path = self.folder / "compacting.db"
        with opened(path) as router:
            with self.failing(trouble, nth):
                self.refused(what, lambda: router.put_routes([route(f"r{n}", *range(nth % 3, 5)) for n in range(8)]))
                with suppress(Exception):
                    # What upkeep fails with is told to who waits for it.
                    router.wait_until_fitted(60)
                if trouble[0] != Calls.READ:
                    self._same_answers(what, router)
            router.put_routes([route("again", nth)])
            assert router.wait_until_fitted(60)
            self._same_answers(what, router)

    def _same_answers(self, what: str, router: object) -> None:
        assert isinstance(router, type(fresh_build([])))
        with fresh_build(router.routes) as fresh:
            if not agree(answers(router, learned=False), answers(fresh, learned=False)):
                self.report.faults.append(f"{what}: other answers than a fresh build")


def main() -> None:
    logging.getLogger("synaptoroute").setLevel(logging.CRITICAL)
    folder, *names = sys.argv[1:]
    run = Run(Path(folder))
    with pytest.MonkeyPatch.context() as patch:
        take_the_ways_of("large", patch)
        for name in names:
            run.each(name, getattr(run, name))
    print(json.dumps(asdict(run.report)))  # noqa: T201


if __name__ == "__main__":
    main()
