"""The command ``synaptoroute``: data on stdout, everything else on stderr.

Exit codes: 0 all well, 1 failure, 2 wrong usage, 3 a query belongs to no route.

The router and its engines are imported inside the commands, so that ``--help`` and completion stay quick.
"""

import logging
import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from synaptoroute import __version__
from synaptoroute.cli import (
    bench,
    demo,
    doctor,
    evaluate,
    fit,
    history,
    lint,
    migrate,
    output,
    route,
    routes,
    safekeeping,
    serve,
)
from synaptoroute.errors import SynaptoRouteError

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Turns the errors of the package into one line and exit code 1; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SynaptoRouteError as exc:
            output.error(str(exc))
            raise typer.Exit(output.FAILED) from exc


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("route")(route.route)
app.add_typer(routes.app, name="routes")
routes.app.command("log")(history.log)
routes.app.command("diff")(history.diff)
routes.app.command("rollback")(history.rollback)
routes.app.add_typer(history.snapshots, name="snapshot")
routes.app.command("migrate-encoder")(migrate.migrate_encoder)
app.command("evaluate")(evaluate.evaluate)
app.command("fit")(fit.fit)
app.command("lint")(lint.lint)
app.command("backup")(safekeeping.backup)
app.command("restore")(safekeeping.restore)
app.command("verify")(safekeeping.verify)
app.command("repair")(safekeeping.repair)
app.command("serve")(serve.serve)
app.add_typer(serve.keys, name="keys")
app.add_typer(bench.app, name="bench")
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # the signature of an option's callback
    if wanted:
        typer.echo(f"synaptoroute {__version__}")
        raise typer.Exit


@app.callback()
def _synaptoroute(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Route text to the route whose example utterances it is closest to, or to none.

    Exit codes: 0 all well, 1 failure, 2 wrong usage, 3 a query has no route.
    """


def main() -> None:
    """The entry point of the console script."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Data is UTF-8 whatever the locale says: a pipe must not fail at the first accent.
        sys.stdout.reconfigure(encoding="utf-8")
    # That SQLite is old is said by ``doctor``, not before the result of every command.
    logging.getLogger("synaptoroute.storage.writer_lock").setLevel(logging.ERROR)
    app()
