"""The programs in docs/observability.md run as they stand, and its settings are those of the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from synaptoroute.server.settings import ServerSettings
from tests.observability.conftest import small_router

TEXT = (Path(__file__).parents[2] / "docs" / "observability.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_hooks_are_attached_as_the_program_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(PROGRAMS[0], names)  # noqa: S102
    with names["router"] as router:
        assert len(router._hooks.queries) == 3
    assert (tmp_path / "decisions.jsonl").exists()


def test_the_hook_of_the_program_hears_slow_calls(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(PROGRAMS[1].replace("> 0.1", "> 0"), names)  # noqa: S102
    with small_router(hooks=[names["Slow"]()]) as router:
        router.route("music new")
    assert "('search', " in capsys.readouterr().out


def test_the_settings_are_those_of_the_server() -> None:
    table = TEXT.partition("## In the server")[2].partition("```")[0]
    named = {
        name for row in re.findall(r"^\| (`.*?`) \|", table, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named <= set(ServerSettings.model_fields)
    ours = {
        name for name in ServerSettings.model_fields if name.startswith(("metrics", "telemetry", "records", "log_"))
    }
    assert ours <= named
