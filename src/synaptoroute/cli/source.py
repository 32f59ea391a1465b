"""Where a command takes its routes from: a store, or a file of routes that needs none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute.cli import completion, configured, engine
from synaptoroute.cli.routes import opened

if TYPE_CHECKING:
    from synaptoroute.router import AdaptiveRouter

RoutesFile = Annotated[
    Path | None,
    typer.Option(
        "--routes",
        envvar=configured.variable("routes"),
        autocompletion=completion.routes_file,
        help="Take the routes from this JSON, JSON Lines, YAML or CSV file, not from a store.",
    ),
]


#: What a value of the command line, of the environment, of the file of settings, and a default count.
_NEARNESS = {"COMMANDLINE": 3, "ENVIRONMENT": 2, "DEFAULT_MAP": 1}


@contextmanager
def router_over(context: typer.Context, db: Path, routes: Path | None) -> Iterator["AdaptiveRouter"]:
    """A router over the file of routes or over the store, whichever was said nearer by; closed at the end.

    The command line is nearest, then comes the environment, then the file of settings. Where both were said in the same
    place it is the store, as for the server, which takes the file over only into an empty one.

    Raises:
        typer.BadParameter: Both were given on the command line.
        SynaptoRouteError: The routes cannot be read.
    """
    store_by, routes_by = (_nearness(context, name) for name in ("db", "routes"))
    if routes and routes_by == store_by == _NEARNESS["COMMANDLINE"]:
        raise typer.BadParameter("give --db or --routes, not both")
    if routes is None or store_by >= routes_by:
        with opened(db) as router:
            yield router
        return
    from synaptoroute.route_files import read_routes

    with engine.router() as router:
        router.add_routes(read_routes(routes))
        yield router


def _nearness(context: typer.Context, parameter: str) -> int:
    source = context.get_parameter_source(parameter)
    return _NEARNESS.get(source.name, 0) if source is not None else 0
