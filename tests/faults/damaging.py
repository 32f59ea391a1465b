"""Damage to every kind of file we own: who opens it must end in a clean error, or answer as a fresh build."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import xxhash

from synaptoroute import Route
from tests.faults.killing import ROOT
from tests.faults.tables import NAMES, agree, answers, fresh_build, opened, take_the_ways_of
from tests.faults.writer import told

_PAGE = 4_096
_TIMEOUT_S = 120

Chance = random.Random
Damage = Callable[[bytearray, Chance], None]


# ------------------------------------------------------------------------------------------------------------- damages
def flip(content: bytearray, chance: Chance) -> None:
    """One bit."""
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def flip_many(content: bytearray, chance: Chance) -> None:
    """Bits all over the file."""
    for _ in range(chance.randint(2, 40)):
        flip(content, chance)


def flip_in_head(content: bytearray, chance: Chance) -> None:
    """One bit where formats are described: the first hundred bytes of the file, or the head of a page."""
    if content:
        page = chance.randrange(0, len(content), _PAGE)
        content[min(page + chance.randrange(100), len(content) - 1)] ^= 1 << chance.randrange(8)


def zero_page(content: bytearray, chance: Chance) -> None:
    """A page that was never written."""
    start = chance.randrange(0, len(content) or 1, _PAGE)
    content[start : start + _PAGE] = bytes(len(content[start : start + _PAGE]))


def swap_pages(content: bytearray, chance: Chance) -> None:
    """A page written to another's place."""
    starts = range(0, len(content) - _PAGE + 1, _PAGE)
    if len(starts) > 1:
        one, other = chance.sample(starts, 2)
        content[one : one + _PAGE] = content[other : other + _PAGE]


def garbage(content: bytearray, chance: Chance) -> None:
    """Other bytes in the place of some."""
    start = chance.randrange(len(content) or 1)
    length = min(chance.randint(1, 2 * _PAGE), len(content) - start)
    content[start : start + length] = chance.randbytes(length)


def truncate(content: bytearray, chance: Chance) -> None:
    """The end is missing, now and then all of it."""
    del content[0 if chance.random() < 0.1 else chance.randrange(len(content) or 1) :]


def extend(content: bytearray, chance: Chance) -> None:
    """More than there was."""
    content += chance.randbytes(chance.randint(1, 3 * _PAGE))


def replace(content: bytearray, chance: Chance) -> None:
    """Another file altogether."""
    content[:] = chance.randbytes(chance.randint(1, 3 * _PAGE))


DAMAGES: tuple[Damage, ...] = (
    flip, flip_many, flip_in_head, zero_page, swap_pages, garbage, truncate, extend, replace,
)  # fmt: skip


