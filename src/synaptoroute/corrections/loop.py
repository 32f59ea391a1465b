"""Corrections: feedback is kept, options are tried and shown, and a person accepts one. Nothing is learned silently."""

from __future__ import annotations

import functools
import threading
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from synaptoroute.asking import probability
from synaptoroute.corrections.options import edited
from synaptoroute.corrections.proposing import Progress, basis_of, proposal
from synaptoroute.corrections.records import Decided, Feedback, FeedbackState, Option, Outcome
from synaptoroute.corrections.rows import digest_of
from synaptoroute.corrections.storage import FeedbackStorage, feedback_storage_of
from synaptoroute.decision.policy import Limits
from synaptoroute.encoder.base import encode_checked
from synaptoroute.errors import InvalidInputError, RevisionConflictError
from synaptoroute.evaluation import check_labels
from synaptoroute.forking import PerProcess
from synaptoroute.models import clean_name, clean_query
from synaptoroute.router import AdaptiveRouter

#: Feedback that is kept, and for how long after the same was last said.
MOST = 10_000
KEEP_DAYS = 180.0
#: Longest note, in characters.
MAX_NOTE_CHARS = 2_000
#: How often a record is written anew because the same was said again just then.
_TRIES = 10
#: Other feedback that is asked when options are tried: the newest.
_ASKED = 2_000


