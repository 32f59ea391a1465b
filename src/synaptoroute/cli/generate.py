"""``synaptoroute routes generate``: a language model writes utterances, the router judges them."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synaptoroute.cli import completion, output
from synaptoroute.cli.routes import DEFAULT_DB, Db, Json, Name, opened

if TYPE_CHECKING:
    from synaptoroute.generating import Generated


def generate(
    name: Name,
    *,
    model: Annotated[str, typer.Option("--model", help="The language model, as its server calls it.")],
    llm_url: Annotated[
        str | None,
        typer.Option("--llm-url", help="A server that speaks OpenAI's chat API, such as http://localhost:11434/v1."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=500, help="How many utterances are wanted.")] = 20,
    hard_negatives: Annotated[
        int, typer.Option("--hard-negatives", min=0, max=200, help="How many texts of the nearest routes are wanted.")
    ] = 6,
    held_out: Annotated[
        Path | None,
        typer.Option(
            "--held-out",
            autocompletion=completion.queries_file,
            help="CSV or JSON lines of labelled queries to check with; utterances are withheld unless given.",
        ),
    ] = None,
    max_requests: Annotated[int, typer.Option(min=1, help="Most requests to the language model.")] = 12,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of all requests and answers.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses what is withheld and shown.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask nothing; show what would be asked.")] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Add the utterances, if the check says that they help.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="With --apply: add them whatever the check says.")] = False,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """Have a language model write utterances for a route; print those that the router finds good.

    The model sees the route and the routes nearest to it, without a third of their utterances. These are decided at
    last without and with what is new. The key is read from OPENAI_API_KEY. Nothing is changed without --apply.

    Exit codes: 0 all well; 1 failure, or with --apply utterances that do not help; 2 wrong usage.
    """
    from synaptoroute.generating import Budget, ChatEndpoint, generate_utterances
    from synaptoroute.labelled_files import read_queries

    if apply and dry_run:
        raise typer.BadParameter("give --apply or --dry-run, not both")
    if force and not apply:
        raise typer.BadParameter("--force is for --apply")
    queries = read_queries(held_out) if held_out is not None else None
    # A dry run asks nothing, so that it needs no key.
    llm = ChatEndpoint(model, base_url=llm_url, api_key="not-needed" if dry_run else None)
    with opened(db) as router:
        with output.progress("writing", "utterances") as advance:
            generated = generate_utterances(
                router,
                name,
                llm=llm,
                count=count,
                hard_negatives=hard_negatives,
                budget=Budget(requests=max_requests, tokens=max_tokens),
                held_out=queries,
                dry_run=dry_run,
                seed=seed,
                progress=advance,
            )
        if as_json:
            output.print_json(generated.to_dict())
        else:
            _print(generated)
        if apply:
            revision = generated.apply(router, force=force)
            output.note(f"route {name!r} has {len(generated.utterances):,} more utterances, revision {revision}")


def _print(generated: "Generated") -> None:
    for question in generated.questions:
        output.print_text("question")
        for line in question.splitlines():
            output.print_text(f"  {line}")
    for utterance in generated.utterances:
        output.print_text(utterance)
    if generated.negatives:
        output.print_text("")
        rows: list[list[output.Cell]] = [[each.route, each.score, each.text] for each in generated.negatives]
        output.print_table(["belongs to", "score here", "hard negative"], rows)
    refused = Counter(each.reason.value for each in generated.refused)
    for line in (*generated.warnings, *(f"refused as {reason}: {number:,}" for reason, number in refused.items())):
        output.note(line)
    output.note(_told(generated))


def _told(generated: "Generated") -> str:
    cost = generated.cost
    parts: list[Any] = [f"{cost.requests:,} requests, {'about ' if cost.estimated else ''}{cost.tokens:,} tokens"]
    if (check := generated.check) is not None:
        right = f"{check.before:.1%} decided rightly without, {check.after:.1%} with them"
        parts.append(f"of {check.queries:,} {check.source} queries {right}")
    return "; ".join(parts)
