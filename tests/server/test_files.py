"""Export and import: the same routes again, whatever the format, all or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from synaptoroute.models import Route
from synaptoroute.route_files import write_routes
from tests.server.serving import Served, problem, serving

FORMATS = ("json", "jsonl", "yaml", "csv")


def csv(*rows: str) -> bytes:
    return "\n".join(["route,utterance", *rows]).encode()


def imported(fresh: Served, content: bytes, query: str = "", media: str = "text/csv") -> dict[str, int]:
    answer = fresh.post(f"/v1/import?{query}", content=content, headers={"Content-Type": media})
    assert answer.status_code == 200, answer.text
    counts: dict[str, int] = answer.json()
    return counts


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_exported_can_be_imported_again(fresh: Served, tmp_path: Path, name: str) -> None:
    fresh.post("/v1/routes", {"name": "odd, name/1", "utterances": ['a "b", c', "=1+1"], "metadata": {"x": [1]}})
    before = fresh.state.router.routes
    answer = fresh.get(f"/v1/export?format={name}")
    assert answer.headers["content-disposition"] == f'attachment; filename="routes.{name}"'
    assert answer.headers["etag"] == f'"{fresh.state.router.revision}"'
    write_routes(before, tmp_path / f"routes.{name}")
    assert answer.content == (tmp_path / f"routes.{name}").read_bytes()
    for route in before:
        fresh.state.router.delete_route(route.name)
    media = answer.headers["content-type"]
    assert imported(fresh, answer.content, media=media)["added"] == len(before)
    assert fresh.state.router.routes == before


def test_each_mode_does_what_it_says(fresh: Served) -> None:
    content = csv("music,music 0", "new,new 1")
    before = fresh.state.router.revision
    answer = fresh.post("/v1/import", content=content, headers={"Content-Type": "text/csv"})
    problem(answer, 409, "route_exists")
    assert fresh.state.router.revision == before
    wanted = {"added": 1, "updated": 1, "deleted": 0, "unchanged": 0}
    assert imported(fresh, content, "mode=put&dry_run=true") == wanted | {"revision": before}
    assert fresh.state.router.revision == before
    assert imported(fresh, content, "mode=put") == wanted | {"revision": before + 1}
    assert imported(fresh, content, "mode=put")["unchanged"] == 2
    assert imported(fresh, content, "mode=replace&dry_run=true")["deleted"] == 2
    assert len(fresh.state.router) == 4
    assert imported(fresh, content, "mode=replace")["deleted"] == 2
    assert [route.name for route in fresh.state.router.routes] == ["music", "new"]
    assert imported(fresh, csv("x,x 1"))["added"] == 1


def test_replacing_everything_can_be_tied_to_what_was_seen(fresh: Served) -> None:
    content, media = csv("x,x 1"), {"Content-Type": "text/csv"}
    tag = fresh.get("/v1/routes").headers["etag"]
    fresh.state.router.delete_route("music")
    stale = fresh.post("/v1/import?mode=replace", content=content, headers={**media, "If-Match": tag})
    problem(stale, 412, "revision_conflict")
    tag = fresh.get("/v1/routes").headers["etag"]
    assert fresh.post("/v1/import?mode=replace", content=content, headers={**media, "If-Match": tag}).status_code == 200
    assert len(fresh.state.router) == 1
    answer = fresh.post("/v1/import?mode=put", content=content, headers={**media, "If-Match": tag})
    problem(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    ("media", "content", "status", "code"),
    [
        ("application/json", b"{", 422, "invalid_input"),
        ("application/json", b'{"routes": [{"name": "x"}]}', 422, "invalid_route"),
        ("application/json", b"[" * 100_000, 422, "invalid_input"),
        ("application/yaml", b"a: &a [*a]", 422, "invalid_input"),
        ("text/csv", b"route,utterance\nx", 422, "invalid_input"),
        ("text/csv", "route,utterance\nx,é".encode("latin-1"), 422, "invalid_input"),
        ("text/csv", b"", 422, "invalid_input"),
        ("text/csv", b"route,utterance\nx,a\x00b", 422, "invalid_route"),
        ("application/json", b'[{"name":"x","utterances":["y"],"metadata":{"a":["\\u0000"]}}]', 422, "invalid_route"),
        ("text/html", b"route,utterance\nx,y", 415, "unsupported_media_type"),
    ],
)
def test_a_file_that_is_none_changes_nothing(
    served: Served, media: str, content: bytes, status: int, code: str
) -> None:
    before = served.state.router.revision
    answer = served.post("/v1/import?mode=put", content=content, headers={"Content-Type": media})
    problem(answer, status, code)
    assert served.state.router.revision == before


def test_a_file_may_be_larger_than_other_bodies_but_not_of_any_size(served: Served) -> None:
    content = csv(*(f"big,big {number}" for number in range(300)))
    media = {"Content-Type": "text/csv"}
    with serving(served.state.router, max_body_bytes=1_024, max_import_bytes=8_192) as small:
        assert small.post("/v1/import?dry_run=true", content=content, headers=media).status_code == 200
        problem(small.post("/v1/import", content=content * 3, headers=media), 413, "body_too_large")
        chunked = (content for _ in range(3))
        problem(small.post("/v1/import", content=chunked, headers=media), 413, "body_too_large")


def test_many_at_once_are_all_taken_over(fresh: Served) -> None:
    routes = [Route(name=f"r{number}", utterances=[f"r{number} {text}" for text in range(5)]) for number in range(300)]
    rows = [f"{route.name},{text}" for route in routes for text in route.utterances]
    assert imported(fresh, csv(*rows), "mode=replace")["added"] == 300
    assert [route.name for route in fresh.state.router.routes] == [route.name for route in routes]
