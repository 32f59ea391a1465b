"""The first stage: a head over static vectors that answers where the full path would surely say the same.

Its vectors cost microseconds, those of the encoder a millisecond. What it may answer is known from trials: texts that
neither head had seen, asked of both. From them follows how likely the two agree, given what the first stage sees, and
from which likelihood on it may answer so that hardly any query gets another answer than the full path's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from synaptoroute.decision.evidence import CANDIDATES, FEATURES, Vocabulary, best
from synaptoroute.decision.gate import Floats, Gate, Kinds, maximum_a_posteriori, shares
from synaptoroute.decision.head import Checkpoint, Head, no_checkpoint, train_head
from synaptoroute.decision.lexical import words

Vectors = NDArray[np.float32]
Owners = NDArray[np.int32]
Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: What the first stage sees of a query, in order: the log odds of its first choice among the routes; that route's
#: logit; the same less that of "none"; share of the query's words (by idf) that its utterances know; log of how many
#: words it has: the same odds mean more where there are more of them (with 0.3 % that differ, 70.1 instead of 68.2 % of
#: CLINC150's validation queries can be answered). How near its utterances are, which costs more than all of these, adds
#: nothing. Last, whether a word says no that utterances of the route do not say: whatever else is seen, the full path
#: is asked then, for a sum of token vectors cannot tell what is refused from what is wanted.
SEEN = ("log_odds", "top_logit", "above_none", "words_known", "words", "says_no")
#: The full path's n-grams count so much more here, beside vectors that say less: at an agreement of 99.7 %, CLINC150's
#: validation queries gave 62.9 % to the first stage where they count twice, 61.0 % where they count once.
LOUDER = np.float32(2)
#: Share of all queries that may get another answer than the full path's. Of CLINC150's validation queries the first
#: stage answered 63.9 % with 0.2 %, 71.3 % with 0.4 % and 73.3 % with 0.5 %, and 0.23, 0.29 and 0.39 % of all differed;
#: as many of the answers were right as without it.
BUDGET = 0.004
#: And of those that it answers itself: where the full path hardly answers anything, a few would be within the budget.
OF_ANSWERED = 0.02
#: So many texts more than were seen to differ are counted (Jeffreys' prior of a share).
UNSEEN = 0.5
#: Trials weigh at most this many queries against the prior, which knows nothing.
EVIDENCE = 10_000


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Texts asked of both stages, by heads that had not seen them; m of them.

    Attributes:
        full: Inputs of the full path's gate (m, 6).
        first: What the first stage sees of them (m, 6).
        same: Whether both put the same route first (m,).
        right: Whether the one that the first stage puts first is right (m,).
        kinds: What each text is to the full path: RIGHT or WRONG where it is in scope, NEAR or FAR where not (m,).
    """

    full: Floats
    first: Floats
    same: Flags
    right: Flags
    kinds: Kinds

    @classmethod
    def together(cls, parts: Sequence[Trials]) -> Trials:
        """All of them, in order."""
        return cls(**{part.name: np.concatenate([getattr(each, part.name) for each in parts]) for part in fields(cls)})

    def part(self, mask: Flags) -> Trials:
        """Those under the mask."""
        return Trials(**{part.name: getattr(self, part.name)[mask] for part in fields(self)})

    @classmethod
    def none(cls) -> Trials:
        """Of no text."""
        flags = np.empty(0, bool)
        full, first = np.empty((0, len(FEATURES))), np.empty((0, len(SEEN)))
        return cls(full=full, first=first, same=flags, right=flags, kinds=np.empty(0, np.int8))

    def agreed(self, gate: Gate, point: float) -> Flags:
        """Whether the full path would have decided for what the first stage puts first (m,).

        Args:
            gate: The full path's.
            point: The full path abstains below this confidence.
        """
        return np.asarray(self.same & (gate.confidence(self.full) >= point))


@dataclass(frozen=True, slots=True)
class FirstChoices:
    """What a head over static vectors makes of n texts; routes are best first.

    Attributes:
        columns: The best columns of the head (n, k).
        probabilities: Softmax over all routes (n, k).
        seen: See ``SEEN`` (n, 6).
        spelled: What the full path's n-grams say (n, columns + 1).
    """

    columns: Rows
    probabilities: Floats
    seen: Floats
    spelled: Vectors


