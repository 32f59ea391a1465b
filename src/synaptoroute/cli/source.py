"""Where a command takes its routes from: a store, or a file of routes that needs none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute.cli.routes import opened

if TYPE_CHECKING:
    from synaptoroute.router import AdaptiveRouter

RoutesFile = Annotated[
    Path | None,
    typer.Option("--routes", help="Take the routes from this JSON, JSON Lines, YAML or CSV file, not from a store."),
]


@contextmanager
def router_over(context: typer.Context, db: Path, routes: Path | None) -> Iterator["AdaptiveRouter"]:
    """A router over the file of routes if one is given, else over the store; closed at the end.

    Raises:
        typer.BadParameter: Both were given on the command line. A store that only the environment names gives way.
        SynaptoRouteError: The routes cannot be read.
    """
    source = context.get_parameter_source("db")
    if routes and source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter("give --db or --routes, not both")
    if routes is None:
        with opened(db) as router:
            yield router
        return
    from synaptoroute.route_files import read_routes
    from synaptoroute.router import AdaptiveRouter

    with AdaptiveRouter() as router:
        router.add_routes(read_routes(routes))
        yield router
