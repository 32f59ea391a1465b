"""The calls about what the server learns: fit, evaluate, lint, jobs, and the operating point."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from synaptoroute.client.answers import Job, LintReport, adapter, field_of, nothing, one
from synaptoroute.client.call import Answer, Call, path, sending
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


def forget_fit() -> Call[None]:
    """Have the server forget its labelled queries and operating point, and learn from the utterances alone."""
    return Call(operation="forgetFit", method="DELETE", path=path("fit"), read=nothing)


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


def cancel_job(job_id: str) -> Call[Job | None]:
    """Have the server give a job up."""
    return Call(operation="cancelJob", method="DELETE", path=path("jobs", job_id), read=_job_if_any)


def lint() -> Call[LintReport]:
    """What is amiss with the routes, each with the changes that would mend it."""
    return Call(operation="lint", method="GET", path=path("lint"), read=_read_lint, safe=True)


def apply_fix(fix: Fix) -> Call[int]:
    """Make a change that ``lint`` proposed. Returns the new revision."""
    content = {"fix": _given(**asdict(fix))}
    read = field_of("revision", int)
    return Call(operation="applyFix", method="POST", path=path("lint", "fix"), read=read, **sending(content))


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


def _job_if_any(answer: Answer) -> Job | None:
    return one(Job)(answer) if answer.body else None


def _read_lint(answer: Answer) -> LintReport:
    from synaptoroute.lint import Finding

    content = json.loads(answer.body)
    findings = adapter(tuple[Finding, ...]).validate_python(content["findings"])
    return LintReport(findings=findings, revision=content["revision"])
