"""What a router learns from its routes and from labelled queries, and how well it then decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from synaptoroute import learned_file
from synaptoroute.asking import Terms
from synaptoroute.committing import Committing
from synaptoroute.decision.head import no_checkpoint
from synaptoroute.errors import RevisionConflictError, StorageError, StorageInUseError
from synaptoroute.evaluation import Evaluation, check_labels, check_queries, evaluated
from synaptoroute.fitting import FitReport, fit
from synaptoroute.lane import Lane, Progress
from synaptoroute.models import clean_query
from synaptoroute.storage.base import LabelledQueries
from synaptoroute.table import Learned, RouteTable

logger = logging.getLogger(__name__)


class Learning(Committing):
    """The part of ``AdaptiveRouter`` that learns and evaluates."""

    #: How queries are decided where a call does not say.
    _plain_terms: Terms

    def refit(self) -> None:
        """Learn from the current routes now, in this thread; takes seconds (see ``wait_until_fitted``)."""
        self._require_open()
        lane = self._lane
        self._publish(lane.table.learn(), lane)
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
        lane = self._lane
        names = check_labels(labels, lane.table)
        texts = [clean_query(query) for query in queries]
        given = LabelledQueries(texts=tuple(texts), labels=names, vectors=lane.encode(texts, progress))
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
                # Both at once: between the two, a query would send the learner off to learn this again.
                self._table = self._table.with_labelled(labelled).with_learned(learned)
            self._publish(learned, lane)
        return report

    def forget_fit(self) -> None:
        """Forget the labelled queries and the operating point, and learn from the utterances alone again."""
        with self._changing:
            self._require_open()
            self._storage.save_labelled(None, encoder=self._lane.identity)
            self._table = self._table.with_labelled(None)

    def evaluate(
        self, queries: Sequence[str], labels: Sequence[str | None], *, progress: Progress | None = None
    ) -> Evaluation:
        """Hold the router's decisions against labels; waits until it has learned from its routes.

        Args:
            queries: Texts.
            labels: The route of each; None for out of scope.
            progress: Told how many of how many queries have been encoded. What it raises ends the evaluation.

        Raises:
            InvalidInputError: Lengths differ, there is nothing to evaluate, or a label is no route.
        """
        check_queries(queries, labels)
        names = check_labels(labels, self._table)
        self.wait_until_fitted()
        texts = [clean_query(query) for query in queries]
        # Beside the queue: thousands of queries at once would be turned away while others wait.
        lane = self._lane
        decisions = lane.table.decide(texts, lane.encode(texts, progress), **self._plain_terms._asdict())
        return evaluated(queries, names, decisions)

    def _settle(self, table: RouteTable, checkpoint: Callable[[], None]) -> None:
        lane = self._lane
        if lane.table.encode is not table.encode:
            # The encoder was changed since the upkeep looked; it will look again.
            return
        # Verified first: compacting damaged vectors would give them a valid checksum.
        if not lane.files.verified:
            lane.files.verify(lambda rebuilt: self._rebuild(rebuilt, lane))
        elif lane.files.needs_compaction(table):
            self._rebuild(lambda older: lane.files.compacted(older, checkpoint), lane)
        else:
            self._publish(table.learn(checkpoint), lane)

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
