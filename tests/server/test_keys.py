"""API keys: how they are made, kept and compared, and what each scope may do."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from typer.testing import CliRunner

from synaptoroute.cli import app
from synaptoroute.errors import InvalidInputError, InvalidSettingError
from synaptoroute.server.app import ROUTERS
from synaptoroute.server.description import scopes
from synaptoroute.server.keys import ANYBODY, KeyEntry, KeyRing, Scope, new_key, read_keys
from tests.server.serving import Served, problem, serving, small_router

DIGEST = "0" * 64


# ------------------------------------------------------------------------------------------------ made and kept
def test_a_new_key_is_known_by_its_hash_alone() -> None:
    key, entry = new_key("ci", Scope.WRITE)
    assert entry.line == f"ci:write:{hashlib.sha256(key.encode()).hexdigest()}"
    assert KeyEntry.parsed(entry.line) == entry
    assert len(key) > 40
    assert new_key("ci", Scope.WRITE)[0] != key
    assert entry.digest.hex() not in repr(entry)
    with pytest.raises(InvalidInputError, match="cannot name a key"):
        new_key("a:b", Scope.READ)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ci:write", "name:scope:sha256hex"),
        (f"c i:write:{DIGEST}", "the name of an API key"),
        (f"ci:owner:{DIGEST}", "wanted read, write or admin"),
        ("ci:write:sr_secret", "never write the key itself"),
    ],
)
def test_a_line_that_is_no_key_is_told_without_its_secret(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        KeyEntry.parsed(line)
    assert "sr_secret" not in str(refused.value)


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    entries = [new_key(name, Scope.READ)[1] for name in ("a", "b")]
    file.write_text(f"# who may ask\n{entries[0].line}\n\n{entries[1].line}  # until May\n")
    assert read_keys(file) == tuple(entries)
    file.write_text(f"{entries[0].line}\nnonsense\n")
    with pytest.raises(InvalidSettingError, match=r"keys_file: .*line 2"):
        read_keys(file)


def test_several_keys_are_accepted_and_bytes_of_any_kind_refused() -> None:
    (first, one), (second, two) = new_key("a", Scope.READ), new_key("b", Scope.ADMIN)
    ring = KeyRing([one, two])
    found = ring.caller(second.encode())
    assert found is not None
    assert (found.name, found.scope, found.actor) == ("b", Scope.ADMIN, "b")
    assert ring.caller(first.encode()) is not None
    for wrong in (None, b"", b"\xff\xfe", first.encode()[:-1], first.upper().encode(), one.digest.hex().encode()):
        assert ring.caller(wrong) is None
    assert KeyRing([]).caller(None) is ANYBODY


def test_two_keys_of_one_name_are_refused() -> None:
    one = new_key("a", Scope.READ)[1]
    for other in (new_key("a", Scope.ADMIN)[1], KeyEntry("b", Scope.READ, one.digest)):
        with pytest.raises(InvalidSettingError, match="two API keys have the same"):
            KeyRing([one, other])


def test_the_command_prints_a_key_once() -> None:
    result = CliRunner().invoke(app, ["keys", "new", "--name", "ci", "--scope", "write", "--json"])
    made = json.loads(result.stdout)
    assert KeyEntry.parsed(made["line"]).digest == hashlib.sha256(made["key"].encode()).digest()
    shown = CliRunner().invoke(app, ["keys", "new", "--name", "ci"])
    key, line = (row.split()[1] for row in shown.stdout.splitlines())
    assert line == f"ci:read:{hashlib.sha256(key.encode()).hexdigest()}"
    assert CliRunner().invoke(app, ["keys", "new", "--name", "ci", "--scope", "owner"]).exit_code == 2


# ------------------------------------------------------------------------------------------------------- accepted
@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with small_router() as router, serving(router, keys=("read", "write", "admin")) as served:
        yield served


NEEDED = scopes(ROUTERS)
OPERATIONS = [
    (route.operation_id, method, route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and route.operation_id is not None
    for method in sorted(route.methods or ())
]


def test_every_call_below_v1_needs_a_scope() -> None:
    below = {
        route.operation_id
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.path.startswith("/v1/")
    }
    assert None not in below
    assert below <= set(NEEDED)
    assert {NEEDED[operation] for operation in below} == {"read", "write", "admin"}


def asked(guarded: Served, method: str, path: str, key: str | None) -> tuple[int, str | None]:
    """Status and code of a call, in whose place nothing is found: what is wrong with it comes after the key."""
    path = path.replace("{", "no-such-").replace("}", "")
    body = {"json": {"nonsense": True}} if method in {"POST", "PUT", "PATCH"} and "/use" not in path else {}
    answer = guarded.ask(method, path, key=key, **body)
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    return answer.status_code, answer.json()["code"] if is_problem else None


@pytest.mark.parametrize(("operation", "method", "path"), OPERATIONS, ids=lambda value: str(value))
def test_each_call_takes_its_scope_and_those_above(guarded: Served, operation: str, method: str, path: str) -> None:
    needed = NEEDED.get(operation)
    if needed is None:
        assert asked(guarded, method, path, None)[0] < 400
        return
    if operation == "forgetFit":
        assert guarded.state.router.snapshot.labelled is None
    assert asked(guarded, method, path, None) == (401, "unauthorized")
    assert asked(guarded, method, path, "sr_wrong") == (401, "unauthorized")
    for scope in ("read", "write", "admin"):
        status, code = asked(guarded, method, path, scope)
        if Scope[scope.upper()] < Scope[needed.upper()]:
            assert (status, code) == (403, "forbidden")
        else:
            assert status not in {401, 403}, code


def test_a_valid_change_without_the_scope_is_forbidden_and_changes_nothing(guarded: Served) -> None:
    before = guarded.state.router.revision
    body = {"name": "new", "utterances": ["new 1"]}
    content = problem(guarded.post("/v1/routes", body, key="read"), 403, "forbidden")
    assert content["detail"] == "the key 'read-key' has the scope read, write is needed here"
    problem(guarded.post("/v1/rollback", {"revision": 0}, key="write"), 403, "forbidden")
    file = {"content": b"route,utterance\nx,y", "headers": {"Content-Type": "text/csv"}}
    problem(guarded.post("/v1/import?mode=replace", key="write", **file), 403, "forbidden")
    assert guarded.state.router.revision == before


def test_a_key_comes_in_either_header(guarded: Served) -> None:
    key = guarded.keys["read"]
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer  {key}"},
        {"X-API-Key": key},
    ):
        assert guarded.get("/v1/status", headers=headers).json()["caller"] == "read-key"
    for headers in ({"Authorization": f"Basic {key}"}, {"Authorization": key}, {"X-API-Key": "\xff"}, {}):
        answer = guarded.get("/v1/status", headers={name: value.encode("latin-1") for name, value in headers.items()})
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_status_says_what_the_caller_may_do(guarded: Served) -> None:
    assert guarded.get("/v1/status", key="write").json()["scopes"] == ["read", "write"]


def test_without_a_key_a_body_is_not_read(guarded: Served) -> None:
    head = b"POST /v1/import HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/csv\r\nContent-Length: 60000000\r\n"
    answer = guarded.raw(head + b"Connection: close\r\n\r\nroute,utterance")
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_keys_show_neither_in_answers_nor_in_logs(guarded: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen = [guarded.get("/v1/status", key=key).text for key in ("read", "sr_wrong_one")]
    seen += [repr(guarded.state.settings), repr(guarded.state.keys), caplog.text]
    for text in seen:
        assert "sr_" not in text
        assert not any(entry.digest.hex() in text for entry in guarded.state.settings.keys)
