"""Judge: what the router itself thinks of texts that a language model wrote for one of its routes.

What is near and what is far is said by the bounds of ``lint``, which are cosines of the bundled encoder.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from synaptoroute.decision.background import BACKGROUND
from synaptoroute.decision.policy import Limits
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import InvalidRouteError
from synaptoroute.generating.records import Negative, Refusal
from synaptoroute.generating.sides import Sides
from synaptoroute.lint import FAR_STRAY, NEAR_DUPLICATE
from synaptoroute.models import Decision, clean_text
from synaptoroute.table import RouteTable

#: Longer texts are no utterances but something else that the model wanted to say.
MAX_CHARS = 500
#: A text the router is unsure of has to be nearer to the route than this share of sentences about anything.
NEARER_THAN = 0.95
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

Verdict = Refusal | Negative | None


@dataclass(frozen=True, slots=True)
class _Evidence:
    """One text: its cosine with the route, with the nearest other route, and the decision."""

    own: float
    other: float
    other_name: str | None
    decision: Decision


class Judge:
    """Accepts or refuses texts one after another; what was accepted counts when the next ones are judged.

    Args:
        table: The routes as they are, with this one among them.
        sides: Texts to unit rows.
        route: Its name.
        limits: What a query must reach that asks for nothing.
    """

    def __init__(self, table: RouteTable, sides: Sides, route: str, limits: Limits) -> None:
        self._table, self._sides, self._route, self._limits = table, sides, route, limits
        self._known = {plain(text) for text in table.get(route).utterances}
        self._vectors = table.index.vectors_of(table.index.rows_of(table.catalog.slot(route)))
        background = (table.encode(BACKGROUND) @ self._vectors.T).max(axis=1)
        self._floor = float(np.quantile(background, NEARER_THAN))

    def positives(self, texts: Sequence[str]) -> list[Verdict]:
        """For texts that are to belong to the route, in order: None if accepted."""
        clean = [usable(text) for text in texts]
        evidence = self._evidence([text for text in clean if text is not None])
        verdicts: list[Verdict] = []
        for text in clean:
            if text is None:
                verdicts.append(Refusal.INVALID)
                continue
            vector, found = next(evidence)
            verdict = self._positive(text, vector, found)
            if verdict is None:
                self._known.add(plain(text))
                self._vectors = np.concatenate([self._vectors, vector[None]])
            verdicts.append(verdict)
        return verdicts

    def negatives(self, texts: Sequence[str], sibling: str) -> list[Verdict]:
        """For texts that are to belong to the sibling and look like the route's: a Negative if accepted."""
        clean = [usable(text) for text in texts]
        evidence = self._evidence([text for text in clean if text is not None])
        stored = {plain(text) for text in self._table.get(sibling).utterances}
        verdicts: list[Verdict] = []
        for text in clean:
            if text is None:
                verdicts.append(Refusal.INVALID)
                continue
            _, found = next(evidence)
            best = found.decision.matches[0].name if found.decision.matches else None
            if plain(text) in stored:
                verdicts.append(Refusal.REPEAT)
            elif plain(text) in self._known or found.own >= NEAR_DUPLICATE or best not in (self._route, sibling):
                verdicts.append(Refusal.UNCLEAR)
            else:
                stored.add(plain(text))
                verdicts.append(self._negative(text, sibling, found))
        return verdicts

    def _positive(self, text: str, vector: Vectors, found: _Evidence) -> Verdict:
        if plain(text) in self._known:
            return Refusal.REPEAT
        # Texts of the same answer were accepted since the evidence was gathered.
        own = max(found.own, float((self._vectors @ vector).max()))
        if own >= NEAR_DUPLICATE:
            return Refusal.NEAR_REPEAT
        if found.other_name is not None and (found.other >= NEAR_DUPLICATE or found.other - own >= FAR_STRAY):
            return self._negative(text, found.other_name, found)
        decision = found.decision
        if decision.name == self._route:
            return None
        if decision.name is not None:
            return Refusal.SIBLING
        if own < self._floor:
            return Refusal.FAR
        return None if decision.matches and decision.matches[0].name == self._route else Refusal.UNCLEAR

    def _negative(self, text: str, name: str, found: _Evidence) -> Negative:
        return Negative(text=text, route=name, score=found.own, confused=found.decision.name == self._route)

    def _evidence(self, texts: Sequence[str]) -> Iterator[tuple[Vectors, _Evidence]]:
        """For each text its vector and what speaks for it."""
        vectors, queries = self._sides.both(texts)
        decisions = self._table.decide(texts, queries, limits=self._limits)
        own = vectors @ self._vectors.T
        others = [name for name in self._table.catalog if name != self._route]
        nearest = self._table.index.search(vectors, 1, self._table.mask(others)) if others and texts else None
        for row, decision in enumerate(decisions):
            other, name = -1.0, None
            if nearest is not None and nearest.owners[row, 0] >= 0:
                other = float(nearest.scores[row, 0])
                name = self._table.catalog.name(int(nearest.owners[row, 0]))
            yield vectors[row], _Evidence(float(own[row].max()), other, name, decision)


def usable(text: str) -> str | None:
    """The text as an utterance; None if it cannot be one."""
    if len(text) > MAX_CHARS or _CONTROL.search(text.strip()):
        return None
    try:
        return clean_text(text, InvalidRouteError)
    except InvalidRouteError:
        return None


def plain(text: str) -> str:
    """The text without what hardly ever changes its meaning: case, spacing, forms of a letter, marks at its end."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words.rstrip(" .?!,;:\u3002") or words
