"""``synaptoroute doctor``: what is installed, whether it works, and whether a store is sound."""

import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute import __version__
from synaptoroute.cli import completion, output
from synaptoroute.cli.routes import DB_VARIABLE, Json

if TYPE_CHECKING:
    from synaptoroute.index import ExactIndex, SegmentedIndex
    from synaptoroute.storage.sqlite import SQLiteStorage
    from synaptoroute.table_files import TableFiles

_PACKAGES = ("numpy", "onnxruntime", "tokenizers", "pydantic", "scikit-learn")
_CPUINFO = Path("/proc/cpuinfo")
#: What makes 8-bit products fast: x86 under "flags", ARM under "Features".
_INT8_FEATURES = {"flags": ("avx2", "avx512_vnni", "avx_vnni"), "Features": ("asimddp", "i8mm")}
#: A unit vector's length may be off by this much: float32 rounding over some hundred dimensions.
_LENGTH_TOLERANCE = 1e-4
#: A sound graph finds 99 % and more of the nearest utterances.
_LEAST_RECALL = 0.97


class Status(StrEnum):
    """How a check ended. Only BROKEN makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was looked at, what was seen, and what to do about it if anything."""

    name: str
    seen: str
    status: Status = Status.OK
    advice: str | None = None


def doctor(
    *,
    db: Annotated[
        Path | None,
        typer.Option("--db", envvar=DB_VARIABLE, autocompletion=completion.store, help="Check this store as well."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check the installation, and with --db a store. Exits with 1 if something is broken; warnings do not count."""
    checks = [*_versions(), _cpu(), _cores(), _encoder(), _sqlite()]
    if db is not None:
        checks.extend(_store(db))
    healthy = all(check.status is not Status.BROKEN for check in checks)
    if as_json:
        output.print_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
    else:
        rows = [[check.name, check.status.value, check.seen, check.advice or ""] for check in checks]
        output.print_table(["check", "status", "seen", "advice"], rows)
    raise typer.Exit(0 if healthy else output.FAILED)


def _versions() -> Iterator[Check]:
    yield Check(name="synaptoroute", seen=__version__)
    yield Check(name="python", seen=f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in _PACKAGES:
        try:
            yield Check(name=package, seen=metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Check(name=package, seen="not installed", status=Status.BROKEN, advice="reinstall synaptoroute")


def _cpu() -> Check:
    found = _int8_features(_CPUINFO)
    if found is None:
        return Check(name="cpu int8", seen="unknown: this system does not list its CPU features")
    seen = ", ".join(f"{feature} {'yes' if has else 'no'}" for feature, has in found.items())
    if found.get("avx2") is False:
        slow = "without AVX2 encoding takes several times as long"
        return Check(name="cpu int8", seen=seen, status=Status.WARNING, advice=slow)
    return Check(name="cpu int8", seen=seen)


def _int8_features(cpuinfo: Path) -> dict[str, bool] | None:
    """Which of the features the CPU has, from the first processor the file lists; None if it lists none."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, values = line.partition(":")
        if key.strip() in _INT8_FEATURES:
            has = set(values.split())
            return {feature: feature in has for feature in _INT8_FEATURES[key.strip()]}
    return None


def _cores() -> Check:
    from synaptoroute.profile import usable_cores

    return Check(name="usable cores", seen=str(usable_cores()))


def _encoder() -> Check:
    import numpy as np

    from synaptoroute.encoder.base import encode_checked
    from synaptoroute.encoder.bundled import BundledEncoder
    from synaptoroute.errors import SynaptoRouteError

    try:
        encoder = BundledEncoder()
        encode_checked(encoder, ["is anybody there"])
        # Again without the check, which would bring the vector to length 1.
        raw = encoder.encode(["is anybody there"])
    except (SynaptoRouteError, ImportError) as exc:
        return Check(name="encoder", seen=str(exc), status=Status.BROKEN, advice="reinstall synaptoroute")
    length = float(np.linalg.norm(raw))
    seen = f"{encoder.name}, {encoder.fingerprint}, encodes to {raw.shape[1]} dimensions of length {length:.4f}"
    if abs(length - 1) > _LENGTH_TOLERANCE:
        return Check(name="encoder", seen=seen, status=Status.BROKEN, advice="wanted length 1; reinstall synaptoroute")
    return Check(name="encoder", seen=seen)


def _sqlite() -> Check:
    import sqlite3

    from synaptoroute.storage.writer_lock import WAL_RESET_FIXED_IN

    if sqlite3.sqlite_version_info >= WAL_RESET_FIXED_IN:
        return Check(name="sqlite", seen=sqlite3.sqlite_version)
    fixed = ".".join(map(str, WAL_RESET_FIXED_IN))
    return Check(
        name="sqlite",
        seen=sqlite3.sqlite_version,
        status=Status.WARNING,
        advice=f"before {fixed} two processes that write to one file at once can damage it (the WAL-reset bug, "
        "sqlite.org/wal.html). synaptoroute lets only one write at a time: let no other program write to its files, or "
        "use a Python built with a later SQLite",
    )


def _store(db: Path) -> Iterator[Check]:
    from synaptoroute.errors import EncoderMismatchError, SynaptoRouteError
    from synaptoroute.storage.sqlite import SQLiteStorage

    if not db.is_file():
        yield Check(name="store", seen=f"there is no file {db}", status=Status.BROKEN, advice="name another with --db")
        return
    try:
        storage = SQLiteStorage(db)
    except SynaptoRouteError as exc:
        yield Check(name="store", seen=str(exc), status=Status.BROKEN)
        return
    try:
        found = storage.check()
        if found:
            seen = f"{db}: {found[0]}" + (f" and {len(found) - 1} more findings" if len(found) > 1 else "")
            yield Check(name="store", seen=seen, status=Status.BROKEN, advice="restore a backup")
        else:
            yield Check(name="store", seen=f"{db} passes SQLite's integrity check")
        yield from _content(storage)
    except EncoderMismatchError as exc:
        yield Check(name="store encoder", seen=str(exc), status=Status.WARNING)
    except SynaptoRouteError as exc:
        yield Check(name="store content", seen=str(exc), status=Status.BROKEN, advice="restore a backup")
    finally:
        storage.close()


def _content(storage: "SQLiteStorage") -> Iterator[Check]:
    """Reads all of it, and so checks every vector's length and checksum; then the cache that a large table has."""
    from synaptoroute.encoder.bundled import BundledEncoder
    from synaptoroute.storage.base import EncoderIdentity
    from synaptoroute.table import SEGMENTED_FROM
    from synaptoroute.table_files import TableFiles

    encoder = BundledEncoder()
    identity = EncoderIdentity(name=encoder.name, dim=encoder.dim, fingerprint=encoder.fingerprint)
    routes = utterances = 0
    with storage.read(identity) as stream:
        revision = stream.state.revision
        for some, vectors in stream.batches:
            routes, utterances = routes + len(some), utterances + len(vectors)
    seen = f"{routes:,} routes, {utterances:,} utterances, revision {revision}"
    yield Check(name="store content", seen=f"{seen}, vectors of {encoder.name}")
    if utterances > SEGMENTED_FROM and storage.cache_folder is not None:
        yield from _cache(TableFiles(storage, identity, encoder.encode), storage.cache_folder)


def _cache(files: "TableFiles", folder: Path) -> Iterator[Check]:
    """The files beside a store with a large table, and whether search by them finds what it should."""
    generation = files.newest()
    if generation is not None and generation.verify():
        yield Check(name="cache", seen=f"{generation.path} is sound")
        yield _search(files.open().index, folder)
    elif any(folder.glob("gen-*.corrupt-*")):
        yield Check(name="cache", seen=f"{folder} is damaged", status=Status.WARNING, advice=_delete(folder))
    else:
        yield Check(name="cache", seen=f"none in {folder} yet; the next router to open the store makes one")


def _search(index: "ExactIndex | SegmentedIndex", folder: Path) -> Check:
    from synaptoroute.index import GRAPH_PAYS_FROM, HnswGraph, SegmentedIndex

    seen = f"{len(index):,} utterances"
    if isinstance(index, SegmentedIndex) and index.graph is not None:
        recall = index.recall()
        seen = f"{seen} by a graph, which finds {recall:.1%} of the nearest"
        if recall < _LEAST_RECALL:
            return Check(name="search", seen=seen, status=Status.WARNING, advice=_delete(folder))
        return Check(name="search", seen=seen)
    seen = f"{seen}, all of which are compared with each query"
    if len(index) < GRAPH_PAYS_FROM:
        return Check(name="search", seen=seen)
    if HnswGraph.available():
        return Check(name="search", seen=f"{seen}; a router builds a graph in the background when it is asked")
    advice = "for faster answers pip install 'synaptoroute[hnsw]'"
    return Check(name="search", seen=seen, status=Status.WARNING, advice=advice)


def _delete(folder: Path) -> str:
    return f"delete the folder {folder}, it will be built again"
