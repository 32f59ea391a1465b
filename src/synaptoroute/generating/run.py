"""``generate_utterances``: new utterances for a route from a language model, judged by the router."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from synaptoroute import planning
from synaptoroute.decision.head import no_checkpoint
from synaptoroute.decision.policy import Limits
from synaptoroute.errors import InvalidInputError, RemoteError
from synaptoroute.evaluation import check_labels, check_queries
from synaptoroute.generating import prompts
from synaptoroute.generating.answers import texts_of
from synaptoroute.generating.checking import FEW, Withheld, check, queries_of
from synaptoroute.generating.endpoint import ChatEndpoint, Message
from synaptoroute.generating.judging import Judge, Verdict
from synaptoroute.generating.records import Budget, Cost, Generated, Negative, Refusal, Refused
from synaptoroute.generating.sides import Sides
from synaptoroute.generating.spending import Purse, expected_tokens
from synaptoroute.models import Route, clean_query
from synaptoroute.router import AdaptiveRouter
from synaptoroute.table import RouteTable

Progress = Callable[[int, int], None]

#: Routes that a route is told apart from.
SIBLINGS = 3
#: Answers in a row without one new utterance after which asking on is a waste.
_FRUITLESS = 3
#: Texts already written that a question repeats at most.
_RECALLED = 30


@dataclass(slots=True)
class _Yield:
    """What has come out so far."""

    utterances: list[str] = field(default_factory=list)
    negatives: list[Negative] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def take(self, text: str, verdict: Verdict, room: int) -> None:
        """One text with what the judge says of it."""
        if isinstance(verdict, Negative):
            self.negatives.append(verdict)
        elif verdict is not None:
            self.refused.append(Refused(text=text[:200], reason=verdict))
        elif len(self.utterances) < room:
            self.utterances.append(text.strip())
        else:
            self.refused.append(Refused(text=text[:200], reason=Refusal.SURPLUS))


def generate_utterances(
    router: AdaptiveRouter,
    route: str | Route,
    *,
    llm: ChatEndpoint,
    count: int = 20,
    hard_negatives: int = 6,
    budget: Budget | None = None,
    held_out: tuple[Sequence[str], Sequence[str | None]] | None = None,
    dry_run: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Generated:
    """Have a language model write utterances for a route, and keep those that the router finds good.

    The model is shown the route and the routes nearest to it, but a third of their utterances are withheld. It is asked
    in different manners for texts of the route, and for texts of its siblings that could be taken for it. A text is
    refused that repeats what is there, in words or in meaning; that the router would send to another route; or that is
    no nearer to the route than sentences about anything. At last the withheld utterances, or labelled queries if there
    are any, are decided without and with the new ones. Nothing is changed: see ``Generated.apply``.

    What the model says is only ever a text to be judged. A server that fails later on ends the asking, with a warning.

    Args:
        router: Whose routes they are; only read.
        route: A route's name; or a new route, which is judged as if it were there.
        llm: Who writes.
        count: How many utterances are wanted, 1 to 500.
        hard_negatives: How many texts of the siblings are wanted, 0 to 200.
        budget: How much may be asked; 12 requests unless given.
        held_out: Labelled queries, which say more than withheld utterances; a label of None is out of scope.
        dry_run: Ask nothing; say what would be asked.
        seed: Chooses what is withheld and shown.
        progress: Told how many of how many utterances there are.

    Raises:
        InvalidInputError: A number is out of its range, or the labelled queries are not good.
        RouteNotFoundError: There is no route of that name.
        RemoteError: The language model could not be asked even once; see ``ChatEndpoint.ask``.
    """
    for name, value, least, most in (("count", count, 1, 500), ("hard_negatives", hard_negatives, 0, 200)):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InvalidInputError(f"{name} is {value!r}, wanted a number from {least} to {most}")
    if not dry_run:
        router.wait_until_fitted()
    work = _Work(router, route, held_out, seed)
    if dry_run:
        return work.planned(count, hard_negatives, budget or Budget())
    purse = Purse(llm, budget or Budget())
    try:
        work.write(purse, count, progress or (lambda _done, _of: None))
        work.contrast(purse, hard_negatives)
    except RemoteError as exc:
        if purse.cost.requests <= 1:
            raise
        work.found.warnings.append(f"asking ended early: {exc}")
    return work.finished(purse.cost)


async def agenerate_utterances(
    router: AdaptiveRouter,
    route: str | Route,
    *,
    llm: ChatEndpoint,
    count: int = 20,
    hard_negatives: int = 6,
    budget: Budget | None = None,
    held_out: tuple[Sequence[str], Sequence[str | None]] | None = None,
    dry_run: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Generated:
    """``generate_utterances`` without blocking the event loop; ``progress`` is called in another thread."""
    return await asyncio.to_thread(
        generate_utterances,
        router,
        route,
        llm=llm,
        count=count,
        hard_negatives=hard_negatives,
        budget=budget,
        held_out=held_out,
        dry_run=dry_run,
        seed=seed,
        progress=progress,
    )


class _Work:
    """One route, its siblings, and what is found for them."""

    def __init__(
        self,
        router: AdaptiveRouter,
        route: str | Route,
        held_out: tuple[Sequence[str], Sequence[str | None]] | None,
        seed: int,
    ) -> None:
        self._sides = Sides(router.encoder)
        self._limits = Limits(min_confidence=router.min_confidence)
        self._table = _with_route(router.snapshot, route, self._sides)
        self._name = route if isinstance(route, str) else route.name
        self._given = None
        if held_out is not None:
            check_queries(*held_out)
            self._given = [clean_query(text) for text in held_out[0]], check_labels(held_out[1], self._table)
        self.found = _Yield()
        self._siblings = nearest_routes(self._table, self._name, SIBLINGS)
        self._withheld = Withheld()
        if self._given is None:
            self._withheld = Withheld.of(self._table, [self._name, *self._siblings], seed)
        self._shown = {name: self._show(name, seed) for name in (self._name, *self._siblings)}
        self._judge = Judge(self._table, self._sides, self._name, self._limits)

    def _show(self, name: str, seed: int) -> prompts.Shown:
        texts = self._withheld.shown(self._table, name, prompts.SHOWN, seed)
        return prompts.Shown(name, self._table.get(name).description, texts)

    # ------------------------------------------------------------------------------------------------- asking
    def write(self, purse: Purse, count: int, progress: Progress) -> None:
        """Ask for utterances until there are enough, the budget is used up, or nothing new comes."""
        turn = fruitless = 0
        utterances = self.found.utterances
        while len(utterances) < count:
            question = self._positive(min(prompts.AT_ONCE, count - len(utterances)), turn)
            if not purse.allows(question):
                self.found.warnings.append(f"the budget is used up: {len(utterances)} of {count} utterances")
                return
            texts = self._texts(purse, question)
            had = len(utterances)
            for text, verdict in zip(texts, self._judge.positives(texts), strict=True):
                self.found.take(text, verdict, count)
            progress(len(utterances), count)
            turn += 1
            fruitless = 0 if len(utterances) > had else fruitless + 1
            if fruitless == _FRUITLESS:
                self.found.warnings.append(
                    f"{_FRUITLESS} answers in a row brought nothing new: {len(utterances)} of {count} utterances"
                )
                return

    def contrast(self, purse: Purse, wanted: int) -> None:
        """Ask for texts of the siblings that could be taken for the route's."""
        each = -(-wanted // max(1, len(self._siblings)))
        for sibling in self._siblings if wanted else ():
            question = prompts.for_negatives(self._shown[self._name], self._shown[sibling], each)
            if not purse.allows(question):
                self.found.warnings.append("the budget is used up: not all siblings were asked for negatives")
                return
            texts = self._texts(purse, question)[:each]
            for text, verdict in zip(texts, self._judge.negatives(texts, sibling), strict=True):
                self.found.take(text, verdict, 0)

    def _positive(self, number: int, turn: int) -> list[Message]:
        siblings = [self._shown[name] for name in self._siblings]
        have = self.found.utterances[-_RECALLED:]
        return prompts.for_positives(self._shown[self._name], siblings, have, number, turn)

    def _texts(self, purse: Purse, question: list[Message]) -> list[str]:
        texts = texts_of(purse.ask(question))
        if not texts:
            self.found.warnings.append("an answer held no list of texts")
        return texts

    # ------------------------------------------------------------------------------------------------ results
    def planned(self, count: int, hard_negatives: int, budget: Budget) -> Generated:
        """What would be asked, if every text were good."""
        questions = [self._positive(min(prompts.AT_ONCE, count), turn) for turn in range(-(-count // prompts.AT_ONCE))]
        if hard_negatives and self._siblings:
            each = -(-hard_negatives // len(self._siblings))
            questions += [
                prompts.for_negatives(self._shown[self._name], self._shown[name], each) for name in self._siblings
            ]
        purse_tokens = 0
        asked: list[list[Message]] = []
        for question in questions[: budget.requests]:
            purse_tokens += expected_tokens(question)
            if budget.tokens is not None and purse_tokens > budget.tokens:
                break
            asked.append(question)
        few = len(asked) < len(questions)
        return Generated(
            route=self._name,
            siblings=self._siblings,
            cost=Cost(requests=len(asked), tokens=sum(map(expected_tokens, asked)), estimated=True),
            warnings=(f"the budget allows {len(asked)} of {len(questions)} requests",) if few else (),
            questions=tuple(question[-1]["content"] for question in asked),
        )

    def finished(self, cost: Cost) -> Generated:
        """All that came out, and whether it helps."""
        found = self.found
        checked = None
        queries = queries_of(self._table, self._withheld, self._given)
        if queries is None:
            found.warnings.append("there was nothing to hold out, so nobody knows whether the utterances help")
        elif found.utterances or found.negatives:
            checked = check(
                queries, self._sides, self._limits, self._name, found.utterances, found.negatives, no_checkpoint
            )
            if checked.queries < FEW:
                found.warnings.append(f"{checked.queries} held-out queries say little; label some and give held_out")
        return Generated(
            route=self._name,
            siblings=self._siblings,
            utterances=tuple(found.utterances),
            negatives=tuple(found.negatives),
            refused=tuple(found.refused),
            check=checked,
            cost=cost,
            warnings=tuple(dict.fromkeys(found.warnings)),
        )


def nearest_routes(table: RouteTable, name: str, most: int) -> tuple[str, ...]:
    """The routes nearest to this one, by the mean over its utterances of the score of each; the nearest first."""
    others = [other for other in table.catalog if other != name]
    if not others:
        return ()
    vectors = table.index.vectors_of(table.index.rows_of(table.catalog.slot(name)))
    nearest = table.index.search(vectors, min(len(others), 10 * most), table.mask(others))
    sums = np.zeros(table.catalog.slots)
    for owners, scores in zip(nearest.owners, nearest.scores, strict=True):
        # A route that is not among the nearest of an utterance counts as far as the last of them.
        there = owners >= 0
        sums[owners[there]] += scores[there] - scores[there].min() + 1e-6
    order = np.argsort(-sums, kind="stable")[:most]
    return tuple(table.catalog.name(int(slot)) for slot in order if sums[slot] > 0)


def _with_route(table: RouteTable, route: str | Route, sides: Sides) -> RouteTable:
    if isinstance(route, str):
        table.get(route)
        return table
    if route.name in table and table.get(route.name) == route:
        return table
    return table.applied(planning.puts(table, [route], sides.utterances), table.revision)
