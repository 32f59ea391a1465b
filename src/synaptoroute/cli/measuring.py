"""What the commands of ``synaptoroute bench`` share: where data is, and what becomes of a manifest."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from synaptoroute.bench.sources import DATA_VARIABLE
from synaptoroute.cli import output

if TYPE_CHECKING:
    from synaptoroute.bench.load.manifest import AnyManifest
    from synaptoroute.bench.manifest import Part
    from synaptoroute.bench.table import Table
    from synaptoroute.bench.tie_break import TieManifest

    Written = TypeVar("Written", bound=Part)

Data = Annotated[
    Path | None,
    typer.Option("--data", envvar=DATA_VARIABLE, help="Folder with the data sets; missing files are downloaded."),
]


def require_known(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """Raise typer.BadParameter for the first name that is not known."""
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"no {what} {unknown[0]!r}; there are {', '.join(known)}")


def written(manifests: "Iterable[Written]", to: Path | None) -> "Written":
    """The last manifest. Each is written, so that what was measured survives an interruption.

    Args:
        manifests: At least one; later ones hold all that was measured before.
        to: The file; None writes nothing.
    """
    from synaptoroute.bench.manifest import write_manifest

    for manifest in manifests:
        if to is not None:
            write_manifest(manifest, to)
    return manifest


def show(manifest: "AnyManifest | TieManifest", tables: "Sequence[Table]", to: Path | None, *, as_json: bool) -> None:
    """Say where it was written, and print it as JSON or as tables."""
    from synaptoroute.bench.tables import provenance

    if to is not None:
        output.note(f"wrote {to}")
    if as_json:
        output.print_json(manifest.model_dump(mode="json"))
        return
    for table in tables:
        output.print_text(table.title)
        output.print_table(table.columns, table.rows)
        output.print_text("")
    output.print_text(provenance(manifest))


def write_report(path: Path, text: str) -> None:
    """Write a report. Raises ManifestError."""
    from synaptoroute.bench.manifest import ManifestError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ManifestError(f"cannot write {path}: {exc}") from exc
    output.note(f"wrote {path}")
