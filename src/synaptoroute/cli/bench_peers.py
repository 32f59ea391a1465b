"""``synaptoroute bench peers``: ours beside other routers, on this machine."""

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from synaptoroute.cli import measuring, output
from synaptoroute.cli.measuring import Data
from synaptoroute.cli.routes import Json


def peers(
    *,
    data: Data = None,
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", help="semantic-router, semantic-router-float32, synaptoroute-0.4.1 or "
                     "synaptoroute-0.4.1-faiss; may be repeated; all but the last unless given."),
    ] = None,
    env_dir: Annotated[
        Path | None, typer.Option("--env-dir", help="Folder for the peers' environments, used again; in the cache.")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often each system is timed, in turns.")] = 5,
    in_flight: Annotated[int, typer.Option("--in-flight", min=1, help="Concurrent queries.")] = 256,
    scale: Annotated[
        str | None,
        typer.Option("--scale", help="ROUTESxUTTERANCES, such as 50000x5: a synthetic table whose vectors are given."),
    ] = None,
    time_limit: Annotated[
        float, typer.Option("--time-limit", min=1, help="Seconds after which a system is given up, for each step.")
    ] = 1800,
    shots: Annotated[
        int | None, typer.Option("--shots", min=1, help="Only so many utterances a route; marked in the manifest.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=10, help="Ask only so many queries; marked in the manifest.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--output", help="Write the manifest here, anew after each round.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the tables as Markdown.")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Compare with other routers: each in its own process and environment, all with the same encoder and data.

    Installs the peers from the package index the first time. A full run takes about 20 minutes on two cores and wants
    a machine that does nothing else.
    """
    from synaptoroute.bench import datasets
    from synaptoroute.bench import peers as bench
    from synaptoroute.bench.sources import cache_folder, data_folder

    known = {system.name: system for system in bench.PEERS}
    names = peer or list(known)[:-1]
    measuring.require_known(names, list(known), "peer")
    size = _scale(scale)
    options = {"--rounds": rounds, "--in-flight": in_flight, "--scale": scale, "--time-limit": f"{time_limit:g}"}
    with output.progress("measuring") as progress:
        manifests = bench.measure(
            datasets.load("clinc150", data=data_folder(data)),
            peers=[known[name] for name in names],
            environments=env_dir or cache_folder() / "peers",
            command=_command(names, {**options, "--shots": shots, "--limit": limit}),
            rounds=rounds,
            scale=bench.Scale(routes=size[0], utterances=size[1]) if size else None,
            shots=shots,
            limit=limit,
            in_flight=in_flight,
            time_limit_s=time_limit,
            progress=progress,
        )
        manifest = measuring.written(manifests, to)
    if to is not None:
        output.note(f"wrote {to}")
    if markdown is not None:
        measuring.write_report(markdown, bench.table(manifest))
    if as_json:
        output.print_json(manifest.model_dump(mode="json"))
    elif markdown is None:
        typer.echo(bench.table(manifest), nl=False)


def _scale(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None or int(found[1]) < 2 or int(found[2]) < 1:
        raise typer.BadParameter(f"--scale is {text!r}, wanted ROUTESxUTTERANCES such as 50000x5")
    return int(found[1]), int(found[2])


def _command(peers: list[str], options: dict[str, object]) -> str:
    """The command that measures this again anywhere: folders are left to the reader."""
    words = ["synaptoroute", "bench", "peers", "--data", "DIR"]
    words += [word for name in peers for word in ("--peer", name)]
    words += [str(word) for name, value in options.items() if value is not None for word in (name, value)]
    return shlex.join(words)
