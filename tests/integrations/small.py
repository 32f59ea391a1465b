"""A router of a few routes that every framework is tried with."""

from __future__ import annotations

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.encoder.base import BaseEncoder

BILLING, WEATHER, NEITHER = "how much do I have to pay", "do I need an umbrella today", "who painted the Mona Lisa"
BOTH = "pay my bill, and will it rain tomorrow?"
ROUTES = (
    Route(
        name="billing",
        utterances=["what do I owe", "show my balance", "pay my bill", "how much is my invoice"],
        description="What the customer owes",
    ),
    Route(
        name="weather",
        utterances=["will it rain", "is it sunny outside", "weather forecast for tomorrow", "how cold is it"],
    ),
)


def small_router(encoder: BaseEncoder) -> AdaptiveRouter:
    """Its decisions do not change any more."""
    router = AdaptiveRouter(encoder)
    router.add_routes(ROUTES)
    router.wait_until_fitted()
    return router
