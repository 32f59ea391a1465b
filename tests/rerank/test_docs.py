"""The programs of docs/tiebreak.md run as they stand, and its figures are those that were measured."""

from __future__ import annotations

import re
from pathlib import Path

from synaptoroute.bench.tie_break import BEGIN, END, TieManifest, block
from tests.encoder import run_python
from tests.rerank import build_cross_encoder

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tiebreak.md").read_text(encoding="utf-8")
PROGRAMS: list[str] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_first_program_prints_what_it_says() -> None:
    (printed,) = re.findall(r"It prints:\n\n```\n(.*?)```", TEXT, re.DOTALL)
    done = run_python(PROGRAMS[0], within_s=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed


def test_the_program_with_a_folder_finds_the_nearer_text(tmp_path: Path) -> None:
    (program,) = PROGRAMS[1:]
    folder = build_cross_encoder(tmp_path / "cross-encoder")
    done = run_python(program.replace('"cross-encoder"', repr(str(folder))), within_s=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 (2,)\n"


def test_the_table_is_what_was_measured() -> None:
    path = ROOT / "benchmarks" / "results" / "tiebreak.json"
    manifest = TieManifest.model_validate_json(path.read_text(encoding="utf-8"))
    assert manifest.limit is None
    assert f"{BEGIN}\n{block(manifest)}{END}" in TEXT
