"""``synaptoroute watch``: a file of routes applied again whenever it is saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synaptoroute.cli import completion, history, output, remote
from synaptoroute.cli.routes import DEFAULT_DB, Db, Format, opened

if TYPE_CHECKING:
    from synaptoroute.errors import SynaptoRouteError
    from synaptoroute.followed_file import Followed
    from synaptoroute.models import Route
    from synaptoroute.router import AdaptiveRouter

#: A server encodes what is new before it answers.
_IMPORT_TIMEOUT_S = 600.0


def watch(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(autocompletion=completion.routes_file, help="The file of routes.")],
    *,
    db: Db = DEFAULT_DB,
    url: remote.Url = remote.DEFAULT_URL,
    api_key: remote.ApiKey = None,
    prune: Annotated[bool, typer.Option("--prune", help="Also delete all routes that are not in the file.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Apply the file as it is now, and end.")] = False,
    interval_s: Annotated[
        float, typer.Option("--interval", min=0.01, max=60, help="Seconds between two looks at the file.")
    ] = 0.25,
    file_format: Format = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object for every state of the file that was applied or refused.")
    ] = False,
) -> None:
    """Apply a file of routes to a store, or to a running server with --url, now and whenever it is saved.

    A file that is half written or wrong changes nothing: the last good state stays, and the line is told. Ctrl-C ends
    it.
    Exit codes: 0 ended, 1 failure, with --once also a file that is wrong; 2 wrong usage.
    """
    from synaptoroute.followed_file import Followed

    followed = Followed(path=file, file_format=file_format, interval_s=interval_s)
    told = _Told(file, as_json=as_json)
    url_by, db_by = (context.get_parameter_source(name) for name in ("url", "db"))
    to_server = url_by is not None and url_by.name == "COMMANDLINE"
    if to_server and db_by is not None and db_by.name == "COMMANDLINE":
        raise typer.BadParameter("give --db or --url, not both")
    if to_server:
        server = remote.Remote(url=url, key=api_key, timeout_s=_IMPORT_TIMEOUT_S)
        revision = server.json("/v1/status")["revision"]
        output.note(f"watching {file} for {url}, revision {revision}")
        _run(followed, lambda routes: told.applied(*_sent(server, routes, prune=prune)), told, once=once)
        return
    if not db.exists():
        # A file that is not valid shall not leave an empty store behind.
        from synaptoroute.route_files import iter_routes

        list(iter_routes(file, file_format))
    with opened(db, create=True) as router:
        output.note(f"watching {file} for {db}, revision {router.revision}")
        _run(followed, lambda routes: told.applied(*_applied(router, routes, prune=prune)), told, once=once)


@contextmanager
def watching(router: "AdaptiveRouter", file: Path, *, prune: bool) -> Iterator[None]:
    """Apply the file to a router beside what else is done, at once and whenever it changes, until the block ends."""
    from synaptoroute.errors import RouterClosedError
    from synaptoroute.followed_file import Followed, follow
    from synaptoroute.history import acting_as

    stopping = threading.Event()
    told = _Told(file, as_json=False)

    def take(routes: "list[Route]") -> None:
        try:
            with acting_as("file"):
                told.applied(*_applied(router, routes, prune=prune))
        except RouterClosedError:
            stopping.set()

    def run() -> None:
        follow(Followed(path=file), take, failed=told.refused, stopping=stopping)

    thread = threading.Thread(target=run, name="synaptoroute-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


class _Told:
    """Says what became of each state of the file."""

    def __init__(self, file: Path, *, as_json: bool) -> None:
        self._file = file
        self._as_json = as_json
        self.refusals = 0

    def applied(self, before: int, after: int, changes: list[dict[str, Any]]) -> None:
        """The routes of the file are in place."""
        if self._as_json:
            output.print_json({"applied": True, "before": before, "revision": after, "changes": changes, "error": None})
        else:
            for change in changes:
                history.print_change(change)
        count = f"{len(changes):,} route{'' if len(changes) == 1 else 's'}"
        output.note(f"{self._file}: {count} changed, revision {after}" if changes else f"{self._file}: nothing to do")

    def refused(self, error: "SynaptoRouteError") -> None:
        """The last good state stays."""
        self.refusals += 1
        if self._as_json:
            refusal: dict[str, Any] = {
                "applied": False,
                "before": None,
                "revision": None,
                "changes": [],
                "error": str(error),
            }
            output.print_json(refusal)
        output.error(f"{error}; the routes are left as they were")


def _applied(router: "AdaptiveRouter", routes: "list[Route]", *, prune: bool) -> tuple[int, int, list[dict[str, Any]]]:
    from synaptoroute.followed_file import apply

    done = apply(router, routes, prune=prune)
    changes = [] if done.before == done.after else router.diff(done.before, done.after).to_dict()["changes"]
    return done.before, done.after, changes


def _sent(server: remote.Remote, routes: "list[Route]", *, prune: bool) -> tuple[int, int, list[dict[str, Any]]]:
    import io

    from synaptoroute.route_files import write_routes

    before = server.json("/v1/status")["revision"]
    text = io.StringIO()
    write_routes(routes, text, "json")
    mode = "replace" if prune else "put"
    answer = server.post("/v1/import", text.getvalue().encode(), mode=mode, format="json")
    after = answer["revision"]
    changes = [] if before == after else server.json("/v1/diff", first=before, second=after)["changes"]
    return before, after, changes


def _run(followed: "Followed", take: Any, told: _Told, *, once: bool) -> None:
    """Follow the file until a signal comes, or take it once. Exits with 1 if it was to be taken once and was not."""
    from synaptoroute.followed_file import follow

    stopping = threading.Event()

    def take_and_end(routes: "list[Route]") -> None:
        take(routes)
        if once:
            stopping.set()

    def failed(error: "SynaptoRouteError") -> None:
        told.refused(error)
        if once:
            stopping.set()

    former = {sig: signal.signal(sig, lambda *_: stopping.set()) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        follow(followed, take_and_end, failed=failed, stopping=stopping)
    finally:
        for sig, handler in former.items():
            signal.signal(sig, handler)
    if once and told.refusals:
        raise typer.Exit(output.FAILED)
