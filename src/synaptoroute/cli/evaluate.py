"""``synaptoroute evaluate``: labelled queries in, figures and failures out."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from synaptoroute.cli import completion, output
from synaptoroute.cli.routes import DEFAULT_DB, Db, Json
from synaptoroute.cli.source import RoutesFile, router_over

if TYPE_CHECKING:
    from synaptoroute.evaluation import Evaluation, Failure
    from synaptoroute.models import Decision
    from synaptoroute.router import AdaptiveRouter

QUERIES_HELP = "CSV or JSON lines with query and route, empty if out of scope; - for stdin with --format."
QueriesFormat = Annotated[
    Literal["csv", "jsonl"] | None, typer.Option("--format", help="The file's format; by its extension unless given.")
]

#: Queries routed between two steps of the progress bar.
_BATCH = 64
#: Rows that the tables of routes and confusions have at most; JSON has all.
_ROWS = 15


def evaluate(
    context: typer.Context,
    file: Annotated[str, typer.Argument(autocompletion=completion.queries_file, help=QUERIES_HELP)],
    *,
    db: Db = DEFAULT_DB,
    routes: RoutesFile = None,
    as_json: Json = False,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 if the accuracy is below this share.")
    ] = None,
    failures: Annotated[
        int | None, typer.Option(min=0, help="How many failures to list; 10, with --json all, unless given.")
    ] = None,
    file_format: QueriesFormat = None,
) -> None:
    """Route labelled queries and say how many were right, which were not, and how far to trust the confidence.

    Exit codes: 0 all well, 1 failure or an accuracy below --min-accuracy, 2 wrong usage.
    """
    from synaptoroute.evaluation import check_labels, evaluated
    from synaptoroute.labelled_files import read_queries

    queries, labels = read_queries(sys.stdin.buffer if file == "-" else file, file_format)
    with router_over(context, db, routes) as router:
        expected = check_labels(labels, {route.name for route in router.routes})
        router.warm_up()
        evaluation = evaluated(queries, expected, _decisions(router, queries))
    if as_json:
        found = evaluation.to_dict()
        output.print_json(found | {"failures": found["failures"][:failures]})
    else:
        _print_tables(evaluation, 10 if failures is None else failures)
    if min_accuracy is not None and evaluation.accuracy < min_accuracy:
        output.error(f"the accuracy is {evaluation.accuracy:.4f}, wanted at least {min_accuracy:g}")
        raise typer.Exit(output.FAILED)


def _decisions(router: "AdaptiveRouter", queries: list[str]) -> "list[Decision]":
    decisions: list[Decision] = []
    with output.progress("routing") as done:
        for start in range(0, len(queries), _BATCH):
            decisions += router.route_many(queries[start : start + _BATCH])
            done(len(decisions), len(queries))
    return decisions


def _print_tables(evaluation: "Evaluation", failures: int) -> None:
    output.print_table(["figure", "value"], evaluation.to_table())
    weak = [route for route in evaluation.routes if route.f1 < 1]
    _print_section(
        "routes, lowest F1 first",
        ["route", "queries", "chosen", "precision", "recall", "F1"],
        [[route.name, route.support, route.chosen, route.precision, route.recall, route.f1] for route in weak],
        _ROWS,
    )
    _print_section(
        "confusions",
        ["expected", "chosen", "queries"],
        [[pair.expected or "none", pair.chosen or "none", pair.count] for pair in evaluation.confusions],
        _ROWS,
    )
    _print_section(
        "failures, most confident first",
        ["query", "expected", "chosen", "confidence", "best match", "score", "nearest utterance"],
        [
            [failure.query, failure.expected or "none", failure.chosen or "none", failure.confidence, *_best(failure)]
            for failure in evaluation.failures
        ],
        failures,
    )


def _best(failure: "Failure") -> list[output.Cell]:
    if not failure.matches:
        return [None, None, None]
    best = failure.matches[0]
    return [best.name, best.score, best.utterance]


def _print_section(title: str, columns: list[str], rows: list[list[output.Cell]], limit: int) -> None:
    if not rows or not limit:
        return
    output.print_text("")
    output.print_text(title if len(rows) <= limit else f"{title} ({limit} of {len(rows):,})")
    output.print_table(columns, rows[:limit])
