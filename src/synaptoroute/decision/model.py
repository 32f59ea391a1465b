"""DecisionModel: what is learned from a table, and its heads as they are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.evidence import Evidence, Stored, Vocabulary, gather
from synaptoroute.decision.first_stage import FirstStage, train_first
from synaptoroute.decision.gate import Gate, prior_gate
from synaptoroute.decision.head import Checkpoint, Head, no_checkpoint, train_head
from synaptoroute.decision.kernel import Kernel
from synaptoroute.decision.languages import Languages
from synaptoroute.decision.lessons import Effort, Lessons, Owners, Rows, Texts, Vectors

#: Weight of the kernel beside the head, where cross-fitting finds that it helps.
LIFT = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionModel:
    """A head with the vocabulary it knows and the gate that says when to believe it.

    Attributes:
        head: Its column c stands for route c of the examples.
        vocabulary: Of the same columns.
        gate: Calibrated by cross-fitting.
        kernel: Of the same columns, where cross-fitting found that it helps.
        languages: What brings the gate's confidences to one scale, where labelled queries found that it helps.
        first: Of the same columns, over other vectors, where there is to be a first stage.
    """

    head: Head
    vocabulary: Vocabulary
    gate: Gate
    kernel: Kernel | None = None
    languages: Languages | None = None
    first: FirstStage | None = None

    def ask(
        self,
        stored: Stored,
        groups: Rows,
        texts: Sequence[str],
        vectors: Vectors,
        *,
        candidates: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Evidence:
        """What speaks for which routes; see ``evidence.gather``."""
        return gather(
            self.head.logits(texts, vectors),
            self.vocabulary,
            stored,
            groups,
            texts,
            vectors,
            lift=LIFT * self.kernel.scores(vectors) if self.kernel else None,
            candidates=candidates,
            allowed=allowed,
        )


def trained(lessons: Lessons, effort: Effort, steps: int, checkpoint: Checkpoint = no_checkpoint) -> DecisionModel:
    """A head of these lessons with the gate of a table that has not been asked anything."""
    examples = lessons.examples
    texts, vectors, columns = lessons.all()
    head = train_head(
        texts, vectors, columns, examples.routes, steps=steps, reads_ngrams=effort.reads_ngrams, checkpoint=checkpoint
    )
    return DecisionModel(
        head=head,
        vocabulary=Vocabulary.of(examples.texts, examples.columns),
        gate=prior_gate(examples.routes, len(examples) / examples.routes),
    )


def first_head(first: Lessons, full: Head, steps: int, checkpoint: Checkpoint, *more: tuple[Texts, Owners]) -> Head:
    """The head of a first stage beside the full path's, of the same lessons with the vectors of that stage."""
    texts, vectors, columns = first.all(*more)
    return train_first(full, texts, vectors, columns, first.routes, steps=steps, checkpoint=checkpoint)
