"""``synaptoroute mcp``: the routes as tools for models, by the Model Context Protocol."""

import json
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from synaptoroute.cli import completion, engine, output
from synaptoroute.cli.routes import DEFAULT_DB, Db
from synaptoroute.cli.source import RoutesFile, router_over

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from synaptoroute.tools import ToolRouter

#: Where only this machine listens. The SDK guards just these against pages that rebind their name to them.
Loopback = Literal["127.0.0.1", "localhost", "::1"]


def mcp(
    context: typer.Context,
    *,
    db: Db = DEFAULT_DB,
    routes: RoutesFile = None,
    transport: Annotated[
        Literal["stdio", "streamable-http"],
        typer.Option(
            "--transport", help="stdio for a client that starts this command, streamable-http for any number."
        ),
    ] = "stdio",
    host: Annotated[
        Loopback,
        typer.Option("--host", help="Address to listen on for HTTP; there are no keys, so only this machine may ask."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="Port to listen on for HTTP; 0 takes a free one.")
    ] = 8001,
    writable: Annotated[
        bool, typer.Option("--writable", help="Also offer tools that change the routes of the store.")
    ] = False,
    tools: Annotated[
        Path | None,
        typer.Option(
            "--tools",
            autocompletion=completion.files(".json", ".yaml", ".yml"),
            help="Also offer a search over the tools of this file: a JSON list of tools (of OpenAI, Anthropic, MCP) or "
            "an OpenAPI document. Without any routes, the search alone.",
        ),
    ] = None,
) -> None:
    """Offer routing to models as an MCP server: route, route_batch, explain, list_routes.

    With stdio it ends when its client closes the connection, with streamable-http by a signal.
    """
    from synaptoroute.integrations.mcp import create_server

    # A catalogue needs no routes; nobody asked for the store that is looked for by default.
    alone = tools is not None and routes is None and not db.exists() and _by_default(context, "db")
    with ExitStack() as opened:
        router = None if alone else opened.enter_context(router_over(context, db, routes))
        if router is not None:
            router.warm_up()
        catalogue = None if tools is None else opened.enter_context(_catalogue(tools))
        server = create_server(router, catalogue, writable=writable)
        if transport == "stdio":
            server.run("stdio")
        else:
            _serve(server, host, port)


def _catalogue(path: Path) -> "ToolRouter":
    """A router over the tools of a file. Raises InvalidToolError."""
    from synaptoroute.tools import ToolRouter

    return ToolRouter(_tools_of(path), encoder=engine.encoder())


def _tools_of(path: Path) -> Iterable[Any]:
    from synaptoroute.errors import InvalidToolError
    from synaptoroute.tools import tools_from_openapi

    if path.suffix != ".json":
        return tools_from_openapi(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as exc:
        raise InvalidToolError(f"{path} cannot be read as JSON: {getattr(exc, 'strerror', exc)}") from exc
    if isinstance(content, dict) and isinstance(content.get("tools"), list):
        # As tools/list of an MCP server answers, and as requests to models have it.
        content = content["tools"]
    return content if isinstance(content, list) else tools_from_openapi(path)


def _by_default(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "DEFAULT"


def _serve(server: "MCPServer[Any]", host: str, port: int) -> None:
    import uvicorn

    bound = _bound(host, port)
    try:
        app = server.streamable_http_app(host=host, json_response=True, stateless_http=True)
        running = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", server_header=False))
        address = f"[{host}]" if ":" in host else host
        # From here on the system accepts connections, so whoever reads the line may come at once.
        bound.listen()
        output.note(f"listening on http://{address}:{bound.getsockname()[1]}/mcp")
        running.run(sockets=[bound])
    finally:
        bound.close()


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises InvalidSettingError."""
    from synaptoroute.errors import InvalidSettingError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as exc:
        bound.close()
        raise InvalidSettingError(
            f"cannot listen on {host}:{port}: {exc.strerror}; stop what uses it, or choose another with --port"
        ) from exc
    return bound