class Corrections:
    """The correction loop of a router. May be used from any thread.

    Feedback holds texts of people, because they are given for this; see ``feedback_storage_of`` for where. It is kept
    for ``keep_days`` and can be deleted by ``forget``.

    Args:
        router: What decides, and what is corrected. It stays the caller's to close.
        storage: Where feedback is kept; unless given, with the router's store.
        most: So much is kept; then the oldest of what is decided makes room, and where all of it waits, no more is
            accepted.
        keep_days: What was last said so long ago is forgotten with the next that comes; None keeps it.
    """

    def __init__(
        self,
        router: AdaptiveRouter,
        storage: FeedbackStorage | None = None,
        *,
        most: int = MOST,
        keep_days: float | None = KEEP_DAYS,
    ) -> None:
        if most < 1 or (keep_days is not None and not keep_days > 0):
            raise InvalidInputError(f"most={most} and keep_days={keep_days}, wanted at least 1 and more than 0")
        self._router = router
        self._storage = storage if storage is not None else feedback_storage_of(router.storage)
        self._most, self._keep_days = most, keep_days
        self._accepting: PerProcess[threading.Lock] = PerProcess()

    @property
    def storage(self) -> FeedbackStorage:
        """Where feedback is kept."""
        return self._storage

    # --------------------------------------------------------------------------------------------------- feedback
    def add(
        self, text: str, expected: str | None, *, decided: Decided | None = None, note: str | None = None
    ) -> Feedback:
        """Keep what somebody says about a decision; right ones are worth keeping too, they are asked in replays.

        The same said again of the same text, but for case and spaces, is counted on what is there and not decided yet.

        Args:
            text: The query.
            expected: The route it belongs to; None if to none.
            decided: What was decided for it; unless given, it is routed now.
            note: Anything to tell the person who will look at it.

        Raises:
            InvalidQueryError: The text cannot be routed.
            InvalidInputError: No route has the expected name, or another value cannot be accepted.
            FeedbackFullError: All there is room for waits for a decision.
            StorageError: It could not be stored.
        """
        text = clean_query(text)
        (expected,) = check_labels([expected], self._router)
        note = _clean_note(note)
        if decided is not None:
            decided = _clean_decided(decided)
        else:
            now = self._router.route(text)
            decided = Decided(name=now.name, confidence=now.confidence, revision=now.revision)
        at = datetime.now(UTC)
        new = Feedback(
            id=0,
            text=text,
            expected=expected,
            decided=decided,
            note=note,
            actor=self._router.actor,
            at=at,
            last_at=at,
        )
        return self._storage.add(new, most=self._most, keep_days=self._keep_days)

    def get(self, number: int) -> Feedback:
        """The feedback of that number. Raises FeedbackNotFoundError."""
        return self._storage.get(number)

    def listed(
        self, *, state: FeedbackState | str | None = None, before: int | None = None, limit: int = 100
    ) -> tuple[Feedback, ...]:
        """Feedback, the last first.

        Args:
            state: Only that of this state.
            before: Only that with a lower number, to go on.
            limit: At most so much.
        """
        if state is not None and state not in set(FeedbackState):
            raise InvalidInputError(f"there is no state {state!r}; there are {', '.join(FeedbackState)}")
        wanted = None if state is None else FeedbackState(state)
        return self._storage.newest(state=wanted, before=before, limit=limit)

    def forget(self, number: int) -> None:
        """Delete feedback and its text. What was accepted stays in the routes. Raises FeedbackNotFoundError."""
        self._storage.forget(number)

    def labelled(self) -> tuple[list[str], list[str | None]]:
        """Texts and their right routes, for ``router.evaluate`` or ``fit``; None for no route. The newest 2,000.

        Without what was dismissed or is contradicted, and without what expects a route that is gone.
        """
        found = [each for each in self._agreed() if each.expected is None or each.expected in self._router]
        return [each.text for each in found], [each.expected for each in found]

    # --------------------------------------------------------------------------------------------------- deciding
    def propose(self, number: int, *, progress: Progress | None = None) -> Feedback:
        """Find out what could be done and what that would do. Changes nothing but the record; takes a few trainings.

        Args:
            number: Of the feedback.
            progress: Told how many of how many options were tried, and at every step of learning, from several threads.
                What it raises ends it.

        Raises:
            FeedbackNotFoundError: There is no such feedback.
            InvalidInputError: It is decided already, or the expected route is gone.
            RevisionConflictError: Somebody has decided about it meanwhile.
            EncoderError: A text could not be encoded.
        """
        feedback = self._undecided(number)
        router = self._router
        router.wait_until_fitted()
        table, limits = router.snapshot, self._limits
        made = proposal(
            table,
            functools.lru_cache(maxsize=64)(functools.partial(encode_checked, router.encoder)),
            functools.lru_cache(maxsize=64)(functools.partial(encode_checked, router.encoder, queries=True)),
            limits,
            feedback,
            basis=basis_of(table, limits),
            others=self._others(feedback),
            progress=progress or _nobody,
        )
        return self._saved(self._undecided(number), proposal=made, state=FeedbackState.PROPOSED)

    def accept(self, number: int, option: str) -> Feedback:
        """Do exactly what an option of the proposal says, as it was shown.

        The history names the feedback as the cause, and ``rollback`` undoes it like any change.

        Args:
            number: Of the feedback.
            option: The key of the option.

        Raises:
            FeedbackNotFoundError: There is no such feedback.
            InvalidInputError: It is decided already, nothing was proposed, or no such option.
            RevisionConflictError: Routes, labelled queries or the operating point have changed since the proposal, so
                what was shown does not hold any more; nothing was changed.
            StorageError: The change could not be written; nothing was changed.
        """
        with self._accepting.get(threading.Lock):
            feedback = self._undecided(number)
            if feedback.proposal is None:
                raise InvalidInputError(
                    f"nothing was proposed for feedback {number} yet; have something proposed first"
                )
            chosen = feedback.proposal.option(option)
            if chosen is None:
                keys = ", ".join(each.key for each in feedback.proposal.options)
                raise InvalidInputError(f"the proposal has no such option; it has {keys}")
            revision = self._router.revision
            if chosen.key != "nothing":
                table = self._router.snapshot
                if basis_of(table, self._limits) != feedback.proposal.basis:
                    raise RevisionConflictError(
                        f"routes, labelled queries or the operating point have changed since revision "
                        f"{feedback.proposal.revision}, for which this was proposed; nothing was changed: have it "
                        "proposed again"
                    )
                revision = self._apply(chosen, feedback, feedback.proposal.revision)
            outcome = self._outcome(chosen.key, revision)
            return self._saved(feedback, state=FeedbackState.ACCEPTED, outcome=outcome)

    def dismiss(self, number: int, *, note: str | None = None) -> Feedback:
        """Do nothing about it, and keep the record; it is not asked in replays any more.

        Raises:
            FeedbackNotFoundError: There is no such feedback.
            InvalidInputError: It is decided already, or the note is too long.
        """
        note = _clean_note(note)
        with self._accepting.get(threading.Lock):
            feedback = self._undecided(number)
            outcome = replace(self._outcome(None, self._router.revision), note=note)
            return self._saved(feedback, state=FeedbackState.DISMISSED, outcome=outcome)

    def _saved(self, feedback: Feedback, **changes: Any) -> Feedback:
        """Save what has been done about it; that the same was said again meanwhile takes nothing back."""
        for _ in range(_TRIES):
            try:
                return self._storage.save(replace(feedback, **changes))
            except RevisionConflictError:
                feedback = self._storage.get(feedback.id)
        return self._storage.save(replace(feedback, **changes))

    def _apply(self, option: Option, feedback: Feedback, revision: int) -> int:
        router = self._router
        if option.min_confidence is not None:
            router.set_operating_point(option.min_confidence, expected_revision=revision)
            return router.revision
        routes = edited(router.snapshot, option.edits)
        return router.put_routes(routes, expected_revision=revision, cause=f"feedback {feedback.id}: {option.key}")

    def _outcome(self, option: str | None, revision: int) -> Outcome:
        return Outcome(option=option, revision=revision, actor=self._router.actor, at=datetime.now(UTC))

    def _undecided(self, number: int) -> Feedback:
        feedback = self._storage.get(number)
        if feedback.closed:
            raise InvalidInputError(f"feedback {number} was {feedback.state.value} already; send it again to reopen it")
        return feedback

    def _others(self, feedback: Feedback) -> list[Feedback]:
        """What else is known to be right: other feedback that was not dismissed and that nothing contradicts."""
        return [other for other in self._agreed() if digest_of(other.text) != digest_of(feedback.text)]

    def _agreed(self) -> list[Feedback]:
        by_text: dict[str, list[Feedback]] = defaultdict(list)
        for each in self._storage.newest(limit=_ASKED):
            if each.state is not FeedbackState.DISMISSED:
                by_text[digest_of(each.text)].append(each)
        return [same[0] for same in by_text.values() if len({each.expected for each in same}) == 1]

    @property
    def _limits(self) -> Limits:
        return Limits(min_confidence=self._router.min_confidence)


def _clean_note(note: str | None) -> str | None:
    if note is None or (isinstance(note, str) and not note.strip()):
        return None
    if not isinstance(note, str) or len(note) > MAX_NOTE_CHARS:
        raise InvalidInputError(f"a note is a text of at most {MAX_NOTE_CHARS:,} characters")
    return clean_query(note)


def _clean_decided(decided: Decided) -> Decided:
    """As it can be stored. The route may be gone by now."""
    confidence = probability(decided.confidence)
    if confidence is None or decided.revision < 0:
        raise InvalidInputError("a decision has a confidence in [0, 1] and a revision")
    name = None if decided.name is None else clean_name(decided.name)
    return replace(decided, name=name, confidence=float(confidence))


def _nobody(_done: int, _total: int) -> None:
    """Is told of progress where nobody asks."""
