"""``synaptoroute demo``: routes the queries that come with the package and says how well and how fast."""

import math
import statistics
from dataclasses import dataclass
from importlib import resources
from time import perf_counter
from typing import TYPE_CHECKING, Any

from synaptoroute.cli import output
from synaptoroute.cli.routes import Json

if TYPE_CHECKING:
    from synaptoroute.models import Decision, Route

_DATA = resources.files("synaptoroute") / "demo"


def demo(*, as_json: Json = False) -> None:
    """Route the demo's queries with the bundled encoder; nothing is downloaded or stored."""
    from synaptoroute.router import AdaptiveRouter

    with AdaptiveRouter() as router:
        router.add_routes(demo_routes())
        router.warm_up()
        answers = []
        for query, expected in demo_queries():
            start = perf_counter()
            decision = router.route(query)
            answers.append(_Answer(query, expected, decision, (perf_counter() - start) * 1000))
        summary = _summary(answers) | {"routes": len(router), "encoder": router.encoder.name}
    if as_json:
        output.print_json({"summary": summary, "queries": [answer.to_dict() for answer in answers]})
        return
    output.print_table(
        ["", "query", "expected", "route", "confidence", "nearest utterance", "ms"],
        [answer.row() for answer in answers],
    )
    output.print_text("")
    for line in _summary_lines(summary):
        output.print_text(line)


def demo_routes() -> "list[Route]":
    """The demo's routes."""
    from synaptoroute.route_files import read_routes

    with (_DATA / "routes.json").open("rb") as file:
        return read_routes(file, "json")


def demo_queries() -> list[tuple[str, str | None]]:
    """The demo's queries, each with the route it belongs to; None if it belongs to none."""
    from synaptoroute.labelled_files import read_queries

    with (_DATA / "queries.csv").open("rb") as file:
        return list(zip(*read_queries(file, "csv"), strict=True))


@dataclass(frozen=True, slots=True)
class _Answer:
    query: str
    expected: str | None
    decision: "Decision"
    ms: float

    @property
    def right(self) -> bool:
        return self.decision.name == self.expected

    def row(self) -> list[output.Cell]:
        decision = self.decision
        mark = "✓" if self.right else "✗"
        expected, chosen = self.expected or "none", decision.name or "none"
        nearest = decision.matches[0].utterance
        return [mark, self.query, expected, chosen, decision.confidence, nearest, self.ms]

    def to_dict(self) -> dict[str, Any]:
        return {
            "query": self.query,
            "expected": self.expected,
            "right": self.right,
            "ms": round(self.ms, 3),
            **self.decision.to_dict(),
        }


def _summary(answers: list[_Answer]) -> dict[str, Any]:
    """Counts as [right, of]; milliseconds of one query alone."""
    durations = sorted(answer.ms for answer in answers)
    return {
        "all": _right(answers),
        "in_scope": _right([answer for answer in answers if answer.expected is not None]),
        "out_of_scope": _right([answer for answer in answers if answer.expected is None]),
        "median_ms": round(statistics.median(durations), 3),
        "p95_ms": round(durations[math.ceil(0.95 * len(durations)) - 1], 3),
    }


def _right(answers: list[_Answer]) -> list[int]:
    return [sum(answer.right for answer in answers), len(answers)]


def _summary_lines(summary: dict[str, Any]) -> list[str]:
    def share(counts: list[int]) -> str:
        right, of = counts
        return f"{right / of:6.1%}  ({right} of {of})"

    return [
        f"accuracy             {share(summary['all'])}",
        f"  in scope           {share(summary['in_scope'])}",
        f"  out of scope       {share(summary['out_of_scope'])} answered none",
        f"time of one query    median {summary['median_ms']:.1f} ms, p95 {summary['p95_ms']:.1f} ms",
        f"encoder              {summary['encoder']}, {summary['routes']} routes",
    ]
