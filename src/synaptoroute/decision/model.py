"""DecisionModel: what is learned from the stored utterances alone, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.evidence import BLENDS, Evidence, Grouped, Vocabulary, gather
from synaptoroute.decision.gate import FAR, NEAR, RIGHT, WRONG, Floats, Gate, Kinds, prior_gate, shares
from synaptoroute.decision.head import Checkpoint, Head, no_checkpoint, one_blas_thread, train_head

Vectors = NDArray[np.float32]
Owners = NDArray[np.int32]
Rows = NDArray[np.int64]

#: Utterances times routes that one head is trained on at most, about 50 s on one core; beyond, neighbours decide.
MAX_CELLS = 5_000_000
#: Cross-fitting: folds of a table, folds of one of at most SMALL utterances, steps of each fold's head, rows asked.
FOLDS, SMALL_FOLDS, SMALL, FOLD_STEPS, ASKED = 4, 6, 1_000, 20, 3_000
_SEED = 0


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts with their vectors and columns, ordered by column.

    Attributes:
        texts: n texts.
        vectors: Unit rows (n, dim).
        columns: 0 to routes - 1, ascending (n,).
        routes: How many columns there are.
    """

    texts: Sequence[str]
    vectors: Vectors
    columns: Owners
    routes: int

    def __len__(self) -> int:
        return len(self.texts)

    def chosen(self, mask: NDArray[np.bool_]) -> tuple[Examples, Rows]:
        """The examples under the mask with columns renumbered, and the new number of each column; -1 if gone."""
        at = np.flatnonzero(mask)
        present, columns = np.unique(self.columns[at], return_inverse=True)
        number = np.full(self.routes, -1, np.int64)
        number[present] = np.arange(len(present))
        kept = Examples(
            [self.texts[row] for row in at.tolist()], self.vectors[at], columns.astype(np.int32), len(present)
        )
        return kept, number

    @property
    def grouped(self) -> Grouped:
        """The vectors by column."""
        starts = np.searchsorted(self.columns, np.arange(self.routes))
        return Grouped(self.vectors, starts, np.append(starts[1:], len(self)))


