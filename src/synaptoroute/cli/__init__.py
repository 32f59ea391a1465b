"""The command ``synaptoroute``: data on stdout, everything else on stderr.

Exit codes: 0 all well, 1 failure, 2 wrong usage, 3 a query belongs to no route.

The router and its engines are imported inside the commands, so that ``--help`` and completion stay quick.
"""

import logging
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from synaptoroute import __version__
from synaptoroute.cli import (
    bench,
    completion,
    config,
    configured,
    demo,
    doctor,
    engine,
    evaluate,
    feedback,
    fit,
    foreign,
    generate,
    history,
    init,
    lint,
    mcp,
    migrate,
    operating,
    output,
    replay,
    route,
    routes,
    safekeeping,
    serve,
    top,
    watch,
)
from synaptoroute.errors import SynaptoRouteError
from synaptoroute.profile import OptimizationProfile

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
routes.app.command("generate")(generate.generate)
routes.app.command("migrate-encoder")(migrate.migrate_encoder)
app.command("import")(foreign.import_foreign)
app.command("evaluate")(evaluate.evaluate)
app.command("fit")(fit.fit)
app.add_typer(feedback.app, name="feedback")
app.command("operating-point")(operating.operating_point)
app.command("lint")(lint.lint)
app.command("replay")(replay.replay)
app.command("backup")(safekeeping.backup)
app.command("restore")(safekeeping.restore)
app.command("verify")(safekeeping.verify)
app.command("repair")(safekeeping.repair)
app.command("serve")(serve.serve)
app.command("mcp")(mcp.mcp)
app.add_typer(serve.keys, name="keys")
app.add_typer(bench.app, name="bench")
app.command("init")(init.init)
app.command("watch")(watch.watch)
app.command("top")(top.top)
app.add_typer(config.app, name="config")
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # the signature of an option's callback
    if wanted:
        typer.echo(f"synaptoroute {__version__}")
        raise typer.Exit


@app.callback()
def _synaptoroute(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001  # done in its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    config_file: Annotated[  # noqa: ARG001  # done in its callback
        Path | None,
        typer.Option(
            "--config",
            envvar=configured.CONFIG_VARIABLE,
            callback=configured.load,
            is_eager=True,
            autocompletion=completion.files(".toml", ".yaml", ".yml"),
            help="The file of settings; unless given, synaptoroute.toml here or in the user's folder of settings.",
        ),
    ] = None,
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder",
            envvar=configured.variable("encoder"),
            help="bundled, fastembed:MODEL or another of docs/encoders.md.",
        ),
    ] = engine.BUNDLED,
    profile: Annotated[
        OptimizationProfile,
        typer.Option(
            "--profile", envvar=configured.variable("profile"), help="How much of the machine one query may take."
        ),
    ] = OptimizationProfile.BALANCED,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-confidence",
            min=0,
            max=1,
            envvar=configured.variable("min_confidence"),
            help="Least probability of being right, for every command that decides.",
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option("-q", "--quiet", envvar=configured.variable("quiet"), help="Print only data and errors."),
    ] = False,
) -> None:
    """Route text to the route whose example utterances it is closest to, or to none.

    Exit codes: 0 all well, 1 failure, 2 wrong usage, 3 a query has no route.
    """
    if context.invoked_subcommand not in {"config", "serve"}:
        # The one is there to say what is wrong with the file, the other reads it by itself.
        configured.require_sound(context)
    output.be_quiet(quiet)
    engine.choose(engine.Chosen(encoder=encoder, profile=profile, min_confidence=min_confidence))


def main() -> None:
    """The entry point of the console script."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Data is UTF-8 whatever the locale says: a pipe must not fail at the first accent.
        sys.stdout.reconfigure(encoding="utf-8")
    # That SQLite is old is said by ``doctor``, not before the result of every command.
    logging.getLogger("synaptoroute.storage.writer_lock").setLevel(logging.ERROR)
    app()
