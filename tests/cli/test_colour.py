"""Colours on a terminal, and none for those who want none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.test_cli import on_terminal

#: Select Graphic Rendition with a colour of the foreground or background, bright or indexed ones among them.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("SYNAPTOROUTE_DB", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("arguments", "stream"),
    [
        (["--help"], "stdout"),
        (["routes", "list", "--db", "gone.db"], "stderr"),
        (["routes", "lst"], "stderr"),
    ],
)
def test_no_color_is_honoured(arguments: list[str], stream: str) -> None:
    plain = on_terminal(*arguments, stream=stream, TERM="xterm-256color", NO_COLOR="1")
    assert not COLOUR.search(plain)
    assert COLOUR.search(on_terminal(*arguments, stream=stream, TERM="xterm-256color")), "else there are colours"
