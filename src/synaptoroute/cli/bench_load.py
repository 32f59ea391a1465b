"""``synaptoroute bench latency``, ``throughput``, ``scale``, ``mutation``, ``coldboot``, ``http``: measure speed."""

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute.cli import measuring, output
from synaptoroute.cli.measuring import Data
from synaptoroute.cli.routes import Json

if TYPE_CHECKING:
    from synaptoroute.bench.datasets import Dataset
    from synaptoroute.bench.load.manifest import Kind, LoadManifest, Row
    from synaptoroute.bench.load.stored import Stored

Source = Annotated[str, typer.Option("--dataset", help="Where routes and queries come from.")]
Shots = Annotated[int | None, typer.Option("--shots", min=1, help="Utterances per route; all unless given.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Everything is measured in turns, so often.")]
Routes = Annotated[list[int] | None, typer.Option("--routes", min=1, help="Number of routes; may be repeated.")]
Output = Annotated[Path | None, typer.Option("--output", help="Write the manifest here, anew after each row.")]

app = typer.Typer()


@app.command("latency")
def latency(
    context: typer.Context,
    *,
    data: Data = None,
    dataset: Source = "clinc150",
    shots: Shots = None,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Distinct texts, each asked twice a round.")] = 1000,
    rounds: Rounds = 5,
    to: Output = None,
    as_json: Json = False,
) -> None:
    """Time single queries beside the bare encoding of the same text, and the stages of one query."""
    from synaptoroute.bench.load import latency as bench
    from synaptoroute.bench.load.timing import Steps

    with _subject(data, dataset, shots, queries) as (source, subject), output.progress("measuring") as progress:
        manifest = _begin(context, "latency", rounds, source, shots)
        rows = bench.measure(subject, rounds=rounds, step=Steps(progress, bench.steps(rounds)))
        manifest = _collected(manifest, rows, to)
    _show(manifest, to, as_json=as_json)


@app.command("throughput")
def throughput(
    context: typer.Context,
    *,
    data: Data = None,
    dataset: Source = "clinc150",
    shots: Shots = None,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Distinct texts of each load.")] = 2000,
    adding: Annotated[
        int, typer.Option("--adding", min=1, help="Utterances added while the event loop is watched.")
    ] = 10_000,
    burst_s: Annotated[float, typer.Option("--burst", min=0.01, help="Seconds of overload in each round.")] = 2.0,
    rounds: Rounds = 5,
    to: Output = None,
    as_json: Json = False,
) -> None:
    """Route from many callers and in batches, beside the encoder alone; watch the event loop; overload it."""
    from synaptoroute.bench.load import throughput as bench
    from synaptoroute.bench.load.timing import Steps

    with _subject(data, dataset, shots, queries) as (source, subject), output.progress("measuring") as progress:
        manifest = _begin(context, "throughput", rounds, source, shots)
        step = Steps(progress, bench.steps(rounds))
        rows = bench.measure(subject, rounds=rounds, adding=adding, burst_s=burst_s, step=step)
        manifest = _collected(manifest, rows, to)
    _show(manifest, to, as_json=as_json)


@app.command("scale")
def scale(
    context: typer.Context,
    *,
    routes: Routes = None,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Asked by each process that opens a table.")] = 1000,
    rounds: Rounds = 5,
    to: Output = None,
    as_json: Json = False,
) -> None:
    """Build tables of so many synthetic routes (1,000 and 50,000 unless given), open and search them in new processes.

    Stores are made in the system's temporary folder (TMPDIR): about 9 kB a route.
    """
    from synaptoroute.bench.load import scale as bench
    from synaptoroute.bench.load.timing import Steps
    from synaptoroute.encoder.bundled import BundledEncoder

    counts, encoder = routes or [1_000, 50_000], BundledEncoder()
    with output.progress("measuring") as progress:
        step = Steps(progress, bench.steps(counts, rounds, encoder.dim))
        rows = bench.measure(counts, rounds=rounds, queries=queries, encoder=encoder, step=step)
        manifest = _collected(_begin(context, "scale", rounds), rows, to)
    _show(manifest, to, as_json=as_json)


@app.command("mutation")
def mutation(
    context: typer.Context,
    *,
    routes: Routes = None,
    changes: Annotated[
        int, typer.Option("--changes", min=1, help="Routes added, and as many deleted, in each round.")
    ] = 60,
    rounds: Rounds = 5,
    to: Output = None,
    as_json: Json = False,
) -> None:
    """Change synthetic tables of so many routes (1,000 unless given) durably while a thread queries without a pause."""
    from synaptoroute.bench.load import mutation as bench
    from synaptoroute.bench.load.timing import Steps
    from synaptoroute.encoder.bundled import BundledEncoder

    counts, encoder = routes or [1_000], BundledEncoder()
    with output.progress("measuring") as progress:
        step = Steps(progress, bench.steps(counts, rounds, encoder.dim))
        rows = bench.measure(counts, rounds=rounds, changes=changes, encoder=encoder, step=step)
        manifest = _collected(_begin(context, "mutation", rounds), rows, to)
    _show(manifest, to, as_json=as_json)


