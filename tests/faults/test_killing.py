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


def test_a_store_that_acknowledges_before_it_commits_is_found_out(tmp_path: Path) -> None:
    report = kill_again_and_again(tmp_path / "routes.db", 4, "small", lossy=True)
    print(report)  # noqa: T201
    assert (report.cycles, report.changes > 4) == (4, True)
    assert report.losses
    # One of the four is killed before its first change.
    assert sum(fault.startswith("revision ") for fault in report.faults) >= 3
    assert not [fault for fault in report.faults if "verify" in fault], "nothing is wrong but that changes are missing"
