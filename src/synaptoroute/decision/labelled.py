"""Learning from labelled queries on top of the stored utterances, and choosing where to abstain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synaptoroute.blas import one_blas_thread_for_training
from synaptoroute.decision.cross_fitting import FOLD_STEPS, in_parallel
from synaptoroute.decision.first_stage import SEEN, Trials, first_choices, first_stage
from synaptoroute.decision.gate import NEAR, RIGHT, WRONG, Floats, Gate, Kinds, shares
from synaptoroute.decision.head import Checkpoint, Head, no_checkpoint, train_head
from synaptoroute.decision.languages import learn_languages
from synaptoroute.decision.lessons import Examples, Lessons, Owners, Rows, Texts, Vectors
from synaptoroute.decision.model import DecisionModel, first_head
from synaptoroute.decision.policy import DEFAULT_MIN_CONFIDENCE

FOLDS = 5
#: Steps of L-BFGS from the head that knows only the utterances.
STEPS = 10
#: Held-out labelled rows weigh at most this many queries against the gate they move.
EVIDENCE = 3_000
#: Chance that a promised precision does not hold.
RISK = 0.05
_SEED = 0


@dataclass(frozen=True, slots=True)
class Queries:
    """Labelled queries: texts, unit rows (q, dim), columns (q,), -1 for out of scope, and where told the language."""

    texts: Sequence[str]
    vectors: Vectors
    columns: Owners
    spoken: Sequence[str] | None = None

    def part(self, at: Rows) -> Queries:
        """Those at these places."""
        return Queries([self.texts[row] for row in at.tolist()], self.vectors[at], self.columns[at])

    def seen_by(self, encode: Callable[[Sequence[str]], Vectors]) -> Queries:
        """The same texts with the vectors that another encoder gives them."""
        return replace(self, vectors=encode(self.texts))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a model that had not seen each query made of it: first choice and its confidence, both (q,)."""

    columns: Rows
    confidences: Floats

    def right(self, expected: Owners) -> NDArray[np.bool_]:
        """Whether the first choice is the expected route; never for a query that is out of scope (q,)."""
        return np.asarray((self.columns == expected) & (expected >= 0))

    def accuracy(self, expected: Owners, min_confidence: float = 0.5) -> float:
        """Share of right outcomes, abstaining included, with the kinds of queries at their assumed shares."""
        answered = self.confidences >= min_confidence
        good = np.where(expected < 0, ~answered, answered & self.right(expected))
        weights = shares(np.where(expected < 0, NEAR, RIGHT).astype(np.int8))
        return float((good * weights).sum() / weights.sum())


def as_it_is(model: DecisionModel, examples: Examples, queries: Queries) -> HeldOut:
    """What a model that was trained without any of the queries makes of them."""
    columns, features = _asked(model, examples, queries)
    return HeldOut(columns, model.gate.confidence(features))


def learn_labelled(
    base: DecisionModel,
    lessons: Lessons,
    queries: Queries,
    checkpoint: Checkpoint = no_checkpoint,
    *,
    first: tuple[Lessons, Queries] | None = None,
) -> tuple[DecisionModel, HeldOut]:
    """Add labelled queries to what the utterances taught; deterministic.

    In-scope queries join the utterances of their route, out-of-scope ones those of "none". The gate is moved by
    cross-fitted features, in which no query was seen by the head that is asked about it. Without any query that is out
    of scope, the gate's judgement of scope stays as it was. Where the queries' languages are told, each may get its own
    offset (see ``languages``).

    Args:
        base: What the utterances taught.
        lessons: The utterances.
        queries: The labelled queries.
        checkpoint: Called at every step, from several threads; whatever it raises ends the training.
        first: Lessons and queries with the vectors of the first stage, if ``base`` has one and it is to be kept; it is
            then calibrated anew, beside the full path that comes out.

    Returns:
        The model trained on all, and held-out outcomes: head and gate of each query's fold had not seen it.
    """
    random = np.random.default_rng(_SEED)
    fold = np.empty(len(queries.columns), np.int64)
    for group in (queries.columns >= 0, queries.columns < 0):
        at = random.permutation(np.flatnonzero(group))
        fold[at] = np.arange(len(at)) % FOLDS
    columns = np.empty(len(fold), np.int64)
    features = np.empty((len(fold), 6))
    rest = [queries.part(np.flatnonzero(fold != number)) for number in range(FOLDS)]
    with one_blas_thread_for_training():
        *heads, head = in_parallel(lambda part: _head(base.head, lessons, part, checkpoint), [*rest, queries])
        for number, fold_head in enumerate(heads):
            at = np.flatnonzero(fold == number)
            model = replace(base, head=fold_head)
            columns[at], features[at] = _asked(model, lessons.examples, queries.part(at))
        kinds = np.where(queries.columns < 0, NEAR, np.where(columns == queries.columns, RIGHT, WRONG)).astype(np.int8)
        confidences = np.empty(len(fold))
        for number in range(FOLDS):
            gate = _moved(base.gate, features[fold != number], kinds[fold != number])
            confidences[fold == number] = gate.confidence(features[fold == number])
        gate = _moved(base.gate, features, kinds)
        languages = None
        if queries.spoken is not None:
            languages = learn_languages(confidences, kinds == RIGHT, shares(kinds), queries.spoken)
        brought, confidences = languages or (None, confidences)
        stage = None
        # A first stage is held against the gate alone; where languages move what the gate says, there is none.
        if first is not None and base.first is not None and languages is None:
            its_head, chosen, seen = _first_asked(base, [*heads, head], fold, first, checkpoint)
            trials = Trials(
                full=features,
                first=seen,
                same=chosen == columns,
                right=(chosen == queries.columns) & (queries.columns >= 0),
                kinds=kinds,
            )
            stage = first_stage(its_head, Trials.together([base.first.trials, trials]), gate, DEFAULT_MIN_CONFIDENCE)
    return replace(base, head=head, gate=gate, first=stage, languages=brought), HeldOut(columns, confidences)


