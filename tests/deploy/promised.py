"""What the server really has, for files that name it."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from synaptoroute.cli import app
from synaptoroute.server import ServerSettings, create_app, load_settings

PREFIX = "SYNAPTOROUTE_"


def serve_options() -> set[str]:
    """The options of ``synaptoroute serve``."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {option for parameter in commands["serve"].params for option in parameter.opts}


def variables() -> set[str]:
    """The variables of the environment that the server reads."""
    return {f"{PREFIX}{name.upper()}" for name in ServerSettings.model_fields}


def is_answered(path: str) -> bool:
    """Whether a GET of the path leads somewhere."""
    return answered(path)[0] != 404


def answered(path: str) -> tuple[int, str]:
    """The status and the body of a GET of the path."""
    app = create_app(load_settings())
    statuses: list[int] = []
    body = bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        else:
            body.extend(message.get("body", b""))

    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return statuses[0], body.decode()
