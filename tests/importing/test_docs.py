"""The programs of docs/importing.md and docs/routes-from-code.md run as they stand, and print what stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from typer.testing import CliRunner

from synaptoroute.cli import app
from synaptoroute.cli.foreign import ForeignFormat
from synaptoroute.importing import FORMATS
from tests.generating.chat_server import ChatServer, listed

DOCS = Path(__file__).parents[2] / "docs"
IMPORTING = (DOCS / "importing.md").read_text(encoding="utf-8")
FROM_CODE = (DOCS / "routes-from-code.md").read_text(encoding="utf-8")
#: A program with what it prints, if that stands below it.
WITH_OUTPUT = re.compile(r"```python\n(.*?)```\n(?:\n```\n(.*?)```)?", re.DOTALL)


def programs(text: str) -> list[tuple[str, str]]:
    return WITH_OUTPUT.findall(text)


def run(code: str) -> None:
    exec(compile(code, "docs", "exec"), {"__name__": "docs"})  # noqa: S102 - our own page


@pytest.mark.parametrize(("code", "output"), [*programs(IMPORTING), programs(FROM_CODE)[0]], ids=["import", "code"])
def test_the_programs_print_what_the_pages_say(
    code: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(code)
    assert capsys.readouterr().out == output


def test_the_program_with_a_language_model_runs(httpserver: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    server = ChatServer(httpserver)
    server.says = lambda body: listed("how much is left to pay on my bill")
    ((code, _),) = [found for found in programs(FROM_CODE) if "ChatEndpoint(" in found[0]]
    run(code.replace("http://localhost:11434/v1", server.url))
    assert "how much is left to pay on my bill" in capsys.readouterr().out


def test_every_format_is_in_the_table() -> None:
    rows = [line for line in IMPORTING.splitlines() if line.startswith("| `")]
    table = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert set(FORMATS) <= table
    assert set(ForeignFormat.__args__) == {"auto", *FORMATS}  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", re.findall(r"^synaptoroute (.+?)(?:\s{2,}#.*)?$", IMPORTING + FROM_CODE, re.MULTILINE))
def test_the_options_of_the_commands_exist(line: str) -> None:
    words = line.split()
    command = words[: 2 if words[0] == "routes" else 1]
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    for option in re.findall(r"--[\w-]+", line):
        assert option in shown, f"{' '.join(command)} has no {option}"
