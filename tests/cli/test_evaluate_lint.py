from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import InvalidInputError
from synaptoroute.labelled_files import read_queries
from synaptoroute.models import Route
from synaptoroute.route_files import write_routes
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from tests.cli.test_cli import Result, run, spawn

ROUTES = [
    Route(
        name="billing",
        utterances=["what do I owe", "show my balance", "pay my bill", "how much is my invoice", "I want to pay"],
    ),
    Route(
        name="weather",
        utterances=["will it rain", "is it sunny outside", "weather forecast", "how cold is it", "is a storm coming"],
    ),
]
CLEAN = [("show me my balance", "billing"), ("will it rain tomorrow", "weather"), ("who painted this ceiling", "")]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNAPTOROUTE_DB", raising=False)
    write_routes(ROUTES, "routes.json")


def queries_file(rows: list[tuple[str, str]], name: str = "queries.csv") -> Path:
    path = Path(name)
    path.write_text("query,route\n" + "".join(f"{query},{route}\n" for query, route in rows))
    return path


def evaluate(*arguments: object, stdin: str = "") -> Result:
    return run("evaluate", *arguments, "--routes", "routes.json", stdin=stdin)


# --------------------------------------------------------------------------------------------------- labelled files
def test_csv_and_json_lines_say_the_same() -> None:
    csv = 'split,Route,query\ntest,billing,"pay, please"\r\ntest,,  what is love \n\ntest," weather ",will it rain\n'
    lines = [
        {"query": "pay, please", "route": "billing"},
        {"query": "what is love", "route": None, "split": "test"},
        {"query": "will it rain", "route": "weather"},
    ]
    wanted = (["pay, please", "what is love", "will it rain"], ["billing", None, "weather"])
    assert read_queries(io.StringIO("\ufeff" + csv, newline=""), "csv") == wanted
    text = "\r\n".join(json.dumps(line) for line in lines) + "\n\n"
    assert read_queries(io.BytesIO(text.encode()), "jsonl") == wanted
    for name, content in (("q.CSV", csv), ("q.jsonl", text), ("q.ndjson", text)):
        Path(name).write_text(content, newline="")
        assert read_queries(name) == wanted


def test_a_line_break_inside_a_json_text_ends_no_line() -> None:
    line = json.dumps({"query": "one\u2028two", "route": ""}, ensure_ascii=False)
    assert read_queries(io.StringIO(line), "jsonl") == (["one\u2028two"], [None])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.csv", "query,label\nx,a\n", "q.csv: line 1: the columns are 'query,label', wanted query and route"),
        ("q.csv", "", "q.csv: line 1: the columns are ''"),
        ("q.csv", "query,route,query\n", "line 1: the columns"),
        ("q.csv", "query,route\n", "q.csv: there is no query in it"),
        ("q.csv", "query,route\nx,a\npay, please,a\n", "q.csv: line 3: 3 cells, wanted 2; quote"),
        ("q.csv", "query,route\nx,a\n ,a\n", "q.csv: line 3: text is empty"),
        ("q.csv", 'query,route\n"two\nlines",a\nx,\x07\n', "q.csv: line 4: route name"),
        ("q.csv", 'query,route\n"x,a\n', "q.csv: line 2: not CSV"),
        ("q.jsonl", '\n{"query": "x"}\n', "q.jsonl: line 2: it has no route; a query of no route says null"),
        ("q.jsonl", '{"query": 7, "route": null}', "line 1: query must be a text"),
        ("q.jsonl", '{"query": "x", "route": 7}', "line 1: query must be a text and route a text or null"),
        ("q.jsonl", "[]", "line 1: wanted an object with query and route, got list"),
        ("q.jsonl", "{", "q.jsonl: line 1: not JSON"),
        ("q.jsonl", "[" * 100_000, "q.jsonl: line 1: it is nested too deeply"),
        ("q.json", "[]", "cannot tell its format from the extension '.json'; say one of csv, jsonl"),
    ],
)
def test_a_labelled_file_that_cannot_be_used_is_named_with_its_line(name: str, content: str, message: str) -> None:
    Path(name).write_text(content, newline="")
    with pytest.raises(InvalidInputError) as caught:
        read_queries(name)
    assert message in str(caught.value)


def test_a_stream_needs_a_format_and_a_missing_file_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="cannot tell its format"):
        read_queries(io.StringIO("query,route\n"))
    with pytest.raises(InvalidInputError, match="unknown format 'xml'"):
        read_queries(io.StringIO(), "xml")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"cannot read gone\.csv"):
        read_queries("gone.csv")


# --------------------------------------------------------------------------------------------------------- evaluate
def test_evaluate_prints_figures_and_then_what_went_wrong() -> None:
    path = queries_file([*CLEAN, ("is a storm coming to town", "billing")])
    result = evaluate(path)
    assert (result.code, result.stderr) == (0, "")
    figures, routes, confusions, failures = result.stdout.split("\n\n")
    assert [line.split()[-1] for line in figures.splitlines() if line.startswith(("queries  ", "accuracy  "))] == [
        "4", "0.750",
    ]  # fmt: skip
    assert routes.startswith("routes, lowest F1 first\n")
    assert {line.split()[0] for line in routes.splitlines()[2:]} == {"billing", "weather"}
    assert confusions.splitlines()[2].split() == ["billing", "weather", "1"]
    assert failures.splitlines()[0] == "failures, most confident first"
    assert "is a storm coming to town  billing   weather" in failures
    assert failures.rstrip().endswith("is a storm coming")


