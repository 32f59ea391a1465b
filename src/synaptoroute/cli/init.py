"""``synaptoroute init``: a first file of routes, with everything that it may hold explained in it."""

from pathlib import Path
from typing import Annotated

import typer

from synaptoroute.cli import completion, output
from synaptoroute.cli.routes import JsonDone

_YAML = """\
# The routes of a router: each has a name and texts that people would write when they mean it.
# Take over changes with `synaptoroute routes import FILE --on-conflict replace`, or whenever the file is saved with
# `synaptoroute watch FILE`.
version: 1
routes:
  - name: billing  # 1 to 128 letters, digits, spaces or _ . , : / @ + & ( ) ? ! ' -
    # Five to twenty texts are a good start: different words, short and long, as people write them.
    utterances:
      - what do I owe
      - show my balance
      - pay my bill
      - why was I charged twice
      - send me the last invoice
    # All of the following may be left out.
    description: What the customer owes and has paid  # for people and tools; it decides nothing
    metadata:  # anything of yours, at most 64 KiB
      team: finance

  - name: delivery
    utterances:
      - where is my parcel
      - when will my order arrive
      - the package has not come yet
      - track my delivery
      - can it be delivered on Saturday
    # The least cosine that a text must reach, in place of what is learned; rarely needed.
    # threshold: 0.4

  - name: speak to a person
    utterances:
      - let me talk to somebody
      - I want a human
      - connect me with support
      - is there anybody I can call
      - this does not help, get me an agent
"""
_QUERIES = """\
query,route
how much do I have to pay,billing
I do not understand this charge,billing
my order is late,delivery
has it been shipped yet,delivery
please call me back,speak to a person
a real person please,speak to a person
what is the capital of France,
write a poem about the sea,
"""


def init(
    path: Annotated[
        Path | None,
        typer.Argument(
            autocompletion=completion.files(".yaml", ".yml", ".json"),
            help="The file to write, YAML or JSON; routes.yaml unless given, or routes.json where YAML cannot be read.",
        ),
    ] = None,
    *,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            autocompletion=completion.queries_file,
            help="Also write labelled queries here, by which 'evaluate' and 'fit' measure and learn; CSV.",
        ),
    ] = None,
    as_json: JsonDone = False,
) -> None:
    """Write a first file of routes to edit. Nothing that is there is overwritten."""
    from synaptoroute.errors import InvalidInputError

    path = path or Path("routes.yaml" if _yaml_is_here() else "routes.json")
    if path.suffix.lower() not in {".yaml", ".yml", ".json"}:
        raise InvalidInputError(f"{path}: routes are written as .yaml or .json here; name such a file")
    if queries is not None and queries.suffix.lower() != ".csv":
        raise InvalidInputError(f"{queries}: labelled queries are written as .csv here; name such a file")
    content = {path: _YAML if path.suffix.lower() != ".json" else _json()}
    if queries is not None:
        content[queries] = _QUERIES
    for file in content:
        if file.exists() or file.is_symlink():
            raise InvalidInputError(f"{file} is there already and was left alone; name another file")
    for file, text in content.items():
        _write(file, text)
    if as_json:
        output.print_json({"files": [str(file) for file in content]})
    output.note(f"wrote {' and '.join(map(str, content))}")
    output.note("next, edit the routes, then")
    for step in _steps(path, queries):
        output.note(f"  {step}")


def _steps(path: Path, queries: Path | None) -> list[str]:
    steps = [f"synaptoroute lint --routes {path}", f'synaptoroute route --routes {path} "where is my parcel"']
    if queries is not None:
        steps.append(f"synaptoroute evaluate --routes {path} {queries}")
    return [*steps, f"synaptoroute watch {path} --db routes.db"]


def _yaml_is_here() -> bool:
    from importlib.util import find_spec

    return find_spec("yaml") is not None


def _json() -> str:
    """The same routes; JSON has no comments."""
    import json

    routes = [
        {
            "name": "billing",
            "utterances": [
                "what do I owe",
                "show my balance",
                "pay my bill",
                "why was I charged twice",
                "send me the last invoice",
            ],
            "description": "What the customer owes and has paid",
            "metadata": {"team": "finance"},
        },
        {
            "name": "delivery",
            "utterances": [
                "where is my parcel",
                "when will my order arrive",
                "the package has not come yet",
                "track my delivery",
                "can it be delivered on Saturday",
            ],
        },
        {
            "name": "speak to a person",
            "utterances": [
                "let me talk to somebody",
                "I want a human",
                "connect me with support",
                "is there anybody I can call",
                "this does not help, get me an agent",
            ],
        },
    ]
    return json.dumps({"version": 1, "routes": routes}, indent=2) + "\n"


def _write(file: Path, text: str) -> None:
    from synaptoroute.errors import InvalidInputError

    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise InvalidInputError(f"{file} is there already and was left alone; name another file") from None
    except OSError as exc:
        raise InvalidInputError(f"{file}: cannot be written: {exc.strerror}") from exc
