"""``synaptoroute backup``, ``restore``, ``verify``, ``repair``: keeping a store safe, and what to do when it is not."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute.cli import completion, output
from synaptoroute.cli.routes import DEFAULT_DB, Db, Json, JsonDone, require_store

if TYPE_CHECKING:
    from synaptoroute.storage.verifying import Verification

Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there; it is kept under another name.")]


def backup(
    file: Annotated[Path, typer.Argument(autocompletion=completion.store, help="The backup to write.")],
    *,
    force: Force = False,
    db: Db = DEFAULT_DB,
    as_json: JsonDone = False,
) -> None:
    """Back up a store into one file, also while routers use and change it.

    The backup is of one revision, verified, and on disk when the command ends. Copy store files in no other way: their
    newest changes may be in the -wal file beside them.
    """
    from synaptoroute.storage import safekeeping

    require_store(db)
    seen = safekeeping.backup(db, file, force=force)
    if as_json:
        output.print_json({"file": str(file), **_counts(seen)})
    output.note(f"backed up {_counted(seen.routes, seen.utterances)} of {db}, revision {seen.revision}, to {file}")


def restore(
    file: Annotated[Path, typer.Argument(autocompletion=completion.store, help="The backup.")],
    *,
    force: Force = False,
    db: Db = DEFAULT_DB,
    as_json: JsonDone = False,
) -> None:
    """Make a store of a backup. A store that is there is replaced only with --force, and kept under another name.

    Refused while another process writes to the store. Routers that only read it go on with the old one until they are
    opened again.
    """
    from synaptoroute.storage import safekeeping

    require_store(file)
    seen = safekeeping.restore(file, db, force=force)
    if as_json:
        output.print_json({"file": str(db), **_counts(seen)})
    output.note(f"restored {_counted(seen.routes, seen.utterances)}, revision {seen.revision}, from {file} to {db}")


def verify(*, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """Check every page and every row of a store, and its cache. Changes nothing, and may run while the store is used.

    Exits with 1 if the store is damaged. A damaged cache is only reported: routers build it again.
    """
    from synaptoroute.storage.verifying import verify

    require_store(db)
    seen = verify(db)
    if as_json:
        output.print_json({"sound": seen.sound, **asdict(seen)})
    else:
        rows = [["damaged", each.where, each.what] for each in seen.findings]
        rows += [["cache", each.where, each.what] for each in seen.caches]
        if rows:
            output.print_table(["kind", "where", "what"], rows)
    if not seen.sound:
        output.error(f"{db} is damaged: restore a backup, or salvage what can be read with 'synaptoroute repair'")
        raise typer.Exit(output.FAILED)
    output.note(f"{db} is sound: {_counted(seen.routes, seen.utterances)}, revision {seen.revision}")


def repair(*, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """Salvage all that can be read of a damaged store into a new file of its name, and list what is lost.

    The damaged file is kept beside it. A sound store is left alone. Refused while another process writes to the store.
    """
    from synaptoroute.storage.repairing import repair

    require_store(db)
    done = repair(db)
    if as_json:
        output.print_json({**asdict(done), "aside": None if done.aside is None else str(done.aside)})
    elif done.losses:
        output.print_table(["lost", "why"], [[loss.what, loss.why] for loss in done.losses])
    salvaged = f"{_counted(done.routes, done.utterances)}, revision {done.revision}"
    if done.aside is None:
        output.note(f"{db} is sound and was left alone: {salvaged}")
    else:
        output.note(f"salvaged {salvaged}; the damaged store is {done.aside}")


def _counts(seen: "Verification") -> dict[str, int | None]:
    return {"routes": seen.routes, "utterances": seen.utterances, "revision": seen.revision}


def _counted(routes: int, utterances: int) -> str:
    return f"{routes:,} route{'' if routes == 1 else 's'} with {utterances:,} utterances"
