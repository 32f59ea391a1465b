"""One cross-encoder for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rerank import build_cross_encoder


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; leave it as it is."""
    return build_cross_encoder(tmp_path_factory.mktemp("models") / "shared-tokens")
