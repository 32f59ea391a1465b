"""``synaptoroute bench cascade``: the static first stage beside the full path."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from synaptoroute.cli import measuring, output
from synaptoroute.cli.measuring import Data
from synaptoroute.cli.routes import Json


def cascade(
    *,
    data: Data = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="May be repeated; clinc150 and banking77 unless given. The static encoder has "
                     "learned from texts of the train splits of hwu64, metatool, nluplusplus and snips."),
    ] = None,
    shots: Annotated[
        list[str] | None,
        typer.Option("--shots", help="Utterances per route, a number or full; may be repeated; full, 10 and 5 unless "
                     "given."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Draws of utterances where --shots is a number.")] = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each speed is measured, in turns.")] = 5,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Ask only so many queries; marked in the manifest.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--output", help="Write the manifest here, anew after each row.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the table as Markdown.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """How often the first stage answers, how often it then agrees with the full path, and how much faster that is."""
    from synaptoroute.bench import cascade as bench
    from synaptoroute.bench import cascade_results, datasets
    from synaptoroute.bench.sources import data_folder
    from synaptoroute.cli.bench import utterances_per_route
    from synaptoroute.encoder.bundled import BundledEncoder
    from synaptoroute.profile import OptimizationProfile

    names = dataset or list(bench.NAMES)
    measuring.require_known(names, datasets.NAMES, "data set")
    counts = [utterances_per_route(text) for text in shots] if shots else list(bench.SHOTS)
    folder = data_folder(data)
    with output.progress("measuring") as progress:
        manifests = bench.measure(
            [datasets.load(name, data=folder) for name in names],
            shots=counts,
            seeds=range(seeds),
            rounds=rounds,
            encoder=BundledEncoder(profile=OptimizationProfile.THROUGHPUT),
            command=_command(names, counts, {"--seeds": seeds, "--rounds": rounds, "--limit": limit}),
            limit=limit,
            progress=progress,
        )
        manifest = measuring.written(manifests, to)
    if to is not None:
        output.note(f"wrote {to}")
    if markdown is not None:
        measuring.write_report(markdown, cascade_results.table(manifest))
    if as_json:
        output.print_json(manifest.model_dump(mode="json"))
    elif markdown is None:
        typer.echo(cascade_results.table(manifest), nl=False)


def _command(names: list[str], shots: list[int | None], options: dict[str, int | None]) -> str:
    """The command that measures this again anywhere: the folder of the data is left to the reader."""
    words = ["synaptoroute", "bench", "cascade", "--data", "DIR"]
    words += [word for name in names for word in ("--dataset", name)]
    words += [word for count in shots for word in ("--shots", "full" if count is None else str(count))]
    words += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    return shlex.join(words)
