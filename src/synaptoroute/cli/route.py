"""``synaptoroute route``: texts in, decisions out."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synaptoroute.cli import bulk, completion, explaining, output
from synaptoroute.cli.routes import DEFAULT_DB, Db
from synaptoroute.cli.source import RoutesFile, router_over

if TYPE_CHECKING:
    from synaptoroute.models import Decision
    from synaptoroute.router import AdaptiveRouter, RouteOptions

#: Queries routed together: enough to use all cores, few enough for answers to appear as the input flows.
_BATCH = 64


def route(
    context: typer.Context,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to route; without any, lines of stdin.")] = None,
    *,
    db: Db = DEFAULT_DB,
    routes: RoutesFile = None,
    file: Annotated[
        Path | None, typer.Option("--file", autocompletion=completion.any_file, help="Route the lines of this file.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a query, written as they are routed.")
    ] = False,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="How many matches a JSON object lists.")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Least cosine score, in place of the routes' own thresholds."),
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least probability of being right; 0.5 unless given.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(autocompletion=completion.route_names, help="Consider only this route; may be repeated."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what made each decision: nearest utterances, limits, time by stage.")
    ] = False,
    source: bulk.Input = None,
    target: bulk.Output = None,
    text_column: bulk.TextColumn = "text",
    add: bulk.Add = None,
    prefix: bulk.Prefix = "route_",
    batch_size: bulk.BatchSize = bulk.BATCH_ROWS,
    overwrite: bulk.Overwrite = False,
) -> None:
    """Route texts from arguments, a file or stdin; or a file of rows into another.

    Empty lines are skipped.
    A text that cannot be routed is reported on stderr, the others are answered.
    Exit codes: 0 all have a route, 1 failure, 2 wrong usage, 3 some have none.

    With --input and --output, every row comes out again, with the decision in further columns; a row that cannot be
    routed has a reason there. An interrupted run goes on where it was when it is repeated.
    Exit codes: 0 the output is complete, 1 failure, 2 wrong usage.
    """
    if source or target:
        if texts or file or as_json or explain or not (source and target):
            raise typer.BadParameter("--input and --output go together, and without texts, --file, --json, --explain")
        wanted = bulk.columns(text_column, add, prefix)
        with router_over(context, db, routes) as router:
            bulk.route_rows(
                router,
                source,
                target,
                wanted,
                batch_rows=batch_size,
                overwrite=overwrite,
                asked={"threshold": threshold, "min_confidence": min_confidence, "allow": allow or None},
            )
        return
    if texts and file:
        raise typer.BadParameter("give texts or --file, not both")
    if not texts and not file and sys.stdin.isatty():
        raise typer.BadParameter("give texts, --file or lines on stdin")

    options: RouteOptions = {
        "top_k": top_k,
        "threshold": threshold,
        "min_confidence": min_confidence,
        "allow": allow or None,
    }
    answers = _Answers(as_json=as_json, explain=explain)
    with router_over(context, db, routes) as router, _queries(texts, file) as queries:
        # The same texts get the same answers, however quick the machine is.
        router.wait_until_fitted()
        try:
            while batch := list(islice(queries, _BATCH)):
                answers.add(router, batch, options)
        finally:
            answers.print_table()
    raise typer.Exit(answers.exit_code)


class _Answers:
    """Prints decisions and remembers how it went."""

    def __init__(self, *, as_json: bool, explain: bool) -> None:
        self._as_json = as_json
        self._explain = explain
        self._rows: list[list[output.Cell]] = []
        self._failed = self._abstained = False

    def add(self, router: "AdaptiveRouter", batch: list[tuple[str, str]], options: "RouteOptions") -> None:
        from synaptoroute.errors import InvalidQueryError
        from synaptoroute.models import clean_query

        queries = []
        for where, text in batch:
            try:
                queries.append(clean_query(text))
            except InvalidQueryError as exc:
                self._failed = True
                output.error(f"{where}: {exc}")
        if self._explain:
            for query, explanation in zip(queries, router.explain_many(queries, **options), strict=True):
                self._abstained |= not explanation.decision
                explaining.show(query, explanation, as_json=self._as_json)
            return
        for query, decision in zip(queries, router.route_many(queries, **options), strict=True):
            self._abstained |= not decision
            if self._as_json:
                output.print_json({"query": query, **decision.to_dict()})
            else:
                self._rows.append(_row(query, decision))

    def print_table(self) -> None:
        if self._rows:
            output.print_table(["query", "route", "confidence", "score", "nearest utterance", "reason"], self._rows)

    @property
    def exit_code(self) -> int:
        if self._failed:
            return output.FAILED
        return output.ABSTAINED if self._abstained else 0


def _row(query: str, decision: "Decision") -> list[output.Cell]:
    nearest = decision.matches[0].utterance if decision.matches else None
    return [query, decision.name or "none", decision.confidence, decision.score, nearest, decision.reason.value]


@contextmanager
def _queries(texts: list[str] | None, file: Path | None) -> Iterator[Iterator[tuple[str, str]]]:
    """Where each text is, and the text."""
    from synaptoroute.errors import InvalidInputError

    if texts:
        yield ((f"text {number}", text) for number, text in enumerate(texts, start=1))
    elif file is None:
        yield _lines("stdin", sys.stdin.buffer)
    else:
        try:
            lines = file.open("rb")
        except OSError as exc:
            raise InvalidInputError(f"cannot read {file}: {exc.strerror}") from exc
        with lines:
            yield _lines(str(file), lines)


def _lines(name: str, lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """The lines that are not blank. Bytes that are not UTF-8 become surrogates, which the line's own check reports."""
    for number, line in enumerate(lines, start=1):
        text = line.decode("utf-8", "surrogateescape").removeprefix("\ufeff" if number == 1 else "").strip()
        if text:
            yield f"{name}: line {number}", text
