"""FirstAnswers: the static first stage over one learned table, from texts to decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from synaptoroute.decision.evidence import Grouped
from synaptoroute.decision.first_stage import FirstStage, first_choices
from synaptoroute.decision.model import DecisionModel
from synaptoroute.decision.ranking import shared
from synaptoroute.encoder.base import BaseEncoder, encode_checked
from synaptoroute.models import Decision, Match, Reason, Stage, is_picture

#: Texts that are decided together at most: their logits and vectors stay in the processor's cache.
_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class FirstAnswers:
    """What the first stage answers with: the static vectors of the utterances that a model was learned from.

    Its columns are those of the model. May be used from any thread.

    Attributes:
        encoder: Texts to static vectors.
        model: What was learned; it has a first stage.
        names: The route of each column.
        grouped: Static vectors of the utterances by column: 1 KB an utterance.
        utterances: Their texts, in the same order.
    """

    encoder: BaseEncoder
    model: DecisionModel
    names: tuple[str, ...]
    grouped: Grouped
    utterances: tuple[str, ...]
    _least: dict[float, float] = field(default_factory=dict)

    @classmethod
    def of(cls, encoder: BaseEncoder, model: DecisionModel, utterances: Mapping[str, Sequence[str]]) -> FirstAnswers:
        """Of a model that was learned from these utterances of these routes, in this order."""
        texts = tuple(chain.from_iterable(utterances.values()))
        ends = np.cumsum([len(each) for each in utterances.values()])
        grouped = Grouped(encode_checked(encoder, texts), np.concatenate([[0], ends[:-1]]), ends)
        return cls(encoder, model, tuple(utterances), grouped, texts)

    @property
    def stage(self) -> FirstStage:
        """The model's first stage."""
        assert self.model.first is not None  # noqa: S101 - it was made with one
        return self.model.first

    def least(self, point: float) -> float:
        """From which likelihood of agreement on it answers, beside a full path that answers from this confidence on."""
        found = self._least.get(point)
        if found is None:
            found = self._least[point] = self.stage.least(self.model.gate, point)
        return found

    def decide(self, texts: Sequence[str], *, top_k: int, point: float, revision: int) -> list[Decision | None]:
        """The decisions it is sure of, each for a route; None for the others.

        Args:
            texts: Queries.
            top_k: How many matches a Decision lists, at least 1.
            point: The full path abstains below this confidence.
            revision: Of the table.
        """
        parts = (texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE))
        return [found for part in parts for found in self._decide(part, top_k, point, revision)]

    def _decide(self, texts: Sequence[str], top_k: int, point: float, revision: int) -> list[Decision | None]:
        stage, vectors = self.stage, self.encoder.encode(texts)
        chosen = first_choices(stage.head, self.model.head, self.model.vocabulary, texts, vectors, max(top_k, 2))
        agrees, right = stage.probabilities(chosen.seen)
        # Of a picture it sees nothing.
        readable = ~np.fromiter(map(is_picture, texts), bool, len(texts))
        answered = (agrees >= self.least(point)) & (right >= point) & readable
        sure, left = np.flatnonzero(answered), np.flatnonzero(~answered)
        self.model.head.hand_on([texts[place] for place in left.tolist()], chosen.spelled[left])
        decisions: list[Decision | None] = [None] * len(texts)
        columns = chosen.columns[sure]
        nearest = self.grouped.neighbours(vectors[sure], columns[:, :top_k])
        rows = zip(
            sure.tolist(),
            columns.tolist(),
            right[sure].tolist(),
            chosen.probabilities[sure].tolist(),
            np.clip(nearest.first, -1, 1).tolist(),
            nearest.rows.tolist(),
            strict=True,
        )
        for place, its_columns, confidence, probabilities, scores, its_rows in rows:
            confidences = shared(1.0, confidence, probabilities)
            matches = tuple(
                Match(name=self.names[column], score=score, confidence=each, utterance=self.utterances[row])
                for column, score, each, row in zip(its_columns, scores, confidences, its_rows, strict=False)
            )
            decisions[place] = Decision(
                name=matches[0].name,
                score=matches[0].score,
                confidence=confidence,
                margin=confidence - confidences[1] if len(confidences) > 1 else None,
                matches=matches,
                reason=Reason.MATCHED,
                revision=revision,
                stage=Stage.STATIC,
            )
        return decisions
