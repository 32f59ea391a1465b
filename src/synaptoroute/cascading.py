"""Cascade: a call whose queries the first stage decides where it is sure, and the full path where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from synaptoroute.models import Decision


class Cascade:
    """One call on its way: ``while call.rest: call.add(the full path's decisions on call.rest)``.

    All of a call is decided on one revision: if the full path has decided on another than the first stage, because
    routes have changed in between, it decides all of it.

    Args:
        texts: The queries.
        sure: What the first stage has decided of them, None for each that it was not sure of; None without one.

    Attributes:
        decisions: One for each query, in order, once nothing is left.
        rest: What the full path is to decide next.
    """

    __slots__ = ("_open", "_texts", "decisions", "rest")

    def __init__(self, texts: Sequence[str], sure: Sequence[Decision | None] | None = None) -> None:
        self._texts = texts
        self.decisions: list[Decision] = []
        #: The places of the rest; None for all of it.
        self._open: list[int] | None = None
        if sure is None:
            self.rest = list(texts)
            return
        # The gaps are filled before anybody reads them.
        self.decisions = cast("list[Decision]", list(sure))
        self._open = [place for place, decision in enumerate(sure) if decision is None]
        self.rest = [texts[place] for place in self._open]

    def add(self, decisions: Sequence[Decision]) -> None:
        """The full path's decisions on the rest, in order."""
        if self._open is None or len(self._open) == len(self._texts):
            self.decisions, self.rest = list(decisions), []
            return
        for place, decision in zip(self._open, decisions, strict=True):
            self.decisions[place] = decision
        self.rest = []
        revision = self.decisions[0].revision
        if any(decision.revision != revision for decision in self.decisions):
            self._open, self.rest = None, list(self._texts)