# -------------------------------------------------------------------------------------------------------- what is there
@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A store to be damaged.

    Attributes:
        kind: Which ways its table takes.
        folder: Of the store and what is beside it.
        targets: Names of what may be damaged.
        revisions: The routes at every revision; damage to the log may lead back to an earlier one.
    """

    kind: str
    folder: Path
    targets: tuple[str, ...]
    revisions: dict[int, dict[str, Any]]


def made(kind: str, folder: Path) -> Sound:
    """A store with everything beside it, the newest changes in its log."""
    folder.mkdir()
    revisions: dict[int, dict[str, Any]] = {0: {}}
    with pytest.MonkeyPatch.context() as patch:
        take_the_ways_of(kind, patch)

        def remember() -> None:
            revisions[router.revision] = {route.name: told(route) for route in router.routes}

        with opened(folder / "routes.db") as router:
            for name in NAMES[:-2]:
                router.add_route(Route(name=name, utterances=[f"{name} {n}" for n in range(5)], threshold=0.1))
                remember()
        with opened(folder / "routes.db") as router:
            assert router.wait_until_fitted(120)
            for name in NAMES[-2:]:
                router.add_route(Route(name=name, utterances=[f"{name} {n}" for n in range(5)]))
                remember()
            router.delete_route(NAMES[-2])
            remember()
            assert router.wait_until_fitted(120)
            # Two stages that were learned from an earlier table are kept, but a fresh build learns from this one.
            router.refit()
            assert router.wait_until_fitted(120)
            # As a killed process leaves it.
            unchecked = folder.with_name(f"{folder.name}-log")
            shutil.copytree(folder, unchecked)
        shutil.rmtree(folder)
        unchecked.rename(folder)
    (folder / "routes.db-shm").unlink()
    files = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()]
    assert any(file.endswith("-wal") for file in files)
    assert (kind == "large") == any(file.endswith("manifest.json") for file in files)
    return Sound(kind=kind, folder=folder, targets=(*files, "learned", "encoder", "dim"), revisions=revisions)


def damage(sound: Sound, folder: Path, chance: Chance) -> str:
    """Copy the store there and damage one thing. What that was."""
    shutil.copytree(sound.folder, folder)
    # The database and what it holds get half of the damage, the many small files of the cache the rest.
    inner = [target for target in sound.targets if "-index" not in target]
    target = chance.choice(inner if chance.random() < 0.5 else list(sound.targets))
    if chance.random() < 0.5 and not target.endswith("-wal"):
        # With this connection SQLite brings the log into the file.
        _execute(folder, "PRAGMA user_version")
    if target == "encoder":
        _execute(folder, "UPDATE encoders SET fingerprint = 'other'")
        _say_in_manifests(folder, {"encoder": "other"}, chance)
        return "encoder of another fingerprint"
    if target == "dim":
        if chance.random() < 0.5:
            _execute(folder, "UPDATE utterances SET vector = substr(vector, 1, 64)")
        else:
            _say_in_manifests(folder, {"dim": 16}, chance)
        return "vectors of another dimension"
    how = chance.choice(DAMAGES)
    if target == "learned":
        with closing(sqlite3.connect(folder / "routes.db")) as plain:
            row = plain.execute("SELECT model FROM learned").fetchone()
            content = bytearray(row[0])
            how(content, chance)
            plain.execute("UPDATE learned SET model = ?", (bytes(content),))
            plain.commit()
    else:
        content = bytearray((folder / target).read_bytes())
        how(content, chance)
        (folder / target).write_bytes(content)
    return f"{how.__name__} of {target}"


def _execute(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "routes.db")) as plain:
        plain.execute(statement)
        plain.commit()


def _say_in_manifests(folder: Path, meta: dict[str, Any], chance: Chance) -> None:
    """Have the cache say something else of itself, with a valid checksum half of the time."""
    for path in folder.glob("routes.db-index/gen-*/manifest.json"):
        content = json.loads(path.read_text())
        content["said"]["meta"] |= meta
        if chance.random() < 0.5:
            content["checksum"] = xxhash.xxh3_128_hexdigest(json.dumps(content["said"], sort_keys=True).encode())
        path.write_text(json.dumps(content))


# ------------------------------------------------------------------------------------------------------------- the run
@dataclass(slots=True)
class DamageReport:
    """What came of it.

    Attributes:
        mutations: Damaged stores that were opened.
        outcomes: How many ended in which way: "answers", "earlier revision", or the name of an error.
        deaths: Processes that died.
        faults: Everything that must not happen, in words.
    """

    mutations: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    deaths: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.mutations} mutations, {self.deaths} deaths, {dict(self.outcomes)}, faults: {self.faults}"


class Asker:
    """A ``tests.faults.asker``, started again when it has died."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._process: subprocess.Popen[str] | None = None

    def ask(self, store: Path, first: str = "") -> dict[str, Any]:
        """What it said; {"died": exit code} if it said nothing."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.asker", self._kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{store}\t{first}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        code = self._process.wait(_TIMEOUT_S)
        self._close()
        return {"died": code}

    def _close(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=_TIMEOUT_S)
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def damage_again_and_again(folder: Path, mutations: int, kind: str, seed: int = 0) -> DamageReport:
    """So many times: damage a copy of a store, have another process open and ask it, and judge what it says."""
    report = DamageReport()
    sound = made(kind, folder / "sound")
    expected: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, Asker(kind) as asker:
        take_the_ways_of(kind, patch)
        copy = folder / "damaged"
        for number in range(mutations):
            what = f"{kind} {seed}.{number}: " + damage(sound, copy, random.Random(f"{seed}.{number}"))  # noqa: S311
            # Two stages learned from an earlier table stay valid, and a damaged log may lead back to one.
            first = "refit" if kind == "large" and "routes.db-wal" in what else ""
            said = asker.ask(copy / "routes.db", first)
            report.mutations += 1
            report.outcomes[_judged(sound, said, expected, what, report)] += 1
            shutil.rmtree(copy)
    return report


def _judged(sound: Sound, said: dict[str, Any], expected: dict[str, Any], what: str, report: DamageReport) -> str:
    if "died" in said:
        report.deaths += 1
        report.faults.append(f"{what}: died with {said['died']}")
        return "death"
    if "error" in said:
        if not said["ours"]:
            report.faults.append(f"{what}: {said['error']}: {said['message']}")
        return str(said["error"])
    revision, newest = said["revision"], max(sound.revisions)
    if said["routes"] != sound.revisions.get(revision):
        report.faults.append(f"{what}: routes that never were, at revision {revision}")
    elif revision != newest and "routes.db-wal" not in what:
        report.faults.append(f"{what}: revision {revision} instead of {newest}")
    else:
        if str(revision) not in expected:
            routes = [Route(name=name, **fields) for name, fields in said["routes"].items()]
            with fresh_build(routes) as fresh:
                expected[str(revision)] = answers(fresh, learned=True)
        if not agree(said["answers"], expected[str(revision)]):
            report.faults.append(f"{what}: other answers than a fresh build of revision {revision}")
    return "answers" if revision == newest else "an earlier revision"
