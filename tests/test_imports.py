"""The public names, what importing them costs, and the one direction in which imports may run."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import synaptoroute

SOURCE = Path(synaptoroute.__file__).parent

#: Rooms from the top of the house to its foundation; a room imports only from rooms further down.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("server", "integrations", "testing"),
    ("bench", "bulk", "client"),
    ("corrections",),
    ("tools",),
    ("importing", "generating"),
    ("lint", "labelled_files", "followed_file", "replaying"),
    ("router", "route_files"),
    ("changing", "revisions"),
    ("learning", "shadow", "migration"),
    ("committing",),
    ("following",),
    ("lane",),
    ("explaining",),
    (
        "upkeep",
        "cascading",
        "learned_file",
        "table_files",
        "fitting",
        "holdout",
        "planning",
        "asking",
        "history",
        "replica",
    ),
    ("teaching",),
    ("batching", "table", "evaluation", "comparison"),
    ("learned", "sync", "untying"),
    ("calibrating", "first_answers"),
    ("rerank",),
    ("encoder", "index", "storage", "catalog", "language"),
    ("observability",),
    ("decision",),
    ("models", "profile", "caching", "cache_files", "blas", "postgres"),
    ("seeding",),
    ("describing",),
    ("errors", "forking", "durable"),
)


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("synaptoroute.")}
    return rooms


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


MODULES = sorted(path for path in SOURCE.rglob("*.py") if room_of(path) != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path: Path) -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    room = room_of(path)
    assert room in floor, f"{room} has no floor yet: add it to FLOORS"
    for other in imported_rooms(path) & set(floor) - {room}:
        assert floor[other] > floor[room], f"{path.relative_to(SOURCE)} imports {other}, which is not below {room}"


def test_the_public_names_are_these() -> None:
    assert sorted(synaptoroute.__all__) == [
        "AdaptiveRouter",
        "Decision",
        "Match",
        "OptimizationProfile",
        "Reason",
        "Route",
        "SynaptoRouteError",
    ]
    for name in synaptoroute.__all__:
        assert getattr(synaptoroute, name).__name__ == name
    assert set(synaptoroute.__all__) <= set(dir(synaptoroute))
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = synaptoroute.Nonsense


@pytest.mark.parametrize(
    "path",
    [
        "router.AdaptiveRouter",
        "router.OptimizationProfile",
        "models.Route",
        "encoder.BaseEncoder",
        "encoder.FastEmbedEncoder",
        "encoder.OpenAIEncoder",
        "storage.SQLiteStorage",
        "sync.RedisSyncManager",
        "integrations.langchain.SynaptoRouteTool",
    ],
)
def test_promised_import_paths_exist(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert getattr(import_module(f"synaptoroute.{module}"), name)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_or_the_router_loads_no_heavy_library() -> None:
    heavy = "{'onnxruntime', 'sklearn', 'scipy', 'tokenizers', 'openai', 'fastembed', 'rich', 'usearch', 'faiss'}"
    heavy = f"({heavy} | {{'psycopg'}})"
    assert (
        run(f"import sys, synaptoroute; print({heavy} & set(sys.modules), 'numpy' in sys.modules)") == "set() False\n"
    )
    assert run(f"import sys; from synaptoroute import AdaptiveRouter; print({heavy} & set(sys.modules))") == "set()\n"


def test_the_package_takes_a_fraction_of_what_the_router_takes_to_import() -> None:
    seconds = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
    alone = min(float(run(seconds.format("import synaptoroute"))) for _ in range(3))
    router = min(float(run(seconds.format("import synaptoroute.router"))) for _ in range(3))
    assert alone < router / 5
