"""The router that settings ask for: its store, its routes, and what must be right before anything is served."""

from __future__ import annotations

from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.encoder.specs import make_encoder
from synaptoroute.errors import (
    EncoderError,
    InvalidInputError,
    InvalidSettingError,
    MissingExtraError,
    StorageError,
    SyncError,
)
from synaptoroute.history import acting_as
from synaptoroute.route_files import read_routes
from synaptoroute.router import AdaptiveRouter
from synaptoroute.server.settings import ServerSettings, logger
from synaptoroute.storage.base import BaseStorage
from synaptoroute.storage.sqlite import SQLiteStorage
from synaptoroute.sync.base import BaseSyncManager


def open_router(settings: ServerSettings) -> AdaptiveRouter:
    """A router over the store that the settings name, in memory if they name none.

    Raises:
        InvalidSettingError: The store or the file of routes cannot be used; the message names the setting.
    """
    encoder, sync_manager = _encoder(settings), _sync_manager(settings)
    storage = _storage(settings)
    try:
        router = AdaptiveRouter(
            encoder,
            storage,
            profile=settings.profile,
            min_confidence=settings.min_confidence,
            cache_bytes=settings.cache_mib << 20,
            sync_manager=sync_manager,
        )
    except StorageError as exc:
        storage.close()
        raise InvalidSettingError(f"setting {_store_setting(settings)}: {exc}") from exc
    except SyncError as exc:
        storage.close()
        raise InvalidSettingError(f"setting redis: {exc}") from exc
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

            return PostgresStorage(
                settings.postgres.get_secret_value(),
                schema=settings.postgres_schema,
                timeout_s=settings.postgres_timeout_s,
            )
        return SQLiteStorage(settings.db if settings.db is not None else ":memory:")
    except (StorageError, InvalidInputError, MissingExtraError) as exc:
        raise InvalidSettingError(f"setting {_store_setting(settings)}: {exc}") from exc


def _encoder(settings: ServerSettings) -> BaseEncoder:
    try:
        return make_encoder(settings.encoder, settings.profile)
    except (InvalidInputError, EncoderError, MissingExtraError) as exc:
        raise InvalidSettingError(f"setting encoder: {exc}") from exc


def _sync_manager(settings: ServerSettings) -> BaseSyncManager | None:
    if settings.redis is None:
        return None
    try:
        from synaptoroute.sync.redis import RedisSyncManager

        return RedisSyncManager(
            settings.redis.get_secret_value(),
            namespace=settings.redis_namespace,
            key=settings.redis_key.get_secret_value() if settings.redis_key is not None else None,
        )
    except (InvalidInputError, SyncError, MissingExtraError) as exc:
        raise InvalidSettingError(f"settings redis, redis_namespace and redis_key: {exc}") from exc


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
