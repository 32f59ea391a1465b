"""The calls of the correction loop, and about the operating point."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from synaptoroute.client.answers import Job, adapter, one
from synaptoroute.client.call import Answer, Call, based_on, path, query, sending
from synaptoroute.errors import RemoteError
from synaptoroute.models import clean_query

if TYPE_CHECKING:
    from synaptoroute.corrections import Decided, Feedback
    from synaptoroute.learning import OperatingPoint
    from synaptoroute.models import Decision


def operating_point() -> Call[OperatingPoint]:
    """From which confidence the server answers, and who chose that."""
    where = path("operating-point")
    return Call(operation="getOperatingPoint", method="GET", path=where, read=_read_point, safe=True)


def set_operating_point(min_confidence: float | None, *, expected_revision: int | None = None) -> Call[OperatingPoint]:
    """Have the server answer from this confidence on; see ``AdaptiveRouter.set_operating_point``."""
    sent = sending({"min_confidence": min_confidence})
    sent["headers"] |= based_on(expected_revision)
    return Call(operation="putOperatingPoint", method="PUT", path=path("operating-point"), read=_read_point, **sent)


def add_feedback(
    text: str, expected: str | None, *, decided: Decision | Decided | None = None, note: str | None = None
) -> Call[Feedback]:
    """Tell the server which route a text should get, None for none; it keeps the text. See ``Corrections.add``."""
    said: dict[str, Any] = {"text": clean_query(text), "expected": expected}
    if decided is not None:
        said["decision"] = {
            "name": decided.name,
            "confidence": decided.confidence,
            "revision": decided.revision,
        }
    if note is not None:
        said["note"] = note
    return Call(operation="addFeedback", method="POST", path=path("feedback"), read=_read, **sending(said))


def list_feedback(
    *, state: str | None = None, before: int | None = None, limit: int = 100
) -> Call[tuple[Feedback, ...]]:
    """Feedback, the last first: of one state, and with numbers lower than ``before``."""
    asked = query(state=state, before=before, limit=limit)
    return Call(operation="listFeedback", method="GET", path=path("feedback"), query=asked, read=_read_list, safe=True)


def get_feedback(number: int) -> Call[Feedback]:
    """One piece of feedback, with what was proposed and decided."""
    return Call(operation="getFeedback", method="GET", path=path("feedback", number), read=_read, safe=True)


def forget_feedback(number: int) -> Call[None]:
    """Have the server delete feedback with its text."""
    return Call(operation="forgetFeedback", method="DELETE", path=path("feedback", number), read=_read_nothing)


def start_proposal(number: int) -> Call[Job]:
    """Have the server try what could be done; ``proposed_by`` reads the finished job."""
    where = path("feedback", number, "propose")
    return Call(operation="proposeCorrection", method="POST", path=where, read=one(Job))


def accept_correction(number: int, option: str) -> Call[Feedback]:
    """Have the server do exactly what an option of the proposal says; see ``Corrections.accept``."""
    where = path("feedback", number, "accept")
    return Call(operation="acceptCorrection", method="POST", path=where, read=_read, **sending({"option": option}))


def dismiss_feedback(number: int, *, note: str | None = None) -> Call[Feedback]:
    """Have the server do nothing about it and keep the record."""
    where = path("feedback", number, "dismiss")
    said = {} if note is None else {"note": note}
    return Call(operation="dismissFeedback", method="POST", path=where, read=_read, **sending(said))


def proposed_by(job: Job) -> Feedback:
    """The feedback with what a finished job has proposed. Raises RemoteError if it failed or was cancelled."""
    if job.state != "done":
        problem = job.problem or {}
        what = problem.get("detail") or f"it is {job.state}"
        raise RemoteError(f"propose: job {job.id} has no result: {what}", code=problem.get("code"))
    return _feedback(job.result)


def _feedback(content: Any) -> Feedback:
    from synaptoroute.corrections import Feedback

    found: Feedback = adapter(Feedback).validate_python(content)
    return found


def _read(answer: Answer) -> Feedback:
    return _feedback(json.loads(answer.body))


def _read_list(answer: Answer) -> tuple[Feedback, ...]:
    return tuple(_feedback(each) for each in json.loads(answer.body)["feedback"])


def _read_nothing(_answer: Answer) -> None:
    """Of an answer without a body."""


def _read_point(answer: Answer) -> OperatingPoint:
    from synaptoroute.learning import OperatingPoint

    found: OperatingPoint = adapter(OperatingPoint).validate_json(answer.body)
    return found
