"""A small router, and a hook that remembers all it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.encoder.base import Vectors
from tests.seeded import SeededEncoder, route

E = TypeVar("E")
#: Nothing here takes this long unless it hangs.
SAFE_S = 30.0


class Listener:
    """Hears everything."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_query(self, event: Any) -> None:
        self.events.append(event)

    on_batch = on_routes = on_upkeep = on_sync = on_query

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


class GatedEncoder(SeededEncoder):
    """Waits at its gate with texts that begin with ``wait``, and fails on those that begin with ``fail``."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.waiting = threading.Semaphore(0)

    def encode(self, texts: Sequence[str]) -> Vectors:
        if any(text.startswith("wait") for text in texts):
            self.waiting.release()
            assert self.gate.wait(SAFE_S)
        if any(text.startswith("fail") for text in texts):
            raise RuntimeError("secret words of a query")
        return super().encode(texts)


def small_router(encoder: SeededEncoder | None = None, **options: Any) -> AdaptiveRouter:
    """Three routes of a few utterances."""
    router = AdaptiveRouter(encoder or SeededEncoder(), **options)
    router.add_routes([route(name, *range(6)) for name in ("billing", "music", "weather")])
    router.wait_until_fitted()
    return router


@pytest.fixture
def router() -> Iterator[AdaptiveRouter]:
    """Three routes in memory."""
    with small_router() as router:
        yield router


@pytest.fixture
def listener() -> Listener:
    """Not attached to anything."""
    return Listener()