def _first_asked(
    base: DecisionModel, full: Sequence[Head], fold: Rows, first: tuple[Lessons, Queries], checkpoint: Checkpoint
) -> tuple[Head, Rows, Floats]:
    """The head of the first stage beside the last of the full path's; first choices (q,) and what is seen (q, 5).

    Each query is asked of the head that is beside the full path's of its fold.

    Args:
        base: What the utterances taught.
        full: The full path's head of each fold, and that of all queries.
        fold: Of each query (q,).
        first: See ``learn_labelled``.
        checkpoint: See ``learn_labelled``.
    """
    lessons, queries = first
    parts = [queries.part(np.flatnonzero(fold != number)) for number in range(FOLDS)]
    *heads, head = in_parallel(
        lambda pair: first_head(lessons, pair[0], FOLD_STEPS, checkpoint, _with_none(pair[1], lessons.routes)),
        zip(full, [*parts, queries], strict=True),
    )
    columns, seen = np.empty(len(fold), np.int64), np.empty((len(fold), len(SEEN)))
    for number, fold_head in enumerate(heads):
        at = np.flatnonzero(fold == number)
        part = queries.part(at)
        chosen = first_choices(fold_head, full[number], base.vocabulary, part.texts, part.vectors)
        columns[at], seen[at] = chosen.columns[:, 0], chosen.seen
    return head, columns, seen


def threshold_for_false_rejects(in_scope: Floats, rate: float) -> float | None:
    """The greatest least confidence that rejects at most ``rate`` of in-scope queries; None if there are too few.

    Split conformal (Vovk et al.): with the k-th smallest of n exchangeable held-out confidences, k = rate (n + 1)
    rounded down, the chance that a new in-scope query falls below it is at most ``rate``.
    """
    place = int(np.floor(rate * (len(in_scope) + 1)))
    return float(np.sort(in_scope)[place - 1]) if place >= 1 else None


def threshold_for_precision(confidences: Floats, right: NDArray[np.bool_], precision: float) -> float | None:
    """The smallest least confidence at which answers are right often enough, with 95 % certainty; None if none is.

    Going down from the surest answer, the exact binomial (Clopper-Pearson) bound of the precision is tested at fixed
    steps until it fails once (fixed-sequence testing, Angelopoulos et al. 2021, arXiv:2110.01052). Answers of equal
    confidence pass together, so a step ends with the last of them.
    """
    from scipy.special import betaincinv

    order = np.argsort(-confidences, kind="stable")
    falling = confidences[order]
    hits = np.cumsum(right[order])
    ends = np.append(np.flatnonzero(np.diff(falling)) + 1, len(order))
    # With fewer answers than this, not even all of them right would be proof enough.
    fewest = int(np.ceil(np.log(RISK) / np.log(precision))) if precision < 1 else len(order) + 1
    found = None
    step = max(1, len(order) // 100)
    for least in range(fewest, len(order) + 1, step):
        answered = int(ends[np.searchsorted(ends, least)])
        good = int(hits[answered - 1])
        bound = betaincinv(good, answered - good + 1, RISK) if good else 0.0
        if bound < precision:
            break
        found = float(falling[answered - 1])
    return found


def _head(base: Head, lessons: Lessons, queries: Queries, checkpoint: Checkpoint) -> Head:
    texts, vectors, columns = lessons.all(_with_none(queries, lessons.routes))
    return train_head(texts, vectors, columns, lessons.routes, start=base, steps=STEPS, checkpoint=checkpoint)


def _with_none(queries: Queries, routes: int) -> tuple[Texts, Owners]:
    """Queries as examples; those out of scope belong to the column behind the routes."""
    columns = np.where(queries.columns < 0, routes, queries.columns).astype(np.int32)
    return Texts(queries.texts, queries.vectors), columns


def _asked(model: DecisionModel, examples: Examples, queries: Queries) -> tuple[Rows, Floats]:
    groups = np.arange(examples.routes)
    evidence = model.ask(examples.grouped, groups, queries.texts, queries.vectors, candidates=5)
    return evidence.columns[:, 0], evidence.features


def _moved(gate: Gate, features: Floats, kinds: Kinds) -> Gate:
    moved = gate.fitted(features, kinds, shares(kinds), evidence=EVIDENCE)
    return moved if (kinds < 0).any() else replace(moved, in_scope=gate.in_scope)
