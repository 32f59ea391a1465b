"""What a router learns from its routes and from labelled queries, and how well it then decides."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from synaptoroute import learned_file
from synaptoroute.asking import Terms, probability
from synaptoroute.cascading import Cascade
from synaptoroute.committing import Committing
from synaptoroute.decision.head import no_checkpoint
from synaptoroute.errors import InvalidInputError, RevisionConflictError, StorageError, StorageInUseError
from synaptoroute.evaluation import Evaluation, check_labels, check_queries, evaluated
from synaptoroute.fitting import FitReport, fit
from synaptoroute.lane import Lane, Progress
from synaptoroute.learned import Learned
from synaptoroute.models import clean_query
from synaptoroute.observability.events import QueriesFitted, TableCompacted, TableLearned, UpkeepFailed
from synaptoroute.storage.base import ChosenPoint, LabelledQueries, NotingStorage
from synaptoroute.table import PointSource, RouteTable
from synaptoroute.teaching import learn_from

logger = logging.getLogger(__name__)

#: Name of the note of when ``fit`` was last applied, in seconds since 1970.
_FITTED_AT = "fitted_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """From which confidence queries are answered.

    Attributes:
        min_confidence: Least calibrated probability, in [0, 1].
        source: Who chose it: "router" is the constructor's ``min_confidence``, "set" ``set_operating_point``, "fit" the
            labelled queries, "default" 0.5.
        actor: Who set it; None if they did not say, or it was not set.
        at: When it was set, in UTC.
    """

    min_confidence: float
    source: PointSource | Literal["router"]
    actor: str | None = None
    at: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the same fields."""
        return {
            "min_confidence": self.min_confidence,
            "source": self.source,
            "actor": self.actor,
            "at": self.at.isoformat(timespec="milliseconds") if self.at else None,
        }


