"""``synaptoroute bench tools``: tools selected by their descriptions and examples, beside cosine and BM25."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from synaptoroute.cli import measuring, output
from synaptoroute.cli.measuring import Data
from synaptoroute.cli.routes import Json


def tools(
    *,
    data: Data = None,
    examples: Annotated[
        list[int] | None,
        typer.Option("--examples", min=0, help="Example queries a tool; may be repeated; 0, 1, 5 and 20 unless given."),
    ] = None,
    encoder: Annotated[
        str,
        typer.Option("--encoder", help="Its word; the default encoder learned from MetaTool's train part."),
    ] = "bundled:minilm",
    limit: Annotated[
        int | None, typer.Option("--limit", min=2, help="Ask only so many queries; marked in the manifest.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--output", help="Write the manifest here, anew after each system.")
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Select among MetaTool's 199 tools, and abstain where none serves: ours, plain cosine, and BM25.

    Takes a few minutes. BM25 needs pip install 'synaptoroute[bench]'.
    """
    from synaptoroute.bench import tools as bench
    from synaptoroute.bench.sources import data_folder
    from synaptoroute.encoder.specs import make_encoder

    counts = list(dict.fromkeys(examples or bench.SHOTS))
    metatool, descriptions, clinc = bench.data(data_folder(data))
    words = ["synaptoroute", "bench", "tools", "--data", "DIR"]
    words += [word for count in counts for word in ("--examples", str(count))]
    words += ["--encoder", encoder] if limit is None else ["--encoder", encoder, "--limit", str(limit)]
    with output.progress("measuring") as progress:
        manifests = bench.measure(
            metatool,
            descriptions,
            clinc,
            encoder=make_encoder(encoder),
            command=shlex.join(words),
            shots=counts,
            limit=limit,
            progress=progress,
        )
        manifest = measuring.written(manifests, to)
    if to is not None:
        output.note(f"wrote {to}")
    if as_json:
        output.print_json(manifest.model_dump(mode="json"))
    else:
        typer.echo(bench.table(manifest), nl=False)