@dataclass(frozen=True, slots=True)
class Outside:
    """Texts with their unit rows (m, dim); most often such as belong to no route."""

    texts: Sequence[str]
    vectors: Vectors

    def part(self, mask: NDArray[np.bool_]) -> Outside:
        """Those under the mask."""
        at = np.flatnonzero(mask)
        return Outside([self.texts[row] for row in at.tolist()], self.vectors[at])


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionModel:
    """A head with the vocabulary it knows and the gate that says when to believe it.

    Attributes:
        head: Its column c stands for route c of the examples.
        vocabulary: Of the same columns.
        gate: Calibrated by cross-fitting.
        blend: Weight of the neighbours beside the head in the order of candidates, chosen by cross-fitting.
    """

    head: Head
    vocabulary: Vocabulary
    gate: Gate
    blend: float = 0.0

    def ask(
        self,
        stored: Grouped,
        groups: Rows,
        texts: Sequence[str],
        vectors: Vectors,
        *,
        candidates: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Evidence:
        """What speaks for which routes; see ``evidence.gather``."""
        (evidence,) = gather(
            self.head,
            self.vocabulary,
            stored,
            groups,
            texts,
            vectors,
            candidates=candidates,
            allowed=allowed,
            blends=[self.blend],
        )
        return evidence


def can_learn(utterances: int, routes: int) -> bool:
    """Whether a table of that size is small enough for the head."""
    return 0 < utterances * (routes + 1) <= MAX_CELLS


def learn(examples: Examples, outside: Outside, checkpoint: Checkpoint = no_checkpoint) -> DecisionModel:
    """Train on everything, calibrate on what was held out; deterministic. ``checkpoint`` may raise to end it."""
    gate = prior_gate(examples.routes, len(examples) / examples.routes)
    with one_blas_thread():
        blend, features, kinds = cross_fitted(examples, outside, checkpoint)
        if len(kinds):
            gate = gate.fitted(features, kinds, shares(kinds))
        return replace(_trained(examples, outside, checkpoint=checkpoint), gate=gate, blend=blend)


def cross_fitted(
    examples: Examples, outside: Outside, checkpoint: Checkpoint = no_checkpoint
) -> tuple[float, Floats, Kinds]:
    """Features of texts that a head has not seen, and what each turned out to be.

    In each fold a head is trained without a part of every route's utterances, without some routes altogether, and
    without half of the outside texts, and then asked about all three: the first are in scope and RIGHT or WRONG, the
    second NEAR, the third FAR.

    Returns:
        The blend that ranks most of the first kind rightly, and with it features (m, 6) and kinds (m,).
    """
    random = np.random.default_rng(_SEED)
    folds = SMALL_FOLDS if len(examples) <= SMALL else FOLDS
    utterance_fold = _folds_within(examples.columns, folds, random)
    route_fold = np.empty(examples.routes, np.int64)
    route_fold[random.permutation(examples.routes)] = np.arange(examples.routes) % folds
    outside_half = np.arange(len(outside.texts)) % 2
    found: list[list[tuple[Floats, Kinds]]] = [[] for _ in BLENDS]
    for fold in range(folds):
        unseen_route = (route_fold[examples.columns] == fold) & (examples.routes > 1)
        training, number = examples.chosen(~unseen_route & (utterance_fold != fold))
        if not len(training):
            continue
        half = outside_half == fold % 2
        model = _trained(training, outside.part(half), steps=FOLD_STEPS, checkpoint=checkpoint)
        held_out = ~unseen_route & (utterance_fold == fold) & (number[examples.columns] >= 0)
        limit = ASKED // folds + 1
        asked = (
            (RIGHT, *_part(examples, _some(held_out, limit, random))),
            (NEAR, *_part(examples, _some(unseen_route, limit, random))),
            (FAR, outside.part(~half), np.empty(0, np.int32)),
        )
        for kind, queries, columns in asked:
            if not queries.texts:
                continue
            evidences = _asked(model, training, queries)
            for evidence, rows in zip(evidences, found, strict=True):
                kinds = np.full(len(queries.texts), kind, np.int8)
                if kind == RIGHT:
                    kinds[evidence.columns[:, 0] != number[columns]] = WRONG
                rows.append((evidence.features, kinds))
    if not found[0]:
        return 0.0, np.empty((0, 6)), np.empty(0, np.int8)
    features = [np.concatenate([part for part, _ in rows]) for rows in found]
    outcomes = [np.concatenate([part for _, part in rows]) for rows in found]
    best = int(np.argmax([(kinds == RIGHT).sum() for kinds in outcomes]))
    return BLENDS[best], features[best], outcomes[best]


def _part(examples: Examples, mask: NDArray[np.bool_]) -> tuple[Outside, Owners]:
    at = np.flatnonzero(mask)
    return Outside([examples.texts[row] for row in at.tolist()], examples.vectors[at]), examples.columns[at]


def _trained(examples: Examples, outside: Outside, **options: Any) -> DecisionModel:
    columns = np.concatenate([examples.columns, np.full(len(outside.texts), examples.routes, np.int32)])
    vectors = np.concatenate([examples.vectors, outside.vectors])
    head = train_head([*examples.texts, *outside.texts], vectors, columns, examples.routes, **options)
    return DecisionModel(
        head=head,
        vocabulary=Vocabulary.of(examples.texts, examples.columns),
        gate=prior_gate(examples.routes, len(examples) / examples.routes),
    )


def _asked(model: DecisionModel, training: Examples, queries: Outside) -> list[Evidence]:
    """The evidence with each of ``BLENDS``."""
    groups = np.arange(training.routes)
    stored = training.grouped
    return gather(model.head, model.vocabulary, stored, groups, queries.texts, queries.vectors, blends=BLENDS)


def _folds_within(columns: Owners, folds: int, random: np.random.Generator) -> Rows:
    """A fold for every example, spread evenly within each column."""
    fold = np.empty(len(columns), np.int64)
    for column in np.unique(columns):
        at = random.permutation(np.flatnonzero(columns == column))
        fold[at] = (np.arange(len(at)) + random.integers(folds)) % folds
    return fold


def _some(mask: NDArray[np.bool_], limit: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """The mask with at most ``limit`` of its places left."""
    at = random.permutation(np.flatnonzero(mask))[:limit]
    some = np.zeros_like(mask)
    some[at] = True
    return some
