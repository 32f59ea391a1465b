"""``/v1/jobs``, and the two kinds of them that learn from labelled queries or measure with them: fit and evaluate."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from synaptoroute.server.jobs import Job, JobState
from synaptoroute.server.keys import Scope
from synaptoroute.server.problems import Problem, documented, invalid_body
from synaptoroute.server.schemas import Asked, Probability, Revised
from synaptoroute.server.schemas import Problem as ProblemShown
from synaptoroute.server.state import ADMIN, READ, WRITE, Asking, State, in_thread

router = APIRouter(tags=["learning"])


class LabelledQuery(Asked):
    """A text and the route it belongs to; null if to none."""

    text: str
    label: str | None


class EvaluateRequest(Asked):
    """Labelled queries to hold decisions against."""

    queries: list[LabelledQuery] = Field(min_length=1, fail_fast=True)


class FitRequest(Asked):
    """Labelled queries to learn from, and what the operating point shall promise; at most one of the two."""

    queries: list[LabelledQuery] = Field(min_length=1, fail_fast=True)
    target_precision: Probability | None = Field(None, description="Share of answers that shall be right.")
    max_false_reject: Probability | None = Field(None, description="Share of in-scope queries that may be rejected.")
    force: bool = Field(False, description="Apply the fit even if it does not help.")  # noqa: FBT003


class Progress(BaseModel):
    """How much is done."""

    done: int
    total: int


class JobShown(BaseModel):
    """A job as it is now. Ask again until its state is done, failed or cancelled."""

    id: str
    kind: str
    state: JobState
    progress: Progress | None
    created_at: str
    finished_at: str | None
    result: dict[str, Any] | None = Field(description="What came out; null until it is done, and in lists.")
    problem: ProblemShown | None = Field(description="Why it failed.")


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobShown]


JobId = Annotated[str, Path(min_length=1, max_length=64, description="Of the job.")]
_SUBMITTED: dict[int | str, dict[str, Any]] = {202: {"model": JobShown, "description": "Accepted"}}
#: Their bodies may be large and are therefore checked in a thread.
BODIES: tuple[type[Asked], ...] = (EvaluateRequest, FitRequest, LabelledQuery)
_fit = TypeAdapter(FitRequest)
_evaluate = TypeAdapter(EvaluateRequest)


def _body(model: type[Asked]) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


@router.post(
    "/v1/fit",
    operation_id="fit",
    status_code=202,
    dependencies=[WRITE],
    openapi_extra=_body(FitRequest),
    responses=_SUBMITTED | documented("invalid_request", "body_too_large", "jobs_full"),
)
async def fit(request: Request, state: State, caller: Asking) -> Response:
    """Learn from labelled queries and choose where to abstain; a job, whose result is the report."""
    asked = await _asked(request, _fit)
    texts, labels = _columns(asked.queries)

    def work(job: Job) -> dict[str, Any]:
        report = state.router.fit(
            texts,
            labels,
            target_precision=asked.target_precision,
            max_false_reject=asked.max_false_reject,
            force=asked.force,
            progress=job.progress,
        )
        return report.to_dict()

    return submitted(state.jobs.submit("fit", work, caller))


@router.delete("/v1/fit", operation_id="forgetFit", dependencies=[ADMIN], responses=documented("storage_failed"))
async def forget_fit(state: State) -> Revised:
    """Forget the labelled queries and the operating point, and learn from the utterances alone again."""
    await state.change(state.router.forget_fit)
    return Revised(revision=state.router.revision)


@router.post(
    "/v1/evaluate",
    operation_id="evaluate",
    status_code=202,
    dependencies=[READ],
    openapi_extra=_body(EvaluateRequest),
    responses=_SUBMITTED | documented("invalid_request", "body_too_large", "jobs_full"),
)
async def evaluate(request: Request, state: State, caller: Asking) -> Response:
    """Hold decisions against labels; a job, whose result is the evaluation."""
    asked = await _asked(request, _evaluate)
    texts, labels = _columns(asked.queries)

    def work(job: Job) -> dict[str, Any]:
        return state.router.evaluate(texts, labels, progress=job.progress).to_dict()

    return submitted(state.jobs.submit("evaluate", work, caller))


@router.get("/v1/jobs", operation_id="listJobs", response_model=JobList, dependencies=[READ], tags=["jobs"])
async def list_jobs(state: State) -> Response:
    """All jobs that are remembered, newest first, without their results."""
    shown = b",".join(job.to_json(with_result=False) for job in state.jobs.all())
    return _json(b'{"jobs":[' + shown + b"]}")


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="getJob",
    response_model=JobShown,
    dependencies=[READ],
    tags=["jobs"],
    responses=documented("job_not_found"),
)
async def get_job(job_id: JobId, state: State) -> Response:
    """A job, with its result once it is done."""
    return _json(state.jobs.get(job_id).to_json())


@router.delete(
    "/v1/jobs/{job_id}",
    operation_id="cancelJob",
    response_model=JobShown,
    dependencies=[READ],
    tags=["jobs"],
    responses=documented("job_not_found", "forbidden"),
)
async def cancel_job(job_id: JobId, state: State, caller: Asking) -> Response:
    """Cancel a job, which ends at its next step and changes nothing; one that is finished stays as it is.

    One's own jobs may always be cancelled, those of others with the scope write.
    """
    job = state.jobs.get(job_id)
    if job.caller.name != caller.name and caller.scope < Scope.WRITE:
        raise Problem("forbidden", "the job is another key's; cancelling it takes the scope write")
    state.jobs.cancel(job)
    return _json(job.to_json(with_result=False))


def submitted(job: Job) -> Response:
    """The answer to a request that has become a job."""
    return Response(
        job.to_json(), status_code=202, media_type="application/json", headers={"Location": f"/v1/jobs/{job.id}"}
    )


async def _asked(request: Request, adapter: TypeAdapter[Any]) -> Any:
    body = await request.body()
    try:
        return await in_thread(adapter.validate_json, body)
    except ValidationError as exc:
        raise invalid_body(exc) from None


def _columns(queries: list[LabelledQuery]) -> tuple[list[str], list[str | None]]:
    return [query.text for query in queries], [query.label for query in queries]


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
