"""docs/encoders.md: its own encoder works, and its words are those that ``make_encoder`` knows."""

from __future__ import annotations

import re
from pathlib import Path

from synaptoroute import encoder
from synaptoroute.encoder.specs import FORMS
from tests.encoder import run_python

PAGE = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text(encoding="utf-8")


def test_the_encoder_of_ones_own_routes() -> None:
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class " in block]
    result = run_python(block, within_s=180)
    assert result.stdout == "vowels\n", result.stderr


def test_every_encoder_and_every_word_is_on_the_page() -> None:
    for name in set(encoder.__all__) - {"BaseEncoder"}:
        assert f"`{name}" in PAGE
    for kind in set(re.findall(r"[a-z][a-z0-9-]+", FORMS)) - {"or"}:
        assert f"`{kind}" in PAGE
