"""Runs programs of ``examples/`` without a network, and compares them with their pages in the documentation."""

from __future__ import annotations

import asyncio
import re
import runpy
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
#: The last digits of scores and confidences depend on the machine.
FIGURE = re.compile(r"\d\.\d+")


def assert_prints_what_its_page_says(
    name: str, page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program at examples/name.py is on the page as it stands, and prints what the page says."""
    path = ROOT / "examples" / f"{name}.py"
    text = (ROOT / "docs" / "integrations" / f"{page}.md").read_text(encoding="utf-8")
    blocks: list[str] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert path.read_text(encoding="utf-8") in blocks
    (said,) = re.findall(r"It prints:\n\n```\n(.*?)```", text, re.DOTALL)

    monkeypatch.setattr(socket.socket, "connect", _refuse)
    monkeypatch.setattr(socket, "getaddrinfo", _refuse)
    with _own_loop():
        runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out

    assert FIGURE.sub("#", printed) == FIGURE.sub("#", said)
    figures, said_figures = ([float(figure) for figure in FIGURE.findall(each)] for each in (printed, said))
    assert figures == pytest.approx(said_figures, abs=0.05)


@contextmanager
def _own_loop() -> Iterator[None]:
    """Calls of frameworks that wait for a coroutine take the thread's loop, or else make one and leave it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _refuse(*_args: object, **_kwargs: object) -> NoReturn:
    raise AssertionError("an example must do without a network")
