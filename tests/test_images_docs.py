"""The program of docs/images.md runs, with the small pair of the tests in the place of CLIP."""

from __future__ import annotations

import re
from pathlib import Path

from tests.encoder.shapes import build, drawn

TEXT = (Path(__file__).parents[1] / "docs" / "images.md").read_text(encoding="utf-8")
(PROGRAM,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_program_routes_a_picture(tmp_path: Path) -> None:
    folder = build(tmp_path / "clip-vit-base-patch32")
    for name, shape in (("torn.jpg", "circle"), ("wet.jpg", "triangle"), ("till.png", "square")):
        drawn("red", shape).save(tmp_path / name)
    code = PROGRAM.replace('"clip-vit-base-patch32"', repr(str(folder)))
    code = re.sub(r'picture\("(\w+\.\w+)"\)', lambda found: f"picture({str(tmp_path / found[1])!r})", code)
    names: dict[str, object] = {"uploaded_bytes": (tmp_path / "till.png").read_bytes()}
    exec(code, names)  # noqa: S102 - the page's own
    router = names["router"]
    decision = router(names["picture"](names["uploaded_bytes"]))  # type: ignore[operator]
    assert decision.matches[0].name == "receipt"
    router.close()  # type: ignore[attr-defined]
