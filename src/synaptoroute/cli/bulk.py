"""``synaptoroute route --input --output``: a file of rows through the router."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute.cli import completion, output

if TYPE_CHECKING:
    from synaptoroute.bulk import Asked, BulkColumns, BulkReport
    from synaptoroute.router import AdaptiveRouter

#: As in ``synaptoroute.bulk.run``, which takes pyarrow to import.
BATCH_ROWS = 1_024
#: Where no bar can be drawn there is a line now and then, at most this often.
_LINE_EVERY_S = 30.0


class Column(StrEnum):
    """What can be added, as in ``synaptoroute.bulk.ADDED``."""

    NAME = "name"
    SCORE = "score"
    CONFIDENCE = "confidence"
    REASON = "reason"
    RUNNER_UP = "runner_up"
    REVISION = "revision"
    STAGE = "stage"


Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        autocompletion=completion.rows_file,
        help="Route the rows of this Parquet, CSV or JSON Lines file; with --output.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        autocompletion=completion.rows_file,
        help="Where the rows of --input go, with their decisions; in any format.",
    ),
]
TextColumn = Annotated[str, typer.Option("--text-column", help="The column of --input that holds the texts.")]
Add = Annotated[
    list[Column] | None,
    typer.Option("--add", help="Add this of the decision to the rows of --input; may be repeated. All, unless given."),
]
Prefix = Annotated[str, typer.Option("--prefix", help="In front of the names of the columns added.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Rows of --input decided together.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace --output, and give up what another run towards it has left.")
]


def columns(text: str, add: list[Column] | None, prefix: str) -> "BulkColumns":
    """The columns of a run. Raises MissingExtraError without pyarrow."""
    from synaptoroute.bulk import ADDED, BulkColumns

    return BulkColumns(text=text, add=tuple(column.value for column in add) if add else ADDED, prefix=prefix)


def route_rows(
    router: "AdaptiveRouter",
    source: Path,
    target: Path,
    wanted: "BulkColumns",
    *,
    batch_rows: int,
    overwrite: bool,
    asked: "Asked",
) -> None:
    """Route the rows of a file into another, and say how it went."""
    from synaptoroute.bulk import route_file

    started = time.monotonic()
    with _progress(source) as progress:
        report = route_file(
            router,
            source,
            target,
            columns=wanted,
            batch_rows=batch_rows,
            overwrite=overwrite,
            progress=progress,
            **asked,
        )
    output.note(_summary(report, time.monotonic() - started))


@contextmanager
def _progress(source: Path) -> Iterator[Callable[[int, int | None], None]]:
    """A bar with rows and the time left on a terminal, else a line now and then."""
    began, said, before = time.monotonic(), time.monotonic(), None
    with output.progress(f"routing {source.name}", "rows") as bar:

        def tell(rows: int, total: int | None) -> None:
            nonlocal began, said, before
            bar(rows, total)
            now = time.monotonic()
            if before is None:
                # What an earlier run has left, and what it took to learn, say nothing about the speed.
                began, before = now, rows
            if output.on_terminal() or rows == before or now - said < _LINE_EVERY_S:
                return
            said, speed = now, (rows - before) / (now - began)
            of = "" if total is None else f" of {total:,}"
            left = "" if total is None else f", {(total - rows) / speed:,.0f} s left"
            output.note(f"{rows:,}{of} rows, {speed:,.0f} rows/s{left}")

        yield tell


def _summary(report: "BulkReport", seconds: float) -> str:
    done = report.rows - report.resumed
    resumed = f", {report.resumed:,} of them in an earlier run" if report.resumed else ""
    unrouted = "".join(f", {count:,} {reason}" for reason, count in report.unrouted.items())
    return (
        f"{report.rows:,} rows{resumed}: {report.routed:,} with a route, {report.abstained:,} without{unrouted}; "
        f"{done:,} rows in {seconds:,.1f} s, {done / max(seconds, 1e-9):,.0f} rows/s, revision {report.revision}"
    )
