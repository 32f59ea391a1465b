"""The program of docs/corrections.md runs as it stands and prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from synaptoroute.corrections.records import OptionKey
from tests.cli.test_cli import run

TEXT = (Path(__file__).parents[1] / "docs" / "corrections.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_program_prints_what_it_says(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (printed,) = re.findall(r"It prints:\n\n```\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, *options, last = done.stdout.splitlines()
    said_first, *said_options, said_last = printed.splitlines()
    assert (first, last) == (said_first, said_last)

    # Which options there are, and which mend it; one query more or less may hang on the last digit of a product.
    def told(lines: list[str]) -> set[tuple[str, ...]]:
        return {tuple(re.fullmatch(r"(\w+): mends it: (\w+), .*", line).groups()) for line in lines}  # type: ignore[union-attr]

    assert told(options) == told(said_options)


def test_every_option_is_explained() -> None:
    assert set(re.findall(r"`(\w+)`", TEXT.partition("| option |")[2].partition("\n\n")[0])) == set(get_args(OptionKey))


@pytest.mark.parametrize("command", re.findall(r"`(?:synaptoroute )?feedback ([a-z]+)", TEXT))
def test_its_commands_exist(command: str) -> None:
    assert run("feedback", command, "--help").code == 0
