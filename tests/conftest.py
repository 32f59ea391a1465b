"""Fixtures shared by all tests. Encoders, stores and files are real; nothing is patched."""

from __future__ import annotations

import pytest

from synaptoroute.encoder import BundledEncoder


@pytest.fixture(scope="session")
def encoder() -> BundledEncoder:
    """The bundled encoder, loaded once for all tests."""
    return BundledEncoder()