def first_choices(
    head: Head, full: Head, vocabulary: Vocabulary, texts: Sequence[str], vectors: Vectors, candidates: int = CANDIDATES
) -> FirstChoices:
    """The routes that come first.

    Args:
        head: Over static vectors.
        full: The full path's, for its n-grams.
        vocabulary: Of the same columns.
        texts: Queries (n).
        vectors: Their static unit rows (n, dim).
        candidates: How many columns to give, at least 1.
    """
    spelled = full.spelled(texts)
    logits = head.logits(texts, vectors) + LOUDER * spelled
    compared = logits[:, :-1].astype(np.float64)
    columns, chosen = best(compared, min(candidates, compared.shape[1]))
    top = chosen[:, 0]
    likelihoods = np.exp(compared - top[:, None]).sum(axis=1)
    # Of exp(0) / likelihoods, against all that is not the first.
    log_odds = -np.log(np.maximum(likelihoods - 1, 1e-9))
    bags, first = words(texts), columns[:, 0]
    known, says_no = vocabulary.share_known(bags, first), vocabulary.says_no(texts, first)
    # A text without words counts as one.
    spoken = np.log(np.maximum(np.diff(bags.starts), 1))
    seen = np.column_stack([log_odds, top, top - logits[:, -1], known, spoken, says_no])
    return FirstChoices(columns, np.exp(chosen - top[:, None]) / likelihoods[:, None], seen, spelled)


@dataclass(frozen=True, kw_only=True)
class FirstStage:
    """A head over static vectors, and when to believe it.

    Attributes:
        head: Of the columns of the full path's head; it is heard beside the n-grams of that one.
        weights: Of an offset and what it sees but "says_no", for the log odds that the full path agrees, and that the
            first choice is right (6, 2).
        trials: Of both heads.
    """

    head: Head
    weights: Floats
    trials: Trials

    def probabilities(self, seen: Floats) -> tuple[Floats, Floats]:
        """That the full path agrees, and that the first choice is right, each (n,), from what is seen (n, 6)."""
        both = 1 / (1 + np.exp(np.clip(-(seen[:, :-1] @ self.weights[1:] + self.weights[0]), -60, 60)))
        both[seen[:, -1] > 0] = 0
        return both[:, 0], both[:, 1]

    def least(self, gate: Gate, point: float, budget: float = BUDGET) -> float:
        """From which likelihood of agreement on it may answer, beside a full path that answers from this confidence on.

        With every kind of text at its assumed share, those that would be answered and get another answer than the full
        path's may weigh at most ``budget``, and 2 % of what would be answered. Half a text more than was seen to differ
        is counted, so that a table of less than some 120 utterances, which can prove nothing so rare, is never answered
        here.

        Args:
            gate: The full path's.
            point: The full path abstains below this confidence.
            budget: Share of all queries.

        Returns:
            A probability, or 2 if nothing may be answered.
        """
        trials = self.trials
        if not len(trials.kinds):
            return 2.0
        weights = shares(trials.kinds)
        likely, _ = self.probabilities(trials.first)
        order = np.argsort(-likely, kind="stable")
        falling = likely[order]
        differing = np.cumsum(np.where(trials.agreed(gate, point), 0, weights)[order]) + UNSEEN * weights.max()
        allowed = np.minimum(budget * weights.sum(), OF_ANSWERED * np.cumsum(weights[order]))
        # Where several are equally likely, all of them are answered or none.
        last = np.append(falling[1:] < falling[:-1], [True])
        within = np.flatnonzero(last & (differing <= allowed))
        return float(falling[within[-1]]) if len(within) else 2.0


def first_stage(head: Head, trials: Trials, gate: Gate, point: float) -> FirstStage:
    """The stage of that head, calibrated beside a full path that answers from this confidence on; deterministic."""
    weights = np.zeros((len(SEEN), 2))
    heard = trials.part(trials.first[:, -1] == 0)
    if len(heard.kinds):
        seen = heard.first[:, :-1]
        mean, deviation = seen.mean(axis=0), seen.std(axis=0) + 1e-9
        standard, counted = (seen - mean) / deviation, shares(heard.kinds)
        for place, outcome in enumerate((heard.agreed(gate, point), heard.right)):
            found = maximum_a_posteriori(np.zeros(len(weights)), standard, outcome, counted, EVIDENCE)
            weights[1:, place] = found[1:] / deviation
            weights[0, place] = found[0] - mean @ weights[1:, place]
    return FirstStage(head=head, weights=weights, trials=trials)


def train_first(
    full: Head,
    texts: Sequence[str],
    vectors: Vectors,
    columns: Owners,
    routes: int,
    *,
    steps: int,
    checkpoint: Checkpoint = no_checkpoint,
) -> Head:
    """The head of a first stage: it is trained beside the n-grams of the full path's, and has none of its own.

    Training n-gram weights takes three quarters of what a head costs, and they take the most memory.

    Args:
        full: The head of the full path, which reads n-grams.
        texts: All examples (n).
        vectors: Their static unit rows (n, dim).
        columns: The right column of each (n,); ``routes`` for texts that belong to none.
        routes: How many routes there are.
        steps: L-BFGS iterations.
        checkpoint: Called at every iteration; whatever it raises ends the training.
    """
    given = LOUDER * full.spelled(texts)
    return train_head(
        texts, vectors, columns, routes, steps=steps, reads_ngrams=False, given=given, checkpoint=checkpoint
    )
