"""How many requests a client may send: counted by the package ``limits``, said in RateLimit headers."""

from __future__ import annotations

import ipaddress
import math
import time
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItem, parse_many
from limits.aio.storage import Storage as SharedStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter as SharedLimiter
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from synaptoroute.errors import InvalidSettingError
from synaptoroute.server.settings import ServerSettings, logger


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client has left.

    Attributes:
        passed: Whether this request may pass.
        headers: What tells the client so.
    """

    passed: bool
    headers: tuple[tuple[bytes, bytes], ...]


class Rates:
    """Counts the requests of each client over sliding windows, in this process or in a server shared with others.

    Args:
        settings: With a ``rate_limit``.

    Raises:
        InvalidSettingError: The storage's address cannot be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        assert settings.rate_limit is not None  # noqa: S101 - asked for by the caller
        self._items = parse_many(settings.rate_limit)
        self._policy = b", ".join(_policy(number, item) for number, item in enumerate(self._items))
        address = settings.rate_limit_storage.get_secret_value()
        self._here: SlidingWindowCounterRateLimiter | None = None
        self._shared: SharedLimiter | None = None
        if address == "memory://":
            self._here = SlidingWindowCounterRateLimiter(MemoryStorage())
            return
        try:
            storage = storage_from_string(f"async+{address}", **_options(address))
        except Exception as exc:  # noqa: BLE001 - any driver's
            # What the drivers say may quote the address, which may hold a password.
            raise InvalidSettingError(
                "setting rate_limit_storage: wanted memory:// or redis://host:port with the package redis installed; "
                f"this one failed ({type(exc).__name__})"
            ) from None
        assert isinstance(storage, SharedStorage)  # noqa: S101 - by the address's async+
        self._shared = SharedLimiter(storage)
        self._told_at_s = -math.inf

    async def ask(self, client: str) -> Allowance:
        """Count a request of a client. If the shared storage fails, all may pass."""
        if self._here is not None:
            passed = True
            for item in self._items:
                passed = self._here.hit(item, client) and passed
            stats = [self._here.get_window_stats(item, client) for item in self._items]
        else:
            assert self._shared is not None  # noqa: S101 - one of the two
            try:
                passed = True
                for item in self._items:
                    passed = await self._shared.hit(item, client) and passed
                stats = [await self._shared.get_window_stats(item, client) for item in self._items]
            except Exception as exc:  # noqa: BLE001 - any driver's
                self._tell(exc)
                return Allowance(True, ())  # noqa: FBT003
        left = [(max(0, found.remaining), max(0.0, found.reset_time - time.time())) for found in stats]
        state = b", ".join(
            b'"%d";r=%d;t=%d' % (number, remaining, math.ceil(reset_s))
            for number, (remaining, reset_s) in enumerate(left)
        )
        headers: tuple[tuple[bytes, bytes], ...] = ((b"ratelimit-policy", self._policy), (b"ratelimit", state))
        if not passed:
            wait_s = max((reset_s for remaining, reset_s in left if not remaining), default=1.0)
            headers = (*headers, (b"retry-after", b"%d" % max(1, math.ceil(wait_s))))
        return Allowance(passed, headers)

    def _tell(self, exc: Exception) -> None:
        """Once a minute, and without what the driver says: it may quote the address."""
        now_s = time.monotonic()
        if now_s - self._told_at_s > 60:
            self._told_at_s = now_s
            logger.warning("requests cannot be counted (%s), so none is limited", type(exc).__name__)


def _options(address: str) -> dict[str, Any]:
    """Of the drivers that ``limits`` knows, the one that the extra ``redis`` brings."""
    return {"implementation": "redispy"} if address.startswith(("redis", "valkey")) else {}


def client_of(address: str) -> str:
    """Whom an address stands for: of IPv6, everybody has at least a network of 64 bits to choose addresses from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _policy(number: int, item: RateLimitItem) -> bytes:
    return b'"%d";q=%d;w=%d' % (number, item.amount, item.get_expiry())
