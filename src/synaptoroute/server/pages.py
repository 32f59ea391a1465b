"""The playground at ``/``, the page of the interface at ``/docs``, and the files both are made of.

They hold no data and need no key; what they call does. All of it comes from this package: nothing is fetched from
elsewhere, and no page has a script or style of its own in it, so that the policy can forbid both.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from synaptoroute.server.problems import Problem
from synaptoroute.server.state import State

FOLDER = Path(__file__).parent / "playground"
#: Kept by browsers, but asked about each time: a new version shows at once, and an unchanged one is not sent again.
_HEADERS = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)
_files = StaticFiles(directory=FOLDER)


@router.api_route("/", methods=["GET", "HEAD"])
async def playground() -> Response:
    """The playground and dashboard."""
    return FileResponse(FOLDER / "index.html", headers=_HEADERS)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(state: State) -> Response:
    """The interface, to be read and tried."""
    if not state.settings.docs:
        raise Problem("not_found", "the description of the interface is switched off here")
    return FileResponse(FOLDER / "docs.html", headers=_HEADERS)


@router.api_route("/favicon.ico", methods=["GET", "HEAD"])
async def icon() -> Response:
    """For browsers that ask without being told where it is."""
    return FileResponse(FOLDER / "icon.svg", media_type="image/svg+xml", headers=_HEADERS)


@router.api_route("/static/{path:path}", methods=["GET", "HEAD"])
async def static(path: str, request: Request) -> Response:
    """A script, a style or an image of the pages."""
    response = await _files.get_response(path, request.scope)
    response.headers["Cache-Control"] = _HEADERS["Cache-Control"]
    return response
