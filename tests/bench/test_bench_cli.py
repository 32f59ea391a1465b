from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from synaptoroute.bench.manifest import Manifest, read_manifest, write_manifest
from synaptoroute.bench.sources import DATA_VARIABLE
from synaptoroute.bench.tables import BEGIN, END
from synaptoroute.cli import app


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["bench", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_accuracy_prints_tables_and_writes_a_manifest(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "snips.json"
    options = ("--dataset", "snips", "--shots", "3", "--seeds", "2", "--limit", "40", "--no-tuned")
    code, stdout, stderr = run("accuracy", "--data", data, *options, "--output", path)
    assert (code, stderr.replace("\n", "")) == (0, f"wrote {path}")
    assert "Accuracy\ndata set  utterances per route" in stdout
    assert "snips     3, mean of 2 draws" in stdout
    assert "Trial run of at most 40 queries" in stdout
    manifest = read_manifest(path)
    assert manifest.command.startswith("synaptoroute bench accuracy --data DIR --dataset snips --shots 3 --seeds 2")
    assert manifest.command.endswith("--no-tuned --limit 40")
    assert str(data) not in path.read_text(encoding="utf-8")
    assert set(manifest.datasets[0].files) == {"snips/train.in", "snips/train.label"}
    (row,) = manifest.results
    assert row.figures.in_scope is not None
    assert row.figures.in_scope.value > 0.7


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--dataset", "clinc"), "no data set 'clinc'"),
        (("--shots", "0"), "wanted a number from 1 or full"),
        (("--shots", "few"), "wanted a number from 1 or full"),
        (("--seeds", "0"), "--seeds"),
    ],
)
def test_wrong_options_are_wrong_usage(options: tuple[str, ...], told: str) -> None:
    code, _, stderr = run("accuracy", *options)
    assert code == 2
    assert told in " ".join(stderr.replace("│", " ").split())


def test_a_data_folder_that_is_not_there_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    code, stdout, stderr = run("accuracy", "--data", tmp_path / "nowhere", "--dataset", "snips")
    assert (code, stdout) == (1, "")
    assert "is not there; name another with --data" in " ".join(stderr.split())


def test_report_writes_page_markdown_and_readme(manifest: Manifest, tmp_path: Path) -> None:
    path, page, text, readme = (tmp_path / name for name in ("m.json", "out.html", "out.md", "README.md"))
    write_manifest(manifest, path)
    readme.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    code, stdout, stderr = run("report", path, "--html", page, "--markdown", text, "--update-readme", readme)
    assert (code, stdout) == (0, "")
    assert stderr.count("wrote ") == 3
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "| clinc150 | all | tuned |" in text.read_text(encoding="utf-8")
    assert "| clinc150 | all | tuned |" in readme.read_text(encoding="utf-8")


def test_report_prints_markdown_unless_told_where_to(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_manifest(manifest, path)
    code, stdout, _ = run("report", path)
    assert code == 0
    assert stdout.startswith("### Accuracy\n")
    path.write_text(json.dumps({"schema_version": 99}), encoding="utf-8")
    code, stdout, stderr = run("report", path)
    assert (code, stdout) == (1, "")
    assert "schema_version 99, wanted 1" in " ".join(stderr.split())
