"""``synaptoroute operating-point``: from which confidence a store's routers answer, shown and set."""

from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute.cli import output
from synaptoroute.cli.history import readable
from synaptoroute.cli.routes import DEFAULT_DB, Db, Json

if TYPE_CHECKING:
    from synaptoroute.learning import OperatingPoint

_BY = {"set": "set", "fit": "chosen by fit", "default": "the default", "router": "of the router"}


def operating_point(
    *,
    db: Db = DEFAULT_DB,
    value: Annotated[
        float | None, typer.Option("--set", min=0, max=1, help="Answer from this confidence on, whatever fit chose.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to what fit chose, or else to 0.5.")] = False,
    as_json: Json = False,
) -> None:
    """Show or set from which calibrated confidence the routers of a store answer.

    Nothing that was learned changes, and a later fit that chooses one takes its place.
    Exit codes: 0 all well, 1 failure, 2 wrong usage.
    """
    if reset and value is not None:
        raise typer.BadParameter("give --set or --reset, not both")
    with readable(db) as router:
        point = router.set_operating_point(value) if reset or value is not None else router.operating_point
    if as_json:
        output.print_json(point.to_dict())
    else:
        output.print_text(_told(point))


def _told(point: "OperatingPoint") -> str:
    by = f" by {point.actor}" if point.actor else ""
    when = f" at {point.at.isoformat(' ', 'seconds')}" if point.at else ""
    return f"{point.min_confidence:g} ({_BY[point.source]}{by}{when})"
