"""A Dockerfile as its instructions, for tests that look at them or carry them out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its continued lines joined."""

    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The words of its exec form. Raises ValueError if it has none."""
        found: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return found


def stages(path: Path = DOCKERFILE) -> list[list[Instruction]]:
    """The instructions of each stage, beginning with its FROM; ARGs before the first are the first list."""
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", path.read_text(encoding="utf-8")))
    found: list[list[Instruction]] = [[]]
    for line in filter(str.strip, text.splitlines()):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append(Instruction(word, " ".join(rest.split())))
    return found


#: The stage that is the image.
IMAGE_STAGE = stages()[-1]


def only(stage: list[Instruction], word: str) -> Instruction:
    """The one instruction of that word."""
    (found,) = [instruction for instruction in stage if instruction.word == word]
    return found


def environment(stage: list[Instruction]) -> dict[str, str]:
    """What ENV sets."""
    pairs = " ".join(instruction.rest for instruction in stage if instruction.word == "ENV").split()
    return dict(pair.split("=", 1) for pair in pairs)
