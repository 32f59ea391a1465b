"""Whatever is damaged: a clean error or right answers, and never a process that dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.damaging import damage_again_and_again


@pytest.mark.parametrize("kind", ["small", "large"])
@pytest.mark.parametrize("mutations", [10, pytest.param(500, marks=pytest.mark.slow)])
def test_damaged_files_end_in_an_error_or_in_right_answers(tmp_path: Path, kind: str, mutations: int) -> None:
    report = damage_again_and_again(tmp_path, mutations, kind, seed=mutations)
    print(report)  # noqa: T201
    assert report.mutations == mutations
    assert (report.deaths, report.faults) == (0, [])
    assert report.outcomes["answers"], "damage to caches must cost nothing but time"
    if kind == "small":
        # Most files of the other kind are of the cache.
        assert report.outcomes["StorageCorruptError"], "damage to the database must be noticed"
