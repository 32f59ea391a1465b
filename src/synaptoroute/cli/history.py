"""``synaptoroute routes log|diff|rollback|snapshot``: what was done to the routes of a store, and ways back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synaptoroute.cli import completion, output
from synaptoroute.cli.routes import DEFAULT_DB, Db, Json, JsonDone, opened, require_store

if TYPE_CHECKING:
    from synaptoroute.router import AdaptiveRouter
    from synaptoroute.storage.sqlite import SQLiteStorage

Revision = Annotated[
    int, typer.Argument(min=0, autocompletion=completion.revisions, help="A revision; 'routes log' tells them.")
]
Name = Annotated[str, typer.Argument(autocompletion=completion.snapshot_names, help="The snapshot's name.")]

snapshots = typer.Typer(no_args_is_help=True, help="Keep the routes under a name, and go back to them.")


@contextmanager
def stored(db: Path) -> "Iterator[SQLiteStorage]":
    """The store, closed at the end, whichever encoder it was written with."""
    from synaptoroute.storage.sqlite import SQLiteStorage

    require_store(db)
    storage = SQLiteStorage(db)
    try:
        yield storage
    finally:
        storage.close()


@contextmanager
def readable(db: Path) -> "Iterator[AdaptiveRouter]":
    """A router that tells of the routes and encodes nothing, whichever encoder they were stored with."""
    from synaptoroute.migration import FormerEncoder
    from synaptoroute.router import AdaptiveRouter
    from synaptoroute.storage.base import EncoderIdentity

    with stored(db) as storage:
        nothing_stored = EncoderIdentity(name="none", dim=1, fingerprint="none")
        with AdaptiveRouter(FormerEncoder(storage.encoder() or nothing_stored), storage, actor=output.user()) as router:
            yield router


def log(
    *,
    limit: Annotated[int, typer.Option("-n", "--limit", min=0, help="So many entries at most; 0 for all.")] = 20,
    route: Annotated[
        str | None, typer.Option(autocompletion=completion.route_names, help="Only entries of this route.")
    ] = None,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """List the changes of the routes, newest first."""
    with stored(db) as storage:
        entries = storage.history(route=route, limit=limit or None).entries
    if as_json:
        output.print_json([entry.to_dict() for entry in entries])
        return
    rows = [
        [e.revision, e.at.isoformat(" ", "seconds"), e.actor, e.operation, e.route or e.cause, e.route and e.cause]
        for e in entries
    ]
    output.print_table(["revision", "time", "actor", "operation", "route", "part of"], rows)


def diff(first: Revision, second: Revision, *, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """Show what leads from the routes of one revision to those of another."""
    with readable(db) as router:
        found = router.diff(first, second)
    if as_json:
        output.print_json(found.to_dict())
        return
    for change in found.changes:
        print_change(change.to_dict())
    output.note(f"{len(found.changes):,} routes differ between revisions {first} and {second}")


def rollback(revision: Revision, *, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """Make the routes what they were at a revision; a change like any other, which can be rolled back as well."""
    with opened(db) as router, output.progress("encoding") as advance:
        before = router.revision
        router.rollback(revision, progress=advance)
        _report(router, before, f"the routes are those of revision {revision}", as_json=as_json)


@snapshots.command("save")
def save(
    name: Annotated[str, typer.Argument(help="The snapshot's name.")], *, db: Db = DEFAULT_DB, as_json: Json = False
) -> None:
    """Keep the routes as they are now; a snapshot outlives the history."""
    with readable(db) as router:
        snapshot = router.save_snapshot(name)
    if as_json:
        output.print_json(snapshot.to_dict())
    output.note(f"snapshot {snapshot.name!r} has {snapshot.routes:,} routes of revision {snapshot.revision}")


@snapshots.command("list")
def list_snapshots(*, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """List the snapshots in the order they were saved."""
    with stored(db) as storage:
        found = storage.snapshots()
    if as_json:
        output.print_json([snapshot.to_dict() for snapshot in found])
        return
    rows = [[s.name, s.revision, s.routes, s.actor, s.at.isoformat(" ", "seconds")] for s in found]
    output.print_table(["snapshot", "revision", "routes", "actor", "time"], rows)


@snapshots.command("use")
def use(name: Name, *, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """Make the routes what they were when the snapshot was saved; can be rolled back like any change."""
    with opened(db) as router, output.progress("encoding") as advance:
        before = router.revision
        router.use_snapshot(name, progress=advance)
        _report(router, before, f"the routes are those of snapshot {name!r}", as_json=as_json)


@snapshots.command("delete")
def delete(name: Name, *, db: Db = DEFAULT_DB, as_json: JsonDone = False) -> None:
    """Forget a snapshot."""
    with stored(db) as storage:
        storage.delete_snapshot(name)
    if as_json:
        output.print_json({"deleted": name})
    output.note(f"deleted snapshot {name!r}")


def _report(router: "AdaptiveRouter", before: int, done: str, *, as_json: bool) -> None:
    changed = len(router.diff(before, router.revision).changes)
    if as_json:
        output.print_json({"revision": router.revision, "routes_changed": changed})
    output.note(f"{done}: {changed:,} changed, revision {router.revision}")


def print_change(change: dict[str, Any]) -> None:
    """One line for the route and one for each of its differences. Takes ``RouteChange.to_dict()``."""
    sign = {"add": "+", "delete": "-"}.get(change["operation"], "~")
    output.print_text(f"{sign} {change['route']}")
    for text in change["removed"]:
        output.print_text(f"    - {text}")
    for text in change["added"]:
        output.print_text(f"    + {text}")
    for field, values in change["fields"].items():
        output.print_text(f"    {field}: {values['before']} -> {values['after']}")
    if change["operation"] == "update" and not (change["added"] or change["removed"] or change["fields"]):
        output.print_text("    the same utterances in another order")
