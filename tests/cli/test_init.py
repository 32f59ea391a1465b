"""What ``init`` writes can be used as it is, and never in the place of something."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from synaptoroute.labelled_files import read_queries
from synaptoroute.route_files import read_routes
from tests.cli.test_cli import run


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SYNAPTOROUTE_")]:
        monkeypatch.delenv(name)


def test_yaml_and_json_hold_the_same_routes_and_yaml_explains_itself() -> None:
    assert run("init", "a.yaml").code == 0
    assert run("init", "a.json").code == 0
    assert read_routes("a.yaml") == read_routes("a.json")
    assert len(read_routes("a.yaml")) == 3
    text = Path("a.yaml").read_text()
    for word in ("threshold:", "description:", "metadata:", "# "):
        assert word in text


def test_it_says_what_comes_next_and_that_works() -> None:
    done = run("init", "--queries", "queries.csv")
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr.startswith("wrote routes.yaml and queries.csv\n")
    steps = [line.strip() for line in done.stderr.splitlines() if line.strip().startswith("synaptoroute ")]
    assert len(steps) == 4
    for step in steps[:-1]:
        words = [word.strip('"') for word in step.replace('"where is my parcel"', '"parcel"').split()][1:]
        assert run(*words).code == 0, step
    queries, labels = read_queries("queries.csv")
    assert set(labels) == {route.name for route in read_routes("routes.yaml")} | {None}
    report = run("evaluate", "--routes", "routes.yaml", "queries.csv", "--json").json
    assert report["accuracy"] >= 0.75, "a first look should not disappoint"
    assert len(queries) == 8


def test_nothing_is_overwritten() -> None:
    Path("routes.yaml").write_text("mine")
    refused = run("init")
    assert (refused.code, refused.stderr) == (
        1,
        "error: routes.yaml is there already and was left alone; name another file\n",
    )
    assert Path("routes.yaml").read_text() == "mine"
    Path("queries.csv").write_text("mine")
    assert run("init", "new.yaml", "--queries", "queries.csv").code == 1
    assert not Path("new.yaml").exists(), "nothing is written unless all of it can be"
    Path("link.yaml").symlink_to("nowhere.yaml")
    assert run("init", "link.yaml").code == 1


def test_json_tells_the_files_and_other_formats_are_refused() -> None:
    assert run("init", "r.json", "--queries", "q.csv", "--json").json == {"files": ["r.json", "q.csv"]}
    assert "as .yaml or .json" in run("init", "r.csv").stderr
    assert "as .csv" in run("init", "s.json", "--queries", "q.jsonl").stderr
    assert "cannot be written" in run("init", "nowhere/r.json").stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert "cannot be written" in run("init", folder / "r.json").stderr
