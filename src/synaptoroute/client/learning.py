"""The calls about what the server learns: fit, evaluate, lint, jobs, and the operating point."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from synaptoroute.client.answers import Job, LintReport, adapter, field_of, one, revision
from synaptoroute.client.call import Answer, Call, based_on, path, query, sending
from synaptoroute.errors import InvalidInputError, RemoteError
from synaptoroute.models import clean_query

if TYPE_CHECKING:
    from synaptoroute.evaluation import Evaluation
    from synaptoroute.fitting import FitReport
    from synaptoroute.lint import Fix


def start_fit(
    queries: Sequence[str],
    labels: Sequence[str | None],
    *,
    target_precision: float | None = None,
    max_false_reject: float | None = None,
    force: bool = False,
) -> Call[Job]:
    """Have the server learn from labelled queries; ``fit`` also waits for it. See ``AdaptiveRouter.fit``."""
    asked: dict[str, Any] = {"queries": _labelled(queries, labels), "force": force}
    asked |= _given(target_precision=target_precision, max_false_reject=max_false_reject)
    return Call(operation="fit", method="POST", path=path("fit"), read=one(Job), **sending(asked))


def forget_fit() -> Call[int]:
    """Have the server forget its labelled queries and operating point, and learn from the utterances alone again.

    Returns the revision of the routes, which stay.
    """
    return Call(operation="forgetFit", method="DELETE", path=path("fit"), read=revision)


def start_evaluate(queries: Sequence[str], labels: Sequence[str | None]) -> Call[Job]:
    """Have the server hold its decisions against labels; ``evaluate`` also waits for it."""
    asked = {"queries": _labelled(queries, labels)}
    return Call(operation="evaluate", method="POST", path=path("evaluate"), read=one(Job), **sending(asked))


def list_jobs() -> Call[tuple[Job, ...]]:
    """The jobs the server knows of."""
    read = field_of("jobs", tuple[Job, ...])
    return Call(operation="listJobs", method="GET", path=path("jobs"), read=read, safe=True)


def get_job(job_id: str) -> Call[Job]:
    """Where a job stands. Raises RemoteError if there is none of that id."""
    return Call(operation="getJob", method="GET", path=path("jobs", job_id), read=one(Job), safe=True)


def cancel_job(job_id: str) -> Call[Job]:
    """Have the server give a job up, at its next step; one that has ended stays as it is."""
    return Call(operation="cancelJob", method="DELETE", path=path("jobs", job_id), read=one(Job))


def lint(*, limit: int = 1_000) -> Call[LintReport]:
    """What looks wrong with the routes, each with the changes that would mend it."""
    return Call(operation="lint", method="GET", path=path("lint"), query=query(limit=limit), read=_read_lint, safe=True)


def apply_fix(fixes: Iterable[Fix], *, expected_revision: int | None = None) -> Call[int]:
    """Make the changes of a finding of ``lint``, all or none. Returns the new revision.

    Args:
        fixes: ``Finding.fixes``.
        expected_revision: ``LintReport.revision``; None makes them as long as they fit.

    Raises:
        RouteNotFoundError: A route or an utterance is not there any more.
        RevisionConflictError: The routes have changed since ``expected_revision``; nothing was changed.
    """
    sent = sending({"fixes": [_given(**asdict(fix)) for fix in fixes]})
    sent["headers"] |= based_on(expected_revision)
    return Call(operation="applyFix", method="POST", path=path("lint", "fix"), read=revision, **sent)


def evaluation(job: Job) -> Evaluation:
    """What a finished evaluation found. Raises RemoteError if it failed or was cancelled."""
    from synaptoroute.evaluation import Evaluation

    found: Evaluation = _result(job, Evaluation)
    return found


def fit_report(job: Job) -> FitReport:
    """What a finished fit did. Raises RemoteError if it failed or was cancelled."""
    from synaptoroute.fitting import FitReport

    report: FitReport = _result(job, FitReport)
    return report


def _given(**values: Any) -> dict[str, Any]:
    """The values that are there."""
    return {name: value for name, value in values.items() if value is not None}


def _labelled(queries: Sequence[str], labels: Sequence[str | None]) -> list[dict[str, str | None]]:
    for what, values in (("queries", queries), ("labels", labels)):
        if isinstance(values, str):
            raise InvalidInputError(f"{what} is a single text, wanted a list; put it in brackets")
    if len(queries) != len(labels):
        raise InvalidInputError(f"{len(queries):,} queries and {len(labels):,} labels, wanted one label for each query")
    return [{"text": clean_query(text), "label": label} for text, label in zip(queries, labels, strict=True)]


def _result(job: Job, kind: Any) -> Any:
    if job.state != "done":
        problem = job.problem or {}
        what = problem.get("detail") or problem.get("title") or f"it is {job.state}"
        code = problem.get("code")
        raise RemoteError(f"{job.kind}: job {job.id} has no result: {what}", code=code)
    return adapter(kind).validate_python(job.result)


def _read_lint(answer: Answer) -> LintReport:
    from synaptoroute.lint import Finding

    content = json.loads(answer.body)
    findings = adapter(tuple[Finding, ...]).validate_python(content["findings"])
    return LintReport(findings=findings, total=content["total"], revision=content["revision"])
