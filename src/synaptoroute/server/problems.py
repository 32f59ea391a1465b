"""What goes wrong, as RFC 9457 problem details: one table from errors to statuses and stable codes."""

from __future__ import annotations

import http
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from synaptoroute import errors

#: Code -> status. Codes are a promise: clients compare them, texts may change.
CODES: dict[str, int] = {
    "invalid_http": 400,
    "invalid_json": 400,
    "invalid_path": 400,
    "host_not_allowed": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "cross_origin": 403,
    "not_found": 404,
    "route_not_found": 404,
    "revision_not_found": 404,
    "snapshot_not_found": 404,
    "job_not_found": 404,
    "feedback_not_found": 404,
    "method_not_allowed": 405,
    "body_timeout": 408,
    "route_exists": 409,
    "conflict": 409,
    "snapshot_exists": 409,
    "feedback_full": 409,
    "revision_conflict": 412,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_request": 422,
    "invalid_input": 422,
    "invalid_query": 422,
    "invalid_route": 422,
    "rate_limited": 429,
    "jobs_full": 429,
    "head_too_large": 431,
    "internal_error": 500,
    "encoder_failed": 500,
    "not_available": 501,
    "overloaded": 503,
    "closed": 503,
    "storage_failed": 503,
    "sync_failed": 503,
    "deadline_exceeded": 504,
}

#: The most specific first. Messages of the last ones may name files, hosts and servers, so clients do not get them.
_OF_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (errors.InvalidQueryError, "invalid_query"),
    (errors.RouteExistsError, "route_exists"),
    (errors.InvalidRouteError, "invalid_route"),
    (errors.InvalidInputError, "invalid_input"),
    (errors.RouteNotFoundError, "route_not_found"),
    (errors.RevisionNotFoundError, "revision_not_found"),
    (errors.SnapshotNotFoundError, "snapshot_not_found"),
    (errors.FeedbackNotFoundError, "feedback_not_found"),
    (errors.FeedbackFullError, "feedback_full"),
    (errors.RouterOverloadedError, "overloaded"),
    (errors.DeadlineExceededError, "deadline_exceeded"),
    (errors.RouterClosedError, "closed"),
    (errors.MissingExtraError, "not_available"),
    (errors.RevisionConflictError, "conflict"),
    (errors.EncoderError, "encoder_failed"),
    # The router keeps its own order where one fails; only making one raises.
    (errors.RerankerError, "not_available"),
    (errors.StorageError, "storage_failed"),
    (errors.SyncError, "sync_failed"),
)
_DETAILS = {
    "encoder_failed": "a text could not be encoded; the server's log says why",
    "storage_failed": "the store cannot be read or written just now; the server's log says why",
    "sync_failed": "the replicas cannot be kept the same just now; the server's log says why",
    "internal_error": "a mistake in the server; its log has it under this request id",
}
_MAX_ERRORS = 20
_LISTED_ERRORS = 1_000
_MAX_NAME_CHARS = 100


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A request that gets an error for an answer.

    Attributes:
        code: One of ``CODES``.
        detail: One sentence for people; never text of a query.
        headers: More headers of the answer.
        errors: Places in the request and what is wrong there.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status or CODES[code]
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = list(errors)

    def to_dict(self, *, instance: str | None = None, request_id: str | None = None) -> dict[str, Any]:
        """The problem as JSON has it."""
        content: dict[str, Any] = {
            "type": f"urn:synaptoroute:problem:{self.code}",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if instance is not None:
            content["instance"] = instance
        if request_id is not None:
            content["request_id"] = request_id
        return content | ({"errors": self.errors} if self.errors else {})

    def body(self, *, instance: str, request_id: str) -> bytes:
        """The problem as it is sent. Pure ASCII, so that whatever a client put into a name can be said."""
        return json.dumps(self.to_dict(instance=instance, request_id=request_id)).encode("ascii")


def problem_of(exc: Exception) -> Problem:
    """The problem that an error of the package is; ``internal_error`` for any other."""
    for kind, code in _OF_ERRORS:
        if isinstance(exc, kind):
            headers = {}
            if isinstance(exc, errors.RouterOverloadedError):
                headers["Retry-After"] = str(max(1, math.ceil(exc.retry_after_s)))
            elif CODES[code] == 503:
                headers["Retry-After"] = "5"
            return Problem(code, _DETAILS.get(code) or str(exc), headers=headers)
    return Problem("internal_error", _DETAILS["internal_error"])


def invalid(found: Iterable[Mapping[str, Any]]) -> Problem:
    """The problem of pydantic's errors, without the values that were sent."""
    listed = [
        {
            "location": ".".join(str(part)[:_MAX_NAME_CHARS] for part in error["loc"]),
            "message": str(error["msg"]).removeprefix("Value error, "),
            "type": str(error["type"]),
        }
        for error in found
    ]
    first = listed[0] if listed else {"location": "body", "message": "it cannot be accepted"}
    more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
    detail = f"{first['location']}: {first['message']}{more}"
    if listed and listed[0]["type"] == "json_invalid":
        return Problem("invalid_json", detail)
    return Problem("invalid_request", detail, errors=listed[:_MAX_ERRORS])


def invalid_body(exc: ValidationError) -> Problem:
    """The problem of a body that its model does not take."""
    if exc.error_count() > _LISTED_ERRORS:
        # Of a megabyte of unknown fields, what pydantic says would take a hundred.
        return Problem("invalid_request", f"body: {exc.error_count():,} mistakes, too many to list; see /openapi.json")
    found = exc.errors(include_url=False, include_context=False, include_input=False)
    return invalid({**error, "loc": ("body", *error["loc"])} for error in found)


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """For ``responses=`` of an endpoint: what may go wrong there, beside what may go wrong everywhere."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code], []).append(code)
    return {
        status: {
            "description": f"{http.HTTPStatus(status).phrase}: {', '.join(listed)}",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, listed in sorted(by_status.items())
    }
