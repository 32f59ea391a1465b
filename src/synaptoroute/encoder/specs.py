"""Encoders by a word, as command lines and settings name them."""

from __future__ import annotations

from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.errors import InvalidInputError
from synaptoroute.profile import OptimizationProfile

BUNDLED = "bundled"


def make_encoder(spec: str, profile: OptimizationProfile = OptimizationProfile.BALANCED) -> BaseEncoder:
    """The encoder of that name.

    Args:
        spec: ``bundled``, ``bundled:NAME``, ``static`` or ``fastembed:MODEL``.
        profile: What the bundled encoder takes its threads from.

    Raises:
        InvalidInputError: The word is none of these.
        EncoderUnavailableError: Its weights cannot be had.
        MissingExtraError: Its package is not installed.
    """
    kind, _, model = spec.partition(":")
    if kind == BUNDLED:
        from synaptoroute.encoder.bundled import BundledEncoder

        return BundledEncoder(model, profile=profile) if model else BundledEncoder(profile=profile)
    if spec == "static":
        from synaptoroute.encoder.static import StaticEncoder

        return StaticEncoder()
    if kind == "fastembed" and model:
        from synaptoroute.encoder.fastembed import FastEmbedEncoder

        return FastEmbedEncoder(model)
    raise InvalidInputError(f"there is no encoder {spec!r}; wanted bundled, bundled:NAME, static or fastembed:MODEL")