@app.command("coldboot")
def coldboot(
    context: typer.Context,
    *,
    data: Data = None,
    dataset: Source = "clinc150",
    shots: Shots = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How many processes.")] = 5,
    to: Output = None,
    as_json: Json = False,
) -> None:
    """Time fresh processes from nothing to their first decision, step by step."""
    from synaptoroute.bench.load import coldboot as bench
    from synaptoroute.bench.load.timing import Steps

    with _subject(data, dataset, shots, queries=1) as (source, subject), output.progress("measuring") as progress:
        manifest = _begin(context, "coldboot", rounds, source, shots)
        manifest = _collected(manifest, [bench.measure(subject, rounds=rounds, step=Steps(progress, rounds))], to)
    _show(manifest, to, as_json=as_json)


@app.command("http")
def http(
    context: typer.Context,
    *,
    data: Data = None,
    dataset: Source = "clinc150",
    shots: Shots = None,
    queries: Annotated[int, typer.Option("--queries", min=64, help="Distinct texts of each load.")] = 4096,
    paced_s: Annotated[
        float, typer.Option("--paced", min=0.1, help="Seconds at half of the capacity, in each round.")
    ] = 10.0,
    overload_s: Annotated[
        float, typer.Option("--overload", min=0.1, help="Seconds at ten times the capacity, once.")
    ] = 60.0,
    rounds: Rounds = 5,
    to: Output = None,
    as_json: Json = False,
) -> None:
    """Serve over loopback in a process of its own, beside the router in this one: load, a steady pace, overload.

    Every answer is held against what the router decides here. Needs the extra synaptoroute[api].
    """
    from synaptoroute.bench.http import measuring as bench
    from synaptoroute.bench.load.timing import Steps

    with _subject(data, dataset, shots, queries) as (source, subject), output.progress("measuring") as progress:
        manifest = _begin(context, "http", rounds, source, shots)
        step = Steps(progress, bench.steps(rounds))
        rows = bench.measure(subject, rounds=rounds, paced_s=paced_s, overload_s=overload_s, step=step)
        manifest = _collected(manifest, rows, to)
    _show(manifest, to, as_json=as_json)


@contextmanager
def _subject(data: Path | None, name: str, shots: int | None, queries: int) -> "Iterator[tuple[Dataset, Stored]]":
    """The data set, and a store with its routes."""
    from synaptoroute.bench.datasets import NAMES, load
    from synaptoroute.bench.load.stored import stored
    from synaptoroute.bench.sources import data_folder

    measuring.require_known([name], NAMES, "data set")
    dataset = load(name, data=data_folder(data))
    with stored(dataset, shots=shots, queries=queries) as subject:
        yield dataset, subject


def _begin(
    context: typer.Context, kind: "Kind", rounds: int, dataset: "Dataset | None" = None, shots: int | None = None
) -> "LoadManifest":
    from synaptoroute.bench.load.manifest import LoadManifest
    from synaptoroute.bench.manifest import DataInfo
    from synaptoroute.encoder.bundled import BundledEncoder

    return LoadManifest.begin(
        kind,
        command=_command(context),
        rounds=rounds,
        encoder=BundledEncoder(),
        dataset=None if dataset is None else DataInfo.of(dataset),
        shots=shots,
    )


def _collected(manifest: "LoadManifest", rows: "Iterable[Row]", to: Path | None) -> "LoadManifest":
    """The manifest with the rows, written after each of them."""

    def grown() -> "Iterator[LoadManifest]":
        so_far = manifest
        for row in rows:
            so_far = so_far.with_row(row)
            yield so_far

    return measuring.written(grown(), to)


def _show(manifest: "LoadManifest", to: Path | None, *, as_json: bool) -> None:
    from synaptoroute.bench.load.tables import load_tables

    measuring.show(manifest, load_tables([manifest]), to, as_json=as_json)


def _command(context: typer.Context) -> str:
    """The command that measures this again anywhere: the folder of the data is left to the reader."""
    words = ["synaptoroute", "bench", str(context.command.name)]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if parameter.name == "data":
            words += ["--data", "DIR"]
        elif parameter.name not in {"to", "as_json", "help"} and value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            words += [word for one in values for word in (parameter.opts[0], str(one))]
    return shlex.join(words)
