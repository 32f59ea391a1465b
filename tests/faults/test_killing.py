"""A writer that is killed loses nothing it has acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.killing import kill_again_and_again


@pytest.mark.parametrize("kind", ["small", "large"])
@pytest.mark.parametrize("cycles", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, kind: str, cycles: int) -> None:
    report = kill_again_and_again(tmp_path / "routes.db", cycles, kind)
    print(report)  # noqa: T201
    assert report.cycles == cycles
    assert report.changes > cycles, "a writer that is always killed before its first change proves nothing"
    assert (report.losses, report.faults) == (0, [])
