"""The programs of docs/tools.md print what stands below them, and its table is that of the manifest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from synaptoroute.bench.tools import ToolsManifest, table

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
PROGRAMS: list[tuple[str, str]] = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_the_programs_print_what_stands_below_them(program: str, output: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == output


def test_every_program_has_its_output() -> None:
    assert len(PROGRAMS) == TEXT.count("```python\n") == 3


def test_the_table_is_that_of_the_manifest() -> None:
    manifest = ToolsManifest.model_validate_json((ROOT / "benchmarks" / "results" / "tools.json").read_bytes())
    assert manifest.limit is None
    assert f"<!-- tools:begin -->\n{table(manifest)}<!-- tools:end -->" in TEXT
