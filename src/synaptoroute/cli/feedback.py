"""``synaptoroute feedback``: say that a decision was wrong, see what could be done about it, and decide."""

from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute.cli import completion, output
from synaptoroute.cli.history import readable
from synaptoroute.cli.routes import DEFAULT_DB, Db, Json, JsonDone, opened

if TYPE_CHECKING:
    from synaptoroute.corrections import Feedback, Flip, Proposal

Number = Annotated[int, typer.Argument(min=1, help="Of the feedback; 'feedback list' tells them.")]
Note = Annotated[str | None, typer.Option("--note", help="Anything to tell the one who will look at it.")]

app = typer.Typer(
    no_args_is_help=True,
    help="Say that a decision was wrong, see what could be done and what that would break, and decide.",
)


@app.command("add")
def add(
    text: Annotated[str, typer.Argument(help="The query.")],
    *,
    expected: Annotated[
        str | None,
        typer.Option("--expected", autocompletion=completion.route_names, help="The route it should get."),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="It should get none.")] = False,
    note: Note = None,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """Keep which route a text should get. The text is stored beside the routes until it is forgotten."""
    from synaptoroute.corrections import Corrections

    if none == (expected is not None):
        raise typer.BadParameter("give --expected ROUTE or --none")
    with opened(db) as router:
        router.wait_until_fitted()
        feedback = Corrections(router).add(text, expected, note=note)
    if as_json:
        output.print_json(feedback.to_dict())
    decided = feedback.decided.name or "none"
    output.note(
        f"feedback {feedback.id}: {decided} was decided, {expected or 'none'} is right; said {feedback.count} x"
    )
    _note_contradictions(feedback)


@app.command("list")
def list_feedback(
    *,
    state: Annotated[str | None, typer.Option(help="Only open, proposed, accepted or dismissed.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="So many at most.")] = 20,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """List feedback, the last first."""
    from synaptoroute.corrections import Corrections

    with readable(db) as router:
        found = Corrections(router).listed(state=state, limit=limit)
    if as_json:
        output.print_json([feedback.to_dict() for feedback in found])
        return
    rows: list[list[output.Cell]] = [
        [each.id, each.state.value, each.count, each.decided.name or "none", each.expected or "none", each.text]
        for each in found
    ]
    output.print_table(["number", "state", "said", "decided", "right", "text"], rows)


@app.command("export")
def export(*, db: Db = DEFAULT_DB) -> None:
    """Write texts and their right routes as JSON lines, which 'evaluate' and 'fit' read; without contradictions."""
    from synaptoroute.corrections import Corrections

    with readable(db) as router:
        texts, labels = Corrections(router).labelled()
    for text, label in zip(texts, labels, strict=True):
        output.print_json({"query": text, "route": label})


@app.command("show")
def show(number: Number, *, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """Show feedback with what was proposed and decided."""
    from synaptoroute.corrections import Corrections

    with readable(db) as router:
        feedback = Corrections(router).get(number)
    _print(feedback, as_json=as_json)


@app.command("propose")
def propose(number: Number, *, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """Try what could be done, and show what each option would mend and break. Changes no route."""
    from synaptoroute.corrections import Corrections

    with opened(db) as router, output.progress("trying") as advance:
        feedback = Corrections(router).propose(number, progress=advance)
    _print(feedback, as_json=as_json)


@app.command("accept")
def accept(
    number: Number,
    option: Annotated[str, typer.Argument(help="The option, as 'feedback propose' calls it.")],
    *,
    db: Db = DEFAULT_DB,
    as_json: Json = False,
) -> None:
    """Do what an option of the proposal says, if nothing has changed since. 'routes rollback' undoes it."""
    from synaptoroute.corrections import Corrections

    with opened(db) as router:
        feedback = Corrections(router).accept(number, option)
    if as_json:
        output.print_json(feedback.to_dict())
    if feedback.outcome:
        output.note(f"feedback {number}: {option} is done, revision {feedback.outcome.revision}")


@app.command("dismiss")
def dismiss(number: Number, *, note: Note = None, db: Db = DEFAULT_DB, as_json: Json = False) -> None:
    """Do nothing about it, and keep the record."""
    from synaptoroute.corrections import Corrections

    with readable(db) as router:
        feedback = Corrections(router).dismiss(number, note=note)
    if as_json:
        output.print_json(feedback.to_dict())
    output.note(f"feedback {number} is dismissed")


@app.command("forget")
def forget(number: Number, *, db: Db = DEFAULT_DB, as_json: JsonDone = False) -> None:
    """Delete feedback with its text. What was accepted stays in the routes."""
    from synaptoroute.corrections import Corrections

    with readable(db) as router:
        Corrections(router).forget(number)
    if as_json:
        output.print_json({"forgotten": number})
    output.note(f"feedback {number} is forgotten")


def _print(feedback: "Feedback", *, as_json: bool) -> None:
    if as_json:
        output.print_json(feedback.to_dict())
        return
    output.print_text(f"feedback {feedback.id} ({feedback.state.value}, said {feedback.count} x): {feedback.text}")
    output.print_text(f"decided: {feedback.decided.name or 'none'}; right: {feedback.expected or 'none'}")
    if feedback.note:
        output.print_text(f"note: {feedback.note}")
    _note_contradictions(feedback)
    if feedback.proposal:
        _print_proposal(feedback.proposal)
    if feedback.outcome:
        done, by = feedback.outcome.option or "dismissed", feedback.outcome.actor or "somebody"
        output.print_text(f"decided: {done}, by {by}, revision {feedback.outcome.revision}")


def _print_proposal(proposal: "Proposal") -> None:
    counts = ", ".join(f"{count} of {origin}" for origin, count in proposal.checks.items()) or "none"
    output.print_text(f"held-out queries asked: {counts}; {proposal.out_of_scope} out of scope")
    rows: list[list[output.Cell]] = []
    for option in proposal.options:
        effect = option.effect
        between = "-"
        if effect.net_interval is not None:
            low, high = effect.net_interval
            between = f"{low:+.1%} to {high:+.1%}"
        mends = "yes" if effect.fixes else "no"
        rows.append([option.key, mends, effect.gained, effect.lost, between, option.summary])
    output.print_table(["option", "mends it", "gained", "lost", "accuracy, 95 % interval", "what"], rows)
    for option in proposal.options:
        _print_flips(f"{option.key} would make right", option.effect.gains)
        _print_flips(f"{option.key} would make wrong", option.effect.losses)
    for warning in proposal.warnings:
        output.print_text(f"note: {warning}")
    output.print_text(f"recommended: {proposal.recommended}")


def _print_flips(title: str, flips: "tuple[Flip, ...]") -> None:
    if flips:
        output.print_text(title)
    for flip in flips:
        output.print_text(f"  {flip.text}: {flip.before or 'none'} -> {flip.after or 'none'}")


def _note_contradictions(feedback: "Feedback") -> None:
    if feedback.contradicts:
        numbers = ", ".join(map(str, feedback.contradicts))
        output.note(f"other feedback wants something else for the same text: {numbers}")
