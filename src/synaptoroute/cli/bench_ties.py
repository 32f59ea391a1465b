"""``synaptoroute bench tiebreak``: what a reranker gains and costs."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from synaptoroute.cli import measuring, output
from synaptoroute.cli.measuring import Data
from synaptoroute.cli.routes import Json


def tiebreak(
    *,
    data: Data = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="As in bench accuracy; may be repeated; clinc150 and banking77 unless given."),
    ] = None,
    shots: Annotated[
        list[str] | None,
        typer.Option("--shots", help="Utterances per route, a number or full; may be repeated; 5, 10 and full unless "
                     "given."),
    ] = None,
    reranker: Annotated[
        str, typer.Option("--reranker", help="late, onnx:FOLDER or fastembed:MODEL.")
    ] = "late",
    band: Annotated[
        tuple[float, float], typer.Option("--band", help="Least and greatest confidence of the best route of a tie.")
    ] = (0.1, 0.9),
    rival: Annotated[
        float, typer.Option("--rival", help="Least confidence of its runner-up, as a share of the best one's.")
    ] = 0.1,
    encoder: Annotated[
        str, typer.Option("--encoder", help="bundled, bundled:NAME or fastembed:MODEL.")
    ] = "bundled",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Ask only so many queries; marked in the manifest.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--output", help="Write the manifest here, anew after each table.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--update-page", help="Replace what stands between the markers of this file.")
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Ask the same learned routes with a reranker and without, and tell what it gained and how long it took."""
    from synaptoroute.bench import datasets
    from synaptoroute.bench import tie_break as bench
    from synaptoroute.bench.sources import data_folder
    from synaptoroute.cli.bench import utterances_per_route
    from synaptoroute.encoder.specs import make_encoder
    from synaptoroute.rerank import TieBreak
    from synaptoroute.rerank.specs import make_reranker

    names = dataset or ["clinc150", "banking77"]
    measuring.require_known(names, datasets.NAMES, "data set")
    wanted = shots or ["5", "10", "full"]
    counts = [utterances_per_route(text) for text in wanted]
    tie_break = TieBreak(reranker=make_reranker(reranker), band=band, rival=rival)
    # A folder is this machine's own.
    told = "onnx:FOLDER" if reranker.startswith("onnx:") else reranker
    words = ["synaptoroute", "bench", "tiebreak", "--data", "DIR"]
    words += [word for name in names for word in ("--dataset", name)]
    words += [word for text in wanted for word in ("--shots", text)]
    words += ["--reranker", told, "--band", f"{band[0]:g}", f"{band[1]:g}", "--rival", f"{rival:g}"]
    words += ["--encoder", encoder, *(["--limit", str(limit)] if limit is not None else [])]
    folder = data_folder(data)
    with output.progress("measuring") as progress:
        manifests = bench.measure(
            [datasets.load(name, data=folder) for name in names],
            shots=counts,
            encoder=make_encoder(encoder),
            tie_break=tie_break,
            command=shlex.join(words),
            limit=limit,
            progress=progress,
        )
        manifest = measuring.written(manifests, to)
    if page is not None:
        bench.update_page(page, manifest)
        output.note(f"wrote {page}")
    measuring.show(manifest, bench.tables(manifest), to, as_json=as_json)
