from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from synaptoroute.cli import app
from synaptoroute.cli.demo import demo_queries, demo_routes


def test_the_data_is_large_enough_to_mean_something() -> None:
    routes, queries = demo_routes(), demo_queries()
    assert len(routes) >= 12
    assert min(len(route.utterances) for route in routes) >= 8
    assert all(route.description for route in routes)
    assert len(queries) >= 60
    assert sum(expected is None for _, expected in queries) >= 15


def test_every_route_is_asked_for_and_every_query_names_a_route() -> None:
    expected = {expected for _, expected in demo_queries() if expected is not None}
    assert expected == {route.name for route in demo_routes()}


def test_no_query_is_an_utterance_and_none_is_there_twice() -> None:
    def plain(text: str) -> str:
        return " ".join("".join(char if char.isalnum() else " " for char in text.lower()).split())

    utterances = {plain(text) for route in demo_routes() for text in route.utterances}
    queries = [plain(query) for query, _ in demo_queries()]
    assert not utterances & set(queries)
    assert len(set(queries)) == len(queries)


@pytest.fixture(scope="module")
def printed() -> str:
    result = CliRunner().invoke(app, ["demo"])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_it_prints_a_row_a_query_and_the_accuracy_at_the_end(printed: str) -> None:
    table, _, summary = printed.partition("\n\n")
    header, *rows = table.splitlines()
    assert header.split() == ["query", "expected", "route", "confidence", "nearest", "utterance", "ms"]
    assert len(rows) == len(demo_queries())
    for (query, expected), row in zip(demo_queries(), rows, strict=True):
        assert row[0] in "✓✗"
        assert query in row
        assert (expected or "none") in row
    assert f"of {len(rows)})" in summary.splitlines()[0]
    for words in ("accuracy", "in scope", "out of scope", "median", "p95", "encoder              all-MiniLM-L6-v2"):
        assert words in summary


def test_json_holds_what_the_table_shows() -> None:
    result = CliRunner().invoke(app, ["demo", "--json"])
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    queries, summary = shown["queries"], shown["summary"]
    assert [(answer["query"], answer["expected"]) for answer in queries] == demo_queries()
    assert all(answer["right"] == (answer["name"] == answer["expected"]) for answer in queries)
    assert all(answer["ms"] > 0 for answer in queries)
    assert summary["all"] == [sum(answer["right"] for answer in queries), len(queries)]
    assert [sum(pair) for pair in zip(summary["in_scope"], summary["out_of_scope"], strict=True)] == summary["all"]
    assert 0 < summary["median_ms"] <= summary["p95_ms"]
