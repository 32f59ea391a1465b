"""``synaptoroute replay``: recorded decisions, decided again by other routes."""

from pathlib import Path
from typing import Annotated

import typer

from synaptoroute.cli import output
from synaptoroute.cli.routes import DEFAULT_DB, Db, opened

#: Rows of pairs on a terminal.
_ROWS = 20


def replay(
    records: Annotated[
        Path, typer.Argument(help="A file of records with its predecessors (.1, .2 ...), or a folder of such files.")
    ],
    *,
    db: Db = DEFAULT_DB,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="REVISION|SNAPSHOT", help="Whose routes decide; those of now unless given."),
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many changed queries are shown.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
) -> None:
    """Decide recorded queries again by other routes, and show which decisions would change.

    Records are written by a server with the setting records, or by a DecisionLog. Only those that hold their query
    (records_queries = text) can be decided again; the others are counted.
    """
    from synaptoroute.observability.record_reading import read_records, record_files
    from synaptoroute.replaying import replay as run

    record_files(records)
    wanted = int(at) if at is not None and at.isdecimal() else at
    with opened(db) as router, output.progress("replaying", "records") as advance:
        report = run(
            router, read_records(records), at=wanted, examples=examples, progress=lambda read: advance(read, None)
        )
    if as_json:
        output.print_json(report.to_dict())
        return
    found = report.comparison
    output.print_table(
        ["decided by", "records", "replayed", "changed", "share", "without text", "unusable"],
        [
            [
                report.at,
                report.records,
                found.compared,
                found.changed,
                found.share,
                report.without_text,
                report.unusable,
            ]
        ],
    )
    if report.without_text:
        output.note(
            f"{report.without_text:,} of {report.records:,} records have no text and cannot be replayed; "
            "records_queries = text writes it"
        )
    if found.pairs:
        output.print_text("")
        output.print_table(
            ["before", "after", "queries"],
            [[pair.before or "none", pair.after or "none", pair.count] for pair in found.pairs[:_ROWS]],
        )
    if found.examples:
        output.print_text("")
        output.print_table(
            ["query", "before", "after", "confidence before", "confidence after"],
            [
                [each.query, each.before or "none", each.after or "none", each.confidence_before, each.confidence_after]
                for each in found.examples
            ],
        )
