"""``synaptoroute fit``: labelled queries in, a router that has learned from them and how far that helped out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute.cli import completion, output
from synaptoroute.cli.evaluate import QUERIES_HELP, QueriesFormat
from synaptoroute.cli.routes import DEFAULT_DB, Db, Json, opened
from synaptoroute.cli.source import router_over

if TYPE_CHECKING:
    from synaptoroute.fitting import FitReport

#: Shares of the queries at which the curve is printed; JSON has all of it.
_COVERAGES = tuple(tenths / 10 for tenths in range(1, 11))


def fit(
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(autocompletion=completion.queries_file, help=QUERIES_HELP)] = None,
    *,
    db: Db = DEFAULT_DB,
    routes: Annotated[
        Path | None,
        typer.Option(
            "--routes",
            autocompletion=completion.routes_file,
            help="Only report how far fitting the routes of this file helps; nothing is kept.",
        ),
    ] = None,
    as_json: Json = False,
    target_precision: Annotated[
        float | None, typer.Option(min=0, max=1, help="Answer as many queries as leave this share of answers right.")
    ] = None,
    max_false_reject: Annotated[
        float | None, typer.Option(min=0, max=1, help="Reject at most this share of the queries in scope.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Keep the fit even if it does not help.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Forget what was fitted and learn from the utterances alone again.")
    ] = False,
    file_format: QueriesFormat = None,
) -> None:
    """Learn from labelled queries and keep that in the store, in the place of any earlier fit.

    All figures are of queries held out. A fit that does not improve them is not kept.
    Exit codes: 0 kept, or with --routes worth keeping; 1 failure or a fit that does not help; 2 wrong usage.
    """
    if forget:
        if file or routes:
            raise typer.BadParameter("--forget takes a store and nothing else")
        _forget(db, as_json=as_json)
        return
    if file is None:
        raise typer.BadParameter("give a file of labelled queries, or --forget")
    if target_precision is not None and max_false_reject is not None:
        raise typer.BadParameter("give --target-precision or --max-false-reject, not both")

    from synaptoroute.labelled_files import read_queries

    queries, labels = read_queries(sys.stdin.buffer if file == "-" else file, file_format)
    with router_over(context, db, routes) as router, output.progress("fitting"):
        report = router.fit(
            queries, labels, target_precision=target_precision, max_false_reject=max_false_reject, force=force
        )
    if as_json:
        output.print_json({"kept": report.applied and routes is None, **report.to_dict()})
    else:
        _print_tables(report)
    if not report.applied:
        output.error("the fit does not help, so the routes are left as they were; --force keeps it all the same")
        raise typer.Exit(output.FAILED)
    if routes:
        output.note(f"nothing was kept: to keep the fit, import {routes} into a store and name that with --db")
    else:
        output.note(f"the fit is kept in {db}; routers that are open there use it when they are opened again")


def _forget(db: Path, *, as_json: bool) -> None:
    with opened(db) as router, output.progress("learning"):
        forgotten = router.snapshot.labelled is not None
        if forgotten:
            router.forget_fit()
            router.refit()
    if as_json:
        output.print_json({"forgotten": forgotten})
    else:
        output.note(f"forgot the fit of {db}" if forgotten else f"there is no fit in {db}")


def _print_tables(report: "FitReport") -> None:
    from synaptoroute.decision.policy import DEFAULT_MIN_CONFIDENCE

    before, after = report.before, report.after
    point = DEFAULT_MIN_CONFIDENCE if report.min_confidence is None else report.min_confidence
    output.print_text(f"{report.queries:,} queries ({report.out_of_scope:,} out of scope), each decided while held out")
    output.print_table(
        ["figure", "before", "after"],
        [
            ["accuracy", before.accuracy, after.accuracy],
            ["best route right, in scope", before.in_scope_accuracy, after.in_scope_accuracy],
            ["out of scope rejected", before.out_of_scope_recall, after.out_of_scope_recall],
            ["AUROC", before.auroc, after.auroc],
            ["ECE", before.ece, after.ece],
            ["answers from confidence", DEFAULT_MIN_CONFIDENCE, point],
        ],
    )
    _print_lines("operating point", [report.promise] if report.promise else [])
    _print_lines("warnings", report.warnings)
    points = [next(point for point in report.curve if point.coverage >= share) for share in _COVERAGES]
    output.print_text("")
    output.print_text("what other least confidences would give")
    output.print_table(
        ["from confidence", "answered", "right of these"],
        [[point.min_confidence, point.coverage, point.precision] for point in dict.fromkeys(points)],
    )


def _print_lines(title: str, lines: Sequence[str]) -> None:
    if lines:
        output.print_text("")
        output.print_text(title)
        for line in lines:
            output.print_text(line)
