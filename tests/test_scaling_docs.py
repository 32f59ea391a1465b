"""The programs of docs/scaling.md run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.bulk import ADDED
from synaptoroute.encoder import BundledEncoder
from synaptoroute.storage import SQLiteStorage

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
PROGRAMS: list[str] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS: list[str] = re.findall(r"^synaptoroute (route .*)$", TEXT, re.MULTILINE)


def run(*arguments: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path, encoder: BundledEncoder) -> Path:
    with AdaptiveRouter(encoder, SQLiteStorage(tmp_path / "routes.db")) as router:
        router.add_route(Route(name="billing", utterances=["what do I owe", "show my balance"]))
        router.wait_until_fitted()
    pq.write_table(pa.table({"text": ["show my balance"] * 10}), tmp_path / "texts.parquet")
    return tmp_path


def test_the_command_makes_the_columns_of_the_table(folder: Path) -> None:
    run("-m", "synaptoroute", *COMMANDS[0].split(), folder=folder)
    names = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert pq.read_schema(folder / "routed.parquet").names == ["text", *names]
    assert names == [f"route_{name}" for name in ADDED]


def test_the_program_over_batches_routes(folder: Path) -> None:
    (program,) = [code for code in PROGRAMS if "route_batches(" in code]
    assert run("-c", program, folder=folder) == "['billing', None] ['matched', 'missing_text']\n"


@pytest.mark.slow
@pytest.mark.parametrize("package", ["ray", "pyspark"])
def test_the_programs_on_engines_write_every_row(folder: Path, package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed: make test-all")
    (program,) = [code for code in PROGRAMS if re.search(rf"^(import|from) {package}\b", code, re.MULTILINE)]
    run("-c", program, folder=folder)
    routed = pq.read_table(folder / "routed")
    assert routed.column("route_name").to_pylist() == ["billing"] * 10
