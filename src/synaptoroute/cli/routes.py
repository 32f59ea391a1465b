"""``synaptoroute routes``: look at and change the routes of a store."""

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from synaptoroute.cli import completion, engine, output

if TYPE_CHECKING:
    from synaptoroute.models import Route
    from synaptoroute.router import AdaptiveRouter

DB_VARIABLE = "SYNAPTOROUTE_DB"
DB_HELP = "The SQLite file that holds the routes."
DEFAULT_DB = Path("routes.db")

Db = Annotated[Path, typer.Option("--db", envvar=DB_VARIABLE, autocompletion=completion.store, help=DB_HELP)]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
#: Of commands that change something and otherwise only tell what they did.
JsonDone = Annotated[bool, typer.Option("--json", help="What was done, as one JSON object on stdout.")]
Format = Annotated[
    Literal["json", "yaml", "csv", "jsonl"] | None,
    typer.Option("--format", help="The file's format; by its extension unless given."),
]
Name = Annotated[str, typer.Argument(autocompletion=completion.route_names, help="The route's name.")]
Conflict = Literal["error", "skip", "replace", "merge"]

app = typer.Typer(no_args_is_help=True, help="List, show, add, remove, import and export the routes of a store.")


@contextmanager
def opened(db: Path, *, create: bool = False) -> Iterator["AdaptiveRouter"]:
    """A router over the store, closed at the end.

    Raises:
        StorageError: There is no such file (unless ``create``), or it cannot be used.
    """
    from synaptoroute.storage.sqlite import SQLiteStorage

    if not create:
        require_store(db)
    storage = SQLiteStorage(db)
    try:
        with engine.router(storage) as router:
            yield router
    finally:
        storage.close()


def require_store(db: Path) -> None:
    """Raise StorageError if there is no such file, instead of making an empty store of that name."""
    from synaptoroute.errors import StorageError

    if not db.exists():
        raise StorageError(f"there is no store {db}; name one with --db or make it with 'synaptoroute routes import'")


def stored_routes(db: Path) -> "tuple[Route, ...]":
    """The routes of a store, whichever encoder they were stored with."""
    from synaptoroute.storage.sqlite import SQLiteStorage

    require_store(db)
    storage = SQLiteStorage(db)
    try:
        return storage.routes()
    finally:
        storage.close()


@app.command("list")
def list_routes(*, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """List the routes in the order they were added."""
    routes = stored_routes(db)
    if as_json:
        output.print_json(
            [
                {
                    "name": route.name,
                    "utterance_count": len(route.utterances),
                    "threshold": route.threshold,
                    "description": route.description,
                }
                for route in routes
            ]
        )
        return
    rows = [[route.name, len(route.utterances), route.threshold, route.description] for route in routes]
    output.print_table(["route", "utterances", "threshold", "description"], rows)


@app.command("show")
def show_route(name: Name, *, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """Show one route with its utterances; --json prints it as it would stand in a route file."""
    from synaptoroute.errors import RouteNotFoundError
    from synaptoroute.route_files import route_entry

    route = next((route for route in stored_routes(db) if route.name == name), None)
    if route is None:
        raise RouteNotFoundError(f"there is no route {name!r}")
    entry = route_entry(route)
    if as_json:
        output.print_json(entry)
        return
    utterances = entry.pop("utterances")
    for field, value in entry.items():
        output.print_text(f"{field}: {value}")
    output.print_text(f"utterances: {len(utterances)}")
    for utterance in utterances:
        output.print_text(f"  {utterance}")


@app.command("add")
def add_route(
    name: Name,
    *,
    utterances: Annotated[
        list[str], typer.Option("-u", "--utterance", help="An example text; repeat it for each of them.")
    ],
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Least cosine score a query must reach.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="One sentence for people and tools.")] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to a route that is there already.")] = False,
    db: Db = DEFAULT_DB,
    as_json: JsonDone = False,
) -> None:
    """Add a route, or with --append more utterances to one. The store is created if it is missing."""
    from synaptoroute.errors import RouteExistsError
    from synaptoroute.models import Route

    with opened(db, create=not append) as router:
        if append:
            had = router.get_route(name)
            fields: dict[str, Any] = {"threshold": threshold, "description": description}
            given = {field: value for field, value in fields.items() if value is not None}
            router.update_route(name, utterances=[*had.utterances, *utterances], **given)
        else:
            route = Route(name=name, utterances=utterances, threshold=threshold, description=description)
            if route.name in router:
                raise RouteExistsError(f"there is already a route {route.name!r}; add to it with --append")
            router.add_route(route)
        count = len(router.get_route(name).utterances)
        if as_json:
            output.print_json({"name": name, "utterance_count": count, "revision": router.revision})
        output.note(f"route {name!r} has {_counted(count, 'utterance')}, revision {router.revision}")


@app.command("remove")
def remove_route(
    name: Name,
    *,
    utterance: Annotated[
        str | None, typer.Option("-u", "--utterance", help="Remove only this utterance of the route.")
    ] = None,
    db: Db = DEFAULT_DB,
    as_json: JsonDone = False,
) -> None:
    """Remove a route, or one of its utterances."""
    with opened(db) as router:
        if utterance is None:
            router.delete_route(name)
        else:
            router.remove_utterance(name, utterance)
        if as_json:
            output.print_json({"name": name, "utterance": utterance, "revision": router.revision})
        if utterance is None:
            output.note(f"removed route {name!r}, revision {router.revision}")
        else:
            output.note(f"removed an utterance of route {name!r}, revision {router.revision}")


