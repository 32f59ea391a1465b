from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synaptoroute.cli import bulk
from tests.cli.test_cli import _in_an_empty_folder, db, on_terminal, run, spawn  # noqa: F401 - fixtures

TEXTS = ["show me my balance", "will it rain", None, "  ", "what do I owe"]


def write(path: Path, texts: Sequence[str | None]) -> Path:
    pq.write_table(pa.table({"text": texts, "id": range(len(texts))}), path)
    return path


def test_every_row_comes_out_with_its_decision_and_a_summary(db: Path, tmp_path: Path) -> None:  # noqa: F811
    write(tmp_path / "in.parquet", TEXTS)
    result = spawn("route", "--db", db, "--input", "in.parquet", "--output", "out.parquet", "--threshold", -1)
    assert (result.code, result.stdout) == (0, "")
    assert "5 rows: 3 with a route, 0 without, 1 missing_text, 1 empty_text; 5 rows in" in result.stderr
    out = pq.read_table("out.parquet")
    assert out.column("route_name").to_pylist() == ["billing", "weather", None, None, "billing"]


def test_columns_are_chosen_by_options(db: Path, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "in.csv").write_text("said\nwill it rain\n")
    result = run(
        "route", "--db", db, "--input", "in.csv", "--output", "out.jsonl", "--text-column", "said",
        "--add", "name", "--add", "runner_up", "--prefix", "", "--batch-size", 1, "--threshold", -1,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert Path("out.jsonl").read_text() == '{"said": "will it rain", "name": "weather", "runner_up": "billing"}\n'


def test_it_can_be_added_what_can_be_added() -> None:
    from synaptoroute.bulk import ADDED
    from synaptoroute.bulk.run import BATCH_ROWS

    assert tuple(column.value for column in bulk.Column) == ADDED
    assert bulk.BATCH_ROWS == BATCH_ROWS


@pytest.mark.parametrize(
    "arguments",
    [
        ["--input", "in.parquet"],
        ["--output", "out.parquet"],
        ["--input", "in.parquet", "--output", "out.parquet", "a text"],
        ["--input", "in.parquet", "--output", "out.parquet", "--json"],
        ["--input", "in.parquet", "--output", "out.parquet", "--file", "in.parquet"],
        ["--input", "in.parquet", "--output", "out.parquet", "--add", "colour"],
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(db: Path, arguments: list[str]) -> None:  # noqa: F811
    assert run("route", "--db", db, *arguments).code == 2


def test_what_goes_wrong_is_one_line(db: Path, tmp_path: Path) -> None:  # noqa: F811
    write(tmp_path / "in.parquet", TEXTS)
    result = run("route", "--db", db, "--input", "in.parquet", "--output", "out.parquet", "--text-column", "said")
    assert result.code == 1
    assert (
        result.stderr
        == "error: the texts are to be in column 'said', but there is no such column; there are text, id\n"
    )


@pytest.mark.slow
def test_killed_it_goes_on_when_repeated(db: Path, tmp_path: Path) -> None:  # noqa: F811
    write(tmp_path / "in.parquet", [f"what do I owe for {number} of them" for number in range(800)])
    options = ["route", "--db", str(db), "--input", "in.parquet", "--batch-size", "5", "--output"]
    process = subprocess.Popen([sys.executable, "-m", "synaptoroute", *options, "out.parquet"])
    part = tmp_path / "out.parquet.parts" / "part-000001.arrow"
    while not part.exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not Path("out.parquet").exists()

    result = run(*options, "out.parquet")
    assert result.code == 0, result.stderr
    resumed = int(result.stderr.split("800 rows, ")[1].split(" of them")[0])
    assert 160 <= resumed < 800
    assert run(*options, "whole.parquet").code == 0
    assert Path("out.parquet").read_bytes() == Path("whole.parquet").read_bytes()


def test_on_a_terminal_a_bar_counts_the_rows(db: Path, tmp_path: Path) -> None:  # noqa: F811
    write(tmp_path / "in.parquet", ["will it rain"] * 50)
    options = ["--input", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet", "--batch-size", 1]
    shown = on_terminal("route", "--db", db, *options, stream="stderr", COLUMNS="150")
    assert "routing in.parquet" in shown
    # The numbers have colours of their own.
    assert re.search("[0-9]+/50 rows", re.sub("\x1b\\[[0-9;]*m", "", shown))


def test_where_there_is_no_terminal_a_line_says_now_and_then_how_far_it_is(
    db: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk, "_LINE_EVERY_S", 0.0)
    write(tmp_path / "in.parquet", ["will it rain"] * 40)
    result = run("route", "--db", db, "--input", "in.parquet", "--output", "out.parquet", "--batch-size", 20)
    first, second, summary = result.stderr.splitlines()
    assert re.fullmatch(r"20 of 40 rows, [0-9,]+ rows/s, 0 s left", first)
    assert re.fullmatch(r"40 of 40 rows, [0-9,]+ rows/s, 0 s left", second)
    assert summary.startswith("40 rows: ")
