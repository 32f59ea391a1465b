"""``synaptoroute import``: the routes of another router, what could not be carried, and how they decide here."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from synaptoroute.cli import completion, engine, output
from synaptoroute.cli.routes import DEFAULT_DB, Conflict, Db, JsonDone, done, load, opened, told

if TYPE_CHECKING:
    from synaptoroute.holdout import HeldOutShares
    from synaptoroute.importing import Imported
    from synaptoroute.models import Route
    from synaptoroute.router import AdaptiveRouter

ForeignFormat = Literal[
    "auto", "synaptoroute", "semantic-router-0", "semantic-router-1", "litellm", "redisvl", "rasa", "dialogflow-es",
    "dialogflow-cx", "csv", "json", "jsonl", "parquet",
]  # fmt: skip

#: Tables of more utterances are not checked: learning them four times takes minutes.
_CHECKED_UP_TO = 5_000


def import_foreign(
    file: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.files(),
            help="A file, a zip archive or a folder of another router; or - for stdin.",
        ),
    ],
    *,
    file_format: Annotated[
        ForeignFormat, typer.Option("--format", help="The file's format; auto looks into it.")
    ] = "auto",
    db: Db = DEFAULT_DB,
    target: Annotated[
        Path | None,
        typer.Option("--output", help="Write the routes to this JSON, YAML, CSV or JSON Lines file, not to a store."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report; store and write nothing.")] = False,
    on_conflict: Annotated[
        Conflict, typer.Option(help="When another route of that name is in the store; as for 'routes import'.")
    ] = "error",
    keep_thresholds: Annotated[
        bool,
        typer.Option(
            "--keep-thresholds",
            help="Take over thresholds that somebody chose, as cosine scores. They mean the same only if the encoder "
            "stays the same.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Ask each utterance of routes that have learned without it.")
    ] = True,
    language: Annotated[
        str | None,
        typer.Option("--language", help="Of a Dialogflow agent, whose phrases are read, if not its own."),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option("--text-column", help="Of rows, the column that holds the texts.")
    ] = None,
    route_column: Annotated[
        str | None, typer.Option("--route-column", help="Of rows, the column that holds the routes.")
    ] = None,
    as_json: JsonDone = False,
) -> None:
    """Import the routes of another router, and say what could not be carried.

    Reads files of semantic-router 0.x and 1.x (YAML, JSON), LiteLLM's router.json, RedisVL routers, Rasa NLU data,
    Dialogflow ES and CX agents, and labelled examples as CSV, JSON, JSON Lines or Parquet. No code that a file names is
    loaded. Thresholds are not copied, because they belong to another encoder: the router calibrates itself from the
    utterances, and each of these is asked of routes that have learned without it, to show what that comes to.

    Files of this program's own format are read too; 'routes import' reads those of any size, and changes nothing in
    them.

    Exit codes: 0 imported, whatever was noted; 1 failure; 2 wrong usage.
    """
    from synaptoroute.importing import read_foreign

    if target is not None and dry_run:
        raise typer.BadParameter("give --output or --dry-run, not both")
    imported = read_foreign(
        sys.stdin.buffer if file == "-" else file,
        file_format,
        language=language,
        text_column=text_column,
        route_column=route_column,
    )
    routes = imported.with_thresholds() if keep_thresholds else imported.routes
    report: dict[str, Any]
    if target is not None or (dry_run and not db.exists()):
        report, shares = _apart(routes, target, check=check)
    else:
        report, shares = _into_store(routes, db, on_conflict, dry_run=dry_run, check=check)
    if as_json:
        output.print_json(_as_json(file, imported, routes, report, shares))
    else:
        _print_tables(imported, routes, shares)
    _note(file, imported, report, checked=shares is not None or not check)


def _apart(
    routes: "Sequence[Route]", target: Path | None, *, check: bool
) -> "tuple[dict[str, Any], dict[str, HeldOutShares] | None]":
    """Routes that go into a file, or nowhere: they are only compared with each other."""
    from synaptoroute.route_files import write_routes

    shares = None
    if check and sum(len(route.utterances) for route in routes) <= _CHECKED_UP_TO:
        with engine.router() as router:
            with output.progress("encoding") as advance:
                router.add_routes(routes, progress=advance)
            shares = _held_out(router, routes)
    if target is not None:
        write_routes(routes, target)
    counts = {"added": len(routes), "changed": 0, "unchanged": 0}
    return {"stored": False, "output": str(target) if target else None, **counts, "revision": None}, shares


def _into_store(
    routes: "Sequence[Route]", db: Path, on_conflict: Conflict, *, dry_run: bool, check: bool
) -> "tuple[dict[str, Any], dict[str, HeldOutShares] | None]":
    """Routes that go into the store, or could: they are compared with all that are there."""
    shares = None
    with opened(db, create=True) as router:
        counts = load(router, lambda: routes, on_conflict, dry_run=dry_run)
        revision = None if dry_run else router.revision
        if check and not dry_run:
            shares = _held_out(router, routes)
    if check and dry_run:
        _, shares = _apart(routes, None, check=True)
    found = {"stored": not dry_run, "output": None, **done(counts), "revision": revision, "told": told(counts)}
    return found, shares


def _held_out(router: "AdaptiveRouter", routes: "Sequence[Route]") -> "dict[str, HeldOutShares] | None":
    """How utterances are decided that were left out; None if that would take too long."""
    from synaptoroute.decision.policy import Limits
    from synaptoroute.holdout import ask_held_out, by_route

    table = router.snapshot
    if len(table.index) > _CHECKED_UP_TO:
        return None
    limits = Limits(min_confidence=router.min_confidence)
    with output.progress("learning and asking"):
        return dict(by_route(ask_held_out(table, routes={route.name for route in routes}, limits=limits)))


def _as_json(
    file: str,
    imported: "Imported",
    routes: "Sequence[Route]",
    report: dict[str, Any],
    shares: "dict[str, HeldOutShares] | None",
) -> dict[str, Any]:
    entries = []
    for route in routes:
        limit = imported.thresholds.get(route.name)
        found = shares.get(route.name) if shares else None
        entries.append(
            {
                "name": route.name,
                "utterance_count": len(route.utterances),
                "threshold": route.threshold,
                "threshold_there": None
                if limit is None
                else {"value": limit.value, "scale": limit.scale, "default": limit.default},
                "held_out": found.to_dict() if found else None,
            }
        )
    told_only = {key: value for key, value in report.items() if key != "told"}
    return {
        "file": file,
        "format": imported.format,
        **told_only,
        "routes": entries,
        "notes": [note.to_dict() for note in imported.notes],
    }


def _print_tables(imported: "Imported", routes: "Sequence[Route]", shares: "dict[str, HeldOutShares] | None") -> None:
    from synaptoroute.importing import grouped

    rows: list[list[output.Cell]] = []
    for route in routes:
        limit = imported.thresholds.get(route.name)
        there = "-" if limit is None else f"{limit.scale} {limit.value:g}{' (default)' if limit.default else ''}"
        found = shares.get(route.name) if shares else None
        counts: list[output.Cell] = [found.asked, found.right, found.wrong, found.abstained] if found else [None] * 4
        rows.append([route.name, len(route.utterances), there, route.threshold, *counts])
    columns = ["route", "utterances", "threshold there", "threshold", "asked held out", "right", "wrong", "abstained"]
    output.print_table(columns, rows)
    notes = grouped(imported.notes)
    if notes:
        output.print_text("")
        output.print_table(
            ["severity", "about", "where", "what"],
            [
                [
                    note.severity.value,
                    note.kind,
                    note.place + (f" and {count - 1:,} more" if count > 1 else ""),
                    note.message,
                ]
                for note, count in notes
            ],
        )


def _where(place: str, count: int) -> str:
    return f"{place} and {count - 1:,} more" if count > 1 else place


def _note(file: str, imported: "Imported", report: dict[str, Any], *, checked: bool) -> None:
    if report["output"]:
        what = f"{len(imported.routes):,} routes written to {report['output']}"
    elif report["stored"]:
        what = f"{report['told']}; revision {report['revision']}"
    else:
        what = f"nothing was stored: {report.get('told') or f'{len(imported.routes):,} routes could be added'}"
    warnings = len(imported.warnings)
    noted = f"; {warnings:,} warning{'' if warnings == 1 else 's'}" if warnings else ""
    output.note(f"imported {file} ({imported.format}): {what}{noted}")
    if not checked:
        output.note(f"with over {_CHECKED_UP_TO:,} utterances nothing was asked held out; label queries and evaluate")