def test_evaluate_of_all_right_prints_only_figures() -> None:
    result = evaluate(queries_file(CLEAN))
    assert "\n\n" not in result.stdout
    assert "failures" in result.stdout


def test_evaluate_as_json_holds_every_failure_unless_told_otherwise() -> None:
    wrong = [(f"will it rain on day {day}", "billing") for day in range(12)]
    path = queries_file(wrong)
    shown = evaluate(path, "--json").json
    assert (shown["n"], shown["accuracy"], len(shown["failures"])) == (12, 0, 12)
    assert shown["confusions"] == [{"expected": "billing", "chosen": "weather", "count": 12}]
    assert shown["failures"][0]["matches"][0]["name"] == "weather"
    assert len(evaluate(path, "--json", "--failures", 2).json["failures"]) == 2
    assert evaluate(path, "--json", "--failures", 0).json["failures"] == []
    assert "failures, most confident first (10 of 12)" in evaluate(path).stdout
    assert "failures, most confident first" not in evaluate(path, "--failures", 0).stdout


def test_evaluate_fails_below_the_accuracy_that_was_asked_for() -> None:
    path = queries_file([*CLEAN, ("is a storm coming to town", "billing")])
    assert evaluate(path, "--min-accuracy", 0.75).code == 0
    result = evaluate(path, "--min-accuracy", 0.8, "--json")
    assert (result.code, result.json["accuracy"]) == (1, 0.75)
    assert result.stderr == "error: the accuracy is 0.7500, wanted at least 0.8\n"
    assert evaluate(path, "--min-accuracy", 1.1).code == 2


def test_evaluate_reads_a_store_and_stdin(encoder: BundledEncoder) -> None:
    with AdaptiveRouter(encoder, SQLiteStorage("store.db")) as router:
        router.add_routes(ROUTES)
    lines = "\n".join(json.dumps({"query": query, "route": route or None}) for query, route in CLEAN)
    result = spawn("evaluate", "-", "--format", "jsonl", "--db", "store.db", "--json", stdin=lines.encode())
    assert (result.code, result.stderr, result.json["accuracy"]) == (0, "", 1)


def test_evaluate_refuses_what_it_cannot_judge() -> None:
    unknown = evaluate(queries_file([("x y", "sports"), ("y z", "news")]))
    assert (unknown.code, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("error: there is no route named 'sports', 'news'; add the route or correct")
    assert evaluate("gone.csv").code == 1
    assert evaluate("-").code == 1
    path = queries_file(CLEAN)
    assert evaluate(path, "--db", "store.db").code == 2
    assert run("evaluate", path, "--db", "gone.db").stderr.startswith("error: there is no store gone.db")


# ------------------------------------------------------------------------------------------------------------- lint
def lint(*arguments: object, routes: list[Route]) -> Result:
    write_routes(routes, "linted.json")
    return run("lint", "--routes", "linted.json", *arguments)


def test_lint_of_clean_routes_says_so_on_stderr() -> None:
    result = lint("--strict", routes=ROUTES)
    assert (result.code, result.stdout) == (0, "")
    assert result.stderr.startswith("0 errors, 0 warnings, ")


def test_lint_fails_on_errors_and_on_warnings_only_when_strict() -> None:
    few = [ROUTES[0], ROUTES[1].replaced(utterances=ROUTES[1].utterances[:3])]
    warned = lint(routes=few)
    assert warned.code == 0
    assert warned.stdout.splitlines()[1].startswith("warning   few   'weather' has 3 utterances")
    assert lint("--strict", routes=few).code == 1

    doubled = [ROUTES[0], ROUTES[1].replaced(utterances=[*ROUTES[1].utterances, "Pay my bill"])]
    wrong = lint("--json", routes=doubled)
    assert wrong.code == 1
    assert wrong.json["counts"]["error"] == 1
    first = wrong.json["findings"][0]
    assert (first["severity"], first["kind"], first["routes"]) == ("error", "duplicate", ["billing", "weather"])
    assert first["fixes"] == [{"action": "remove_utterance", "route": "weather", "utterance": "Pay my bill"}]


def test_lint_lists_infos_when_asked() -> None:
    short = [ROUTES[0].replaced(utterances=[*ROUTES[0].utterances, "invoices"]), ROUTES[1]]
    quiet = lint(routes=short)
    assert "invoices" not in quiet.stdout
    assert quiet.stderr.endswith("; list the infos with --all\n")
    shown = lint("--all", routes=short)
    assert "'invoices' of 'billing' has one word" in shown.stdout
    assert "--all" not in shown.stderr


def test_lint_reads_a_store(encoder: BundledEncoder) -> None:
    with AdaptiveRouter(encoder, SQLiteStorage("store.db")) as router:
        router.add_routes([Route(name="a", utterances=["pay my bill"]), Route(name="b", utterances=["pay my bill"])])
    result = spawn("lint", "--db", "store.db")
    assert result.code == 1
    assert result.stdout.splitlines()[1].startswith("error     duplicate  'pay my bill' is in 'a' and 'b'")
    assert result.stderr == "1 error, 2 warnings, 0 infos\n"
    assert run("lint", "--db", "gone.db").code == 1
    assert run("lint", "--db", "store.db", "--routes", "routes.json").code == 2