class Learning(Committing):
    """The part of ``AdaptiveRouter`` that learns and evaluates."""

    #: How queries are decided where a call does not say.
    _plain_terms: Terms
    #: The labelled queries in use when it was last looked up when they were fitted, and what was found.
    _fit_time: tuple[LabelledQueries | None, float | None] = None, None

    def refit(self) -> None:
        """Learn from the current routes now, in this thread; takes seconds (see ``wait_until_fitted``)."""
        self._require_open()
        began, lane = time.monotonic(), self._lane
        table = lane.table
        self._publish(learn_from(table), lane)
        self._hooks.upkeep_done(TableLearned(revision=table.revision, took_s=time.monotonic() - began))
        self._upkeep.forget_failure()

    @property
    def settled(self) -> bool:
        """Whether everything is learned and compacted, so that ``wait_until_fitted`` would not wait."""
        return self._lane.settled(self._table)

    def wait_until_fitted(self, timeout_s: float | None = None) -> bool:
        """Wait until what is learned is up to date with the routes; False if that took longer than the timeout.

        Until then, routes that are new or changed are decided by their nearest utterances alone. Waiting makes
        decisions independent of timing. About 16 routes take half a second, 150 with 15,000 utterances 20 seconds;
        a table of 50,000 routes is also sorted into segments and a graph, which takes a minute.

        Raises:
            SynaptoRouteError: Learning failed; the cause says why.
        """
        self._require_open()
        return self.settled or self._upkeep.wait(timeout_s)

    def fit(
        self,
        queries: Sequence[str],
        labels: Sequence[str | None],
        *,
        target_precision: float | None = None,
        max_false_reject: float | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> FitReport:
        """Learn from labelled queries, and choose where to abstain. Deterministic; takes seconds.

        The queries are stored with the routes: what is learned later, after routes have changed, still uses those
        whose route is there. A fit that does not improve on held-out queries changes nothing unless forced.

        Args:
            queries: At least 20 texts, not among the stored utterances.
            labels: The route of each; None for out of scope.
            target_precision: Choose the operating point at which this share of answers is right.
            max_false_reject: Choose the operating point at which at most this share of in-scope queries is rejected.
            force: Apply the fit even if it does not help.
            progress: Told how many of how many queries have been encoded, and at every step of learning that all have.
                What it raises ends the fit, and nothing is changed.

        Raises:
            InvalidQueryError: A query cannot be routed.
            InvalidInputError: Unknown routes, not enough data, or an option out of its range.
            StorageError: The queries could not be stored; nothing was changed.
        """
        self._require_open()
        check_queries(queries, labels)
        began, lane = time.monotonic(), self._lane
        names = check_labels(labels, lane.table)
        texts = [clean_query(query) for query in queries]
        given = LabelledQueries(texts=tuple(texts), labels=names, vectors=lane.encode(texts, progress, queries=True))
        report, labelled, learned = fit(
            lane.table,
            given,
            target_precision=target_precision,
            max_false_reject=max_false_reject,
            force=force,
            checkpoint=partial(progress, len(texts), len(texts)) if progress else no_checkpoint,
        )
        if report.applied:
            with self._changing:
                self._require_open()
                if lane is not self._lane:
                    raise RevisionConflictError("the encoder was changed while queries were fitted; fit them again")
                self._storage.save_labelled(labelled, encoder=lane.identity)
                # All at once: in between, a query would send the learner off to learn this again.
                table = self._table if labelled.min_confidence is None else self._table.with_point(None)
                self._table = table.with_labelled(labelled).with_learned(learned)
                self._note_fit(labelled)
            self._publish(learned, lane)
        self._hooks.upkeep_done(
            QueriesFitted(
                applied=report.applied,
                forgotten=False,
                queries=report.queries,
                accuracy_before=report.before.accuracy,
                accuracy_after=report.after.accuracy,
                min_confidence=report.min_confidence,
                took_s=time.monotonic() - began,
            )
        )
        return report

    def forget_fit(self) -> None:
        """Forget the labelled queries and the operating point, and learn from the utterances alone again."""
        began = time.monotonic()
        with self._changing:
            self._require_open()
            self._storage.save_labelled(None, encoder=self._lane.identity)
            self._table = self._table.with_labelled(None).with_point(None)
            self._note_fit(None)
        self._hooks.upkeep_done(
            QueriesFitted(
                applied=False,
                forgotten=True,
                queries=0,
                accuracy_before=None,
                accuracy_after=None,
                min_confidence=None,
                took_s=time.monotonic() - began,
            )
        )

    def _note_fit(self, labelled: LabelledQueries | None) -> None:
        """Remember when this was, for the age of the fit; in the store if it keeps notes."""
        now = time.time()
        self._fit_time = labelled, now if labelled is not None else None
        if isinstance(self._storage, NotingStorage):
            note = None if labelled is None else repr(now).encode()
            # The fit itself is stored and in use: only its age would not be known after a restart.
            with suppress(StorageError):
                self._storage.save_notes({_FITTED_AT: note})

    def _fitted_at(self, table: RouteTable) -> float | None:
        """When the labelled queries of a table were fitted, in seconds since 1970; None if that is not known."""
        labelled, found = self._fit_time
        if labelled is table.labelled:
            return found
        found = None
        if table.labelled is not None and isinstance(self._storage, NotingStorage):
            with suppress(StorageError, ValueError):
                note = self._storage.notes(_FITTED_AT).get(_FITTED_AT)
                found = float(note) if note else None
        self._fit_time = table.labelled, found
        return found

    @property
    def operating_point(self) -> OperatingPoint:
        """From which confidence queries are answered where neither the call nor the route says otherwise."""
        table = self._table
        router = self._plain_terms.limits.min_confidence
        if router is not None:
            return OperatingPoint(min_confidence=router, source="router")
        point = table.point
        return OperatingPoint(
            min_confidence=table.operating_point,
            source=table.operating_point_from,
            actor=point.actor if point else None,
            at=point.at if point else None,
        )

    def set_operating_point(
        self, min_confidence: float | None, *, expected_revision: int | None = None
    ) -> OperatingPoint:
        """Answer from this confidence on, durably, whatever ``fit`` chose; nothing that was learned changes.

        It holds for every router over the same store, and until a later ``fit`` chooses one, or the fit is forgotten.

        Args:
            min_confidence: Least calibrated probability in [0, 1]; None goes back to what ``fit`` chose, or else 0.5.
            expected_revision: The ``revision`` of the routes it was chosen at; None for any.

        Raises:
            InvalidInputError: It is out of its range, or the router was made with a ``min_confidence`` of its own,
                which would come before it.
            RevisionConflictError: The routes have changed since the expected revision; nothing was set.
            StorageError: It could not be stored; nothing was set.
        """
        value = probability(min_confidence)
        own = self._plain_terms.limits.min_confidence
        if value is not None and own is not None:
            raise InvalidInputError(
                f"this router was made with min_confidence={own}, which comes before the operating point; make it "
                "without"
            )
        with self._changing:
            self._require_open()
            revision = self._table.revision
            if expected_revision not in (None, revision):
                raise RevisionConflictError(
                    f"the routes are at revision {revision}, the operating point was chosen at {expected_revision}; "
                    "nothing was set"
                )
            point = None
            if value is not None:
                point = ChosenPoint(min_confidence=float(value), actor=self._acting, at=datetime.now(UTC))
            self._storage.save_operating_point(point)
            self._table = self._table.with_point(point)
            return self.operating_point

    def evaluate(
        self, queries: Sequence[str], labels: Sequence[str | None], *, progress: Progress | None = None
    ) -> Evaluation:
        """Hold the router's decisions against labels; waits until it has learned from its routes.

        Args:
            queries: Texts.
            labels: The route of each; None for out of scope.
            progress: Told how many of how many queries have been encoded, of those that the first stage, if there is
                one, has left. What it raises ends the evaluation.

        Raises:
            InvalidInputError: Lengths differ, there is nothing to evaluate, or a label is no route.
        """
        check_queries(queries, labels)
        names = check_labels(labels, self._table)
        self.wait_until_fitted()
        texts = [clean_query(query) for query in queries]
        # Beside the queue: thousands of queries at once would be turned away while others wait.
        lane, asked = self._lane, self._plain_terms
        table = lane.table
        call = Cascade(texts, lane.sure(table, texts, asked))
        if call.rest:
            call.add(table.decide(call.rest, lane.encode(call.rest, progress, queries=True), **asked._asdict()))
        return evaluated(queries, names, call.decisions)

    def _settle(self, table: RouteTable, checkpoint: Callable[[], None]) -> None:
        lane = self._lane
        if lane.table.encode is not table.encode:
            # The encoder was changed since the upkeep looked; it will look again.
            return
        began = time.monotonic()
        # Verified first: compacting damaged vectors would give them a valid checksum.
        verifies = not lane.files.verified
        if verifies:
            lane.files.verify(lambda rebuilt: self._rebuild(rebuilt, lane))
        elif lane.files.needs_compaction(table):
            self._rebuild(lambda older: lane.files.compacted(older, checkpoint), lane)
        else:
            self._publish(learn_from(table, checkpoint), lane)
            self._hooks.upkeep_done(TableLearned(revision=table.revision, took_s=time.monotonic() - began))
            return
        self._hooks.upkeep_done(
            TableCompacted(
                revision=table.revision,
                utterances=len(table.index),
                took_s=time.monotonic() - began,
                verified_only=verifies,
            )
        )

    def _upkeep_failed(self, exc: Exception) -> None:
        self._hooks.upkeep_done(UpkeepFailed(error=type(exc).__name__))

    def _publish(self, learned: Learned | None, lane: Lane) -> None:
        """Use and keep what was learned from a table of that lane, unless it is not the router's any more."""
        with self._changing:
            if lane is not self._lane:
                return
            self._table = table = self._table.with_learned(learned)
        content = learned_file.dump(learned, table) if learned else None
        with self._changing:
            # Once more, for what was learned of another encoder's vectors must not come after a swap of encoders.
            if content is None or self._closed or lane is not self._lane:
                return
            try:
                self._storage.save_learned(content)
            except StorageInUseError:
                logger.info("what was learned is not kept: another process writes to the store")
            except StorageError:
                logger.warning("what was learned could not be kept and will be learned again at the next start")
