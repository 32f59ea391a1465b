"""What takes several calls: waiting for jobs. Written once, and driven by either client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from synaptoroute.client import corrections, learning
from synaptoroute.client.answers import Job
from synaptoroute.client.call import Call, Pause, Plan
from synaptoroute.errors import DeadlineExceededError

if TYPE_CHECKING:
    from synaptoroute.corrections import Feedback
    from synaptoroute.evaluation import Evaluation
    from synaptoroute.fitting import FitReport

T = TypeVar("T")

#: The first wait between two looks at a job, and the longest; each is half as long again as the one before.
_FIRST_LOOK_S = 0.05
_LAST_LOOK_S = 2.0


def wait_for_job(job_id: str, *, timeout_s: float | None = None) -> Plan[Job]:
    """The job once it has ended, well or not.

    Raises:
        DeadlineExceededError: It has not, after that long. It goes on; ``cancel_job`` gives it up.
    """
    return _ended(learning.get_job(job_id), timeout_s)


def fit(
    queries: Sequence[str],
    labels: Sequence[str | None],
    *,
    target_precision: float | None = None,
    max_false_reject: float | None = None,
    force: bool = False,
    timeout_s: float | None = None,
) -> Plan[FitReport]:
    """``AdaptiveRouter.fit`` on the server: learn from labelled queries, and wait for it.

    Raises:
        InvalidInputError: Unknown routes, not enough data, or an option out of its range.
        RemoteError: The job failed or was cancelled.
        DeadlineExceededError: It has not ended after ``timeout_s``; it goes on.
    """
    begin = learning.start_fit(
        queries, labels, target_precision=target_precision, max_false_reject=max_false_reject, force=force
    )
    return _finished(begin, timeout_s, learning.fit_report)


def propose_correction(number: int, *, timeout_s: float | None = None) -> Plan[Feedback]:
    """``Corrections.propose`` on the server: try what could be done about feedback, and wait for it.

    Raises:
        RemoteError: The job failed or was cancelled.
        DeadlineExceededError: It has not ended after ``timeout_s``; it goes on.
    """
    return _finished(corrections.start_proposal(number), timeout_s, corrections.proposed_by)


def evaluate(
    queries: Sequence[str], labels: Sequence[str | None], *, timeout_s: float | None = None
) -> Plan[Evaluation]:
    """``AdaptiveRouter.evaluate`` on the server: hold its decisions against labels, and wait for it.

    Raises:
        InvalidInputError: Lengths differ, there is nothing to evaluate, or a label is no route.
        RemoteError: The job failed or was cancelled.
        DeadlineExceededError: It has not ended after ``timeout_s``; it goes on.
    """
    return _finished(learning.start_evaluate(queries, labels), timeout_s, learning.evaluation)


def _finished(begin: Call[Job], timeout_s: float | None, read: Callable[[Job], T]) -> Plan[T]:
    return read((yield from _ended(begin, timeout_s)))


def _ended(first: Call[Job], timeout_s: float | None) -> Plan[Job]:
    """Asks once, then looks again and again."""
    started, pause_s = monotonic(), _FIRST_LOOK_S
    job: Job = yield first
    while not job.finished:
        left_s = None if timeout_s is None else timeout_s - (monotonic() - started)
        if left_s is not None and left_s <= 0:
            raise DeadlineExceededError(f"{job.kind}: job {job.id} is {job.state} after {timeout_s} s; it goes on")
        yield Pause(pause_s if left_s is None else min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, _LAST_LOOK_S)
        job = yield learning.get_job(job.id)
    return job
