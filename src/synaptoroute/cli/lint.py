"""``synaptoroute lint``: what is wrong with the routes, without a single query."""

from collections import Counter
from typing import Annotated

import typer

from synaptoroute.cli import output
from synaptoroute.cli.routes import DEFAULT_DB, Db, Json
from synaptoroute.cli.source import RoutesFile, router_over


def lint(
    context: typer.Context,
    *,
    db: Db = DEFAULT_DB,
    routes: RoutesFile = None,
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on warnings too.")] = False,
    all_findings: Annotated[
        bool, typer.Option("--all", help="List infos too; without it the table only counts them. JSON has all.")
    ] = False,
) -> None:
    """Look for duplicates, utterances in the wrong route, routes that overlap, and what else makes routing unsure.

    Exit codes: 0 no errors, 1 failure or errors found (with --strict also warnings), 2 wrong usage.
    """
    from synaptoroute.lint import Severity
    from synaptoroute.lint import lint as findings_of

    with router_over(context, db, routes) as router:
        findings = findings_of(router.snapshot)
    counts = Counter(finding.severity for finding in findings)
    if as_json:
        output.print_json(
            {
                "counts": {severity.value: counts[severity] for severity in Severity},
                "findings": [finding.to_dict() for finding in findings],
            }
        )
    else:
        shown = [finding for finding in findings if all_findings or finding.severity is not Severity.INFO]
        if shown:
            rows = [[found.severity.value, found.kind.value, found.problem, found.advice] for found in shown]
            output.print_table(["severity", "kind", "problem", "advice"], rows)
        hidden = "" if all_findings or not counts[Severity.INFO] else "; list the infos with --all"
        output.note(", ".join(f"{_counted(counts[severity], severity.value)}" for severity in Severity) + hidden)
    if counts[Severity.ERROR] or (strict and counts[Severity.WARNING]):
        raise typer.Exit(output.FAILED)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
