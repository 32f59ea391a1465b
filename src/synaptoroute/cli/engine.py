"""The router of a command, with the encoder and the profile that its caller chose."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synaptoroute.cli import output
from synaptoroute.profile import OptimizationProfile

if TYPE_CHECKING:
    from synaptoroute.encoder.base import BaseEncoder
    from synaptoroute.router import AdaptiveRouter
    from synaptoroute.storage.base import BaseStorage

BUNDLED = "bundled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What routers of this command are made with.

    Attributes:
        encoder: See ``make_encoder``.
        profile: How much of the machine one query may take.
        min_confidence: Least probability of being right; None leaves it to the calibration.
    """

    encoder: str = BUNDLED
    profile: OptimizationProfile = OptimizationProfile.BALANCED
    min_confidence: float | None = None


#: Frozen, and so safe as the default of every thread.
_chosen: ContextVar[Chosen] = ContextVar("chosen", default=Chosen())  # noqa: B039


def choose(chosen: Chosen) -> None:
    """Make all routers from now on with these."""
    _chosen.set(chosen)


def encoder() -> "BaseEncoder":
    """The encoder that was chosen.

    Raises:
        InvalidInputError: There is no such encoder.
        EncoderUnavailableError: It cannot be loaded.
    """
    from synaptoroute.encoder.specs import make_encoder

    chosen = _chosen.get()
    return make_encoder(chosen.encoder, chosen.profile)


def router(storage: "BaseStorage | None" = None) -> "AdaptiveRouter":
    """A router over the store, or over none, whose changes bear the name of who runs the command.

    Raises:
        InvalidInputError: There is no such encoder.
        EncoderUnavailableError: The encoder cannot be loaded.
        StorageError: The store cannot be used.
    """
    from synaptoroute.router import AdaptiveRouter

    chosen = _chosen.get()
    return AdaptiveRouter(
        encoder(),
        storage,
        profile=chosen.profile,
        min_confidence=chosen.min_confidence,
        actor=output.user(),
    )
