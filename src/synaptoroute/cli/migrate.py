"""``synaptoroute routes migrate-encoder``: all that a store holds, encoded anew by another encoder."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute.cli import completion, output
from synaptoroute.cli.evaluate import QUERIES_HELP, QueriesFormat
from synaptoroute.cli.history import stored
from synaptoroute.cli.routes import DEFAULT_DB, Db, Json

if TYPE_CHECKING:
    from synaptoroute.encoder.base import BaseEncoder
    from synaptoroute.migration import MigrationReport
    from synaptoroute.storage.base import EncoderIdentity

_SPECS = "bundled, fastembed:MODEL or another of docs/encoders.md"


def migrate_encoder(
    *,
    to: Annotated[str, typer.Option("--to", help=f"The encoder to migrate to: {_SPECS}.")] = "bundled",
    former: Annotated[
        str | None,
        typer.Option("--from", help="The encoder the store was written with, if it is at hand; see --queries."),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.queries_file,
            help=f"Report how decisions on these change, which takes --from. {QUERIES_HELP}",
        ),
    ] = None,
    file_format: QueriesFormat = None,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """Encode all that a store holds with another encoder, and report how decisions change.

    Until it is done, the store is as it was. A migration that is cut off keeps what it had encoded: repeat it, and it
    goes on there. The encoder that wrote the store need not be at hand. Stop other processes that use the store; a
    router that is to go on answering meanwhile can migrate itself (router.migrate_encoder).
    """
    if queries is not None and former is None:
        raise typer.BadParameter("--queries takes --from: only the former encoder can tell how they were decided")

    from synaptoroute.encoder.specs import make_encoder
    from synaptoroute.labelled_files import read_queries
    from synaptoroute.router import AdaptiveRouter

    texts, labels = None, None
    if queries is not None:
        texts, labels = read_queries(sys.stdin.buffer if queries == "-" else queries, file_format)
    encoder = make_encoder(to)
    with stored(db) as storage:
        identity = storage.encoder()
        if identity is None:
            if as_json:
                output.print_json(None)
            output.note(f"{db} holds no vectors, so there is nothing to migrate")
            return
        present = make_encoder(former) if former is not None else _present(identity, encoder)
        with AdaptiveRouter(present, storage, actor=output.user()) as router, output.progress("encoding") as advance:
            report = router.migrate_encoder(encoder, queries=texts, labels=labels, progress=advance)
    if as_json:
        output.print_json(report.to_dict())
    else:
        _print_report(report)


def _present(identity: "EncoderIdentity", encoder: "BaseEncoder") -> "BaseEncoder":
    """The encoder that wrote the store if it is the one to migrate to or a bundled one, else one that stands in."""
    from synaptoroute.encoder.bundled import MODELS, BundledEncoder
    from synaptoroute.migration import FormerEncoder

    known = (encoder, *map(BundledEncoder, MODELS))
    return next((its for its in known if its.fingerprint == identity.fingerprint), FormerEncoder(identity))


def _print_report(report: "MigrationReport") -> None:
    if report.former == report.current:
        output.note(f"the store is encoded by {report.current.name} ({report.current.fingerprint}) already")
        return
    decisions = report.decisions
    rows: list[list[output.Cell]] = [
        ["texts encoded", report.encoded],
        [f"queries ({report.basis})", decisions.compared],
        ["decisions changed", decisions.changed],
        ["right before", report.right_before],
        ["right now", report.right_after],
    ]
    output.print_table(["figure", "value"], rows)
    if decisions.pairs:
        output.print_text("")
        output.print_table(["before", "now", "queries"], [[p.before, p.after, p.count] for p in decisions.pairs])
    output.note(
        f"migrated from {report.former.name} to {report.current.name} ({report.current.fingerprint}), "
        f"revision {report.revision}"
    )
    if report.thresholds:
        output.note(
            f"{report.thresholds:,} routes have a threshold of their own, a cosine of {report.former.name}: set it anew"
        )
