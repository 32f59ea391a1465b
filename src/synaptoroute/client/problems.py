"""From an answer that is no success to the error the router itself would have raised."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from synaptoroute.client.call import Answer, Call
from synaptoroute.errors import (
    AccessDeniedError,
    DeadlineExceededError,
    EncoderError,
    FeedbackFullError,
    FeedbackNotFoundError,
    InvalidInputError,
    InvalidQueryError,
    InvalidRouteError,
    RateLimitedError,
    RemoteError,
    RemoteUnavailableError,
    RevisionConflictError,
    RevisionNotFoundError,
    RouteExistsError,
    RouteNotFoundError,
    RouterOverloadedError,
    SnapshotNotFoundError,
    StorageError,
    SynaptoRouteError,
    SyncError,
)

#: By the server's word for the problem.
_BY_CODE: dict[str, type[SynaptoRouteError]] = {
    "invalid_query": InvalidQueryError,
    "invalid_route": InvalidRouteError,
    "route_exists": RouteExistsError,
    "snapshot_exists": InvalidInputError,
    "route_not_found": RouteNotFoundError,
    "revision_not_found": RevisionNotFoundError,
    "snapshot_not_found": SnapshotNotFoundError,
    "feedback_not_found": FeedbackNotFoundError,
    "feedback_full": FeedbackFullError,
    "revision_conflict": RevisionConflictError,
    "conflict": RevisionConflictError,
    "encoder_failed": EncoderError,
    "storage_failed": StorageError,
    "sync_failed": SyncError,
    "overloaded": RouterOverloadedError,
    "deadline_exceeded": DeadlineExceededError,
}
#: By the status, where the word is not known.
_BY_STATUS: dict[int, type[SynaptoRouteError]] = {
    400: InvalidInputError,
    401: AccessDeniedError,
    403: AccessDeniedError,
    412: RevisionConflictError,
    413: InvalidInputError,
    415: InvalidInputError,
    422: InvalidInputError,
    429: RateLimitedError,
    502: RemoteUnavailableError,
    503: RemoteUnavailableError,
    504: DeadlineExceededError,
}
#: More of a foreign answer than this helps nobody.
_SHOWN_CHARS = 200


def problem(call: Call[Any], answer: Answer) -> SynaptoRouteError | None:
    """The error an answer stands for; None for a success."""
    if 200 <= answer.status < 300 or answer.status in call.accepted:
        return None
    fields = _fields(answer)
    code = fields.get("code") if isinstance(fields.get("code"), str) else None
    kind = _BY_CODE.get(code or "") or _BY_STATUS.get(answer.status, RemoteError)
    request_id = answer.headers.get("x-request-id")
    error = _made(kind, _message(call, answer, fields), answer, code, request_id)
    if request_id:
        error.add_note(f"request {request_id}")
    return error


def unreadable(call: Call[Any], answer: Answer, cause: Exception) -> RemoteError:
    """The error for a success whose content is not what was wanted."""
    return RemoteError(
        f"{call.operation}: the answer cannot be read ({type(cause).__name__}); are client and server of one version, "
        "and is the address that of a SynaptoRoute server?",
        status=answer.status,
        request_id=answer.headers.get("x-request-id"),
    )


def retry_after_s(answer: Answer) -> float:
    """What the header asks for, in seconds or as a date; 0 if nothing that can be read."""
    value = answer.headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp()
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def _made(
    kind: type[SynaptoRouteError], message: str, answer: Answer, code: str | None, request_id: str | None
) -> SynaptoRouteError:
    if issubclass(kind, RouterOverloadedError):
        return kind(message, retry_after_s(answer))
    if issubclass(kind, RemoteError):
        error = kind(message, status=answer.status, code=code, request_id=request_id)
        if isinstance(error, RateLimitedError | RemoteUnavailableError):
            error.retry_after_s = retry_after_s(answer)
        return error
    return kind(message)


def _fields(answer: Answer) -> Mapping[str, Any]:
    try:
        fields = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _message(call: Call[Any], answer: Answer, fields: Mapping[str, Any]) -> str:
    if 300 <= answer.status < 400:
        return f"{call.operation}: the server answered {answer.status}, a redirect, which is not followed; give its URL"
    detail = fields.get("detail") or fields.get("title")
    if not isinstance(detail, str) or not detail:
        shown = answer.body[:_SHOWN_CHARS].decode("utf-8", "replace")
        return f"{call.operation}: the server answered {answer.status}: {shown!r}"
    return detail
