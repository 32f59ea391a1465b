"""Cross-fitting: what heads make of texts that they have not seen, from which a gate learns when to believe them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from threading import Thread
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.first_stage import Trials, first_choices
from synaptoroute.decision.gate import FAR, NEAR, RIGHT, WRONG, Floats, Kinds
from synaptoroute.decision.head import Checkpoint, Head, no_checkpoint
from synaptoroute.decision.kernel import TRIED, train_kernel
from synaptoroute.decision.lessons import Effort, Examples, Lessons, Owners, Rows, Texts
from synaptoroute.decision.model import DecisionModel, first_head, trained
from synaptoroute.decision.tie import Choices

T = TypeVar("T")
R = TypeVar("R")

#: Folds trained at a time. They spend their time in NumPy, which lets queries in between.
THREADS = 2
#: Steps of each fold's head, and rows asked.
FOLD_STEPS, ASKED = 20, 3_000
_SEED = 0


def cross_fitted(
    lessons: Lessons,
    effort: Effort,
    checkpoint: Checkpoint = no_checkpoint,
    held_out: list[Choices] | None = None,
    first: Lessons | None = None,
) -> tuple[bool, Floats, Kinds, Trials | None]:
    """Features of texts that a head has not seen, and what each turned out to be.

    In each fold a head is trained without a part of every route's utterances, without some routes altogether, and
    without half of the outside texts, and then asked about all three: the first are in scope and RIGHT or WRONG, the
    second NEAR, the third FAR. What was made of the first kind is put into ``held_out``.

    Returns:
        Whether more of the first kind are right with the kernel; with it or without it features (m, 6) and kinds
        (m,); and the trials of a first stage, if there is to be one and the head reads n-grams.
    """
    folds = _folds(lessons, effort)
    # The same texts are held out, for which ones does not depend on their vectors.
    twins: Sequence[_Fold | None] | None = None
    if first is not None and effort.reads_ngrams:
        twins = _folds(first, effort)
    pairs = zip(folds, twins or [None] * len(folds), strict=True)
    found = in_parallel(lambda pair: pair[0].asked(effort, checkpoint, pair[1]), pairs)
    if not found:
        return False, np.empty((0, 6)), np.empty(0, np.int8), None if twins is None else Trials.none()
    plain, lifted = [each.plain for each in found], [each.lifted for each in found]
    rights = [sum(int((fold.kinds == RIGHT).sum()) for fold in choice) for choice in (plain, lifted)]
    chosen = lifted if rights[1] > rights[0] else plain
    if held_out is not None:
        held_out.extend(fold.choices for fold in chosen)
    both = zip(chosen, found, strict=True)
    trials = [fold.beside(each.first) for fold, each in both if each.first is not None]
    return (
        chosen is lifted,
        np.concatenate([fold.features for fold in chosen]),
        np.concatenate([fold.kinds for fold in chosen]),
        Trials.together(trials) if trials else None,
    )


def in_parallel(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """``work`` of each item, in order, on ``THREADS`` threads, of which the caller's is one.

    Raises what failed first, when all threads have ended; nothing is begun after a failure. The threads are daemons:
    those of a ThreadPoolExecutor finish all they were given before the interpreter may end (measured: 6 s with 100
    routes), and only then is the learner told to stop.
    """
    waiting = iter(list(enumerate(items)))
    done: dict[int, R] = {}
    failures: list[BaseException] = []

    def run() -> None:
        for place, item in waiting:
            if failures:
                return
            try:
                done[place] = work(item)
            except BaseException as exc:  # noqa: BLE001 - raised in the caller's thread
                failures.append(exc)

    others = [Thread(target=run, name="synaptoroute-train", daemon=True) for _ in range(THREADS - 1)]
    for thread in others:
        thread.start()
    run()
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]
    return [done[place] for place in sorted(done)]


@dataclass(frozen=True, slots=True)
class _Answers:
    """Of all that a fold's head was asked, and what it made of utterances in scope.

    Attributes:
        features: Inputs of the gate (m, 6).
        kinds: (m,).
        firsts: First choices, in the columns of the fold (m,).
        choices: Of the utterances in scope.
    """

    features: Floats
    kinds: Kinds
    firsts: Rows
    choices: Choices

    def beside(self, first: _FirstAnswers) -> Trials:
        """These are the full path's; those are of the first stage, to the same texts."""
        return Trials(
            full=self.features,
            first=first.seen,
            same=self.firsts == first.firsts,
            right=first.right,
            kinds=self.kinds,
        )


@dataclass(frozen=True, slots=True)
class _FirstAnswers:
    """What it sees of the same texts (m, 6), its first choices, and whether they are right (m,)."""

    seen: Floats
    firsts: Rows
    right: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Found:
    """The answers of one fold without a kernel and with one, and those of a first stage."""

    plain: _Answers
    lifted: _Answers
    first: _FirstAnswers | None = None


