"""Errors of the package as problems: each has a code, and none tells a client what only the operator should know."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from synaptoroute import errors
from synaptoroute.server.problems import CODES, Problem, documented, invalid, problem_of

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.SynaptoRouteError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_package_has_a_code(kind: type[errors.SynaptoRouteError]) -> None:
    error = kind("feature", "extra") if kind is errors.MissingExtraError else kind("said")
    problem = problem_of(error)
    assert CODES[problem.code] == problem.status
    # Those of a client are of another server, and never raised here.
    known = kind is not errors.SynaptoRouteError and not issubclass(kind, errors.RemoteError)
    assert (problem.code != "internal_error") is known


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (errors.InvalidQueryError("said"), "invalid_query", 422),
        (errors.RouteExistsError("said"), "route_exists", 409),
        (errors.RouteNotFoundError("said"), "route_not_found", 404),
        (errors.RevisionNotFoundError("said"), "revision_not_found", 404),
        (errors.SnapshotNotFoundError("said"), "snapshot_not_found", 404),
        (errors.RouterOverloadedError("said", 2.3), "overloaded", 503),
        (errors.DeadlineExceededError("said"), "deadline_exceeded", 504),
        (errors.RouterClosedError("said"), "closed", 503),
        (errors.RevisionConflictError("said"), "conflict", 409),
        (errors.MissingExtraError("YAML", "yaml"), "not_available", 501),
        (errors.EncoderOutputError("said"), "encoder_failed", 500),
        (errors.StorageInUseError("said"), "storage_failed", 503),
        (errors.SyncUnavailableError("said"), "sync_failed", 503),
        (ZeroDivisionError("said"), "internal_error", 500),
    ],
)
def test_codes_are_a_promise(error: Exception, code: str, status: int) -> None:
    problem = problem_of(error)
    assert (problem.code, problem.status) == (code, status)
    inner = code in {"encoder_failed", "storage_failed", "sync_failed", "internal_error"}
    assert ("said" in problem.detail) is (not inner and code != "not_available")
    assert ("Retry-After" in problem.headers) is (status == 503)


def test_an_overloaded_server_says_when_to_come_back() -> None:
    assert problem_of(errors.RouterOverloadedError("said", 2.3)).headers == {"Retry-After": "3"}
    assert problem_of(errors.RouterOverloadedError("said", 0.0)).headers == {"Retry-After": "1"}


def test_a_problem_is_pure_ascii_whatever_a_client_named() -> None:
    problem = Problem("route_not_found", "there is no route 'é\ud800'")
    body = problem.body(instance="/v1/routes/x", request_id="r")
    content = json.loads(body.decode("ascii"))
    assert content == {
        "type": "urn:synaptoroute:problem:route_not_found",
        "title": "Not Found",
        "status": 404,
        "detail": "there is no route 'é\ud800'",
        "code": "route_not_found",
        "instance": "/v1/routes/x",
        "request_id": "r",
    }


def test_a_wrong_request_lists_its_places_without_its_values() -> None:
    found: list[dict[str, Any]] = [
        {"loc": ("body", "texts", 3), "msg": "Value error, too long", "type": "value_error", "input": "the text"},
        {"loc": ("body", "x" * 1_000), "msg": "Extra inputs are not permitted", "type": "extra_forbidden"},
    ]
    problem = invalid(found * 20)
    assert problem.detail == "body.texts.3: too long (and 39 more)"
    assert problem.errors[0] == {"location": "body.texts.3", "message": "too long", "type": "value_error"}
    assert len(problem.errors) == 20
    assert len(problem.errors[1]["location"]) == 105
    assert b"the text" not in problem.body(instance="/", request_id="r")


def test_documentation_joins_the_codes_of_a_status() -> None:
    found = documented("route_not_found", "job_not_found", "conflict")
    assert list(found) == [404, 409]
    assert found[404]["description"] == "Not Found: route_not_found, job_not_found"
