"""The README's programs run as they stand, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(code: str, folder: Path) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def block(text: str) -> str:
    (found,) = [code for code in BLOCKS if text in code]
    return found


def test_the_first_program_routes_and_abstains(tmp_path: Path) -> None:
    code = block("the bundled encoder, routes in memory") + "\nprint(decision.name)\n"
    assert run(code, tmp_path).splitlines() == ["none of these", "billing"]


def test_the_service_program_routes(tmp_path: Path) -> None:
    name, confidence = run(block("asyncio.run(main())"), tmp_path).split()
    assert name == "billing"
    assert 0.5 < float(confidence) <= 1


def test_the_stored_program_needs_only_another_encoder_here(tmp_path: Path) -> None:
    """Its model would be downloaded, so the bundled encoder stands in; all else is as it stands."""
    code = block("FastEmbedEncoder(), SQLiteStorage").replace("FastEmbedEncoder", "BundledEncoder")
    assert run(code, tmp_path) == "billing\n"
    assert (tmp_path / "routes.db").exists()


@pytest.mark.parametrize("command", ["demo", "test"])
def test_the_two_commands_are_in_the_makefile(command: str) -> None:
    assert f"make {command} " in README
    assert f"\n{command}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_file_it_links_to_exists() -> None:
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target
