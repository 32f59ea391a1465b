"""Opens a database when the extra is there, and says how to get it when not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from synaptoroute.errors import MissingExtraError

if TYPE_CHECKING:
    from synaptoroute.postgres.database import Database


def opened(
    feature: str,
    dsn: str,
    *,
    schema: str,
    timeout_s: float,
    connections: int,
    settings: Mapping[str, str] | None = None,
) -> Database:
    """See ``Database``.

    Args:
        feature: What needs the extra, for the message.
        dsn: As there.
        schema: As there.
        timeout_s: As there.
        connections: As there.
        settings: As there.

    Raises:
        MissingExtraError: The driver is not installed.
    """
    try:
        import psycopg  # noqa: F401 - to know

        from synaptoroute.postgres.database import Database
    except ImportError as exc:
        raise MissingExtraError(feature, "postgres") from exc
    return Database(dsn, schema=schema, timeout_s=timeout_s, connections=connections, settings=settings)
