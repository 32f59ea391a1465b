"""The HTTP service around a router: ``create_app`` for any ASGI server, ``serve`` for the one that comes with it.

What it needs beyond the router (the extra ``api``) is imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synaptoroute.errors import MissingExtraError

if TYPE_CHECKING:
    from synaptoroute.server.app import create_app
    from synaptoroute.server.loading import load_settings
    from synaptoroute.server.running import serve
    from synaptoroute.server.settings import ServerSettings

__all__ = ["create_app", "ServerSettings", "load_settings", "serve"]

_HOMES = {"create_app": "app", "ServerSettings": "settings", "load_settings": "loading", "serve": "running"}
#: Of the extra. Anything else that is missing is a mistake of its own.
_PACKAGES = {"fastapi", "starlette", "uvicorn", "limits", "pydantic_settings", "prometheus_client", "yaml"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as exc:
        if (exc.name or "").split(".")[0] not in _PACKAGES:
            raise
        raise MissingExtraError("the HTTP server", "api") from exc
