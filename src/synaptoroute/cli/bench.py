"""``synaptoroute bench``: measure on public data, and show what was measured."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from synaptoroute.cli import bench_cascade, bench_load, bench_peers, bench_ties, bench_tools, measuring, output
from synaptoroute.cli.measuring import Data
from synaptoroute.cli.routes import Json

app = typer.Typer(no_args_is_help=True, help="Measure accuracy on public data sets and speed here, and report it.")
app.add_typer(bench_load.app)
app.command("peers")(bench_peers.peers)
app.command("tiebreak")(bench_ties.tiebreak)
app.command("tools")(bench_tools.tools)
app.command("cascade")(bench_cascade.cascade)


@app.command("accuracy")
def accuracy(
    *,
    data: Data = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="clinc150, banking77, hwu64, nluplusplus, metatool, clinc150-negation, snips "
                     "or xsid; may be repeated; all but xsid unless given."),
    ] = None,
    shots: Annotated[
        list[str] | None,
        typer.Option("--shots", help="Utterances per route, a number or full; may be repeated; full unless given."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of utterances where --shots is a number.")] = 1,
    encoder: Annotated[
        str, typer.Option("--encoder", help="bundled, fastembed:MODEL or another of docs/encoders.md.")
    ] = "bundled",
    tuned: Annotated[
        bool, typer.Option("--tuned/--no-tuned", help="Also measure after fit() on the validation queries.")
    ] = True,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Ask only so many queries; marked in the manifest.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--output", help="Write the manifest here, anew after each data set.")
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Build routers from public train splits, ask them the test splits, and tell how good and how fast they were.

    Each file of a data set is checked against its SHA-256. Nothing is tuned on a test split.
    """
    from synaptoroute.bench import accuracy as bench
    from synaptoroute.bench import datasets, xsid
    from synaptoroute.bench.sources import data_folder
    from synaptoroute.bench.tables import tables
    from synaptoroute.encoder.specs import make_encoder

    names = dataset or list(datasets.NAMES)
    measuring.require_known(names, (*datasets.NAMES, xsid.NAME), "data set")
    counts = [utterances_per_route(text) for text in shots or ["full"]]
    folder = data_folder(data)
    loaded = [xsid.load(folder) if name == xsid.NAME else datasets.load(name, data=folder) for name in names]
    chosen = make_encoder(encoder)
    draws = range(seeds)
    command = _command(names, counts, seeds, encoder, limit, tuned=tuned)
    with output.progress("measuring") as progress:
        manifests = bench.measure(
            loaded,
            shots=counts,
            seeds=draws,
            encoder=chosen,
            tuned=tuned,
            command=command,
            limit=limit,
            progress=progress,
        )
        manifest = measuring.written(manifests, to)
    measuring.show(manifest, tables([manifest]), to, as_json=as_json)


@app.command("report")
def report(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests written by a bench command's --output.")],
    *,
    html: Annotated[Path | None, typer.Option("--html", help="Write one self-contained page with plots.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the tables as Markdown.")] = None,
    readme: Annotated[
        Path | None,
        typer.Option("--update-readme", help="Replace what stands between the benchmark markers of this file."),
    ] = None,
) -> None:
    """Turn manifests into a page, into Markdown, or into the README's table; without any of these, print Markdown."""
    from synaptoroute.bench import report as page
    from synaptoroute.bench import tables
    from synaptoroute.bench.load.manifest import read

    found = [read(path) for path in manifests]
    if html is not None:
        measuring.write_report(html, page.html(found))
    if markdown is not None:
        measuring.write_report(markdown, tables.markdown(found))
    if readme is not None:
        tables.update_readme(readme, found)
        output.note(f"wrote {readme}")
    if html is None and markdown is None and readme is None:
        typer.echo(tables.markdown(found), nl=False)


def utterances_per_route(text: str) -> int | None:
    """The number; None for ``full``. Raises typer.BadParameter."""
    if text == "full":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"--shots is {text!r}, wanted a number from 1 or full")
    return int(text)


def _command(
    names: list[str], shots: list[int | None], seeds: int, encoder: str, limit: int | None, *, tuned: bool
) -> str:
    """The command that measures this again anywhere: the folder of the data is left to the reader."""
    words = ["synaptoroute", "bench", "accuracy", "--data", "DIR"]
    words += [word for name in names for word in ("--dataset", name)]
    words += [word for count in shots for word in ("--shots", "full" if count is None else str(count))]
    words += ["--seeds", str(seeds), "--encoder", encoder, "--tuned" if tuned else "--no-tuned"]
    return shlex.join(words if limit is None else [*words, "--limit", str(limit)])
