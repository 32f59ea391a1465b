"""Every operation of the server has a call in the client, which asks it as the description says."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synaptoroute.client import Client, corrections, history, learning, routes, routing
from synaptoroute.client.call import Call
from synaptoroute.corrections import Decided
from synaptoroute.lint import Fix
from synaptoroute.models import Route

ROUTE = Route(name="a/b", utterances=["pay"])
#: One call of each, with every parameter given.
CALLS: tuple[Call[Any], ...] = (
    routing.route("pay", top_k=2, threshold=0, min_confidence=0, min_margin=0, allow=["a"], exact=True, deadline_s=1),
    routing.route_many(["pay"]),
    routing.explain("pay"),
    routing.status(),
    routing.traffic(),
    routing.map(limit=5, routes=["a"]),
    routing.locate("pay", routes=["a"]),
    routing.is_live(),
    routing.is_ready(),
    routing.metrics(),
    routes.list_routes(limit=1, after="a/b", containing="x", utterances=True),
    routes.get_route("a/b"),
    routes.create_route(ROUTE),
    routes.put_route(ROUTE, expected_revision=0),
    routes.update_route(
        "a/b", utterances=["x"], threshold=0.5, description="d", metadata={"k": 1}, expected_revision=3
    ),
    routes.delete_route("a/b", expected_revision=3),
    routes.add_utterances("a/b", ["x"], expected_revision=3),
    routes.remove_utterances("a/b", ["x"], expected_revision=3),
    routes.export_routes("csv"),
    routes.import_routes([ROUTE], mode="replace", dry_run=True, expected_revision=3),
    history.history(limit=3, route="a/b"),
    history.diff(1, 2),
    history.rollback(1, expected_revision=3),
    history.list_snapshots(),
    history.save_snapshot("a/b"),
    history.use_snapshot("a/b", expected_revision=3),
    history.delete_snapshot("a/b"),
    learning.start_fit(["pay"], [None], target_precision=0.9, max_false_reject=0.1, force=True),
    learning.forget_fit(),
    learning.start_evaluate(["pay"], ["a/b"]),
    learning.list_jobs(),
    learning.get_job("1"),
    learning.cancel_job("1"),
    learning.lint(limit=3),
    corrections.operating_point(),
    corrections.set_operating_point(0.5, expected_revision=3),
    corrections.add_feedback("pay", None, decided=Decided(name=None, confidence=0.5, revision=3), note="n"),
    corrections.list_feedback(state="open", before=3, limit=2),
    corrections.get_feedback(1),
    corrections.forget_feedback(1),
    corrections.start_proposal(1),
    corrections.accept_correction(1, "nothing"),
    corrections.dismiss_feedback(1, note="n"),
    learning.apply_fix([Fix(action="set_threshold", route="a/b", threshold=0.5)], expected_revision=3),
)


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """As it is checked in; other tests hold it against the server."""
    return dict(json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text(encoding="utf-8")))


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Id, method, path and description of each."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield operation["operationId"], method.upper(), path, operation


def test_every_operation_of_the_server_has_a_call(description: dict[str, Any]) -> None:
    assert {name for name, *_ in operations(description)} - {call.operation for call in CALLS} == set()


def test_the_list_above_has_every_call_of_the_client() -> None:
    modules = (routing, routes, history, learning, corrections)
    built = {
        name for module in modules for name, value in vars(module).items() if name[0] != "_" and returns_call(value)
    }
    names = {name for name, value in vars(Client).items() if inspect.isfunction(value)}
    assert built <= names
    assert len(CALLS) == len(built)


def returns_call(value: object) -> bool:
    return inspect.isfunction(value) and str(value.__annotations__.get("return", "")).startswith("Call[")


def test_calls_ask_as_the_description_says(description: dict[str, Any]) -> None:
    known = {name: (method, path, operation) for name, method, path, operation in operations(description)}
    for call in CALLS:
        if call.operation not in known:
            continue
        method, path, operation = known[call.operation]
        assert call.method == method
        assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), call.path), call.path
        parameters = {(item["in"], item["name"].lower()) for item in operation.get("parameters", ())}
        assert {("query", name) for name in call.query} <= parameters, call.operation
        headers = {name for name in call.headers if name != "content-type"}
        assert {("header", name) for name in headers} <= parameters, call.operation
        assert (call.body is not None) == ("requestBody" in operation), call.operation
        if call.body is not None and call.operation != "importRoutes":
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            # A body that may be left out is described as that or null.
            reference = next(one["$ref"] for one in schema.get("anyOf", [schema]) if "$ref" in one)
            fields = description["components"]["schemas"][reference.rpartition("/")[2]]
            assert set(json.loads(call.body)) <= set(fields["properties"]), call.operation


def test_only_what_changes_nothing_is_tried_again() -> None:
    asking = {"route", "locate"}
    for call in CALLS:
        assert call.safe == ((call.method == "GET" or call.operation in asking) and call.operation[-1] != "z")
