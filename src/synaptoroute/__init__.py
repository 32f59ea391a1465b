"""SynaptoRoute: routes natural-language text to deterministic software, locally, or honestly abstains.

>>> from synaptoroute import AdaptiveRouter, Route
>>> router = AdaptiveRouter()
>>> router.add_route(Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill"]))
>>> router("what's my current balance?").name
'billing'

The public names are imported when first used, so that ``import synaptoroute`` stays under a few milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synaptoroute.errors import SynaptoRouteError as SynaptoRouteError
    from synaptoroute.models import Decision as Decision
    from synaptoroute.models import Match as Match
    from synaptoroute.models import Reason as Reason
    from synaptoroute.models import Route as Route
    from synaptoroute.profile import OptimizationProfile as OptimizationProfile
    from synaptoroute.router import AdaptiveRouter as AdaptiveRouter

__version__ = "0.5.0"

_HOME = {
    "AdaptiveRouter": "synaptoroute.router",
    "Decision": "synaptoroute.models",
    "Match": "synaptoroute.models",
    "OptimizationProfile": "synaptoroute.profile",
    "Reason": "synaptoroute.models",
    "Route": "synaptoroute.models",
    "SynaptoRouteError": "synaptoroute.errors",
}

__all__ = ["AdaptiveRouter", "Decision", "Match", "OptimizationProfile", "Reason", "Route", "SynaptoRouteError"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