@app.command("import")
def import_routes(
    file: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.routes_file,
            help="A JSON, YAML, CSV or, for many routes, JSON Lines file; or - for stdin (with --format).",
        ),
    ],
    *,
    on_conflict: Annotated[
        Conflict,
        typer.Option(
            help="When another route of that name is there: fail, keep the stored one, replace it by the file's, "
            "or add the file's utterances to it. A route that is there just so is left alone."
        ),
    ] = "error",
    file_format: Format = None,
    db: Db = DEFAULT_DB,
    as_json: JsonDone = False,
) -> None:
    """Import routes from a file in this program's own format; 'synaptoroute import' reads those of others.

    The store is created if it is missing. Nothing is changed unless the whole file is valid. Then its routes are stored
    a thousand at a time: an import that is cut off keeps what it had stored, and continues from there when it is
    repeated.
    """
    incoming = _rereadable(file, file_format)
    if not db.exists():
        # A file that is not valid shall not leave an empty store behind.
        with output.progress("checking"):
            deque(incoming(), maxlen=0)
    with opened(db, create=True) as router:
        counts = load(router, incoming, on_conflict)
        if as_json:
            output.print_json(done(counts) | {"revision": router.revision})
        output.note(f"imported {file}: {told(counts)}; revision {router.revision}")


@app.command("export")
def export_routes(
    file: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.routes_file,
            help="The file to write, or - for stdout (as JSON unless --format).",
        ),
    ] = "-",
    *,
    file_format: Format = None,
    db: Db = DEFAULT_DB,
) -> None:
    """Export all routes to a file; importing it into an empty store gives the same routes."""
    from synaptoroute.route_files import write_routes

    routes = stored_routes(db)
    if file == "-":
        write_routes(routes, sys.stdout, file_format or "json")
    else:
        write_routes(routes, file, file_format)
        output.note(f"exported {_counted(len(routes), 'route')} to {file}")


def load(
    router: "AdaptiveRouter", incoming: "Callable[[], Iterable[Route]]", on_conflict: Conflict, *, dry_run: bool = False
) -> Counter[str]:
    """Store routes in parts, once all are known to be acceptable. Gives how many were added, changed, the same.

    Args:
        router: Over the store.
        incoming: Gives the routes whenever called.
        on_conflict: What becomes of a route whose name is taken.
        dry_run: Only count.
    """
    with output.progress("checking"):
        counts = _counts(_resolutions(router, incoming(), on_conflict))
    if not dry_run:
        wanted = (route for _, route in _resolutions(router, incoming(), on_conflict))
        with output.progress("encoding") as advance:
            router.load_routes(wanted, progress=lambda encoded: advance(encoded, counts["to encode"]))
    return counts


def done(counts: Counter[str]) -> dict[str, int]:
    """What ``load`` counted, for JSON."""
    return {"added": counts["added"], "changed": counts["changed"], "unchanged": counts["same"]}


def told(counts: Counter[str]) -> str:
    """What ``load`` counted, for people."""
    added = _counted(counts["added"], "route")
    return f"{added} added, {counts['changed']:,} changed, {counts['same']:,} left as they were"


def _rereadable(file: str, file_format: Format) -> "Callable[[], Iterable[Route]]":
    """Gives the file's routes whenever called. They are read and kept now if they can be read only once."""
    from synaptoroute.route_files import iter_routes, read_routes

    if file != "-" and Path(file).is_file():
        return lambda: iter_routes(file, file_format)
    routes = read_routes(sys.stdin.buffer if file == "-" else file, file_format)
    return lambda: routes


def _resolutions(
    router: "AdaptiveRouter", incoming: "Iterable[Route]", on_conflict: Conflict
) -> "Iterator[tuple[Route | None, Route]]":
    """Each incoming route as it is in the store, if it is, and as it shall be."""
    for route in incoming:
        stored = router.get_route(route.name) if route.name in router else None
        yield stored, _resolved(stored, route, on_conflict)


def _counts(resolutions: "Iterable[tuple[Route | None, Route]]") -> Counter[str]:
    """How many routes will be added, changed and left the same, and how many utterances there are to encode."""
    counts = Counter[str]()
    for stored, route in resolutions:
        had, shall = set(stored.utterances if stored else ()), set(route.utterances)
        counts["to encode"] += len(shall - had)
        if stored is None:
            counts["added"] += 1
        elif had == shall and stored.replaced(utterances=route.utterances) == route:
            # The order of utterances means nothing; the stored one stays.
            counts["same"] += 1
        else:
            counts["changed"] += 1
    return counts


def _resolved(stored: "Route | None", route: "Route", on_conflict: Conflict) -> "Route":
    """The route as it shall be in the store."""
    from synaptoroute.errors import RouteExistsError

    if stored is None or stored == route or on_conflict == "replace":
        return route
    if on_conflict == "error":
        raise RouteExistsError(
            f"there is already a route {route.name!r}, so nothing was imported; see --on-conflict skip, replace, merge"
        )
    if on_conflict == "skip":
        return stored
    given = {field: value for field, value in route if value not in (None, {})}
    return stored.replaced(**given | {"utterances": (*stored.utterances, *route.utterances)})


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
