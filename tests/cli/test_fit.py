"""``synaptoroute fit``: what is kept where, what is said about it, and with which exit code."""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

import pytest

from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from synaptoroute.storage.base import LabelledQueries
from tests.cli.test_cli import run, spawn

DEMO = resources.files("synaptoroute") / "demo"
QUERIES = (DEMO / "queries.csv").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_store(demo_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo_store.parent)
    monkeypatch.delenv("SYNAPTOROUTE_DB", raising=False)
    Path("routes.json").write_bytes((DEMO / "routes.json").read_bytes())
    Path("queries.csv").write_text(QUERIES, encoding="utf-8")


def fit_of_the_store() -> LabelledQueries | None:
    with AdaptiveRouter(storage=SQLiteStorage("store.db")) as router:
        assert router.snapshot.fitted
        return router.snapshot.labelled


def noise() -> Path:
    """Queries in scope of which every third has the label of another one: what they teach is wrong."""
    rows = [(row["query"], row["route"]) for row in csv.DictReader(QUERIES.splitlines()) if row["route"]]
    others = [route for _, route in rows[30:] + rows[:30]]
    lines = [f'"{query}",{others[place] if place % 3 == 0 else route}' for place, (query, route) in enumerate(rows)]
    path = Path("noise.csv")
    path.write_text("\n".join(["query,route", *lines]), encoding="utf-8")
    return path


def test_a_fit_is_reported_and_kept_until_it_is_forgotten() -> None:
    result = run("fit", "queries.csv", "--db", "store.db", "--max-false-reject", 0.1)
    assert result.code == 0
    assert result.stderr.startswith("the fit is kept in store.db; ")
    figures, point, curve = result.stdout.split("\n\n")
    title, columns, *rows = figures.splitlines()
    assert title == "84 queries (24 out of scope), each decided while held out"
    assert columns.split() == ["figure", "before", "after"]
    accuracy, *_, least = rows
    assert accuracy.startswith("accuracy")
    assert least.split()[:-1] == ["answers", "from", "confidence", "0.500"]
    assert point.splitlines()[1].startswith("at most 10.0% of in-scope queries")
    shares = [float(line.split()[1]) for line in curve.splitlines()[2:]]
    assert len(shares) == 10
    assert shares[-1] == 1
    assert shares == pytest.approx([tenth / 10 for tenth in range(1, 11)], abs=0.02)
    kept = fit_of_the_store()
    assert kept is not None
    assert len(kept.texts) == 84
    assert f"{kept.min_confidence:.3f}" == least.split()[-1]

    assert run("fit", "--forget", "--db", "store.db").stderr == "forgot the fit of store.db\n"
    assert fit_of_the_store() is None
    assert run("fit", "--forget", "--db", "store.db").stderr == "there is no fit in store.db\n"
    assert run("fit", "--forget", "--db", "store.db", "--json").json == {"forgotten": False}


def test_json_from_stdin_holds_the_whole_report() -> None:
    result = spawn("fit", "-", "--format", "csv", "--db", "store.db", "--json", stdin=QUERIES.encode())
    assert result.code == 0
    report = result.json
    assert (report["kept"], report["applied"], report["queries"]) == (True, True, 84)
    assert report["after"]["accuracy"] > report["before"]["accuracy"]
    assert report["min_confidence"] is None
    assert report["curve"][-1]["coverage"] == 1


def test_a_fit_that_does_not_help_is_not_kept_unless_forced() -> None:
    path = noise()
    result = run("fit", path, "--db", "store.db")
    assert result.code == 1
    assert "\n\nwarnings\n" in result.stdout
    assert "does not improve on held-out queries and was refused" in result.stdout
    assert result.stderr.startswith("error: the fit does not help")
    with AdaptiveRouter(storage=SQLiteStorage("store.db")) as router:
        assert router.snapshot.labelled is None
    result = run("fit", path, "--db", "store.db", "--force", "--json")
    assert (result.code, result.json["kept"]) == (0, True)
    assert "was applied because it was forced" in result.json["warnings"][-1]
    assert fit_of_the_store() is not None


@pytest.mark.slow
def test_a_file_of_routes_gets_a_report_and_nothing_is_kept() -> None:
    result = run("fit", "queries.csv", "--routes", "routes.json")
    assert (result.code, result.stdout.splitlines()[1].split()) == (0, ["figure", "before", "after"])
    assert result.stderr.startswith("nothing was kept: to keep the fit, import routes.json into a store")
    assert run("fit", "queries.csv", "--routes", "routes.json", "--json").json["kept"] is False
    assert run("fit", noise(), "--routes", "routes.json").code == 1
    assert not Path("routes.db").exists()


def test_a_promise_the_data_cannot_support_is_told() -> None:
    result = run("fit", "queries.csv", "--routes", "routes.json", "--target-precision", 0.999)
    assert "84 queries cannot support a precision of 99.9%" in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("queries.csv", "--forget"),
        ("--forget", "--routes", "routes.json"),
        ("queries.csv", "--routes", "routes.json", "--db", "store.db"),
        ("queries.csv", "--target-precision", "0.9", "--max-false-reject", "0.1"),
        ("queries.csv", "--target-precision", "1.1"),
    ],
)
def test_wrong_usage(options: tuple[str, ...]) -> None:
    result = run("fit", *options)
    assert (result.code, result.stdout) == (2, "")


def test_what_cannot_be_fitted_is_one_line_of_error() -> None:
    Path("few.csv").write_text("query,route\nwhere is it,order_status\n", encoding="utf-8")
    Path("unknown.csv").write_text("query,route\nwhere is it,sports\n", encoding="utf-8")
    for options, message in (
        (("few.csv", "--db", "store.db"), "error: not enough data: 1 usable queries with 1 different labels, wanted"),
        (("unknown.csv", "--db", "store.db"), "error: there is no route named 'sports'; add the route or correct"),
        (("queries.csv", "--db", "store.db", "--target-precision", "1"), "error: target_precision is 1.0, wanted"),
        (("queries.csv", "--db", "gone.db"), "error: there is no store gone.db"),
        (("--forget", "--db", "gone.db"), "error: there is no store gone.db"),
        (("gone.csv", "--db", "store.db"), "error: cannot read gone.csv"),
    ):
        result = run("fit", *options)
        assert (result.code, result.stdout) == (1, "")
        assert result.stderr.startswith(message)
        assert result.stderr.count("\n") == 1
