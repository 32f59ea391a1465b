"""``synaptoroute serve`` and ``synaptoroute keys``: the HTTP server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from synaptoroute.cli import completion, output

if TYPE_CHECKING:
    from synaptoroute.server import ServerSettings

keys = typer.Typer(no_args_is_help=True, help="API keys of the HTTP server.")


def serve(
    context: typer.Context,
    *,
    db: Annotated[Path | None, typer.Option("--db", help="The SQLite file that holds the routes.")] = None,
    postgres: Annotated[
        str | None,
        typer.Option(
            "--postgres",
            metavar="DSN",
            help="The PostgreSQL store. Others on this machine can read arguments: a password belongs into "
            "SYNAPTOROUTE_POSTGRES or the configuration.",
        ),
    ] = None,
    routes: Annotated[
        Path | None, typer.Option("--routes", help="Begin with the routes of this file, if the store has none.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 unless set.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 8000 unless set, 0 takes a free one.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            autocompletion=completion.files(".toml", ".yaml", ".yml"),
            help="TOML or YAML file with settings, those of the server perhaps below [server]; arguments go first.",
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Begin with the routes of the demo.")] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Apply the file of routes at the start and whenever it changes, also to a store with routes.",
        ),
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="With --watch, delete routes that are not in the file.")
    ] = False,
) -> None:
    """Serve the routes over HTTP until a signal ends it.

    Everything else is set by SYNAPTOROUTE_... variables or the configuration; docs/operations.md lists the settings.
    """
    from synaptoroute.server import load_settings
    from synaptoroute.server import serve as run

    given: dict[str, Any] = {"db": db, "postgres": postgres, "routes": routes, "host": host, "port": port}
    if demo and routes is None:
        from importlib import resources

        given["routes"] = Path(str(resources.files("synaptoroute") / "demo" / "routes.json"))
    # A file that only lies in the folder counts here as it does for every command.
    settings = load_settings(config or context.find_root().params["config_file"], **given)
    if watch and settings.routes is None:
        raise typer.BadParameter("--watch takes the file of --routes")
    if prune and not watch:
        raise typer.BadParameter("--prune goes with --watch")
    _log(settings)

    def started(address: str) -> None:
        if settings.db is None and settings.postgres is None:
            output.note("routes are kept in memory and gone at the end; keep them with --db or --postgres")
        output.note(f"listening on {address}")

    if not watch or settings.routes is None:
        run(settings, started=started)
        return
    from synaptoroute.cli.watch import watching
    from synaptoroute.server import create_app

    app = create_app(settings)
    with watching(app.state.server.router, settings.routes, prune=prune):
        run(settings, app=app, started=started)


@keys.command("new")
def new(
    *,
    name: Annotated[str, typer.Option(help="Whose key it is; the history of changes names it.")],
    scope: Annotated[Literal["read", "write", "admin"], typer.Option(help="What it may do.")] = "read",
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Make an API key: print it once, and the line for the settings, from which it cannot be told."""
    from synaptoroute.server.keys import Scope, new_key

    key, entry = new_key(name, Scope[scope.upper()])
    if as_json:
        output.print_json({"name": name, "scope": scope, "key": key, "line": entry.line})
        return
    output.print_text(f"key   {key}")
    output.print_text(f"line  {entry.line}")
    output.note("give the key to its owner, it is not shown again; put the line into SYNAPTOROUTE_KEYS or keys_file")


def _log(settings: "ServerSettings") -> None:
    from synaptoroute.observability import logs

    logs.configure(level=settings.log_level, format=settings.log_format)
