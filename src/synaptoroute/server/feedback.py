"""``/v1/feedback``: say that a decision was wrong, see what could be done about it, and decide."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from synaptoroute.corrections import Corrections, Decided, Feedback, FeedbackState
from synaptoroute.corrections.loop import MAX_NOTE_CHARS
from synaptoroute.corrections.records import OptionKey, Origin, RouteEdit
from synaptoroute.server.history import MAX_REVISION
from synaptoroute.server.jobs import Job
from synaptoroute.server.keys import Scope
from synaptoroute.server.problems import Problem, documented
from synaptoroute.server.schemas import Asked, Probability, Text
from synaptoroute.server.state import ADMIN, READ, WRITE, Asking, ServerState, State, in_thread
from synaptoroute.server.working import JobShown, submitted

router = APIRouter(tags=["feedback"])

Number = Annotated[int, Path(alias="id", ge=1, le=MAX_REVISION, description="Of the feedback.")]
_JOB: dict[int | str, dict[str, Any]] = {202: {"model": JobShown, "description": "Accepted"}}


class DecidedBody(Asked):
    """The decision that is commented on, as it was received."""

    name: str | None = Field(max_length=600)
    confidence: Probability
    revision: int = Field(ge=0, le=MAX_REVISION)


class FeedbackBody(Asked):
    """Which route a text should get."""

    text: Text = Field(description="Is stored, for this is what feedback is for, until it is forgotten.")
    expected: str | None = Field(max_length=600, description="The route that is right; null if none is.")
    decision: DecidedBody | None = Field(None, description="What was decided; unless given, it is routed now.")
    note: str | None = Field(None, max_length=MAX_NOTE_CHARS, description="For whoever will look at it.")


class Acceptance(Asked):
    """Which option of the proposal to carry out."""

    option: str = Field(max_length=64)


class Dismissal(Asked):
    """Why nothing is done."""

    note: str | None = Field(None, max_length=MAX_NOTE_CHARS)


_NO_NOTE = Dismissal(note=None)


class DecidedShown(BaseModel):
    """A decision."""

    name: str | None
    confidence: float
    revision: int


class FlipShown(BaseModel):
    """A held-out query that would become right, or wrong."""

    text: str
    expected: str | None
    before: str | None
    after: str | None
    origin: Origin


class EffectShown(BaseModel):
    """What an option would do."""

    fixes: bool = Field(description="Whether the text would be decided as it should.")
    decided: str | None
    confidence: float
    checked: int = Field(description="Held-out queries that were asked.")
    gained: int
    lost: int
    net: int
    net_interval: tuple[float, float] | None = Field(description="95 % interval of the change of accuracy, in shares.")
    gains: list[FlipShown]
    losses: list[FlipShown]


class OptionShown(BaseModel):
    """One thing that could be done."""

    key: OptionKey
    summary: str
    edits: list[RouteEdit]
    min_confidence: float | None
    effect: EffectShown


class ProposalShown(BaseModel):
    """Everything that could be done, the most promising first."""

    revision: int = Field(description="It holds for these routes; accepting it for others is a conflict.")
    basis: str
    at: datetime
    decided: DecidedShown
    checks: dict[Origin, int]
    out_of_scope: int
    options: list[OptionShown]
    recommended: OptionKey
    warnings: list[str]


class OutcomeShown(BaseModel):
    """What a person decided."""

    option: OptionKey | None
    revision: int
    actor: str | None
    at: datetime
    note: str | None


class FeedbackShown(BaseModel):
    """Feedback as it is now."""

    id: int
    text: str
    expected: str | None
    decided: DecidedShown
    note: str | None
    actor: str | None
    at: datetime
    last_at: datetime
    count: int = Field(description="How often the same was said.")
    state: FeedbackState
    proposal: ProposalShown | None
    outcome: OutcomeShown | None
    contradicts: list[int] = Field(description="Other feedback that wants something else for the same text.")
    version: int

    @classmethod
    def of(cls, feedback: Feedback) -> FeedbackShown:
        """What is shown of it."""
        return cls.model_validate(feedback.to_dict())


class FeedbackList(BaseModel):
    """Feedback, the last first."""

    feedback: list[FeedbackShown]
    next: int | None = Field(description="Number to give as `before` for the next page; null on the last.")


@router.post(
    "/v1/feedback",
    operation_id="addFeedback",
    status_code=201,
    dependencies=[READ],
    responses=documented("invalid_input", "invalid_query", "feedback_full", "overloaded", "storage_failed"),
)
async def add_feedback(body: FeedbackBody, state: State, response: Response) -> FeedbackShown:
    """Keep which route a text should get. The same said again is counted; nothing is learned from it by itself."""
    if len(body.text) > state.settings.max_text_chars:
        raise Problem("invalid_query", f"the text has more than {state.settings.max_text_chars:,} characters")
    decision = body.decision
    decided = Decided(**decision.model_dump()) if decision else None
    added = await state.change(_loop(state).add, body.text, body.expected, decided=decided, note=body.note)
    response.headers["Location"] = f"/v1/feedback/{added.id}"
    return FeedbackShown.of(added)


@router.get("/v1/feedback", operation_id="listFeedback", dependencies=[WRITE], responses=documented("storage_failed"))
async def list_feedback(
    state: State,
    wanted: Annotated[FeedbackState | None, Query(alias="state", description="Only of this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=MAX_REVISION, description="Only lower numbers.")] = None,
) -> FeedbackList:
    """Feedback, the last first. These are texts that others have sent, so it takes the scope write."""
    found = await in_thread(_loop(state).listed, state=wanted, before=before, limit=limit)
    more = found[-1].id if len(found) == limit else None
    return FeedbackList(feedback=[FeedbackShown.of(each) for each in found], next=more)


@router.get(
    "/v1/feedback/{id}",
    operation_id="getFeedback",
    dependencies=[WRITE],
    responses=documented("feedback_not_found", "storage_failed"),
)
async def get_feedback(number: Number, state: State) -> FeedbackShown:
    """One piece of feedback, with what was proposed and decided."""
    return FeedbackShown.of(await in_thread(_loop(state).get, number))


@router.delete(
    "/v1/feedback/{id}",
    operation_id="forgetFeedback",
    status_code=204,
    dependencies=[ADMIN],
    responses=documented("feedback_not_found", "storage_failed"),
)
async def forget_feedback(number: Number, state: State) -> None:
    """Delete feedback with its text. What was accepted stays in the routes."""
    await state.change(_loop(state).forget, number)


@router.post(
    "/v1/feedback/{id}/propose",
    operation_id="proposeCorrection",
    status_code=202,
    dependencies=[WRITE],
    responses=_JOB | documented("feedback_not_found", "invalid_input", "jobs_full", "storage_failed"),
)
async def propose(number: Number, state: State, caller: Asking) -> Response:
    """Try what could be done on held-out queries; a job, whose result is the feedback with its proposal."""
    await in_thread(_loop(state).get, number)

    def work(job: Job) -> dict[str, Any]:
        return _loop(state).propose(number, progress=job.progress).to_dict()

    return submitted(state.jobs.submit("propose", work, caller))


@router.post(
    "/v1/feedback/{id}/accept",
    operation_id="acceptCorrection",
    dependencies=[WRITE],
    responses=documented("feedback_not_found", "invalid_input", "conflict", "storage_failed"),
)
async def accept(number: Number, body: Acceptance, state: State, caller: Asking) -> FeedbackShown:
    """Do exactly what an option says, if nothing has changed since it was proposed. An operating point takes admin."""
    loop = _loop(state)
    feedback = await in_thread(loop.get, number)
    option = feedback.proposal.option(body.option) if feedback.proposal else None
    if option is not None and option.min_confidence is not None and caller.scope < Scope.ADMIN:
        raise Problem("forbidden", "this option sets the operating point, which takes the scope admin")
    return FeedbackShown.of(await state.change(loop.accept, number, body.option))


@router.post(
    "/v1/feedback/{id}/dismiss",
    operation_id="dismissFeedback",
    dependencies=[WRITE],
    responses=documented("feedback_not_found", "invalid_input", "storage_failed"),
)
async def dismiss(number: Number, state: State, body: Dismissal = _NO_NOTE) -> FeedbackShown:
    """Do nothing about it, and keep the record."""
    return FeedbackShown.of(await state.change(_loop(state).dismiss, number, note=body.note))


def _loop(state: ServerState) -> Corrections:
    return state.corrections
