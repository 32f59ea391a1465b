"""``/v1/export`` and ``/v1/import``: routes as files of the formats that people edit."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any, Literal, get_args

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from synaptoroute.models import Route
from synaptoroute.route_files import FileFormat, read_routes, route_entry, write_routes
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server.keys import Scope
from synaptoroute.server.problems import Problem, documented
from synaptoroute.server.routes import IfMatch, etag, expected
from synaptoroute.server.state import READ, WRITE, Asking, State, in_thread

router = APIRouter(tags=["files"])

Mode = Literal["add", "put", "replace"]
_MEDIA_TYPES: dict[FileFormat, str] = {
    "json": "application/json",
    "jsonl": "application/jsonl",
    "yaml": "application/yaml",
    "csv": "text/csv; charset=utf-8",
}
#: More of a body is kept in a file, whose name nobody knows.
_IN_MEMORY_BYTES = 1 << 20


class Imported(BaseModel):
    """What an import did, or with dry_run would do."""

    added: int
    updated: int
    deleted: int
    unchanged: int
    revision: int = Field(description="The revision of all routes afterwards.")


@router.get(
    "/v1/export",
    operation_id="exportRoutes",
    dependencies=[READ],
    response_class=Response,
    responses=documented("not_available")
    | {200: {"description": "A file", "content": {kind: {} for kind in _MEDIA_TYPES.values()}}},
)
async def export_routes(
    state: State,
    file_format: Annotated[FileFormat, Query(alias="format", description="Of the file.")] = "json",
) -> Response:
    """All routes as a file; importing it elsewhere gives the same routes."""
    table = state.router.snapshot
    content = await in_thread(_dumped, table.routes, file_format)
    return Response(
        content,
        headers={
            "Content-Type": _MEDIA_TYPES[file_format],
            "Content-Disposition": f'attachment; filename="routes.{file_format}"',
            "ETag": etag(table.revision),
        },
    )


def _dumped(routes: tuple[Route, ...], file_format: FileFormat) -> bytes:
    text = io.StringIO(newline="")
    write_routes(routes, text, file_format)
    return text.getvalue().encode()


@router.post(
    "/v1/import",
    operation_id="importRoutes",
    dependencies=[WRITE],
    openapi_extra={
        "requestBody": {
            "required": True,
            # A file of JSON is a list of routes, or an object with them; the others are text.
            "content": {
                kind: {"schema": {} if kind == "application/json" else {"type": "string"}}
                for kind in _MEDIA_TYPES.values()
            },
        }
    },
    responses=documented(
        "route_exists", "invalid_input", "invalid_route", "body_too_large", "revision_conflict", "forbidden"
    ),
)
async def import_routes(
    request: Request,
    state: State,
    caller: Asking,
    *,
    mode: Annotated[
        Mode,
        Query(
            description="add refuses if one of the names is taken; put replaces routes of the same name; replace also "
            "deletes all others, and needs the scope admin."
        ),
    ] = "add",
    file_format: Annotated[
        FileFormat | None, Query(alias="format", description="Of the file; by its Content-Type unless given.")
    ] = None,
    dry_run: Annotated[bool, Query(description="Only say what would be done.")] = False,
    if_match: IfMatch = None,
) -> Imported:
    """Take over the routes of a file, all or none. With mode=replace, If-Match takes the revision of all routes."""
    if mode == "replace" and caller.scope < Scope.ADMIN:
        raise Problem(
            "forbidden", f"the key {caller.name!r} may not delete all other routes; that takes the scope admin"
        )
    if if_match is not None and mode != "replace":
        raise Problem("invalid_request", "If-Match goes with mode=replace; changes of single routes take theirs")
    chosen = file_format or _format_of(request.headers.get("content-type", ""))
    revision = expected(if_match)
    async with state.importing:
        with SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
            try:
                async for chunk in request.stream():
                    await in_thread(file.write, chunk)
            except ClientDisconnect:
                raise Problem("invalid_request", "the body was cut off") from None
            file.seek(0)
            routes = await in_thread(_read, file, chosen)
        return await state.change(_imported, state.router, routes, mode, revision, dry_run=dry_run)


class _Named:
    """The body as a stream with a name for messages."""

    name = "the body"

    def __init__(self, file: IO[bytes]) -> None:
        self.read = file.read
        self.readline = file.readline


def _read(file: IO[bytes], file_format: FileFormat) -> list[Route]:
    routes = read_routes(_Named(file), file_format)  # type: ignore[arg-type]  # has of a stream what is needed
    for route in routes:
        # As in other bodies: PostgreSQL has no NUL in texts, and nobody means one.
        if any("\x00" in text for text in (*route.utterances, route.description or "", *_strings(route.metadata))):
            raise Problem("invalid_route", f"a text of route {route.name!r} has a NUL character; remove it")
    return routes


def _strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value, keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _imported(
    router: AdaptiveRouter, routes: list[Route], mode: Mode, expected_revision: int | None, *, dry_run: bool
) -> Imported:
    table = router.snapshot
    had = {route.name: route for route in routes if route.name in table}
    same = sum(_equal(route, table.get(name)) for name, route in had.items())
    counts: dict[str, Any] = {
        "added": len(routes) - len(had),
        "updated": len(had) - same,
        "deleted": len(table) - len(had) if mode == "replace" else 0,
        "unchanged": same,
    }
    if mode == "add" and had:
        raise Problem("route_exists", f"{len(had):,} of the routes are there already, such as {next(iter(had))!r}")
    if mode == "replace" and expected_revision is not None and expected_revision != table.revision:
        raise Problem("revision_conflict", f"the routes are at revision {table.revision}; look again and decide anew")
    if dry_run:
        return Imported(**counts, revision=table.revision)
    if mode == "add":
        revision = router.add_routes(routes)
    elif mode == "put":
        revision = router.put_routes(routes)
    else:
        revision = router.replace_routes(routes, expected_revision=expected_revision)
    return Imported(**counts, revision=revision)


def _equal(first: Route, second: Route) -> bool:
    return route_entry(first) == route_entry(second)


def _format_of(content_type: str) -> FileFormat:
    kind = content_type.partition(";")[0].strip().lower()
    known: dict[str, FileFormat] = {media.partition(";")[0]: name for name, media in _MEDIA_TYPES.items()}
    known |= {"application/x-ndjson": "jsonl", "text/yaml": "yaml", "application/x-yaml": "yaml"}
    if kind not in known:
        raise Problem(
            "unsupported_media_type",
            f"the format of the file is not known; give it as ?format={'|'.join(get_args(FileFormat))}",
        )
    return known[kind]