@dataclass(frozen=True, slots=True)
class _Fold:
    """What one fold's head is trained on, and what it is asked; ``known`` are the columns that it has."""

    lessons: Lessons
    known: Rows
    held_out: tuple[Texts, Rows]
    strangers: Texts
    outside: Texts

    def asked(self, effort: Effort, checkpoint: Checkpoint, first: _Fold | None) -> _Found:
        """What its heads make of what is held out, and the head of a first stage if that has such a fold, too."""
        plain = trained(self.lessons, effort, FOLD_STEPS, checkpoint)
        examples = self.lessons.examples
        if not effort.reads_ngrams:
            answers = self._answers(plain)
            return _Found(answers, answers)
        kernel = train_kernel(examples.vectors, examples.columns, examples.routes, landmarks=TRIED)
        others = None
        if first is not None:
            head = first_head(first.lessons, plain.head, FOLD_STEPS, checkpoint)
            others = first._answers_of_first(head, plain)  # noqa: SLF001 - of its own kind
        return _Found(self._answers(plain), self._answers(replace(plain, kernel=kernel)), others)

    def _answers(self, model: DecisionModel) -> _Answers:
        stored, groups = self.lessons.examples.grouped, np.arange(self.lessons.routes)
        features, found, firsts = [np.empty((0, 6))], [np.empty(0, np.int8)], [np.empty(0, np.int64)]
        queries, expected = self.held_out
        none = np.empty((0, 1))
        choices = Choices([], queries.vectors, self.known[expected], none.astype(np.int64), none, features[0])
        for kind, texts in self._parts:
            evidence = model.ask(stored, groups, texts.texts, texts.vectors, candidates=5)
            kinds = np.full(len(texts.texts), kind, np.int8)
            if kind == RIGHT:
                kinds[evidence.columns[:, 0] != expected] = WRONG
                columns = self.known[evidence.columns]
                choices = replace(
                    choices,
                    texts=texts.texts,
                    columns=columns,
                    probabilities=evidence.probabilities,
                    features=evidence.features,
                )
            features.append(evidence.features)
            found.append(kinds)
            firsts.append(evidence.columns[:, 0])
        return _Answers(np.concatenate(features), np.concatenate(found), np.concatenate(firsts), choices)

    def _answers_of_first(self, head: Head, full: DecisionModel) -> _FirstAnswers:
        seen, firsts, right = [Trials.none().first], [np.empty(0, np.int64)], [np.empty(0, bool)]
        for kind, texts in self._parts:
            chosen = first_choices(head, full.head, full.vocabulary, texts.texts, texts.vectors)
            seen.append(chosen.seen)
            firsts.append(chosen.columns[:, 0])
            inside = kind == RIGHT
            right.append(firsts[-1] == self.held_out[1] if inside else np.zeros(len(texts.texts), bool))
        return _FirstAnswers(np.concatenate(seen), np.concatenate(firsts), np.concatenate(right))

    @property
    def _parts(self) -> list[tuple[int, Texts]]:
        """What it is asked, by the kind that each is at best; without those that are empty."""
        parts = ((RIGHT, self.held_out[0]), (NEAR, self.strangers), (FAR, self.outside))
        return [(kind, texts) for kind, texts in parts if texts.texts]


def _folds(lessons: Lessons, effort: Effort) -> list[_Fold]:
    examples, outside = lessons.examples, lessons.outside
    random = np.random.default_rng(_SEED)
    utterance_fold = _folds_within(examples.columns, effort.folds, random)
    route_fold = np.empty(examples.routes, np.int64)
    route_fold[random.permutation(examples.routes)] = np.arange(examples.routes) % effort.folds
    outside_half = np.arange(len(outside.texts)) % 2
    limit = ASKED // effort.used + 1
    folds = []
    for fold in range(effort.used):
        unseen_route = (route_fold[examples.columns] == fold) & (examples.routes > 1)
        training, number = examples.chosen(~unseen_route & (utterance_fold != fold))
        if not len(training):
            continue
        held_out = ~unseen_route & (utterance_fold == fold) & (number[examples.columns] >= 0)
        queries, columns = _part(examples, _some(held_out, limit, random))
        strangers, _ = _part(examples, _some(unseen_route, limit, random))
        half = outside_half == fold % 2
        names = lessons.names.part(number >= 0) if lessons.names else None
        folds.append(
            _Fold(
                Lessons(training, outside.part(half), names),
                np.flatnonzero(number >= 0),
                (queries, number[columns]),
                strangers,
                outside.part(~half),
            )
        )
    return folds


def _part(examples: Examples, mask: NDArray[np.bool_]) -> tuple[Texts, Owners]:
    at = np.flatnonzero(mask)
    return Texts([examples.texts[row] for row in at.tolist()], examples.vectors[at]), examples.columns[at]


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
