"""The router that settings ask for: its store, its routes, and what must be right before anything is served."""

from __future__ import annotations

from synaptoroute.errors import InvalidInputError, InvalidSettingError, MissingExtraError, StorageError
from synaptoroute.history import acting_as
from synaptoroute.route_files import read_routes
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server.settings import ServerSettings, logger
from synaptoroute.storage.base import BaseStorage
from synaptoroute.storage.sqlite import SQLiteStorage


def open_router(settings: ServerSettings) -> AdaptiveRouter:
    """A router over the store that the settings name, in memory if they name none.

    Raises:
        InvalidSettingError: The store or the file of routes cannot be used; the message names the setting.
    """
    storage = _storage(settings)
    try:
        router = AdaptiveRouter(
            storage=storage,
            profile=settings.profile,
            min_confidence=settings.min_confidence,
            cache_bytes=settings.cache_mib << 20,
        )
    except StorageError as exc:
        storage.close()
        raise InvalidSettingError(f"setting {_store_setting(settings)}: {exc}") from exc
    try:
        _add_routes(router, settings)
    except BaseException:
        router.close()
        raise
    return router


def _storage(settings: ServerSettings) -> BaseStorage:
    try:
        if settings.postgres is not None:
            from synaptoroute.storage.postgres import PostgresStorage

            return PostgresStorage(settings.postgres.get_secret_value())
        return SQLiteStorage(settings.db if settings.db is not None else ":memory:")
    except (StorageError, InvalidInputError, MissingExtraError) as exc:
        raise InvalidSettingError(f"setting {_store_setting(settings)}: {exc}") from exc


def _store_setting(settings: ServerSettings) -> str:
    return "postgres" if settings.postgres is not None else "db"


def _add_routes(router: AdaptiveRouter, settings: ServerSettings) -> None:
    if settings.routes is None:
        return
    if len(router):
        logger.info("the store has %d routes already, so %s is left alone", len(router), settings.routes)
        return
    try:
        routes = read_routes(settings.routes)
        with acting_as("file"):
            router.add_routes(routes)
    except InvalidInputError as exc:
        raise InvalidSettingError(f"setting routes: {exc}") from exc
