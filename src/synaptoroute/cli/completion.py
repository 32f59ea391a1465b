"""What a shell offers when a word is completed: names of routes, snapshots and revisions of the store, and files.

It answers while somebody waits with a finger on the key: no router is made, NumPy and the encoder stay out, and what
cannot be read offers nothing.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import typer

from synaptoroute.errors import SynaptoRouteError

Complete = Callable[[typer.Context, str], list[tuple[str, str]]]

#: The variable in which Typer says which shell asks.
_SHELL_VARIABLE = "_SYNAPTOROUTE_COMPLETE"
#: Folders that are gone into one after another: enough for any tree, and an end where links go in circles.
_DEEPEST = 32
_FOR_BASH = re.compile(r"([^\w%+,./:@=-])")


def route_names(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Names of routes: of the file that --routes names, else of the store."""
    routes = context.params.get("routes")
    try:
        if routes:
            from synaptoroute.route_files import iter_routes

            names = [route.name for route in iter_routes(routes) if route.name.startswith(incomplete)]
        else:
            from synaptoroute.storage import names as stored

            names = stored.route_names(_store(context), beginning=incomplete)
    except SynaptoRouteError:
        return []
    return [(_quoted(name), "") for name in names]


def snapshot_names(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Names of the store's snapshots."""
    from synaptoroute.storage import names as stored

    try:
        names = stored.snapshot_names(_store(context))
    except SynaptoRouteError:
        return []
    return [(_quoted(name), "") for name in names if name.startswith(incomplete)]


def revisions(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The latest revisions of the store, each with what was done."""
    from synaptoroute.storage import names as stored

    try:
        changes = stored.latest_changes(_store(context))
    except SynaptoRouteError:
        return []
    return [(str(revision), done) for revision, done in changes if str(revision).startswith(incomplete)]


def files(*extensions: str) -> Complete:
    """Folders, and files with one of these extensions; with any if none is given."""

    def complete(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:  # noqa: ARG001
        offered = _entries(incomplete, extensions)
        for _ in range(_DEEPEST):
            # Shells end a word that is complete, and a folder is not: the only one is gone into.
            if len(offered) != 1 or not offered[0].endswith("/"):
                break
            offered = _entries(offered[0], extensions)
        return [(_quoted(path), "") for path in offered]

    return complete


def _entries(incomplete: str, extensions: tuple[str, ...]) -> list[str]:
    """The paths that begin so, folders with a slash behind them."""
    folder, slash, beginning = incomplete.rpartition("/")
    start = folder + slash
    paths = []
    try:
        for entry in os.scandir(Path(start or ".").expanduser()):
            hidden = entry.name.startswith(".") and not beginning.startswith(".")
            if hidden or not entry.name.startswith(beginning):
                continue
            if entry.is_dir():
                paths.append(f"{start}{entry.name}/")
            elif not extensions or Path(entry.name).suffix.lower() in extensions:
                paths.append(f"{start}{entry.name}")
    except OSError:
        return []
    return sorted(paths)


routes_file = files(".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".csv")
queries_file = files(".csv", ".jsonl", ".ndjson")
rows_file = files(".parquet", ".csv", ".jsonl", ".ndjson")
store = files(".db", ".sqlite", ".sqlite3")
json_file = files(".json")
any_file = files()


def _store(context: typer.Context) -> Path:
    return Path(context.params.get("db") or "routes.db")


def _quoted(word: str) -> str:
    """The word as it can stand in a command. Bash takes an answer as it is; the other shells quote by themselves."""
    if not os.environ.get(_SHELL_VARIABLE, "").endswith("bash"):
        return word
    start = "~/" if word.startswith("~/") else ""
    return start + _FOR_BASH.sub(r"\\\1", word.removeprefix(start))
